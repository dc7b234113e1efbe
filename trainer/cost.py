"""What a training costs: operations, bytes, memory of each process, minutes. Nothing is measured.

The counts follow the code that trains (`trainer.joint_step`, `trainer.shared_code`,
`trainer.prism`) and performance.md section 4, of which the speeds of an accelerator are as well.
K snapshots, n rows, B of them a step, d width, D features; U = 2 B K d D operations is one product
of a batch with all features.
"""

import math
from dataclasses import dataclass

from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.prism_recipe import PrismRecipe

NUMBER = 4
"""Bytes of a float32."""
STATES = 3
"""Numbers kept for each weight: itself and Adam's two moments."""
WORLDS = (1, 2, 4, 8)
"""Numbers of processes that are planned for, where they divide the snapshots."""
JOINT_PRODUCTS = 5
"""U of a step with all gradients: encode, decode, u, the decoder's and the encoder's gradient."""
GATED_PRODUCTS = 8
"""Likewise of a gated crosscoder, which decodes its gates as well."""
PRISM_PRODUCTS = 3
"""Likewise of a prism as its repository estimates it, 6 B d D (prism-method section 3.6)."""
JOINT_PLANES, SHARED_PLANES, PRISM_PLANES = 9, 10, 5
"""Arrays of (B, D) that a step has at once."""


@dataclass(frozen=True)
class Speed:
    """What a device does in a second, and how a step is done on it."""

    name: str
    products: dict[str, float]
    """Precision -> operations a second of large products."""
    bytes: float
    """Bytes a second of reading and writing together."""
    share: float = 1.0
    """Of a step's products, those that are done: lists of what fires replace the others."""
    weight_bytes: float = 32.0
    """Bytes moved for a weight by its gradient and by Adam."""
    passes: float = 0.0
    """Times that (B, K, D) numbers are moved by what is done to each of them."""
    link: float = math.inf
    """Bytes a second summed between devices."""


H200 = Speed(
    "one H200, on paper",
    products={"float32": 0.85 * 50e12, "tf32": 0.85 * 400e12, "bfloat16": 0.85 * 790e12},
    bytes=4.3e12, weight_bytes=34.0, passes=8.0, link=300e9,
)
"""performance.md section 4, of stock PyTorch without kernels of its own: 50, 400 and 790 TFLOP/s of
which products reach 85 %, 4.3 TB/s, 34 bytes for each weight, 6 ms of pointwise work at the 160M
shape, sums between cards at 300 GB/s. Only the 790 and the 4.3 were measured."""
H200_BYTES = 141e9
"""Its memory."""


@dataclass(frozen=True)
class Cost:
    """What one training costs."""

    snapshots: int
    """K."""
    rows: int
    """Rows that are trained on."""
    d_model: int
    d_sae: int
    batch: int
    steps: int
    parameters: int
    """Weights that are trained."""
    step_flops: float
    """Operations of the products of a step of `batch` rows."""
    total_flops: float
    """Of all steps; the last batch of an epoch may be short."""
    replicated: int
    """Of the weights, those that every process holds: the thresholds."""
    gradient_bytes: int
    """Of a process, the gradients that are there at once."""
    listed_bytes: int
    """The encoder's whole gradient, where lists are worked on (on a CPU)."""
    row_numbers: int
    """Numbers of all rows."""
    batch_bytes: int
    """Rows of a batch and their residual."""
    plane_bytes: int
    """Arrays of (B, D); every process has them."""
    rounded_bytes: int = 0
    """bfloat16: the rounded encoder."""
    divisible: bool = True
    """Whether processes may share the snapshots."""
    streamable: bool = True
    """Whether rows may be read batch by batch instead of being held."""

    @property
    def worlds(self) -> tuple[int, ...]:
        """Numbers of processes that can train it together."""
        return tuple(w for w in WORLDS if w == 1 or (self.divisible and self.snapshots % w == 0))

    @property
    def weight_bytes(self) -> int:
        """Of all weights."""
        return NUMBER * self.parameters

    @property
    def moment_bytes(self) -> int:
        """Of Adam's two."""
        return 2 * self.weight_bytes

    @property
    def row_bytes(self) -> int:
        """Of all rows, held in float32."""
        return NUMBER * self.row_numbers

    @property
    def checkpoint_bytes(self) -> int:
        """Of the checkpoint before and the next one, together on disk for a moment."""
        return 2 * STATES * self.weight_bytes

    def memory(self, world: int = 1, row_size: int = NUMBER, lists: bool = False) -> int:
        """Bytes of one of so many processes.

        Args:
            world: processes that share the snapshots.
            row_size: bytes of a number of the rows that are held; 0 where they are read batch by
                batch.
            lists: whether it works on lists, as on a CPU.
        """
        own = (self.parameters - self.replicated) // world + self.replicated
        split = self.batch_bytes + self.rounded_bytes + row_size * self.row_numbers
        split += self.listed_bytes if lists else 0
        return STATES * NUMBER * own + self.gradient_bytes + split // world + self.plane_bytes

    def seconds(self, speed: Speed, precision: str, world: int = 1) -> float:
        """Of all steps, on so many devices, one thing after the other."""
        products = self.total_flops * speed.share / speed.products[precision]
        moved = speed.weight_bytes * self.parameters
        moved += speed.passes * NUMBER * self.batch * self.snapshots * self.d_sae
        summed = 2 * NUMBER * self.batch * self.d_sae / speed.link if world > 1 else 0.0
        return (products + self.steps * moved / speed.bytes) / world + self.steps * summed


