"""Trajectory crosscoders: one sparse dictionary over the rows of a matrix at K snapshots.

Shapes: K snapshots, V rows, B rows of a batch, d model width, D features; K comes first.
Inside a dictionary `W_E` is the encoder, not the model's input embedding. Everything here
follows crosscoder-method §2 (rows), §3 (forward), §6 (quality).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

DEAD_RATE = 1e-6
"""A feature firing on at most this share of the (row, snapshot) pairs is dead (§6.1)."""


@dataclass(frozen=True, eq=False)
class Standardization:
    """The affine map from raw rows to dictionary rows, one per snapshot (§2, `center_scale`)."""

    mean: Tensor
    """(K, d), mean over all V rows."""
    scale: Tensor
    """(K,), root mean square of the centred entries, so that mean |x|^2 = d."""

    def apply(self, rows: Tensor) -> Tensor:
        """Raw rows (K, B, d) to standardised rows (K, B, d)."""
        return (rows - self.mean[:, None]) / self.scale[:, None, None]

    def restore(self, x: Tensor) -> Tensor:
        """Standardised rows (K, B, d) back to raw rows (K, B, d)."""
        return x * self.scale[:, None, None] + self.mean[:, None]


def standardize(rows: Tensor) -> tuple[Standardization, Tensor]:
    """Statistics of raw rows (K, V, d) and the standardised rows, each snapshot by itself (§2)."""
    mean = rows.mean(dim=1)
    variance = (rows - mean[:, None]).square().mean(dim=(1, 2))
    statistics = Standardization(mean, variance.clamp(min=1e-8).sqrt())
    return statistics, statistics.apply(rows)


@dataclass(frozen=True, eq=False)
class Crosscoder:
    """The weights of one dictionary (§3.1). K = 1 is a plain sparse autoencoder."""

    W_E: Tensor
    """(K, d, D), encoder."""
    b_E: Tensor
    """(K, D)."""
    W_D: Tensor
    """(K, D, d), decoder; row j is the direction of feature j at a snapshot."""
    b_D: Tensor
    """(K, d)."""
    threshold: Tensor
    """(D,), theta: positive, one per feature, shared by all snapshots."""

    def __post_init__(self) -> None:
        snapshots, width, features = self.W_E.shape
        expected = {
            "b_E": (snapshots, features),
            "W_D": (snapshots, features, width),
            "b_D": (snapshots, width),
            "threshold": (features,),
        }
        for name, shape in expected.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(f"{name} has shape {found}, W_E asks for {shape}")

    @property
    def n_snapshots(self) -> int:
        """K."""
        return self.W_E.shape[0]

    @property
    def d_model(self) -> int:
        """Width d of a row."""
        return self.W_E.shape[1]

    @property
    def n_features(self) -> int:
        """D."""
        return self.W_E.shape[2]

    @property
    def n_parameters(self) -> int:
        """2KdD + KD + Kd + D (§3.1)."""
        return sum(
            part.numel() for part in (self.W_E, self.b_E, self.W_D, self.b_D, self.threshold)
        )

    @cached_property
    def norms(self) -> Tensor:
        """(K, D), length of each direction."""
        return self.W_D.norm(dim=-1)


def pre_activations(c: Crosscoder, x: Tensor) -> Tensor:
    """Joint pre-activation p (B, D) of rows x (K, B, d), the sum over all snapshots (§3.2).

    One matrix product: a plain encoder over the rows of all snapshots laid end to end.
    """
    batch = x.shape[1]
    side_by_side = x.transpose(0, 1).reshape(batch, -1)
    encoder = c.W_E.reshape(-1, c.n_features)
    return torch.addmm(c.b_E.sum(dim=0), side_by_side, encoder)


def pre_activations_by_head(c: Crosscoder, x: Tensor) -> Tensor:
    """The same p (B, D), snapshot by snapshot as the formula reads: the twin to check against."""
    total = torch.zeros(x.shape[1], c.n_features, dtype=x.dtype, device=x.device)
    for k in range(c.n_snapshots):
        total = total + (x[k] @ c.W_E[k] + c.b_E[k])
    return total


def fires(p: Tensor, norms: Tensor, threshold: Tensor) -> Tensor:
    """Which feature is on, bool (K, B, D): p times the norm at k exceeds theta, strictly (§3.2)."""
    return p[None] * norms[:, None] > threshold


def activations(p: Tensor, norms: Tensor, threshold: Tensor) -> Tensor:
    """Activations a (K, B, D): p where the feature fires, else 0 (§3.2).

    p is written out directly, not as JumpReLU(p n) / n, which is 0/0 for a zero direction.
    """
    return torch.where(fires(p, norms, threshold), p[None], torch.zeros_like(p)[None])


def decode(c: Crosscoder, a: Tensor) -> Tensor:
    """Standardised rows (K, B, d) from activations a (K, B, D) (§3.2)."""
    return torch.baddbmm(c.b_D[:, None], a, c.W_D)


class JumpReLU(torch.autograd.Function):
    """z where z > theta, else 0, with the straight-through slope in theta of §3.4.

    `JumpReLU.apply(z, threshold, window)`: z (..., D), threshold (D,). The slope in z is 1 where
    it fires; the slope in theta is -theta / window where |z - theta| < window / 2 and z > 0.
    """

    @staticmethod
    def forward(ctx, z: Tensor, threshold: Tensor, window: float) -> Tensor:
        """Gate z; keeps what the slopes need."""
        ctx.save_for_backward(z, threshold)
        ctx.window = window
        return z * (z > threshold)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Slopes in z and in theta, the latter summed over all axes but the features."""
        z, threshold = ctx.saved_tensors
        grad_z = grad * (z > threshold) if ctx.needs_input_grad[0] else None
        grad_threshold = None
        if ctx.needs_input_grad[1]:
            near = ((z - threshold).abs() < ctx.window / 2) & (z > 0)
            summed = (grad * near).reshape(-1, threshold.shape[0]).sum(dim=0)
            grad_threshold = -threshold / ctx.window * summed
        return grad_z, grad_threshold, None


