"""Sparse Readout Prism: a TopK dictionary over the centred unit rows of one matrix.

Shapes: V rows, B rows of a batch, d model width, D features (prism-method §1, §2).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

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
    """Active features per row; part of the trained object, not a setting of the reader."""
    row_mean: Tensor
    """(d,)."""
    row_norms: Tensor
    """(V,), length of each centred row."""

    def __post_init__(self) -> None:
        features, width = self.encoder.shape
        expected = {"bias": (features,), "decoder": (features, width), "row_mean": (width,)}
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


def encode(prism: Prism, x: Tensor) -> tuple[Tensor, Tensor]:
    """Feature ids (B, k) and code values (B, k) of unit rows x (B, d), values falling (§2).

    Selection comes after the rectifier: a row with fewer than k positive features is padded
    with zeros. k of D or more keeps all of them.
    """
    pre = torch.addmm(prism.bias, x, prism.encoder.T).relu()
    values, indices = pre.topk(min(prism.k, prism.n_features), dim=-1)
    return indices, values


def decode(prism: Prism, indices: Tensor, values: Tensor) -> Tensor:
    """Unit-space rows (B, d) from a code; no bias is added (§2)."""
    return torch.einsum("bk,bkd->bd", values, prism.decoder[indices])


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


def quality(prism: Prism, x: Tensor, batch: int = 1024) -> PrismQuality:
    """The figures of §5 over unit rows x (V, d), all of them, not the first 20,000."""
    counts = torch.zeros(prism.n_features, dtype=torch.float64)
    residual = total = cosine = 0.0
    for start in range(0, x.shape[0], batch):
        rows = x[start : start + batch]
        indices, values = encode(prism, rows)
        rebuilt = decode(prism, indices, values)
        residual += float((rows - rebuilt).double().square().sum())
        total += float(rows.double().square().sum())
        cosine += float(torch.cosine_similarity(rows, rebuilt, dim=-1).double().sum())
        counts += torch.bincount(indices[values > 0], minlength=prism.n_features).cpu()
    usage = counts / x.shape[0]
    return PrismQuality(
        explained_variance=1 - residual / total,
        l0=float(usage.sum()),
        dead_rate=float((counts == 0).double().mean()),
        reconstruction_mse=residual / x.numel(),
        cosine=cosine / x.shape[0],
        rare_rate=float((usage < 1e-3).double().mean()),
    )


@dataclass(frozen=True)
class ReadoutFidelity:
    """What a rebuilt matrix does to next-token predictions (§5)."""

    kl_bits: float
    """Mean KL(softmax(h W^T) || softmax(h W_hat^T)) in bits."""
    top1_match: float
    """Share of hidden states whose largest logit stays with the same token."""


def readout_fidelity(hidden: Tensor, W: Tensor, W_hat: Tensor) -> ReadoutFidelity:
    """Compare the readouts W and W_hat (V, d) on hidden states (n, d)."""
    native = (hidden @ W.T).log_softmax(dim=-1)
    rebuilt = (hidden @ W_hat.T).log_softmax(dim=-1)
    kl = (native.exp() * (native - rebuilt)).sum(dim=-1).double().mean() / math.log(2)
    same = native.argmax(dim=-1) == rebuilt.argmax(dim=-1)
    return ReadoutFidelity(float(kl), float(same.double().mean()))
