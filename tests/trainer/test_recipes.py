"""Recipes by name: what is found, what is refused, what a changed dial is called."""

import csv
import json
import re

import pytest

from atlas.errors import BrokenArtifact, InvalidValue, NotFound
from atlas.places import INVENTORY
from atlas.schedules import MATCHED_WINDOW, OLMO, PYTHIA
from trainer import recipe_files, recipes
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.language_model import LanguageModelRecipe
from trainer.prism_recipe import PrismRecipe


def run_named(part):
    return next(n for n in recipes.names() if part in n)


def rows(name):
    with open(INVENTORY / name, newline="", encoding="utf8") as file:
        return list(csv.DictReader(file))


DICTIONARIES = rows("inventory-crosscoders.csv")
PRISMS = rows("inventory-prism.csv")

ALWAYS = {"frequency_scale": 0.01, "transpose_factor": 1.0, "threshold_window": 4.0, "k": None,
          "decoder_norm": None, "min_count": 0, "activation": "jumprelu"}
SETTINGS = {"epochs": 300, "batch": 1024, "learning_rate": 5e-5, "threshold_rate": 0.1,
            "sparsity": 0.3, "tanh_stretch": 1.0, "initial_threshold": 0.1, "rate_warmup": 0.0,
            "rate_decay": 0.0, "optimizer": "adam", "precision": "float32", "sparsity_warmup": 0.0}
TENTH = {"sparsity_warmup": 0.1}
UNRECORDED = {"epochs", "batch", "learning_rate", "threshold_rate", "frequency_scale",
              "initial_threshold", "transpose_factor", "sparsity_warmup", "rate_warmup",
              "rate_decay", "optimizer", "precision"}
WARMUP = {"sparsity_warmup"}
SINGLE = {"epochs": 100, "batch": 2048, "sparsity_warmup": 0.1, "rate_warmup": 0.1,
          "rate_decay": 0.2}
FAMILIES = [  # form of the id; what differs from SETTINGS (3.6, 3.5, 4); what is unknown (3.6, 16)
    (r"pythia-160m/W_U/cross-snapshot-32/d24576/seed[0-2]", TENTH, WARMUP),
    (r"pythia-160m/W_U/cross-snapshot-32/d8192/seed[0-4]", TENTH, UNRECORDED),
    (r"pythia-160m/W_U/cross-snapshot-32/d16384/seed0", TENTH | {"sparsity": 0.7},
     UNRECORDED | {"sparsity"}),
    (r"pythia-160m/W_U/cross-snapshot-16/d8192/seed0", TENTH, UNRECORDED | {"sparsity"}),
    (r"pythia-160m/W_U/lambda-sweep/d8192/lam\dp\d\d_seed\d", TENTH | {"sparsity": ...},
     UNRECORDED),
    (r"pythia-160m/W_U/per-snapshot-saes/d8192/step\d+", SINGLE, set()),
    (r"pythia-160m/W_U/final-snapshot-saes/d\d+", SINGLE,
     UNRECORDED | {"sparsity", "tanh_stretch", "schedule"}),
    (r"pythia-160m/W_E/cross-snapshot-32/d8192/seed[0-4]", {"tanh_stretch": 4.0}, WARMUP),
    (r"pythia-160m/W_E/cross-snapshot-32/d24576/seed0", {"tanh_stretch": 4.0},
     UNRECORDED | {"sparsity"}),
    (r"pythia-1b/W_U/cross-snapshot-32/d24576/seed0", {"learning_rate": 2e-5}, WARMUP),
    (r"pythia-1b/W_U/cross-snapshot-32/d(8192|16384)/seed0", {"learning_rate": 2e-5},
     UNRECORDED | {"sparsity"}),
    (r"pythia-1b/W_U/cross-snapshot-32-matched-window/d24576/seed0", {"precision": "bfloat16"},
     WARMUP),
    (r"pythia-6.9b/W_U/cross-snapshot-32/d32768/seed0", {"learning_rate": 1e-5}, WARMUP),
    (r"pythia-6.9b/W_U/cross-snapshot-32/d32768/seed0-sparse",
     {"learning_rate": 1e-5, "sparsity": 0.6, "initial_threshold": 0.15, "threshold_rate": 0.4,
      "sparsity_warmup": 0.05}, set()),
    (r"olmo-2-7b/W_U/cross-snapshot-32/d32768/seed0",
     {"epochs": 250, "batch": 2048, "learning_rate": 1e-5, "threshold_rate": 0.3,
      "sparsity_warmup": 0.1, "rate_warmup": 0.1, "rate_decay": 0.2,
      "optimizer": "sparse_adam"}, set()),
    (r"pythia-160m/W_U/architecture-comparison/d8192/batchtopk/seed0",
     TENTH | {"epochs": 100, "activation": "batchtopk", "k": 203, "sparsity": 0.0}, set()),
    (r"pythia-160m/W_U/architecture-comparison/d8192/gated/seed0",
     TENTH | {"epochs": 100, "activation": "gated"}, set()),
    (r"pythia-160m/W_U/architecture-comparison/d8192/gated-retuned/seed0",
     TENTH | {"epochs": 100, "activation": "gated", "sparsity": 0.05}, set()),
]


