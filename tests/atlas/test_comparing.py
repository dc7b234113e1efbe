"""Which runs are compared, what they are called, and what is said of what may not be compared."""

from dataclasses import replace
from pathlib import Path

import pytest

from atlas import comparing
from atlas.records import RunCard
from atlas.store import Store
from tests.tiny import EMBEDDING, PRISM, RUNS, SEED0, SEED1, SMALL


@pytest.fixture
def cards(tiny_store: Path) -> dict[str, RunCard]:
    return {card.run: card for card in Store.open(tiny_store).runs()}


def test_one_run_per_size_by_default(cards: dict[str, RunCard]) -> None:
    for run in (SEED0, SMALL):
        other = SMALL if run == SEED0 else SEED0
        found = {c.run for c in comparing.default_runs(tuple(cards.values()), cards[run])}
        assert found == {run, other}
    assert {c.run for c in comparing.default_runs(tuple(cards.values()), cards[PRISM])} == {
        PRISM, SMALL}
    alone = replace(cards[SEED0], model="other-model")
    assert comparing.default_runs((*cards.values(), alone), alone) == (alone,)


def test_a_matched_window_is_the_last_choice(cards: dict[str, RunCard]) -> None:
    matched = replace(cards[SMALL], run="tiny/small/W_U/cross-snapshot-5-matched-window/d24/seed0")
    found = comparing.default_runs((matched, *cards.values()), cards[SEED0])
    assert SMALL in {c.run for c in found}
    assert comparing.is_matched(matched)
    assert "matched window" in comparing.names((matched, cards[SMALL]))[matched.run]


def test_the_address_is_read_and_its_faults_are_said(cards: dict[str, RunCard]) -> None:
    every = tuple(cards.values())
    found = comparing.read_runs(f"{SEED1},{SEED0}", every, cards[SEED0])
    assert [c.run for c in found.cards] == [SEED1, SEED0]
    assert found.asked
    assert not found.problems
    found = comparing.read_runs(f"{SEED1},nowhere/run", every, cards[SEED0])
    assert [c.run for c in found.cards] == [SEED1]
    assert "There is no run “nowhere/run”" in found.problems[0]
    found = comparing.read_runs(f"{SEED1},{SEED1}", every, cards[SEED0])
    assert len(found.cards) == 1
    assert "A run beside itself" in found.problems[0]
    found = comparing.read_runs("moon", every, cards[SEED0])
    assert not found.asked
    assert len(found.cards) == 2
    broken = replace(cards[SEED1], problem="its file is not there")
    found = comparing.read_runs(SEED1, (cards[SEED0], broken), cards[SEED0])
    assert "its file is not there" in found.problems[0]
    many = tuple(replace(cards[SEED0], run=f"run{i}") for i in range(11))
    found = comparing.read_runs(",".join(c.run for c in many), many, many[0])
    assert len(found.cards) == comparing.MOST
    assert "11 runs" in found.problems[0]


def test_names_tell_runs_apart_and_no_more(cards: dict[str, RunCard]) -> None:
    assert comparing.names((cards[SEED0], cards[SMALL])) == {
        SEED0: "tiny-large", SMALL: "tiny-small"}
    found = comparing.names(tuple(cards[run] for run in RUNS))
    assert found == {
        SEED0: "tiny-large · seed 0", SEED1: "tiny-large · seed 1",
        EMBEDDING: "tiny-large W_E", SMALL: "tiny-small", PRISM: "tiny-large prism"}
    twin = replace(cards[SEED0], run="elsewhere/seed0")
    assert set(comparing.names((cards[SEED0], twin)).values()) == {SEED0, "elsewhere/seed0"}


def test_what_may_not_be_compared_is_said(cards: dict[str, RunCard]) -> None:
    one, other = cards[SEED0], cards[SMALL]
    assert comparing.cautions((one, other), "step") == ()
    assert comparing.cautions((one,), "tau") == ()
    later = replace(other, steps=(4, 16, 64))
    said = " ".join(comparing.cautions((one, later), "tau"))
    assert "different snapshots" in said
    assert "equal τ" in said
    assert "equal τ" not in " ".join(comparing.cautions((one, later), "step"))
    assert "2 families" in comparing.cautions((one, replace(other, model="olmo-2")), "step")[0]
    assert "W_E explain other rows" in comparing.cautions((one, cards[EMBEDDING]), "step")[0]
    assert not any("snapshots" in c for c in comparing.cautions((one, cards[PRISM]), "step"))


def test_vocabularies_are_compared_by_their_bytes(
    tiny_store: Path, cards: dict[str, RunCard], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tiny_store)
    assert comparing.other_vocabularies(store, tuple(cards.values())) == ""
    monkeypatch.setattr(comparing, "vocabulary_of", lambda store, card: card.model)
    said = comparing.other_vocabularies(store, (cards[SEED0], cards[SMALL]))
    assert "2 vocabularies (tiny-large; tiny-small)" in said


def test_places_on_both_axes(cards: dict[str, RunCard]) -> None:
    card = cards[SEED0]
    assert comparing.places(card.steps, card, "step")[0] == 0
    tau = comparing.places(card.steps, card, "tau")
    assert tau[0] == 0
    assert tau[-1] == 1
    pythia = replace(card, steps=(0, 32, 64, 512, 1000, 143_000))
    found = comparing.places((32, 64, 512, 1000), pythia, "tau")
    assert found == pytest.approx([0.294552, 0.351657, 0.525691, 0.582005], abs=6e-4)  # §14.16
    assert comparing.places((64,), cards[PRISM], "tau") == [0.0]
