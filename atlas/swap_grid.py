"""The grid of readout swaps of a prompt, read from a store (crosscoder-method §10.2, §10.3).

Rows are the steps at which a whole model is kept, columns the snapshots of the run.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from atlas.alignment import ALIGNMENTS, Align, Aligned, Readout, aligned, operations, rotation
from atlas.artifacts import snapshot_path
from atlas.errors import AtlasError, InvalidValue, NotFound
from atlas.places import model_path
from atlas.reading import Reading
from atlas.records import RunCard
from atlas.slices import open_snapshot, stamp, standards_of
from atlas.swap import METRICS, summary, sweep
from atlas.tensor_files import TensorFile, load_tensors

POSITIONS = 128
"""Predictions of a prompt that are looked at: its last ones."""
BUFFERS = 48_000_000
"""Bytes of rows that are held at once, of all snapshots together."""
ALL_PAIRS, ONE_ROW = 2e11, 5e12
"""Operations up to which procrustes is done for all pairs, and for one row of the grid."""
TURNS = 96_000_000
"""Bytes of rotations that are kept for the next prompt: a row of 32 at d = 768 is 75 MB."""
COUNTS = "token_counts.safetensors"

Progress = Callable[[str, float], None]
"""Told what is done and the share of it; may raise to stop."""


def _silent(what: str, share: float) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Grid:
    """What every hidden state says through every readout."""

    run: str
    over: str
    """`prompt` or `position`."""
    align: Align
    hidden_steps: tuple[int, ...]
    """Rows: steps of the models that read the prompt, R."""
    readout_steps: tuple[int, ...]
    """Columns: steps of the snapshots, S."""
    positions: int
    """Predictions that a cell is taken over."""
    targets: tuple[int, ...]
    """Their targets."""
    n_rows: int
    """V."""
    values: dict[str, np.ndarray]
    """(R, S) of each of `atlas.swap.METRICS`; nan where a row was not computed."""
    chance: dict[str, np.ndarray]
    """The same with the rows of the readout dealt out anew, on average over all ways."""
    unigram: float | None
    """NLL of the targets by the counts of tokens in training, one added to each; None without."""
    notes: tuple[str, ...]
    """What was left out, and why."""

    def native(self, row: int) -> int | None:
        """Number of the column that is the row's own."""
        step = self.hidden_steps[row]
        return self.readout_steps.index(step) if step in self.readout_steps else None


