"""Sparse Readout Prism: a sparse dictionary over the centred unit rows of one matrix.

Shapes: V rows, B rows of a batch, d model width, D features (prism-method §1, §2).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

ARCHITECTURES = {
    "topk": (), "matryoshka_topk": (), "batch_topk": ("activation_threshold",),
    "jumprelu": ("log_threshold",), "gated": ("gate_bias", "log_r"), "l1_relu": (),
}
"""Architecture -> the tensors it has beside encoder and decoder (§2)."""
COUNTED = ("topk", "matryoshka_topk")
"""Architectures whose reader keeps k features of a row; the others decide by value."""
NORM_FLOOR = 1e-8
"""Smallest row norm a row is divided by (prism-method §1)."""


@dataclass(frozen=True, eq=False)
class Prism:
    """The weights of one row factorizer and the statistics of the rows it was fitted to."""

    encoder: Tensor
    """(D, d)."""
    bias: Tensor
    """(D,), added to the pre-activation; there is no decoder bias, the mean plays its part."""
    decoder: Tensor
    """(D, d), unit rows."""
    k: int
    """Active features per row; part of the trained object, not a setting of the reader. Unread
    but for topk and matryoshka_topk."""
    row_mean: Tensor
    """(d,)."""
    row_norms: Tensor
    """(V,), length of each centred row."""
    architecture: str = "topk"
    """One of `ARCHITECTURES`."""
    activation_threshold: Tensor | None = None
    """(), batch_topk: what the smallest kept value was in training."""
    log_threshold: Tensor | None = None
    """(D,), jumprelu."""
    gate_bias: Tensor | None = None
    """(D,), gated."""
    log_r: Tensor | None = None
    """(D,), gated: logarithm of the magnitude's gain; `bias` is the magnitude's."""

    def __post_init__(self) -> None:
        features, width = self.encoder.shape
        expected = {"bias": (features,), "decoder": (features, width), "row_mean": (width,)}
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture is {self.architecture!r}, known are {', '.join(ARCHITECTURES)}"
            )
        for name in ARCHITECTURES[self.architecture]:
            expected[name] = () if name == "activation_threshold" else (features,)
            if getattr(self, name) is None:
                raise ValueError(f"a {self.architecture} prism needs {name}")
        for name, shape in expected.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(f"{name} has shape {found}, the encoder asks for {shape}")
        if self.k < 1:
            raise ValueError(f"k is {self.k}, a prism keeps at least one feature of a row")

    @property
    def n_features(self) -> int:
        """D."""
        return self.encoder.shape[0]

    @property
    def d_model(self) -> int:
        """Width d of a row."""
        return self.encoder.shape[1]


def normalise_rows(W: Tensor, mean: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Unit rows x (V, d), the mean (d,) and the norms (V,) of raw rows W (V, d) (§1).

    `mean` overrides the mean of all rows, for a dictionary that carries its own.
    """
    if mean is None:
        mean = W.mean(dim=0)
    centred = W - mean
    norms = centred.norm(dim=-1).clamp(min=NORM_FLOOR)
    return centred / norms[:, None], mean, norms


def dense_code(prism: Prism, x: Tensor) -> Tensor:
    """The code (B, D) of unit rows x (B, d), zeros where a feature is off (§2).

    batch_topk reads as it does after training: its threshold alone decides, never the batch.
    """
    if prism.architecture == "gated":
        assert prism.gate_bias is not None
        assert prism.log_r is not None
        s = x @ prism.encoder.T
        return (s + prism.gate_bias > 0) * (prism.log_r.exp() * s + prism.bias).relu()
    u = torch.addmm(prism.bias, x, prism.encoder.T).relu()
    if prism.architecture == "jumprelu":
        assert prism.log_threshold is not None
        return u * (u > prism.log_threshold.exp())
    if prism.architecture == "batch_topk":
        return u * (u > prism.activation_threshold)
    if prism.architecture in COUNTED and prism.k < prism.n_features:
        kept = u.topk(prism.k, dim=-1)
        return torch.zeros_like(u).scatter_(1, kept.indices, kept.values)
    return u


def encode(prism: Prism, x: Tensor) -> tuple[Tensor, Tensor]:
    """Feature ids (B, n) and code values (B, n) of unit rows x (B, d), values falling (§2).

    n is k for topk and matryoshka_topk (D if k is more), else the most features that any of these
    rows has. Selection comes after the rectifier: a row with fewer positive features is padded
    with zeros.
    """
    if prism.architecture in COUNTED:
        u = torch.addmm(prism.bias, x, prism.encoder.T).relu()
        values, indices = u.topk(min(prism.k, prism.n_features), dim=-1)
    else:
        code = dense_code(prism, x)
        most = int((code > 0).sum(dim=1).max()) if len(code) else 0
        values, indices = code.topk(most, dim=-1)
    return indices, values