def crosscoder_parameters(snapshots: int, d_model: int, d_sae: int) -> int:
    """2 K d D + K D + K d + D of a JumpReLU crosscoder (crosscoder-method section 3.1)."""
    return 2 * snapshots * d_model * d_sae + snapshots * (d_sae + d_model) + d_sae


def crosscoder_cost(recipe: CrosscoderRecipe, snapshots: int, rows: int, d_model: int) -> Cost:
    """Of a crosscoder, or of an SAE where there is one snapshot.

    Args:
        recipe: dials. snapshots: K. rows: n that are trained on. d_model: d.
    """
    width, batch = recipe.d_sae, min(recipe.batch, rows)
    steps = recipe.epochs * math.ceil(rows / recipe.batch)
    joint = recipe.activation == "jumprelu"
    matrix = snapshots * d_model * width
    if joint:
        parameters = crosscoder_parameters(snapshots, d_model, width)
        gradient = 2 * NUMBER * d_model * width
    else:
        gates = 3 * width if recipe.activation == "gated" else 0
        parameters = 2 * matrix + width + snapshots * d_model + gates
        gradient = NUMBER * parameters
    products = GATED_PRODUCTS if recipe.activation == "gated" else JOINT_PRODUCTS
    return Cost(
        snapshots, rows, d_model, width, recipe.batch, steps, parameters,
        step_flops=2.0 * products * batch * matrix,
        total_flops=2.0 * products * recipe.epochs * rows * matrix,
        replicated=width if joint else 0,
        gradient_bytes=gradient,
        listed_bytes=NUMBER * matrix if joint else 0,
        row_numbers=snapshots * rows * d_model,
        batch_bytes=(2 if joint else 3) * NUMBER * batch * snapshots * d_model,
        plane_bytes=(JOINT_PLANES if joint else SHARED_PLANES) * NUMBER * batch * width,
        rounded_bytes=2 * matrix if joint and recipe.precision == "bfloat16" else 0,
        divisible=joint,
    )


def prism_cost(recipe: PrismRecipe, rows: int, d_model: int) -> Cost:
    """Of a prism; the penalty's rows count while it is in force.

    Args:
        recipe: dials. rows: V. d_model: d.
    """
    width, batch = recipe.d_sae, recipe.batch
    matrix = d_model * width
    parameters = 2 * matrix + width
    penalised = min(batch, recipe.hidden_states) if recipe.prism_penalty else 0
    in_force = recipe.steps * (1 - recipe.prism_delay)
    if recipe.penalty_schedule == "constant":
        in_force = recipe.steps
    each = 2.0 * PRISM_PRODUCTS * matrix
    return Cost(
        1, rows, d_model, width, batch, recipe.steps, parameters,
        step_flops=each * batch,
        total_flops=each * (recipe.steps * batch + in_force * penalised),
        replicated=0,
        gradient_bytes=NUMBER * parameters,
        listed_bytes=0,
        row_numbers=2 * rows * d_model,  # as they are and normalised
        batch_bytes=3 * NUMBER * (batch + penalised) * d_model,
        plane_bytes=PRISM_PLANES * NUMBER * (batch + penalised) * width,
        divisible=False,
        streamable=False,
    )
