"""Readout swaps: the pass in blocks against the plain way, known answers, the grid of a store."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import atlas.swap_grid
from atlas.alignment import ALIGNMENTS, aligned
from atlas.artifacts import load_snapshot
from atlas.asking import Ask, score_of
from atlas.errors import InvalidValue, NotFound
from atlas.reading import Reading, read_prompt
from atlas.store import Store
from atlas.swap import METRICS, Cells, summary, sweep
from atlas.swap_cell import swap_cell
from atlas.swap_grid import swap_grid, unigram_nll
from tests.atlas.test_alignment import moved, readout_of, rotation_of
from tests.tiny import FULL, PRISM, SEED0, STEPS

V, D = 23, 5


def made(seed: int, count: int = 3, n: int = 4, steps: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states (R, N, d), targets (N,), readouts (S, V, d) with means that are not 0."""
    generator = torch.Generator().manual_seed(seed)
    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    hidden, rows = 2 * draw(count, n, D), draw(steps, V, D) + 0.7 * draw(steps, 1, D)
    return hidden, torch.randint(V, (n,), generator=generator), rows


def swept(
    hidden: Tensor, targets: Tensor, rows: Tensor, own: list[int], align: str = "none",
    cap: float | None = None, size: int = 7,
) -> list[Cells]:
    def blocks(s: int):
        for first in range(0, len(rows[s]), size):
            yield first, rows[s][first : first + size]

    known = [readout_of(r) for r in rows]
    there = [known[t] for t in own]
    readouts = []
    for s in range(len(rows)):
        turns = [rotation_of(rows[s], rows[t]) for t in own] if align == "procrustes" else []
        readouts.append(aligned(align, hidden, known[s], there, turns))
    return sweep(hidden, targets, readouts, own, blocks, lambda s: rows[s][targets], cap)


def plainly(
    hidden: Tensor, targets: Tensor, rows: Tensor, t: int, s: int, align: str,
    cap: float | None,
) -> dict[str, np.ndarray]:
    """Slow twin: the changed matrix is made, all logits are held, in float64."""
    def logits(matrix: Tensor) -> Tensor:
        found = hidden.double() @ matrix.double().T
        return found if cap is None else cap * torch.tanh(found / cap)

    native = logits(rows[t])
    found = native if s == t else logits(moved(align, rows[s], rows[t]))
    p, q = found.log_softmax(dim=1), native.log_softmax(dim=1)
    place = torch.arange(len(targets))
    target = found[place, targets]
    return {
        "nll": -p[place, targets].numpy(),
        "rank": 1 + (found > target[:, None]).sum(dim=1).numpy(),
        "p": p[place, targets].exp().numpy(),
        "entropy": -(p.exp() * p).sum(dim=1).numpy(),
        "top1": (found.argmax(dim=1) == native.argmax(dim=1)).double().numpy(),
        "kl": (p.exp() * (p - q)).sum(dim=1).numpy(),
        "miss": (found - native).square().sum(dim=1).numpy(),
        "spread": (native - native.mean(dim=1, keepdim=True)).square().sum(dim=1).numpy(),
        "native_nll": -q[place, targets].numpy(),
    }


@pytest.mark.parametrize("align", ALIGNMENTS)
@pytest.mark.parametrize("cap", [None, 3.0])
def test_the_pass_in_blocks_gives_what_whole_matrices_give(align: str, cap: float | None) -> None:
    hidden, targets, rows = made(1)
    own = [0, 2, 3]
    found = swept(hidden, targets, rows, own, align, cap)
    for s in range(len(rows)):
        for r, t in enumerate(own):
            for name, values in plainly(hidden[r], targets, rows, t, s, align, cap).items():
                np.testing.assert_allclose(
                    getattr(found[s], name)[r], values, rtol=2e-4, atol=2e-4, err_msg=name
                )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 30), cap=st.none() | st.floats(0.5, 40))
def test_its_own_readout_changes_nothing(seed: int, size: int, cap: float | None) -> None:
    """s = t: KL 0, delta 0, the same first token, R² 1, exactly."""
    hidden, targets, rows = made(seed)
    own = [1, 3, 0]
    found = swept(hidden, targets, rows, own, "none", cap, size)
    for r, t in enumerate(own):
        for metric, value in (("kl", 0.0), ("delta", 0.0), ("top1", 1.0), ("r2", 1.0)):
            assert summary(found[t], metric, V)[r] == value, metric


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 30))
def test_measures_stay_in_their_ranges(seed: int, size: int) -> None:
    hidden, targets, rows = made(seed)
    for found in swept(hidden, targets, rows, [0, 2, 3], "none", None, size):
        assert ((found.rank >= 1) & (found.rank <= V)).all()
        assert (found.kl >= 0).all()
        assert (found.nll > 0).all()
        assert ((found.entropy >= 0) & (found.entropy <= math.log(V) + 1e-6)).all()
        np.testing.assert_allclose(found.p, np.exp(-found.nll))


