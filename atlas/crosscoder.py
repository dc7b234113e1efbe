"""Trajectory crosscoders: one sparse dictionary over the rows of a matrix at K snapshots.

Shapes: K snapshots, V rows, B rows of a batch, d model width, D features; K comes first.
Inside a dictionary `W_E` is the encoder, not the model's input embedding. Everything here
follows crosscoder-method §2 (rows), §3 (forward), §6 (quality).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

ACTIVATIONS = ("jumprelu", "batchtopk", "gated")
"""What decides whether a feature fires (§3.2, §3.3)."""

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
class Gate:
    """What the gated kind has in place of a threshold (§3.1, §3.3)."""

    bias: Tensor
    """(D,), b_gate: the gate is open where p + b_gate > 0."""
    log_gain: Tensor
    """(D,), r_mag: logarithm of the gain of the magnitude."""
    offset: Tensor
    """(D,), b_mag: added to the magnitude before it is rectified."""


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
    """(D,), theta: one per feature, shared by all snapshots. Positive for jumprelu; zeros for the
    other kinds, whose features fire wherever their activation is positive."""
    act_fn: str = "jumprelu"
    """One of `ACTIVATIONS`."""
    k: int | None = None
    """batchtopk: features kept per row on average; a training batch shares the budget."""
    gate: Gate | None = None
    """gated: the gate."""

    def __post_init__(self) -> None:
        if self.act_fn not in ACTIVATIONS:
            raise ValueError(f"act_fn is {self.act_fn!r}, known are {', '.join(ACTIVATIONS)}")
        if self.act_fn == "batchtopk" and (self.k is None or self.k < 1):
            raise ValueError(f"k is {self.k}, a batchtopk dictionary keeps 1 or more per row")
        if (self.act_fn == "gated") != (self.gate is not None):
            raise ValueError(f"a {self.act_fn} dictionary with gate {self.gate}")
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
        """2KdD + KD + Kd, and per feature one threshold or three values of a gate (§3.1)."""
        own = {"jumprelu": 1, "batchtopk": 0, "gated": 3}[self.act_fn] * self.n_features
        return own + sum(part.numel() for part in (self.W_E, self.b_E, self.W_D, self.b_D))

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


def row_codes(c: Crosscoder, p: Tensor) -> Tensor:
    """What the sparse code keeps of pre-activations p (B, D): the activations of each row, or 0.

    jumprelu: p of the features that fire at one snapshot or more; which of them fire at k is for
    `fires` to say. batchtopk and gated: the activation, the same at every snapshot; the rows of
    a batchtopk dictionary must be one training batch in vocabulary order, for they share a
    budget (§3.2, §3.3).
    """
    if c.act_fn == "batchtopk":
        assert c.k is not None
        return batch_topk(p, c.k)
    if c.gate is not None:
        return gated(p, c.gate.bias, c.gate.log_gain, c.gate.offset)
    # rounding is monotone: what does not fire where the direction is longest fires nowhere
    return torch.where(p * c.norms.amax(dim=0) > c.threshold, p, torch.zeros_like(p))


def row_activations(c: Crosscoder, p: Tensor) -> Tensor:
    """Activations (K, B, D) of pre-activations p (B, D), whatever the kind: large, and obvious."""
    if c.act_fn == "jumprelu":
        return activations(p, c.norms, c.threshold)
    return row_codes(c, p)[None].expand(c.n_snapshots, -1, -1)


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


@dataclass(frozen=True, eq=False)
class Measured:
    """A dictionary's figures by both protocols, from one pass over its rows."""

    canonical: Quality
    """Every row weighs the same (§6.2), with the values of each snapshot (§6.3)."""
    training: Quality
    """As a training run prints them: every batch weighs the same, short or not (§6.1)."""
    rates: Tensor
    """(K, D) float64, share of the rows on which a feature fires at a snapshot (§7.1)."""


def quality(c: Crosscoder, x: Tensor, batch: int = 1024) -> Quality:
    """The canonical figures over rows x (K, V, d) (§6.2, §6.3).

    The batch changes nothing but for batchtopk, whose rows share a budget within it.
    """
    return measure(c, _batches(x, batch)).canonical


def training_quality(c: Crosscoder, x: Tensor, batch: int = 1024) -> Quality:
    """The figures over rows x (K, V, d) as a training run prints them (§6.1)."""
    return measure(c, _batches(x, batch)).training