def test_the_demo_has_two_models_three_seeds_a_W_E_and_a_prism():
    names = recipes.names()
    assert sum(n.startswith("models/demo-") for n in names) == 2
    assert sum("demo/large/W_U" in n for n in names) == 3
    assert sum("demo/small/W_U" in n for n in names) == 1
    assert sum("demo/large/W_E" in n for n in names) == 1
    assert sum("demo/large/prism" in n for n in names) == 1


def test_every_recipe_resolves_and_seeds_and_widths_follow_the_run_id():
    for name in recipes.names():
        recipe = recipes.resolve(name)
        assert recipe.name == name
        if isinstance(recipe.dials, CrosscoderRecipe):
            seed = re.search(r"seed(\d+)", name)
            assert recipe.dials.seed == (int(seed[1]) if seed else 0)
            assert re.search(rf"/d{recipe.dials.d_sae}(/|$)", name)


def test_names_are_those_of_the_inventories_and_the_demo():
    listed = {row["path"].removesuffix(".safetensors") for row in DICTIONARIES}
    listed |= {row["path"] for row in PRISMS}
    assert len(listed) == 87
    others = set(recipes.names()) - listed
    assert listed <= set(recipes.names())
    assert all(name.startswith(("demo/", "models/demo-")) for name in others)


# --- the release ---------------------------------------------------------------------------------


@pytest.mark.parametrize("row", DICTIONARIES, ids=lambda row: row["path"])
def test_released_dictionary(row):
    recipe = recipes.resolve(row["path"])
    dials, run = recipe.dials, row["path"].removesuffix(".safetensors")
    assert (recipe.name, recipe.model_name, recipe.preprocessing) == (
        run, row["model"], "center_scale")
    assert (dials.matrix, dials.d_sae, dials.seed) == (
        row["matrix"], int(row["d_sae"]), int(row["seed"]))
    assert dials.model == run.split("/")[0]
    assert recipe.schedule == steps_of(run)
    (differing, unknown) = next((d, u) for form, d, u in FAMILIES if re.fullmatch(form, run))
    for name, value in (ALWAYS | SETTINGS | differing).items():
        if value is not ...:
            assert getattr(dials, name) == value, name
    assert set(recipe.chosen) == unknown
    assert all(len(reason) > 20 for reason in recipe.chosen.values())


def steps_of(run):
    """The snapshots of a released path, by sections 1.3 and 4."""
    step = re.search(r"/step(\d+)$", run)
    if step:
        return (int(step[1]),)
    if "final-snapshot" in run:
        return (143000,)
    if "matched-window" in run:
        return MATCHED_WINDOW
    full = OLMO if run.startswith("olmo") else PYTHIA
    return full[::2] if "cross-snapshot-16" in run else full


