"""Edits at the readout: known answers, what an edit leaves alone, the slope check, the store."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.artifacts import load_snapshot
from atlas.asking import Ask, score_of
from atlas.editing import Edited, edit_prompt, live_features
from atlas.edits import (
    MOST,
    Edit,
    edit_of,
    kl_bits,
    overlap,
    read_edit,
    rescaled,
    shift,
    slope_of,
    span_of,
    units,
)
from atlas.errors import InvalidValue
from atlas.live import Parts
from atlas.reading import Reading, read_prompt
from atlas.store import Store
from tests.tiny import DEAD, PRISM, SEED0, SILENT_AT_BIRTH, STEPS, WIDTH

ROWS = np.array([[3.0, 1], [1, 1], [2, 3], [2, -1]])
DECODER = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
H = np.array([2.0, 0.5])
"""prism-method §13.1."""
AMOUNTS = st.floats(-2, 4)


class TestKnownAnswers:
    def test_an_edit_of_one_feature(self) -> None:
        """F = {0}, α = 2 suppresses: v = (-2, 0), logits by (-6, -2, -4, -4), margin by -4."""
        v = shift(H, DECODER[:1], read_edit("add:0@-2", 4))
        assert v.tolist() == [-2, 0]
        assert (ROWS @ v).tolist() == [-6, -2, -4, -4]
        assert (ROWS[0] - ROWS[1]) @ v == -4

    def test_an_ablation(self) -> None:
        """Feature 0 ablated: the margin 0 - 1 falls by (h . d)(q . d) = 2 * 2, predicted 2."""
        v = shift(H, DECODER[:1], read_edit("ablate:0", 4))
        assert float((ROWS[0] - ROWS[1]) @ v) == -4

    def test_overlapping_directions_give_the_slope_two(self) -> None:
        realised = [(H @ d) * ((ROWS[0] - ROWS[1]) @ d) for d in DECODER[:2]]
        assert realised == [4, 4]
        assert slope_of([2, 2], realised).slope == 2


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), m=st.integers(1, 6), amount=AMOUNTS)
def test_what_an_edit_leaves_alone(seed: int, m: int, amount: float) -> None:
    rng = np.random.default_rng(seed)
    h, unit = rng.normal(size=(3, 5)), units(rng.normal(size=(m, 5)))
    gone = h + shift(h, unit, Edit("ablate", tuple(range(m))))
    np.testing.assert_allclose(gone @ unit.T, 0, atol=1e-9)
    np.testing.assert_allclose(
        shift(gone, unit, Edit("ablate", tuple(range(m)))), 0, atol=1e-9)  # twice is once
    scaled = shift(h, unit, Edit("scale", tuple(range(m)), amount))
    np.testing.assert_allclose((h + scaled) @ unit.T, amount * (h @ unit.T), atol=1e-8)
    across = np.eye(5) - span_of(unit).T @ span_of(unit)
    np.testing.assert_allclose(scaled @ across, 0, atol=1e-9)
    added = shift(h, unit, Edit("add", tuple(range(m)), amount))
    np.testing.assert_allclose(added, np.tile(amount * unit.sum(axis=0), (3, 1)))


def test_one_feature_twice_in_the_span_counts_once() -> None:
    unit = units([[1.0, 0], [1, 1e-14]])
    assert span_of(unit).shape == (1, 2)
    assert shift(H, unit, Edit("ablate", (0, 1))).tolist() == pytest.approx([-2, 0])


def test_slow_twins() -> None:
    rng = np.random.default_rng(2)
    before, after = 3 * rng.normal(size=80), 3 * rng.normal(size=(2, 80))
    p = np.exp(before) / np.exp(before).sum()
    for row, found in zip(after, kl_bits(before, after), strict=True):
        q = np.exp(row) / np.exp(row).sum()
        assert found == pytest.approx(sum(a * np.log2(a / b) for a, b in zip(p, q, strict=True)))
    best = [set(sorted(range(80), key=lambda i: -v[i])[:50]) for v in (before, after[0])]
    assert overlap(before, after[0]) == len(best[0] & best[1]) / 50
    assert kl_bits(before, before) == [0]
    assert overlap(before, before) == 1


def test_shifts_are_brought_to_one_length() -> None:
    found = rescaled([[3.0, 4], [0, 0], [0, 2]], 10)
    assert found.tolist() == [[6, 8], [0, 0], [0, 10]]


def test_slopes() -> None:
    assert slope_of([1, 2, 3], [2, 4, 6]).slope == pytest.approx(2)
    assert slope_of([1, 2, 3], [2, 4, 6]).r2 == pytest.approx(1)
    assert slope_of([0, 0], [1, 2]).slope is None
    assert slope_of([0, 0], [1, 2]).r2 is None


class TestSyntax:
    @pytest.mark.parametrize("text", ["ablate:3", "ablate:1,3", "scale:2@0.5", "add:0,7@-4"])
    def test_it_is_written_as_it_is_read(self, text: str) -> None:
        assert str(read_edit(text, WIDTH)) == text

    def test_order_and_repeats_do_not_matter(self) -> None:
        assert read_edit(" scale: 7,3,7 @ 2", WIDTH) == Edit("scale", (3, 7), 2.0)

    def test_an_amount_may_be_left_out(self) -> None:
        assert read_edit("add:3", WIDTH).amount == 4
        assert edit_of("scale", [1]).amount == 0.5

    @pytest.mark.parametrize(("text", "why"), [
        ("", "no edit"), ("ablate", "no edit"), ("ablate:", "no edit"), ("ablate:x", "no edit"),
        ("ablate:1;2", "no edit"), ("drop:1", "no edit"), ("scale:1@nan", "no edit"),
        ("add:1@1e9", "no edit"), ("ablate:1@2", "no amount"), ("add:1@9999", "outside"),
        ("scale:1@-3", "outside"), (f"ablate:{WIDTH}", "no feature"), ("ablate:-1", "no edit"),
        ("ablate:" + ",".join(map(str, range(MOST + 1))), "at most"),
        ("<script>", "no edit"), ("ablate:999999999", "no feature"), ("ablate:١", "no edit"),
    ])
    def test_what_is_none_is_refused(self, text: str, why: str) -> None:
        with pytest.raises(InvalidValue) as error:
            read_edit(text, 10**6 if why == "at most" else WIDTH)
        assert why in str(error.value)

    def test_a_direction_of_no_length_is_refused(self) -> None:
        with pytest.raises(InvalidValue, match="no length"):
            units([[1.0, 0], [0, 0]])


# --- of a store -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> "Store":
    return Store.open(tiny_store)


@pytest.fixture(scope="module")
def reading(store: "Store") -> Reading:
    return read_prompt(store, SEED0, "In the beginning the light was upon the")


def edited(store: "Store", reading: Reading, text: str, **more: object) -> Edited:
    return edit_prompt(store, reading, Ask(), read_edit(text, WIDTH), **more)  # type: ignore


class TestOfAStore:
    @pytest.mark.parametrize("text", ["ablate:2", "ablate:0,1,2", "scale:3@1.5", "add:4,5@-2"])
    @pytest.mark.parametrize("step", [STEPS[-1], 4])
    def test_the_whole_matrix_says_the_same(
        self, store: "Store", reading: Reading, text: str, step: int
    ) -> None:
        found = edited(store, reading, text, step=step)
        rows = load_snapshot(reading.root, reading.card.model_name, step, "W_U").double().numpy()
        parts = Parts.of(store, reading.root, reading.card, _score(reading))
        k = STEPS.index(step)
        unit = units(parts.decoder.directions(k, np.asarray(found.edit.features)))
        h = reading.h.astype(float)
        v = shift(h, unit, found.edit)
        q = rows[parts.score.tokens[0]] - rows[parts.score.tokens[1]]
        assert found.change == pytest.approx(q @ v, abs=1e-9)
        before, after = rows @ h, rows @ (h + v)
        assert found.kl == pytest.approx(float(kl_bits(before, after)[0]), abs=1e-5)
        order = np.argsort(-after, kind="stable")[: len(found.likely)]
        assert [m.token for m in found.likely] == order.tolist()
        assert found.likely[0].rank_after == 1
        assert found.length == pytest.approx(np.linalg.norm(v))

    def test_one_feature_alone_is_the_whole_edit(self, store: "Store", reading: Reading) -> None:
        found = edited(store, reading, "ablate:2")
        assert found.parts[0].realised == pytest.approx(found.change, abs=1e-9)
        assert found.predicted == pytest.approx(-found.parts[0].contribution, abs=1e-9)

    def test_predictions_are_the_ledgers(self, store: "Store", reading: Reading) -> None:
        found = edited(store, reading, "ablate:0")
        held = dict(zip(found.ledger.features.tolist(), found.ledger.contributions, strict=True))
        for point in (*found.largest, *found.random):
            assert point.predicted == pytest.approx(held.get(point.feature, 0.0), abs=1e-6)
        assert [p.feature for p in found.largest] == found.ledger.features[:10].tolist()
        assert not {p.feature for p in found.random} & {p.feature for p in found.largest}

    def test_scale_one_and_add_nothing_change_nothing(
        self, store: "Store", reading: Reading
    ) -> None:
        for text in ("scale:1,2@1", "add:1@0"):
            found = edited(store, reading, text)
            assert (found.change, found.kl, found.overlap, found.length) == (0, 0, 1, 0)
            assert all(d.change == 0 and d.kl == 0 for d in found.draws)

    def test_random_features_are_as_many_live_and_as_long(
        self, store: "Store", reading: Reading
    ) -> None:
        found = edited(store, reading, "ablate:1,2", draws=12, seed=3)
        live = set(live_features(store, SEED0, len(STEPS) - 1).tolist())
        assert len(found.draws) == 12
        for draw in found.draws:
            assert len(set(draw.features)) == 2
            assert set(draw.features) <= live - {1, 2}
        again, other = (edited(store, reading, "ablate:1,2", draws=12, seed=s) for s in (3, 4))
        assert again.draws == found.draws
        assert other.draws != found.draws
        parts = Parts.of(store, reading.root, reading.card, _score(reading))
        first = found.draws[0]
        unit = units(parts.decoder.directions(len(STEPS) - 1, np.asarray(first.features)))
        v = rescaled(shift(reading.h, unit, Edit("ablate", first.features))[None], found.length)[0]
        assert first.change == pytest.approx(parts.ledger(STEPS[-1], v).exact, abs=1e-9)

    def test_dead_features_are_not_live(self, store: "Store") -> None:
        assert DEAD not in live_features(store, SEED0, 4)
        assert SILENT_AT_BIRTH not in live_features(store, SEED0, 0)

    def test_no_direction_is_refused(self, store: "Store", reading: Reading) -> None:
        with pytest.raises(InvalidValue, match="feature 22 has no direction at step 0"):
            edited(store, reading, "ablate:22", step=0)
        with pytest.raises(InvalidValue, match="no snapshot at step 5"):
            edited(store, reading, "ablate:2", step=5)

    def test_a_cap_comes_after_the_edit(self, store: "Store", reading: Reading) -> None:
        found = edited(store, dataclasses.replace(reading, softcap=2.0), "ablate:1,2")
        rows = load_snapshot(reading.root, reading.card.model_name, STEPS[-1], "W_U").double()
        parts = Parts.of(store, reading.root, reading.card, _score(reading))
        unit = units(parts.decoder.directions(len(STEPS) - 1, np.asarray([1, 2])))
        after = reading.h.astype(float) + shift(reading.h, unit, found.edit)
        one, other = (2 * np.tanh(rows.numpy() @ h / 2) for h in (reading.h, after))
        assert found.kl == pytest.approx(float(kl_bits(one, other)[0]), abs=1e-5)
        assert found.kl != pytest.approx(edited(store, reading, "ablate:1,2").kl, abs=1e-3)
        # the score is taken apart before the cap
        assert found.change == edited(store, reading, "ablate:1,2").change

    def test_a_prism_may_be_edited(self, store: "Store") -> None:
        found = edited(store, read_prompt(store, PRISM, "the light"), "add:1@3")
        assert found.step == STEPS[-1]
        assert np.isfinite(found.kl)


def _score(reading: Reading):
    return score_of(reading, Ask()).score
