"""What a hidden state of one step says through the readout of another (crosscoder-method §10.2).

The rows of all readouts pass by in blocks, the same rows of each at once, and only sums are kept
of the logits: every matrix is read once, none is held. logits = h_t W_s', the model's own cap
applied, p = softmax over the whole vocabulary; native is the readout of the model's own step.

The control deals the rows of W_s out anew among the tokens. Its mean over all V! ways has a
closed form in the same sums, so nothing is drawn at random.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.alignment import Aligned

Progress = Callable[[int], None]
"""Told how many rows have passed; may raise to stop."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Measures of hidden states under one readout, (R, N) float64 each."""

    nll: np.ndarray
    """-log p(target), nats."""
    rank: np.ndarray
    """1 + tokens with a larger logit than the target."""
    p: np.ndarray
    """Probability of the target."""
    entropy: np.ndarray
    """Of p, nats."""
    top1: np.ndarray
    """1 where the likeliest token is the native one, else 0."""
    kl: np.ndarray
    """KL(p swapped ‖ p native), nats."""
    miss: np.ndarray
    """Sum over tokens of (logit - native logit)²."""
    spread: np.ndarray
    """Sum over tokens of (native logit - its mean over the tokens)²."""
    native_nll: np.ndarray
    chance_nll: np.ndarray
    """Mean over all ways to deal the rows out anew, as the two below."""
    chance_kl: np.ndarray
    chance_miss: np.ndarray


class Sums:
    """What is kept of the logits of R sets of N states while rows pass by; all (R, N) float64."""

    def __init__(self, target: Tensor, origin: Tensor) -> None:
        """Begin.

        Args:
            target: (R, N) the target's logit.
            origin: (R, N) taken off every logit before squares are summed.
        """
        def zeros() -> Tensor:
            return torch.zeros(target.shape, dtype=torch.float64)

        self.target, self.origin = target, origin
        self.rows = 0
        self.top = torch.full(target.shape, -torch.inf)
        self.best = torch.zeros(target.shape, dtype=torch.int64)
        self.z, self.z_logit, self.z_apart, self.above = zeros(), zeros(), zeros(), zeros()
        self.sum, self.square = zeros(), zeros()
        self.native_sum, self.native_square, self.miss = zeros(), zeros(), zeros()

    def add(self, first: int, logits: Tensor, native: Tensor) -> None:
        """Take in the logits (R, N, B) of rows `first` on, and the native ones of the same."""
        highest, at = logits.max(dim=2)
        better = highest > self.top
        top = torch.maximum(highest, self.top)
        self.best = torch.where(better, at + first, self.best)
        fade = torch.exp(self.top.double() - top.double())
        weight = torch.exp(logits - top[..., None])
        apart = logits - native
        self.z = self.z * fade + _sum(weight)
        from_origin = logits - self.origin[..., None]
        native_origin = native - self.origin[..., None]
        self.z_logit = self.z_logit * fade + _sum(weight * from_origin)
        self.z_apart = self.z_apart * fade + _sum(weight * apart)
        self.top = top
        self.above += (logits > self.target[..., None]).sum(dim=2)
        self.sum += _sum(from_origin)
        self.square += _sum(from_origin.square())
        self.native_sum += _sum(native_origin)
        self.native_square += _sum(native_origin.square())
        self.miss += _sum(apart.square())
        self.rows += logits.shape[2]

    @property
    def log_z(self) -> Tensor:
        """log of the sum of exp(logit), (R, N)."""
        return self.top.double() + self.z.log()


def _sum(values: Tensor) -> Tensor:
    return values.sum(dim=2, dtype=torch.float64)


def cells(sums: Sums, native_log_z: Tensor, native_best: Tensor, native_target: Tensor) -> Cells:
    """The measures of one readout; `native_*` (R, N) of the states under their own readouts."""
    log_z, n = sums.log_z, sums.rows
    mean_logit = sums.origin.double() + sums.sum / n
    native_mean = sums.origin.double() + sums.native_sum / n
    nll = log_z - sums.target.double()
    entropy = log_z - sums.origin.double() - sums.z_logit / sums.z
    spread = sums.native_square - sums.native_sum.square() / n
    dealt = sums.square + sums.native_square - 2 * sums.sum * sums.native_sum / n
    found = {
        "nll": nll,
        "rank": sums.above + 1,
        "p": torch.exp(-nll),
        "entropy": entropy.clamp_min(0),
        "top1": (sums.best == native_best).double(),
        "kl": (sums.z_apart / sums.z - log_z + native_log_z).clamp_min(0),
        "miss": sums.miss,
        "spread": spread,
        "native_nll": native_log_z - native_target.double(),
        "chance_nll": log_z - mean_logit,
        "chance_kl": native_log_z - native_mean - entropy,
        "chance_miss": dealt,
    }
    return Cells(**{name: values.numpy() for name, values in found.items()})