def tanh_quad(frequency: Tensor, epsilon: float = 0.01) -> Tensor:
    """Sparsity penalty f (1 + f / epsilon) of approximate frequencies, elementwise (§3.4)."""
    return frequency * (1 + frequency / epsilon)


def batch_topk(p: Tensor, k: int) -> Tensor:
    """Activations (B, D) of the architecture comparison: the B k largest of a batch stay (§3.3).

    The budget is shared by the rows, so a row's code depends on its neighbours; no norm gate.
    """
    positive = p.relu().flatten()
    kept = positive.topk(min(p.shape[0] * k, positive.numel())).indices
    return torch.zeros_like(positive).index_copy_(0, kept, positive[kept]).view_as(p)


def gated(p: Tensor, b_gate: Tensor, r_mag: Tensor, b_mag: Tensor) -> Tensor:
    """Activations (B, D) of the gated kind: a gate times a rectified magnitude (§3.3)."""
    return (p + b_gate > 0) * (r_mag.exp() * p + b_mag).relu()


@dataclass(frozen=True, eq=False)
class Quality:
    """How well a dictionary rebuilds its rows."""

    explained_variance: float
    """1 - residual sum of squares / sum of squares of the standardised rows."""
    l0: float
    """Features firing per (row, snapshot)."""
    dead_rate: float
    """Share of features that fire on no more than 1e-6 of the (row, snapshot) pairs."""
    reconstruction_mse: float
    """Mean squared residual of an entry of a standardised row."""
    explained_variance_by_snapshot: Tensor | None = None
    """(K,), against the rows' own mean at that snapshot (§6.3)."""
    l0_by_snapshot: Tensor | None = None
    """(K,), the sum of the rates at that snapshot."""


def _row_batches(
    c: Crosscoder, x: Tensor, batch: int
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """(k, x_k, residual, fired) of each batch and snapshot; memory stays at one (B, D) plane."""
    for start in range(0, x.shape[1], batch):
        rows = x[:, start : start + batch]
        p = pre_activations(c, rows)
        for k in range(c.n_snapshots):
            fired = p * c.norms[k] > c.threshold
            rebuilt = torch.addmm(c.b_D[k], p * fired, c.W_D[k])
            yield k, rows[k], rows[k] - rebuilt, fired


def quality(c: Crosscoder, x: Tensor, batch: int = 1024) -> Quality:
    """The canonical figures over rows x (K, V, d); the batch size changes nothing (§6.2, §6.3)."""
    snapshots, rows, width = x.shape
    residual = torch.zeros(snapshots, dtype=torch.float64)
    counts = torch.zeros(snapshots, c.n_features, dtype=torch.float64)
    for k, _, error, fired in _row_batches(c, x, batch):
        residual[k] += error.double().square().sum().cpu()
        counts[k] += fired.sum(dim=0).cpu()
    total = torch.stack([part.double().square().sum() for part in x]).cpu()
    centred = (
        total - rows * torch.stack([part.double().mean(dim=0).square().sum() for part in x]).cpu()
    )
    dead = counts.sum(dim=0) / (rows * snapshots) <= DEAD_RATE
    return Quality(
        explained_variance=float(1 - residual.sum() / total.sum()),
        l0=float(counts.sum() / (rows * snapshots)),
        dead_rate=float(dead.double().mean()),
        reconstruction_mse=float(residual.sum() / (rows * snapshots * width)),
        explained_variance_by_snapshot=1 - residual / centred,
        l0_by_snapshot=counts.sum(dim=1) / rows,
    )


def batch_averaged_ev(mse: Tensor, variance: Tensor) -> float:
    """Explained variance as training prints it: batches weigh the same, short or not (§6.1)."""
    return float(1 - mse.sum() / variance.sum())


def pooled_ev(mse: Tensor, variance: Tensor, rows: Tensor) -> float:
    """Explained variance with every row weighing the same; `rows` counts the rows of a batch."""
    return float(1 - (mse * rows).sum() / (variance * rows).sum())


def training_quality(c: Crosscoder, x: Tensor, batch: int = 1024) -> Quality:
    """The figures as a training run prints them, batch averages and all (§6.1).

    The variance of a batch is that of all its entries about one scalar mean, unbiased.
    """
    snapshots, rows, _ = x.shape
    starts = list(range(0, rows, batch))
    variance = torch.stack([x[:, s : s + batch].double().var() for s in starts]).cpu()
    mse = torch.zeros(len(starts), dtype=torch.float64)
    l0 = torch.zeros(len(starts), dtype=torch.float64)
    counts = torch.zeros(c.n_features, dtype=torch.float64)
    for visit, (_, _, error, fired) in enumerate(_row_batches(c, x, batch)):
        part = visit // snapshots
        mse[part] += error.double().square().mean().cpu() / snapshots
        l0[part] += fired.sum().cpu() / (fired.shape[0] * snapshots)
        counts += fired.sum(dim=0).cpu()
    return Quality(
        explained_variance=batch_averaged_ev(mse, variance),
        l0=float(l0.mean()),
        dead_rate=float((counts / (rows * snapshots) <= DEAD_RATE).double().mean()),
        reconstruction_mse=float(mse.mean()),
    )
