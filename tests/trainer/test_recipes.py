"""Recipes by name: what is found, what is refused, what a changed dial is called."""

import pytest

from atlas.errors import InvalidValue, NotFound
from trainer import recipes
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.language_model import LanguageModelRecipe


def run_named(part):
    return next(n for n in recipes.names() if part in n)


def test_the_demo_has_two_models_three_seeds_a_W_E_and_a_prism():
    names = recipes.names()
    assert sum(n.startswith("models/demo-") for n in names) == 2
    assert sum("demo/large/W_U" in n for n in names) == 3
    assert sum("demo/small/W_U" in n for n in names) == 1
    assert sum("demo/large/W_E" in n for n in names) == 1
    assert sum("demo/large/prism" in n for n in names) == 1


def test_every_recipe_resolves_and_seeds_follow_the_run_id():
    for name in recipes.names():
        recipe = recipes.resolve(name)
        assert recipe.name == name
        if isinstance(recipe.dials, CrosscoderRecipe):
            assert name.endswith(f"seed{recipe.dials.seed}")
            assert f"/d{recipe.dials.d_sae}/" in name


def test_snapshots_are_log_spaced_from_zero_and_keep_the_ends():
    for label in ("demo-large", "demo-small"):
        dials = recipes.resolve(f"models/{label}").dials
        assert isinstance(dials, LanguageModelRecipe)
        assert dials.snapshots[:4] == (0, 1, 2, 4)
        assert len(dials.snapshots) >= 24
        assert dials.snapshots[-1] == dials.steps
        assert set(dials.full_models) <= set(dials.snapshots)
        assert {0, dials.steps} <= set(dials.full_models)
        assert len(dials.full_models) >= 8


def test_unknown_dial_and_bad_value_are_refused_by_name():
    name = run_named("demo/large/W_U")
    with pytest.raises(InvalidValue, match="'lamda'.*sparsity"):
        recipes.resolve(name, {"lamda": "1"})
    with pytest.raises(InvalidValue, match="epochs takes int"):
        recipes.resolve(name, {"epochs": "many"})
    with pytest.raises(NotFound, match="demo/large"):
        recipes.resolve("demo/nothing")


def test_a_changed_dial_never_takes_the_name_of_record():
    name = run_named("demo/large/W_U")
    assert recipes.resolve(name, {"seed": "9"}).name.endswith("seed9")
    assert "/d64/" in recipes.resolve(name, {"d_sae": "64"}).name
    changed = recipes.resolve(name, {"sparsity": "0.77"}).name
    assert changed.startswith(name + "-")
    same = recipes.resolve(name, {"sparsity": str(recipes.resolve(name).dials.sparsity)})
    assert same.name == name