Blocks = Callable[[int], Iterator[tuple[int, Tensor]]]
"""From the number of a readout to (first row, rows) of it; two readouts give the same blocks."""


@torch.inference_mode()
def sweep(
    hidden: Tensor,
    targets: Tensor,
    readouts: Sequence[Aligned],
    own: Sequence[int],
    blocks: Blocks,
    target_rows: Callable[[int], Tensor],
    softcap: float | None = None,
    progress: Progress = lambda rows: None,
) -> list[Cells]:
    """The measures of every readout, from one pass over the rows of all.

    Args:
        hidden: (R, N, d) float32, what R models read at N positions.
        targets: (N,) token ids.
        readouts: how each of the S readouts is read.
        own: number of each model's own readout among them, which is read as it is.
        blocks: the rows of each.
        target_rows: the rows of `targets` of a readout, (N, d).
        softcap: of the models' own logits.
        progress: told after every block of rows.

    Returns:
        S `Cells` of (R, N) each.
    """
    of_targets = torch.stack([target_rows(t) for t in own])
    native_target = capped((hidden * of_targets).sum(dim=2), softcap)
    lengths = of_targets.norm(dim=2)
    sums = []
    for s, readout in enumerate(readouts):
        logits = capped(readout.logits(target_rows(s), lengths), softcap)
        target = torch.diagonal(logits, dim1=1, dim2=2).clone()
        sums.append(Sums(_with_own(target, native_target, own, s), native_target))
    natives = zip(*(blocks(t) for t in own), strict=True)
    columns = zip(*(blocks(s) for s in range(len(readouts))), strict=True)
    for own_blocks, column in zip(natives, columns, strict=True):
        first, size = column[0][0], len(column[0][1])
        inside = ((targets >= first) & (targets < first + size)).nonzero()[:, 0]
        at = targets[inside] - first
        norms = torch.stack([rows.norm(dim=1) for _, rows in own_blocks])
        native = torch.stack([h @ rows.T for h, (_, rows) in zip(hidden, own_blocks, strict=True)])
        native = capped(native, softcap)
        native[:, inside, at] = native_target[:, inside]
        for s, (_, rows) in enumerate(column):
            logits = capped(readouts[s].logits(rows, norms), softcap)
            # a product of one row rounds otherwise than one of many: no target outranks itself
            logits[:, inside, at] = sums[s].target[:, inside]
            sums[s].add(first, _with_own(logits, native, own, s), native)
        progress(first + size)
    log_z = torch.stack([sums[t].log_z[r] for r, t in enumerate(own)])
    best = torch.stack([sums[t].best[r] for r, t in enumerate(own)])
    return [cells(found, log_z, best, native_target) for found in sums]


def capped(logits: Tensor, cap: float | None) -> Tensor:
    """The model's own logits: cap * tanh(logits / cap) where it has a cap."""
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _with_own(found: Tensor, native: Tensor, own: Sequence[int], s: int) -> Tensor:
    """The same with the native values of the models whose own readout it is."""
    for r, t in enumerate(own):
        if t == s:
            found[r] = native[r]
    return found


# --- over positions -------------------------------------------------------------------------------


METRICS = {
    "nll": "NLL of the target, nats",
    "delta": "NLL above the native one, nats",
    "rank": "rank of the target",
    "p": "probability of the target",
    "entropy": "entropy, nats",
    "top1": "top-1 agreement with native",
    "kl": "KL(swapped ‖ native), nats",
    "r2": "centred logit R²",
}
"""What a cell may show, and words for it."""


def summary(found: Cells, metric: str, n_rows: int, chance: bool = False) -> np.ndarray:
    """One measure of each set of states over its positions, (R,).

    The mean; of ranks the median; of R² 1 - (all misses) / (all spreads).

    Args:
        metric: one of `METRICS`.
        n_rows: V.
        chance: the same with the rows dealt out anew, on average over all ways.
    """
    if metric == "r2":
        miss = found.chance_miss if chance else found.miss
        return 1 - miss.sum(axis=1) / found.spread.sum(axis=1)
    if metric == "rank":
        values = np.full_like(found.rank, (n_rows + 1) / 2) if chance else found.rank
        return np.median(values, axis=1)
    if metric == "delta":
        return ((found.chance_nll if chance else found.nll) - found.native_nll).mean(axis=1)
    if chance and metric in ("p", "top1"):
        return np.full(len(found.p), 1 / n_rows)
    name = f"chance_{metric}" if chance and metric in ("nll", "kl") else metric
    return getattr(found, name).mean(axis=1)
