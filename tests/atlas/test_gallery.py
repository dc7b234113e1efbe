"""Prompts kept in the store: what comes back is what was taken apart."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atlas import gallery
from atlas.decomposition import Ledger
from atlas.errors import BrokenArtifact
from atlas.explanations import Ask, Explanation
from atlas.live import decompose_prompt
from atlas.places import ROOT
from atlas.schema_trust import KEPT
from atlas.store import Store
from tests.tiny import EMBEDDING, PRISM, SEED0

PROMPT = "In the beginning the light was upon the"


def assert_same(found: Explanation, told: Explanation) -> None:
    """All of it, contributions to what float32 keeps."""
    for field in dataclasses.fields(Explanation):
        if field.name != "rows":
            assert getattr(found, field.name) == getattr(told, field.name), field.name
    for one, other in zip(found.rows, told.rows, strict=True):
        assert (one.step, one.hidden_step) == (other.step, other.hidden_step)
        for field in dataclasses.fields(Ledger):
            kept, true = getattr(one.ledger, field.name), getattr(other.ledger, field.name)
            if isinstance(true, np.ndarray):
                assert kept == pytest.approx(true, rel=1e-6)
            else:
                assert kept == true, field.name


@pytest.mark.parametrize("run", [SEED0, PRISM])
@pytest.mark.parametrize("ask", [
    Ask(), Ask(target=" the"), Ask("centred", " the"), Ask("topk", rivals=3), Ask("rank", rank=4),
    Ask("family", " the | water", " earth"),
])
def test_there_and_back(tiny_store: Path, run: str, ask: Ask) -> None:
    told = decompose_prompt(Store.open(tiny_store), run, PROMPT, step="all", ask=ask)
    record = gallery.record_of(told)
    assert_same(gallery.explanation_of(run, PROMPT, json.loads(json.dumps(record))), told)


def test_of_many_contributions_the_largest_are_kept_and_all_sums(tiny_store: Path) -> None:
    told = decompose_prompt(Store.open(tiny_store), SEED0, PROMPT, step="last")
    row, many = told.rows[0], KEPT + 9
    values = np.linspace(5, 0.1, many)
    ledger = dataclasses.replace(row.ledger, features=np.arange(many), contributions=values)
    big = dataclasses.replace(told, rows=(dataclasses.replace(row, ledger=ledger),))
    found = gallery.explanation_of(SEED0, PROMPT, gallery.record_of(big))
    kept = found.rows[0].ledger
    assert kept.contributions == pytest.approx(values[:KEPT])
    assert kept.feature_sum == ledger.feature_sum
    assert kept.identity_error == ledger.identity_error
    assert f"the {KEPT} largest of up to {many}" in found.note


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_the_store_answers_as_the_model_would(tiny_store: Path, run: str) -> None:
    store = Store.open(tiny_store)
    entries = gallery.listed(store, run)
    assert len({e.name for e in entries}) > 3
    assert [e.number for e in entries] == list(range(len(entries)))
    for entry in entries:
        found = gallery.stored(store, run, entry.prompt, -1, entry.ask, entry.hidden)
        told = decompose_prompt(store, run, entry.prompt, step="all", hidden=entry.hidden,
                                ask=entry.ask)
        assert_same(found, told)


def test_what_was_not_taken_apart_is_not_there(tiny_store: Path) -> None:
    store = Store.open(tiny_store)
    entry = gallery.listed(store, SEED0)[0]
    assert entry.is_last
    known = {"prompt": entry.prompt, "ask": entry.ask, "hidden": entry.hidden}
    assert gallery.stored(store, SEED0, **known) is not None
    assert gallery.stored(store, SEED0, position=entry.position, **known) is not None
    assert gallery.stored(store, SEED0, position=0, **known) is None
    assert gallery.stored(store, SEED0, **{**known, "prompt": entry.prompt + " "}) is None
    assert gallery.stored(store, SEED0, **{**known, "ask": Ask("rank", rank=7)}) is None
    assert gallery.stored(store, SEED0, **{**known, "hidden": "other"}) is None
    assert gallery.listed(store, EMBEDDING) == ()


def test_the_two_tokens_of_an_answer_find_it_too(tiny_store: Path) -> None:
    store = Store.open(tiny_store)
    entry = next(e for e in gallery.listed(store, SEED0) if e.ask == Ask())
    target, versus = entry.score.tokens
    found = gallery.stored(store, SEED0, entry.prompt, ask=Ask(target=target, versus=versus))
    assert found.score == entry.score
    assert gallery.stored(
        store, SEED0, entry.prompt, ask=Ask(target=versus, versus=target)) is None


@pytest.mark.parametrize("change", [
    {"told": "{"}, {"told": "{}"}, {"exact": [1.0, 2.0]}, {"features": [["x"]] * 5},
])
def test_a_damaged_record_is_said_to_be(tiny_store: Path, change: dict[str, object]) -> None:
    told = decompose_prompt(Store.open(tiny_store), SEED0, PROMPT, step="all")
    with pytest.raises(BrokenArtifact, match="the gallery of run"):
        gallery.explanation_of(SEED0, PROMPT, {**gallery.record_of(told), **change})


def test_it_is_read_without_loading_what_models_need() -> None:
    code = "import sys, atlas.gallery, atlas.trust; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
