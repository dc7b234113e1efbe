"""What decides a prism's training: the dials, the schedules, which rows a batch is drawn from.

prism-method section 3; defaults are the converged-finalist values of its section 3.1 unless said.
The released trainer lacks half of what its own description names (section 3.2): a dial says which
of its values is the described recipe and which the shipped trainer.
"""

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.errors import InvalidValue
from atlas.prism import ARCHITECTURES

INITS = ("rows", "random")
RATE_SCHEDULES = ("cosine", "constant")
PENALTY_SCHEDULES = ("delayed", "constant")
SAMPLINGS = ("uniform", "frequency", "frequency_sqrt", "frequency_pow_0.5", "frequency_pow_0.75",
             "hybrid", "top1_sqrt_frequency", "top5_sqrt_frequency")
"""Row samplings by name; besides, `hybrid_<f>freq_<u>uniform` with two numbers."""
CONTROLLED = ("jumprelu", "l1_relu")
"""Architectures whose sparsity coefficient can follow a target L0 (section 3.5)."""
TARGETS = 8
"""Tokens of each hidden state, largest logits first, that sampling and penalty know."""


@dataclass(frozen=True)
class PrismRecipe:
    """The dials of one prism."""

    model: str
    """Label of the language model whose last W_U is factorised."""
    d_sae: int
    k: int = 32
    """Features kept per row; part of the trained object. Unread by jumprelu, gated and l1_relu."""
    seed: int = 0
    steps: int = 20_000
    batch: int = 4096
    """Rows per step."""
    learning_rate: float = 1e-3
    rate_warmup: float = 0.05
    """Share of the steps of the linear warm-up; open in the reference (2-5 % is ordinary)."""
    final_share: float = 0.1
    """Learning rate at the end, as a share of the peak (cosine)."""
    weight_decay: float = 1e-4
    """Of all parameters, biases and thresholds too."""
    code_l2: float = 1e-6
    """Weight of the mean square of the code, zeros counted."""
    prism_penalty: float = 1e-3
    """Weight of the relative error of selected logits (the largest it gets)."""
    prism_delay: float = 0.7
    """Share of the steps before the penalty begins to rise."""
    frequent_share: float = 0.5
    """Share of each batch drawn by how often a row is among a hidden state's top targets, where
    `row_sampling` is `hybrid`."""
    hidden_states: int = 2048
    """Hidden states of the language model that the penalty and the sampling use."""
    architecture: str = "topk"
    """One of `atlas.prism.ARCHITECTURES`."""
    init: str = "rows"
    """`rows`: the decoder starts as rows of the data. The reference leaves open what the encoder
    starts as; here it is the same rows times `seeded_scale`, with a bias of 0. `random`: the
    shipped trainer."""
    seeded_scale: float = 1.0
    """`rows`: factor of the encoder. At 1 the k rows that first answer add up to far too much, and
    a short run spends itself on shrinking them."""
    encoder_scale: float = 0.02
    """`random`: standard deviation of the encoder."""
    rate_schedule: str = "cosine"
    """`cosine` after a warm-up; `constant` is the shipped trainer."""
    penalty_schedule: str = "delayed"
    """`delayed`: 0, then linear to `prism_penalty` at the last step; `constant` is the shipped
    trainer."""
    prism_top_n: int = 1
    """The penalty's token is drawn among this many top targets of its hidden state, 8 at most."""
    row_sampling: str = "hybrid"
    """One of `SAMPLINGS`, or `hybrid_<f>freq_<u>uniform`, which is `hybrid` with a frequent share
    of f / (f + u)."""
    gradient_clip: float = 1.0
    """Largest length of all gradients together."""
    k_values: tuple[int, ...] = ()
    """matryoshka_topk: the k's whose errors are averaged, rising. None told: k / 4, k / 2 and k
    (the shipped trainer would train a plain topk then)."""
    k_weights: tuple[float, ...] = ()
    """matryoshka_topk: their weights, all alike if none is told. Another number of them than of
    k's is refused; the shipped trainer drops them in silence."""
    sparsity: float = 1e-4
    """jumprelu, gated, l1_relu: coefficient of the architecture's sparsity term, and where the L0
    controller starts. The shipped trainer's default is 0, its controller's 1e-4."""
    gate_reconstruction: float = 1.0
    """gated: weight of the error of the gates' own reconstruction."""
    initial_log_threshold: float = -6.0
    """jumprelu."""
    threshold_window: float = 0.5
    """jumprelu: width of the straight-through window, as a share of the size of positive
    pre-activations."""
    target_l0: float | None = None
    """jumprelu, l1_relu: the L0 that the controller steers to; None leaves `sparsity` alone."""
    control_warmup: int = 200
    """Steps before the controller moves; the reference's frontier grid used 500."""

    @property
    def reads_hidden_states(self) -> bool:
        """Whether penalty or sampling ask what the language model reads."""
        return self.prism_penalty > 0 or self.row_sampling != "uniform"

    def __post_init__(self) -> None:
        for name, known in (
            ("architecture", tuple(ARCHITECTURES)), ("init", INITS),
            ("rate_schedule", RATE_SCHEDULES), ("penalty_schedule", PENALTY_SCHEDULES),
        ):
            if getattr(self, name) not in known:
                raise InvalidValue(
                    f"{name} is {getattr(self, name)!r}; known are {', '.join(known)}")
        if self.row_sampling not in SAMPLINGS and _hybrid_share(self.row_sampling) is None:
            raise InvalidValue(
                f"row_sampling is {self.row_sampling!r}; known are {', '.join(SAMPLINGS)} and "
                "hybrid_<f>freq_<u>uniform")
        for name, most in (("d_sae", math.inf), ("steps", math.inf), ("batch", math.inf),
                           ("hidden_states", math.inf), ("k", self.d_sae),
                           ("prism_top_n", TARGETS)):
            self._whole(name, getattr(self, name), most)
        for name in ("learning_rate", "encoder_scale", "seeded_scale", "gradient_clip",
                     "threshold_window"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidValue(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("weight_decay", "code_l2", "prism_penalty", "sparsity",
                     "gate_reconstruction", "control_warmup"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidValue(f"{name} is {getattr(self, name)}; it must not be below 0")
        for name in ("rate_warmup", "final_share", "prism_delay", "frequent_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidValue(f"{name} is {getattr(self, name)}; it is a share, 0 to 1")
        if not abs(self.initial_log_threshold) < 60:
            raise InvalidValue(f"initial_log_threshold is {self.initial_log_threshold}; it is a "
                               "logarithm, -60 to 60")
        self._check_nesting()
        self._check_target()

    def _whole(self, name: str, value: object, most: float) -> None:
        if type(value) is not int or not 1 <= value <= most:
            top = "" if most == math.inf else f" to {most}"
            raise InvalidValue(f"{name} is {value!r}; it is a whole number from 1{top}")

    def _check_nesting(self) -> None:
        if self.architecture != "matryoshka_topk":
            if self.k_values or self.k_weights:
                raise InvalidValue("k_values and k_weights belong to a matryoshka_topk prism, and "
                                   f"only to one; this is {self.architecture}")
            return
        for value in self.k_values:
            self._whole("k_values", value, self.d_sae)
        if list(self.k_values) != sorted(set(self.k_values)):
            raise InvalidValue(f"k_values is {list(self.k_values)}; they must rise")
        if self.k_weights and len(self.k_weights) != len(nested_ks(self)):
            raise InvalidValue(f"k_weights has {len(self.k_weights)} values for "
                               f"{len(nested_ks(self))} k's; tell as many of each")
        if any(not 0 <= weight < math.inf for weight in self.k_weights) or (
                self.k_weights and not sum(self.k_weights)):
            raise InvalidValue(f"k_weights is {list(self.k_weights)}; they must not be below 0, "
                               "nor all 0")

    def _check_target(self) -> None:
        if self.target_l0 is None:
            return
        if self.architecture not in CONTROLLED:
            raise InvalidValue(f"target_l0 belongs to {' and '.join(CONTROLLED)}; this is "
                               f"{self.architecture}")
        if not 0 < self.target_l0 <= self.d_sae:
            raise InvalidValue(f"target_l0 is {self.target_l0}; it is above 0 and at most "
                               f"{self.d_sae}")


def nested_ks(recipe: PrismRecipe) -> tuple[int, ...]:
    """The k's of a matryoshka prism, rising."""
    usual = sorted({max(1, recipe.k // 4), max(1, recipe.k // 2), recipe.k})
    return recipe.k_values or tuple(usual)


def learning_rate(recipe: PrismRecipe, step: int) -> float:
    """Linear warm-up, then cosine to `final_share` of the peak (section 3.2)."""
    if recipe.rate_schedule == "constant":
        return recipe.learning_rate
    warm = max(1, int(recipe.rate_warmup * recipe.steps))
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    u = (step - warm) / max(1, recipe.steps - warm)
    low = recipe.final_share
    return recipe.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * u)))


def penalty_weight(recipe: PrismRecipe, step: int) -> float:
    """0 for the first `prism_delay` of the steps, then linear to `prism_penalty`."""
    if recipe.penalty_schedule == "constant":
        return recipe.prism_penalty
    start = recipe.prism_delay * recipe.steps
    return recipe.prism_penalty * max(0.0, (step - start) / max(1.0, recipe.steps - start))


def _hybrid_share(sampling: str) -> float | None:
    """What frequency counts for in `hybrid_<f>freq_<u>uniform`; None for another name."""
    found = re.fullmatch(r"hybrid_(\d+(?:\.\d+)?)freq_(\d+(?:\.\d+)?)uniform", sampling)
    if not found:
        return None
    frequent, uniform = map(float, found.groups())
    return frequent / (frequent + uniform) if frequent + uniform else None


def row_weights(recipe: PrismRecipe, targets: Tensor, rows: int) -> Tensor:
    """How often each row is drawn, (V,) float64, up to a factor (section 3.3).

    Args:
        recipe: dials.
        targets: (n, up to 8) top targets of the hidden states, the largest logit first.
        rows: V.
    """
    def counts(first: int) -> Tensor:
        return torch.bincount(targets[:, :first].flatten(), minlength=rows).clamp_min(1).double()

    uniform = torch.full((rows,), 1 / rows, dtype=torch.float64)
    sampling = recipe.row_sampling
    if sampling == "uniform":
        return uniform
    if sampling in ("top1_sqrt_frequency", "top5_sqrt_frequency"):
        return counts(int(sampling[3])).sqrt()
    frequency = counts(TARGETS)
    powers = {"frequency": 1.0, "frequency_sqrt": 0.5, "frequency_pow_0.5": 0.5,
              "frequency_pow_0.75": 0.75}
    if sampling in powers:
        return frequency ** powers[sampling]
    share = recipe.frequent_share if sampling == "hybrid" else _hybrid_share(sampling)
    assert share is not None
    return share * frequency / frequency.sum() + (1 - share) * uniform


def seeded_rows(x: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """`width` rows of x as unit directions, without replacement while there are enough."""
    order = torch.randperm(x.shape[0], generator=generator)
    if width <= x.shape[0]:
        return x[order[:width]].clone()
    extra = torch.randint(x.shape[0], (width - x.shape[0],), generator=generator)
    noise = 0.02 * torch.randn(len(extra), x.shape[1], generator=generator, dtype=x.dtype)
    return torch.nn.functional.normalize(torch.cat([x[order], x[extra] + noise]), dim=1)