def swap_grid(
    reading: Reading,
    target: int,
    over: str = "position",
    align: str = "none",
    state: int | None = None,
    progress: Progress = _silent,
) -> Grid:
    """The grid of a prompt that has been read.

    Args:
        reading: the prompt.
        target: token id, what is expected after the position; not used over the prompt, where
            every token is expected after those before it.
        over: `position` or `prompt`.
        align: one of `atlas.alignment.ALIGNMENTS`.
        state: the hidden step whose row is computed where procrustes is too much for all; the
            last one when None.
        progress: told what is done.

    Raises:
        InvalidValue: over, align or state is none, or the prompt has one token only.
        NotFound: fewer than two snapshots, or no whole model at a snapshot of the run.
        BrokenArtifact: a file is damaged.
    """
    if align not in ALIGNMENTS:
        raise InvalidValue(f"align {align[:40]!r} is none of {', '.join(ALIGNMENTS)}")
    card, notes = reading.card, []
    places = _places(reading, over, notes)
    steps = _snapshots(reading, notes)
    kept = [s for s in reading.kept if s in steps]
    if not kept:
        raise NotFound(f"no whole model is kept at a snapshot of {card.run} that is here")
    files = {s: open_snapshot(reading.root, card.model_name, s, card.matrix) for s in steps}
    n_rows, d = files[steps[0]].shape(card.matrix)
    rows = kept
    if align == "procrustes":
        rows = _affordable(kept, steps, n_rows, d, state, notes)
    targets = [target] if over == "position" else [reading.tokens[i + 1] for i in places]
    hidden = []
    for t in rows:
        progress(f"step {t:,} reads the prompt", 0.0)
        hidden.append(torch.from_numpy(reading.states(t)[places]))
    states, own = torch.stack(hidden), [steps.index(t) for t in rows]
    size = max(64, BUFFERS // (4 * d * (len(steps) + len(rows))))
    readouts = list(_readouts(reading, files, align, states, rows, steps, progress))
    found = sweep(
        states,
        torch.tensor(targets),
        readouts,
        own,
        lambda s: files[steps[s]].blocks(card.matrix, size),
        lambda s: files[steps[s]].gather(card.matrix, np.asarray(targets)),
        reading.softcap,
        lambda done: progress("rows of all readouts", done / n_rows),
    )
    values, chance = (
        {
            name: _spread(np.stack([summary(c, name, n_rows, by_chance) for c in found], axis=1),
                          rows, kept)
            for name in METRICS
        }
        for by_chance in (False, True)
    )
    return Grid(
        card.run, over, align, tuple(kept), tuple(steps), len(places), tuple(targets), n_rows,
        values, chance, unigram_nll(reading, targets), tuple(notes),
    )


def _places(reading: Reading, over: str, notes: list[str]) -> list[int]:
    """Positions whose prediction is looked at."""
    if over == "position":
        return [reading.position]
    if over != "prompt":
        raise InvalidValue(f"over {over[:40]!r} is neither 'prompt' nor 'position'")
    places = list(range(len(reading.tokens) - 1))
    if not places:
        raise InvalidValue("the prompt has one token, so none of it follows another")
    if len(places) > POSITIONS:
        notes.append(f"of {len(places):,} predictions the last {POSITIONS} are taken")
    return places[-POSITIONS:]


def _snapshots(reading: Reading, notes: list[str]) -> list[int]:
    card = reading.card
    if len(card.steps) < 2:
        raise NotFound(f"{card.run} has one snapshot, and there is nothing to swap it with")
    there = [
        s for s in card.steps
        if snapshot_path(reading.root, card.model_name, s, card.matrix).exists()
    ]
    missing = [s for s in card.steps if s not in there]
    if len(there) < 2:
        raise NotFound(f"{len(there)} of {len(card.steps)} snapshots of {card.run} are here")
    if missing:
        notes.append(f"no file of the snapshots {', '.join(f'{s:,}' for s in missing)} is here")
    without = [s for s in reading.kept if s not in there]
    if without:
        notes.append(
            f"the models of step {', '.join(f'{s:,}' for s in without)} have no readout here"
        )
    return there


def _affordable(
    kept: list[int], steps: list[int], n_rows: int, d: int, state: int | None, notes: list[str]
) -> list[int]:
    """Rows that procrustes is done for."""
    if operations(n_rows, d, len(kept) * len(steps)) <= ALL_PAIRS:
        return kept
    row = kept[-1] if state is None else state
    if row not in kept:
        raise InvalidValue(f"no whole model is kept at step {row}, only at {kept}")
    needed = operations(n_rows, d, len(steps))
    if needed > ONE_ROW:
        raise InvalidValue(
            f"procrustes takes {needed:.0e} operations for one row of {n_rows:,} × {d:,} readouts, "
            f"more than the {ONE_ROW:.0e} that are spent on it; choose another alignment"
        )
    notes.append(f"procrustes takes {needed:.0e} operations a row: that of step {row:,} is done")
    return [row]


def _spread(found: np.ndarray, rows: list[int], kept: list[int]) -> np.ndarray:
    """Computed rows in their places, nan elsewhere."""
    out = np.full((len(kept), found.shape[1]), np.nan)
    for values, t in zip(found, rows, strict=True):
        out[kept.index(t)] = values
    return out


def _readouts(
    reading: Reading, files: dict[int, TensorFile], align: str, hidden: Tensor, rows: list[int],
    steps: list[int], progress: Progress,
) -> Iterator[Aligned]:
    """How each snapshot is read."""
    card = reading.card
    for number, s in enumerate(steps):
        if align in ("none", "row_norm"):
            yield aligned(align, hidden)
            continue
        progress("how the readouts lie to one another", number / len(steps))
        there = [readout_of(reading.root, card, t) for t in rows]
        turns = [turn_of(reading.root, card, s, t) for t in rows] if align == "procrustes" else []
        yield aligned(align, hidden, readout_of(reading.root, card, s), there, turns)


def readout_of(root: Path, card: RunCard, step: int) -> Readout:
    """Mean and scale of a snapshot's rows."""
    mean, scale = standards_of(root, card, step)
    return Readout(torch.from_numpy(mean), scale)


class _Kept:
    """The last rotations, a bounded number of bytes of them, for all sessions."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._turns: OrderedDict[tuple, Tensor] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple) -> Tensor | None:
        with self._lock:
            if key in self._turns:
                self._turns.move_to_end(key)
            return self._turns.get(key)

    def keep(self, key: tuple, turn: Tensor) -> None:
        with self._lock:
            if key not in self._turns:
                self._held += turn.nbytes
            self._turns[key] = turn
            while self._held > self._most and len(self._turns) > 1:
                self._held -= self._turns.popitem(last=False)[1].nbytes


_TURNS = _Kept(TURNS)


def turn_of(root: Path, card: RunCard, s: int, t: int) -> Tensor:
    """The rotation of the rows of snapshot s onto those of t, (d, d) float32; the last are kept."""
    one, other = (open_snapshot(root, card.model_name, k, card.matrix) for k in (s, t))
    if s == t:
        return torch.eye(one.shape(card.matrix)[1])
    key = (one.path, other.path, stamp(one.path), stamp(other.path))
    found = _TURNS.get(key)
    if found is None:
        both = zip(one.blocks(card.matrix), other.blocks(card.matrix), strict=True)
        found = rotation(
            ((rows, others) for (_, rows), (_, others) in both),
            readout_of(root, card, s), readout_of(root, card, t),
        )
        _TURNS.keep(key, found)
    return found


def unigram_nll(reading: Reading, targets: list[int]) -> float | None:
    """Mean -log((count + 1) / (all + V)) of some tokens by the model's counts; None without."""
    path = model_path(reading.root, reading.card.model) / COUNTS
    if not path.is_file():
        return None
    try:
        counts = sum(t.double() for t in load_tensors(path).values())
    except AtlasError:
        return None
    if not isinstance(counts, Tensor) or max(targets) >= len(counts):
        return None
    total = float(counts.sum()) + len(counts)
    return float(np.mean([-math.log((float(counts[t]) + 1) / total) for t in targets]))