def test_the_families_cover_the_inventory_once():
    runs = [row["path"].removesuffix(".safetensors") for row in DICTIONARIES]
    for run in runs:
        assert sum(bool(re.fullmatch(form, run)) for form, *_ in FAMILIES) == 1, run
    assert len(FAMILIES) == len({recipes.resolve(run).file for run in runs})


def test_lambda_of_the_sweep_is_that_of_the_id():
    sweep = [row["path"] for row in DICTIONARIES if "lambda-sweep" in row["path"]]
    found = [recipes.resolve(path).dials.sparsity for path in sweep]
    assert sorted(found) == [0.4, 1.0, 1.2, 1.35, 1.35, 1.35, 1.8]


def test_per_snapshot_saes_take_each_step_of_the_schedule_once():
    runs = [row["path"] for row in DICTIONARIES if "per-snapshot-saes" in row["path"]]
    assert sorted(recipes.resolve(run).schedule[0] for run in runs) == list(PYTHIA)


@pytest.mark.parametrize("row", PRISMS, ids=lambda row: row["path"])
def test_released_prism(row):
    recipe = recipes.resolve(row["path"] + "/checkpoint.pt")
    dials = recipe.dials
    assert isinstance(dials, PrismRecipe)
    assert (recipe.name, recipe.model_name) == (row["path"], row["model"])
    assert (dials.k, dials.d_sae, dials.seed) == (int(row["k"]), int(row["d_features"]), 0)
    assert (recipe.preprocessing, recipe.schedule) == ("center_normalise", None)
    wanted = {"architecture": "topk", "steps": 20000, "batch": 4096, "learning_rate": 1e-3,
              "final_share": 0.1, "weight_decay": 1e-4, "code_l2": 1e-6, "prism_penalty": 1e-3,
              "prism_delay": 0.7, "prism_top_n": 1, "hidden_states": 2048, "init": "rows",
              "frequent_share": 0.5, "gradient_clip": 1.0}
    assert {name: getattr(dials, name) for name in wanted} == wanted
    unknown = {"init", "rate_warmup", "auxiliary loss", "revision"}
    if row["path"].startswith(("ministral", "r1-")):  # prism-method 3.2, the last inference
        unknown |= {"rate_schedule", "penalty_schedule"}
    assert set(recipe.chosen) == unknown


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


def test_models_made_here_are_called_so():
    recipe = recipes.resolve(run_named("demo/large/W_U"))
    assert (recipe.model_name, recipe.schedule) == ("readout-atlas/demo-large", None)
    assert recipes.resolve("models/demo-large").model_name is None


# --- dials on the command line -------------------------------------------------------------------


def test_unknown_dial_and_bad_value_are_refused_by_name():
    name = run_named("demo/large/W_U")
    with pytest.raises(InvalidValue, match="'lamda'.*sparsity"):
        recipes.resolve(name, {"lamda": "1"})
    with pytest.raises(InvalidValue, match="did you mean learning_rate"):
        recipes.resolve(name, {"learnin_rate": "1"})
    with pytest.raises(InvalidValue, match="epochs takes int"):
        recipes.resolve(name, {"epochs": "many"})
    with pytest.raises(InvalidValue, match="k takes int or none"):
        recipes.resolve(name, {"k": "x"})
    with pytest.raises(InvalidValue, match="--set: epochs is -1"):
        recipes.resolve(name, {"epochs": "-1"})
    with pytest.raises(InvalidValue, match="W_U, but matrix is W_E"):
        recipes.resolve(name, {"matrix": "W_E"})


def test_what_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(NotFound) as refused:
        recipes.resolve("pythia-160m/W_U/cross-snapshot-32/d24567/seed0")
    said = str(refused.value)
    assert "nearest: pythia-160m/W_U/cross-snapshot-32/d24576/seed0" in said
    assert len(said) < 400, "only the nearest"
    with pytest.raises(NotFound, match="runs --inventory"):
        recipes.resolve("%")