def decode(prism: Prism, indices: Tensor, values: Tensor) -> Tensor:
    """Unit-space rows (B, d) from a code; no bias is added (§2).

    Directions are added up one by one: the (B, k, d) table of them would be gigabytes.
    """
    if not indices.numel():
        return prism.decoder.new_zeros(len(indices), prism.d_model)
    return embedding_bag(indices, prism.decoder, per_sample_weights=values, mode="sum")


def rebuild_rows(prism: Prism, indices: Tensor, values: Tensor, norms: Tensor) -> Tensor:
    """Raw rows (B, d) from a code and the norms (B,) of those rows: mean + norm * decoded (§1)."""
    return prism.row_mean + norms[:, None] * decode(prism, indices, values)


def row_ev(x: Tensor, x_hat: Tensor) -> float:
    """1 - |x - x_hat|^2 / |x|^2 over unit rows: every token weighs the same (§5)."""
    return float(1 - (x - x_hat).double().square().sum() / x.double().square().sum())


@dataclass(frozen=True)
class PrismQuality:
    """How well a prism rebuilds unit rows (§5)."""

    explained_variance: float
    """rowEV."""
    l0: float
    """Features with a positive code, per row."""
    dead_rate: float
    """Share of features with a positive code on no row."""
    reconstruction_mse: float
    """Mean squared residual of an entry of a unit row."""
    cosine: float
    """Mean cosine between a row and its reconstruction."""
    rare_rate: float
    """Share of features on fewer than 0.1 % of the rows, the dead ones among them."""


class Tally:
    """Adds up the figures of a prism over batches of unit rows, so that no more are in memory."""

    def __init__(self, prism: Prism) -> None:
        """Nothing is counted yet."""
        self._prism = prism
        self._counts = torch.zeros(prism.n_features, dtype=torch.float64)
        self.n_rows = 0
        self._residual = self._total = self._cosine = 0.0

    def add(self, x: Tensor) -> Tensor:
        """Count unit rows x (B, d); returns their reconstruction (B, d)."""
        indices, values = encode(self._prism, x)
        rebuilt = decode(self._prism, indices, values)
        self.n_rows += len(x)
        self._residual += float((x - rebuilt).double().square().sum())
        self._total += float(x.double().square().sum())
        self._cosine += float(torch.cosine_similarity(x, rebuilt, dim=-1).double().sum())
        on = indices[values > 0]
        self._counts += torch.bincount(on, minlength=self._prism.n_features).cpu()
        return rebuilt

    def quality(self) -> PrismQuality:
        """The figures of the rows counted so far (§5)."""
        usage = self._counts / self.n_rows
        return PrismQuality(
            explained_variance=1 - self._residual / self._total,
            l0=float(usage.sum()),
            dead_rate=float((self._counts == 0).double().mean()),
            reconstruction_mse=self._residual / (self.n_rows * self._prism.d_model),
            cosine=self._cosine / self.n_rows,
            rare_rate=float((usage < 1e-3).double().mean()),
        )


def measure(prism: Prism, batches: Iterable[Tensor]) -> PrismQuality:
    """The figures of §5 over batches (B, d) of unit rows; how they are cut changes nothing."""
    tally = Tally(prism)
    for x in batches:
        tally.add(x)
    return tally.quality()


def quality(prism: Prism, x: Tensor, batch: int = 1024) -> PrismQuality:
    """The figures of §5 over unit rows x (V, d), all of them, not the first 20,000."""
    return measure(prism, (x[start : start + batch] for start in range(0, len(x), batch)))


@dataclass(frozen=True)
class ReadoutFidelity:
    """What a rebuilt matrix does to next-token predictions (§5)."""

    kl_bits: float
    """Mean KL(softmax(h W^T) || softmax(h W_hat^T)) in bits."""
    top1_match: float
    """Share of hidden states whose largest logit stays with the same token."""


def readout_fidelity(
    hidden: Tensor, W: Tensor, W_hat: Tensor, softcap: float | None = None
) -> ReadoutFidelity:
    """Compare the readouts W and W_hat (V, d) on hidden states (n, d)."""
    return logit_fidelity(hidden @ W.T, hidden @ W_hat.T, softcap)


def logit_fidelity(
    logits: Tensor, rebuilt_logits: Tensor, softcap: float | None = None
) -> ReadoutFidelity:
    """Compare native and rebuilt logits (n, V); a model's softcap bends both (§5, §8.4)."""
    kl, same = 0.0, 0
    for pair in zip(logits.split(32), rebuilt_logits.split(32), strict=True):
        native, rebuilt = (
            (part if softcap is None else softcap * torch.tanh(part / softcap)).log_softmax(dim=-1)
            for part in pair
        )
        kl += float((native.exp() * (native - rebuilt)).sum(dim=-1).double().sum())
        same += int((native.argmax(dim=-1) == rebuilt.argmax(dim=-1)).sum())
    return ReadoutFidelity(kl / len(logits) / math.log(2), same / len(logits))