def _batches(x: Tensor, batch: int) -> Iterator[Tensor]:
    return (x[:, start : start + batch] for start in range(0, x.shape[1], batch))


def batch_averaged_ev(mse: Tensor, variance: Tensor) -> float:
    """Explained variance as training prints it: batches weigh the same, short or not (§6.1)."""
    return float(1 - mse.sum() / variance.sum())


def pooled_ev(mse: Tensor, variance: Tensor, rows: Tensor) -> float:
    """Explained variance with every row weighing the same; `rows` counts the rows of a batch."""
    return float(1 - (mse * rows).sum() / (variance * rows).sum())


def measure(c: Crosscoder, batches: Iterable[Tensor]) -> Measured:
    """Both protocols' figures and the rates over all rows, in one pass.

    Memory stays at a few (B, D) planes and the weights' own, which may be a mapped file.

    Args:
        c: the dictionary.
        batches: standardised rows (K, B, d), together all rows in vocabulary order, each batch of
            the size that training used (the last may be short): §6.1 averages over them, and a
            batchtopk budget is shared within one.
    """
    K, d = c.n_snapshots, c.d_model
    residual, total = (torch.zeros(K, dtype=torch.float64) for _ in range(2))
    sums = torch.zeros(K, d, dtype=torch.float64)
    counts = torch.zeros(K, c.n_features, dtype=torch.float64)
    by_batch: list[tuple[float, float, float]] = []
    rows = 0
    for x in batches:
        size = x.shape[1]
        before = float(residual.sum()), float(counts.sum())
        _add_batch(c, x, residual, counts)
        part = torch.stack([x_k.double().square().sum() for x_k in x]).cpu()
        part_sums = torch.stack([x_k.double().sum(dim=0) for x_k in x]).cpu()
        entries = K * size * d
        # unbiased, of all entries of the batch about their one scalar mean (§6.1)
        variance = (part.sum() - part_sums.sum().square() / entries) / (entries - 1)
        mse = (float(residual.sum()) - before[0]) / entries
        by_batch.append((mse, float(variance), (float(counts.sum()) - before[1]) / (K * size)))
        total, sums, rows = total + part, sums + part_sums, rows + size
    if not rows:
        raise ValueError("there are no rows to measure")
    dead_rate = float((counts.sum(dim=0) / (rows * K) <= DEAD_RATE).double().mean())
    canonical = Quality(
        explained_variance=float(1 - residual.sum() / total.sum()),
        l0=float(counts.sum() / (rows * K)),
        dead_rate=dead_rate,
        reconstruction_mse=float(residual.sum() / (rows * K * d)),
        explained_variance_by_snapshot=1 - residual / (total - sums.square().sum(dim=1) / rows),
        l0_by_snapshot=counts.sum(dim=1) / rows,
    )
    mse_b, variance_b, l0_b = torch.tensor(by_batch, dtype=torch.float64).T
    training = Quality(
        explained_variance=batch_averaged_ev(mse_b, variance_b),
        l0=float(l0_b.mean()),
        dead_rate=dead_rate,
        reconstruction_mse=float(mse_b.mean()),
    )
    return Measured(canonical, training, counts / rows)


SPARSE = 1 / 32
"""Share of a batch's (row, feature) pairs up to which adding up directions one by one beats the
matrix product over all of them."""


def _add_batch(c: Crosscoder, x: Tensor, residual: Tensor, counts: Tensor) -> None:
    """Add a batch's squared residual (K,) and its firings (K, D) to the sums."""
    p = row_codes(c, pre_activations(c, x))
    row, feature = torch.nonzero(p, as_tuple=True)
    value = p[row, feature]
    starts = torch.searchsorted(row, torch.arange(len(p), device=row.device))
    sparse = len(value) <= SPARSE * p.numel()
    for k in range(c.n_snapshots):
        fired = value > 0
        if c.act_fn == "jumprelu":
            fired = value * c.norms[k][feature] > c.threshold[feature]
        active = value * fired
        if sparse:
            rebuilt = embedding_bag(
                feature, c.W_D[k], starts, per_sample_weights=active, mode="sum"
            )
        else:
            p[row, feature] = active
            rebuilt = p @ c.W_D[k]
        error = x[k] - rebuilt - c.b_D[k]
        residual[k] += error.double().square().sum().cpu()
        counts[k] += torch.bincount(feature[fired], minlength=c.n_features).cpu()