def test_optional_dials_take_none_and_a_number():
    name = run_named("demo/large/W_U")
    assert recipes.resolve(name, {"decoder_norm": "none"}).dials.decoder_norm is None
    assert recipes.resolve(name, {"decoder_norm": "0.5"}).dials.decoder_norm == 0.5


def test_a_changed_dial_never_takes_the_name_of_record():
    name = run_named("demo/large/W_U")
    assert recipes.resolve(name, {"seed": "9"}).name.endswith("seed9")
    assert "/d64/" in recipes.resolve(name, {"d_sae": "64"}).name
    changed = recipes.resolve(name, {"sparsity": "0.77"}).name
    assert changed.startswith(name + "-")
    same = recipes.resolve(name, {"sparsity": str(recipes.resolve(name).dials.sparsity)})
    assert same.name == name


def test_a_changed_width_does_not_take_the_name_of_another_recipe():
    big = "pythia-160m/W_U/cross-snapshot-32/d24576/seed0"
    other = recipes.resolve(big, {"d_sae": "16384"})
    record = recipes.resolve("pythia-160m/W_U/cross-snapshot-32/d16384/seed0")
    assert other.dials != record.dials
    assert other.name.startswith(record.name + "-")
    seed = recipes.resolve(big, {"seed": "1"})
    assert seed.name == "pythia-160m/W_U/cross-snapshot-32/d24576/seed1"
    assert seed.dials == recipes.resolve(seed.name).dials


def test_what_an_id_tells_is_written_into_it():
    sweep = "pythia-160m/W_U/lambda-sweep/d8192/lam1p00_seed0"
    assert recipes.resolve(sweep, {"sparsity": "0.55"}).name.endswith("/lam0p55_seed0")
    odd = recipes.resolve(sweep, {"sparsity": "0.555"})
    assert odd.name.startswith(sweep + "-"), "0p55 or 0p56 would be another's name"
    assert odd.dials.sparsity == 0.555
    prism = recipes.resolve("qwen3.5-2b/k256_32x", {"k": "64"})
    assert (prism.name, prism.dials.k, prism.dials.d_sae) == ("qwen3.5-2b/k64_32x", 64, 65536)


def test_a_dial_one_sets_is_no_longer_chosen():
    name = "pythia-160m/W_U/cross-snapshot-32/d24576/seed0"
    assert recipes.resolve(name, {"sparsity_warmup": "0.2"}).chosen == {}
    assert set(recipes.resolve(name, {"epochs": "3"}).chosen) == WARMUP


# --- files ---------------------------------------------------------------------------------------

