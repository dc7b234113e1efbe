"""What decides a crosscoder's training: the dials, the schedules, the order of the rows.

crosscoder-method sections 3.4 and 3.5; defaults are the 160M recipe of record unless said.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.crosscoder import ACTIVATIONS
from atlas.errors import InvalidValue

OPTIMIZERS = ("adam", "sparse_adam")
"""`sparse_adam` is the variant of the library that the reference wraps (`trainer.adam`)."""
PRECISIONS = ("float32", "tf32", "bfloat16")
"""What the large products are rounded to. On a CPU bfloat16 is for finding which features fire
(those found are computed again in float32) and for the threshold's gradient; tf32 is float32 there.
"""


@dataclass(frozen=True)
class CrosscoderRecipe:
    """The dials of one crosscoder; defaults are the 160M recipe of record unless said."""

    model: str
    """Label of the language model whose snapshots are read."""
    matrix: str
    """`W_U` or `W_E`."""
    d_sae: int
    seed: int = 0
    epochs: int = 300
    """Passes over the vocabulary rows."""
    batch: int = 1024
    """Rows per step."""
    learning_rate: float = 5e-5
    threshold_rate: float = 0.1
    """Learning rate of log thresholds, as a share of `learning_rate`."""
    sparsity: float = 0.3
    """Weight of the sparsity term (lambda)."""
    frequency_scale: float = 0.01
    """Frequency at which the tanh-quad penalty doubles (epsilon)."""
    tanh_stretch: float = 1.0
    """Steepness of the firing score (c)."""
    initial_threshold: float = 0.1
    decoder_norm: float | None = None
    """Length of every initial direction; None keeps the uniform draw of the recipe of record."""
    transpose_factor: float = 1.0
    """The encoder starts as this times the transposed decoder."""
    threshold_window: float = 4.0
    """Width of the straight-through window of the JumpReLU threshold."""
    sparsity_warmup: float = 0.1
    """Share of the steps over which lambda rises from 0."""
    rate_warmup: float = 0.0
    rate_decay: float = 0.0
    """Share of the last steps over which the learning rate falls to 0."""
    min_count: int = 0
    """Rows of tokens seen less often in training text are not trained on (0: all rows are)."""
    activation: str = "jumprelu"
    """One of `ACTIVATIONS`; the others are the forms of section 3.5, without a decoder norm in the
    gate."""
    k: int | None = None
    """batchtopk: features kept per row on average, out of the whole batch."""
    optimizer: str = "adam"
    """One of `OPTIMIZERS`."""
    precision: str = "float32"
    """One of `PRECISIONS`."""

    def __post_init__(self) -> None:
        known = {"activation": ACTIVATIONS, "optimizer": OPTIMIZERS, "precision": PRECISIONS,
                 "matrix": ("W_U", "W_E")}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise InvalidValue(
                    f"{name} is {getattr(self, name)!r}; known are {', '.join(values)}")
        positive = ("d_sae", "epochs", "batch", "learning_rate", "frequency_scale",
                    "tanh_stretch", "initial_threshold", "threshold_window")
        for name in positive:
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidValue(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("sparsity", "threshold_rate", "min_count"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidValue(f"{name} is {getattr(self, name)}; it must not be below 0")
        for name in ("sparsity_warmup", "rate_warmup", "rate_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidValue(f"{name} is {getattr(self, name)}; it is a share of the steps, "
                                   "0 to 1")
        if (self.activation == "batchtopk") != (self.k is not None):
            raise InvalidValue("k belongs to a batchtopk crosscoder, and only to one")
        if self.k is not None and not 1 <= self.k <= self.d_sae:
            raise InvalidValue(f"k is {self.k}; a row keeps 1 to {self.d_sae} features")


def rate_multiplier(step: int, total: int, warmup: float, decay: float) -> float:
    """Learning-rate multiplier: (t+1)/T_w, then 1, then linearly to 0 (section 3.4)."""
    t_warm, t_decay = int(warmup * total), int(decay * total)
    if step < t_warm:
        return (step + 1) / t_warm
    if t_decay and step >= total - t_decay:
        return max(0.0, 1 - (step - (total - t_decay)) / t_decay)
    return 1.0


def sparsity_multiplier(step: int, total: int, warmup: float) -> float:
    """Share of lambda in force: 0 at the first step, 1 after the warm-up."""
    t_warm = int(warmup * total)
    return min(1.0, step / t_warm) if t_warm else 1.0


class RowOrder:
    """Row numbers of each step: every epoch a fresh permutation, the last short batch kept."""

    def __init__(self, n_rows: int, batch: int, generator: torch.Generator):
        self.n_rows, self.batch, self.generator = n_rows, batch, generator
        self._epoch = -1
        self._before = generator.get_state()
        self._rows = torch.empty(0, dtype=torch.int64)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.n_rows / self.batch)

    def at(self, step: int) -> Tensor:
        """Rows (B,) of a step; steps are asked in order."""
        while self._epoch < step // self.steps:
            self._before = self.generator.get_state()
            self._rows = torch.randperm(self.n_rows, generator=self.generator)
            self._epoch += 1
        first = step % self.steps * self.batch
        return self._rows[first : first + self.batch]

    def state(self) -> dict[str, Tensor]:
        """What resuming needs: the epoch, and the generator as it was before its permutation."""
        return {"epoch": torch.tensor(self._epoch), "generator": self._before}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` gave."""
        self.generator.set_state(state["generator"])
        self._epoch = int(state["epoch"])
        if self._epoch >= 0:
            self._epoch -= 1
            self.at((self._epoch + 1) * self.steps)