def test_a_constant_for_all_tokens_changes_no_probability() -> None:
    """`mean` adds h . (mean_t - mean_s) to every logit: it can only show in R²."""
    hidden, targets, rows = made(5)
    plain, centred = (swept(hidden, targets, rows, [0, 2, 3], a) for a in ("none", "mean"))
    for one, other in zip(plain, centred, strict=True):
        for metric in ("nll", "rank", "p", "entropy", "top1", "kl"):
            np.testing.assert_allclose(
                getattr(one, metric), getattr(other, metric), rtol=1e-4, atol=1e-4
            )
    assert abs(plain[1].miss - centred[1].miss).max() > 0.1


def test_a_turned_readout_is_turned_back() -> None:
    """W_s = (W_t - mean) Q + another mean: procrustes reads it as W_t itself."""
    hidden, targets, rows = made(7, steps=2)
    turn = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(2)))[0]
    rows[1] = (rows[0] - rows[0].mean(dim=0)) @ turn + torch.randn(D)
    hidden = hidden[:1]
    swapped = swept(hidden, targets, rows, [0])[1]
    back = swept(hidden, targets, rows, [0], "procrustes")[1]
    assert summary(swapped, "kl", V)[0] > 0.05
    assert summary(back, "kl", V)[0] < 1e-5
    assert summary(back, "r2", V)[0] > 1 - 1e-6


def test_the_control_is_the_mean_over_rows_dealt_out_anew() -> None:
    """Slow twin: many shufflings, drawn."""
    hidden, targets, rows = made(9, n=6, steps=2)
    found = swept(hidden, targets, rows, [0, 0, 0])[1]
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(3000):
        dealt = rows.clone()
        dealt[1] = rows[1][torch.randperm(V, generator=generator)]
        drawn.append(plainly(hidden[0], targets, dealt, 0, 1, "none", None))
    for name, chance in (("nll", found.chance_nll), ("kl", found.chance_kl),
                         ("miss", found.chance_miss)):
        values = np.array([d[name] for d in drawn])
        error = values.std(axis=0) / math.sqrt(len(drawn))
        assert (abs(values.mean(axis=0) - chance[0]) < 5 * error).all(), name
    assert summary(found, "rank", V, chance=True)[0] == (V + 1) / 2
    assert summary(found, "p", V, chance=True)[0] == 1 / V


def test_large_logits_do_not_overflow() -> None:
    hidden, targets, rows = made(3)
    found = swept(300 * hidden, targets, rows, [0, 1, 2])
    assert all(np.isfinite(getattr(c, m)).all() for c in found for m in ("nll", "kl", "entropy"))


def test_every_metric_has_a_control() -> None:
    hidden, targets, rows = made(4)
    found = swept(hidden, targets, rows, [0, 1, 2])[3]
    for metric in METRICS:
        for chance in (False, True):
            assert np.isfinite(summary(found, metric, V, chance)).all(), metric


# --- of a store -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> "Store":
    return Store.open(tiny_store)


@pytest.fixture(scope="module")
def reading(store: "Store") -> Reading:
    return read_prompt(store, SEED0, "In the beginning the light was upon the")