CONTENT = {
    "kind": "crosscoder",
    "runs": ["pythia-160m/W_U/cross-snapshot-16/d64/seed0"],
    "schedule": "Pythia, 16 steps",
    "dials": {"model": "pythia-160m", "matrix": "W_U"},
}


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of recipes; returns a function that writes one with changed fields."""
    monkeypatch.setattr(recipe_files, "RECIPES", tmp_path)

    def write(name="one.json", dials=None, without=(), **fields):
        content = CONTENT | fields
        content["dials"] = content["dials"] | (dials or {})
        content = {k: v for k, v in content.items() if k not in without}
        (tmp_path / name).write_text(json.dumps(content), encoding="utf8")
        return content["runs"][0] if "runs" in content else None

    return write


def test_a_plain_file_resolves_by_name_and_by_path(shelf, tmp_path):
    run = shelf()
    recipe = recipes.resolve(run)
    assert (recipe.dials.d_sae, recipe.dials.seed, len(recipe.schedule)) == (64, 0, 16)
    assert recipes.resolve(str(tmp_path / "one.json")) == recipe


@pytest.mark.parametrize(("change", "said"), [
    ({"shedule": "x"}, "unknown field 'shedule'; did you mean schedule"),
    ({"without": ("kind",)}, "lacks the field 'kind'"),
    ({"kind": "crosscode"}, "kind is 'crosscode'"),
    ({"preprocessing": "center"}, "prepared by center_scale"),
    ({"schedule": "Pythia, 23 steps"}, "did you mean Pythia, 32 steps|did you mean Pythia"),
    ({"schedule": [0, 2, 1]}, "rising steps"),
    ({"schedule": "Pythia, 32 steps"}, "over 16 snapshots, but its schedule has 32"),
    ({"schedule": [0, 1, 2]}, "over 16 snapshots, but its schedule has 3"),
    ({"dials": {"lamda": 1}}, "one.json: no dial is called 'lamda'"),
    ({"dials": {"epochs": -3}}, "one.json: epochs is -3"),
    ({"dials": {"epochs": 2.5}}, "one.json: epochs takes int, not 2.5"),
    ({"dials": {"learning_rate": "fast"}}, "one.json: learning_rate takes float"),
    ({"dials": {"batch": True}}, "one.json: batch takes int"),
    ({"dials": {"matrix": "W_E"}}, "is over W_U, but matrix is W_E"),
    ({"dials": {"d_sae": 32}}, "d_sae is 32 among the dials and 64 in"),
    ({"chosen": {"epoch": "why"}}, "chosen names 'epoch', no dial; did you mean epochs"),
    ({"chosen": {"epochs, batch": "why", "batch": "again"}}, "chosen names 'batch', twice"),
    ({"id": "pythia-160m/W_U/cross-snapshot-16/d{width}/seed{seed}"}, "names 'width', no dial"),
    ({"id": "pythia-160m/W_E/d{d_sae}/seed{seed}"}, "does not fit the form"),
    ({"id": "pythia-160m/W_U/{seed}/d{d_sae}/seed{seed}"}, "is no form of an id"),
    ({"without": ("schedule",)}, "say which with a schedule"),
    ({"id": "pythia-160m/W_U/cross-snapshot-{step}/d{d_sae}/seed{seed}"}, "leave one out"),
])
def test_a_file_that_says_what_none_may_is_refused(shelf, change, said):
    run = shelf(**change)
    with pytest.raises(InvalidValue, match=said):
        recipes.resolve(run or CONTENT["runs"][0])


def test_a_missing_dial_is_named(shelf):
    run = shelf(runs=["own/W_U/one"], without=("schedule",))
    with pytest.raises(InvalidValue, match="one.json.*d_sae"):
        recipes.resolve(run)


def test_a_run_has_one_recipe(shelf):
    shelf()
    shelf("two.json")
    with pytest.raises(InvalidValue, match=r"two recipes, in .*one.json and in .*two.json"):
        recipes.names()
    shelf("two.json", runs=[CONTENT["runs"][0].replace("seed0", "seed1")] * 2)
    with pytest.raises(InvalidValue, match="two recipes"):
        recipes.names()


def test_a_file_that_is_no_recipe_is_refused(shelf, tmp_path):
    for text in ("{", "[]", '{"kind": "crosscoder", "runs": "x", "dials": {}}',
                 '{"kind": "crosscoder", "runs": ["x"], "dials": []}',
                 '{"kind": "crosscoder", "runs": ["x"], "dials": {}, "id": 5}'):
        (tmp_path / "one.json").write_text(text)
        with pytest.raises(BrokenArtifact, match="one.json"):
            recipes.names()


def test_a_multiple_of_the_width_needs_a_model_that_is_known(shelf, tmp_path):
    content = {"kind": "prism", "runs": ["own/k8_4x"], "id": "{model}/k{k}_{factor}x", "dials": {}}
    (tmp_path / "one.json").write_text(json.dumps(content))
    with pytest.raises(InvalidValue, match="width of 'own' is not known.*say d_sae"):
        recipes.resolve("own/k8_4x")
    content |= {"runs": ["qwen3.5-2b/k8_4x"]}
    (tmp_path / "one.json").write_text(json.dumps(content))
    assert recipes.resolve("qwen3.5-2b/k8_4x").dials.d_sae == 4 * 2048