class TestGrid:
    @pytest.mark.parametrize("align", ALIGNMENTS)
    @pytest.mark.parametrize("over", ["position", "prompt"])
    def test_it_is_what_whole_matrices_give(
        self, reading: Reading, align: str, over: str
    ) -> None:
        found = swap_grid(reading, 40, over, align)
        assert found.hidden_steps == FULL
        assert found.readout_steps == tuple(STEPS)
        rows = {s: load_snapshot(reading.root, reading.card.model_name, s, "W_U") for s in STEPS}
        places = [reading.position] if over == "position" else range(len(reading.tokens) - 1)
        targets = [40] if over == "position" else list(reading.tokens[1:])
        for r, t in enumerate(FULL):
            states = torch.from_numpy(reading.states(t)[list(places)])
            for c, s in enumerate(STEPS):
                plain = plainly(
                    states, torch.tensor(targets), torch.stack([rows[t], rows[s]]), 0,
                    0 if s == t else 1, align, None,
                )
                for name, value in (
                    ("nll", plain["nll"].mean()), ("kl", plain["kl"].mean()),
                    ("rank", np.median(plain["rank"])), ("top1", plain["top1"].mean()),
                    ("delta", (plain["nll"] - plain["native_nll"]).mean()),
                    ("r2", 1 - plain["miss"].sum() / plain["spread"].sum()),
                ):
                    assert found.values[name][r, c] == pytest.approx(value, rel=1e-3, abs=1e-3)

    def test_the_diagonal_is_native(self, reading: Reading) -> None:
        for align in ALIGNMENTS:
            found = swap_grid(reading, 40, "prompt", align)
            for r in range(len(FULL)):
                c = found.native(r)
                assert found.values["kl"][r, c] == found.values["delta"][r, c] == 0

    def test_the_models_own_cap_is_applied(self, reading: Reading) -> None:
        found = swap_grid(dataclasses.replace(reading, softcap=1.5), 40)
        rows = [load_snapshot(reading.root, reading.card.model_name, s, "W_U") for s in (64, 4)]
        plain = plainly(
            torch.from_numpy(reading.h[None]), torch.tensor([40]), torch.stack(rows), 0, 1, "none",
            1.5,
        )
        assert found.values["kl"][2, 2] == pytest.approx(plain["kl"].mean(), abs=1e-4)
        assert found.values["nll"][2, 2] == pytest.approx(plain["nll"].mean(), abs=1e-4)

    def test_counts_of_tokens(self, reading: Reading) -> None:
        found = swap_grid(reading, 40)
        assert found.unigram == pytest.approx(unigram_nll(reading, [40]))
        assert 0 < found.unigram < 12

    def test_progress_is_told_and_may_stop(self, reading: Reading) -> None:
        told: list[tuple[str, float]] = []
        swap_grid(reading, 40, align="procrustes", progress=lambda w, s: told.append((w, s)))
        assert told[-1] == ("rows of all readouts", 1.0)
        assert all(0 <= share <= 1 for _, share in told)

        class Stopped(Exception):
            pass

        def stop(what: str, share: float) -> None:
            raise Stopped

        with pytest.raises(Stopped):
            swap_grid(reading, 40, progress=stop)

    def test_too_much_for_all_pairs_is_done_for_one_row(
        self, reading: Reading, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(atlas.swap_grid, "ALL_PAIRS", 10.0)
        whole = swap_grid(reading, 40, align="mean").values["r2"]
        found = swap_grid(reading, 40, align="procrustes", state=16)
        assert np.isnan(found.values["nll"][[0, 2]]).all()
        assert np.isfinite(found.values["nll"][1]).all()
        assert np.isfinite(whole).all()
        assert "that of step 16 is done" in found.notes[0]
        monkeypatch.setattr(atlas.swap_grid, "ONE_ROW", 10.0)
        with pytest.raises(InvalidValue, match="choose another alignment"):
            swap_grid(reading, 40, align="procrustes")

    def test_what_cannot_be_asked(self, store: "Store", reading: Reading) -> None:
        for more in ({"over": "all"}, {"align": "turned"}):
            with pytest.raises(InvalidValue):
                swap_grid(reading, 40, **more)  # type: ignore
        with pytest.raises(NotFound, match="one snapshot"):
            swap_grid(read_prompt(store, PRISM, "the light"), 40)

    def test_rotations_are_kept_up_to_a_bound(self) -> None:
        kept = atlas.swap_grid._Kept(100)
        for i in range(5):
            kept.keep((i,), torch.zeros(10))  # 40 bytes
        assert kept.get((0,)) is None
        assert kept.get((4,)) is not None


class TestCell:
    @pytest.mark.parametrize(("state", "step"), [(64, 4), (16, 64), (0, 64), (16, 16)])
    def test_the_change_of_the_score_is_taken_apart(
        self, store: "Store", reading: Reading, state: int, step: int
    ) -> None:
        found = swap_cell(store, reading, Ask(), state, step)
        after, before = found.after, found.before
        parts = after.base - before.base + found.changes.sum() + after.residual - before.residual
        assert parts == pytest.approx(after.exact - before.exact, abs=1e-9)
        score = score_of(reading, Ask()).score
        rows = load_snapshot(reading.root, reading.card.model_name, step, "W_U").double().numpy()
        margin = (rows[score.tokens[0]] - rows[score.tokens[1]]) @ reading.state(state)
        assert after.exact == pytest.approx(margin, abs=1e-5)
        grid = swap_grid(reading, score.target)
        r, c = grid.hidden_steps.index(state), grid.readout_steps.index(step)
        assert found.kl == pytest.approx(grid.values["kl"][r, c], abs=1e-4)

    def test_the_lists(self, store: "Store", reading: Reading) -> None:
        found = swap_cell(store, reading, Ask(), 64, 4)
        again = swap_cell(store, reading, Ask(), 64, 64)
        assert [t.token for t in found.native] == [t.token for t in again.swapped]
        assert again.kl == 0
        assert [t.other_rank for t in again.native] == list(range(1, 11))
        chances = [t.probability for t in found.swapped]
        assert chances == sorted(chances, reverse=True)

    def test_steps_that_are_none(self, store: "Store", reading: Reading) -> None:
        with pytest.raises(InvalidValue, match="no whole model"):
            swap_cell(store, reading, Ask(), 4, 64)
        with pytest.raises(InvalidValue, match="no snapshot"):
            swap_cell(store, reading, Ask(), 64, 5)
