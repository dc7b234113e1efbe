"""The released dictionaries: what they are called, how large they are, how good.

Read from `data/inventory/*.csv`: 70 trajectory dictionaries and 17 prisms.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import BrokenArtifact
from atlas.places import INVENTORY

ROWS = {
    "EleutherAI/pythia-160m": (50304, 768),
    "EleutherAI/pythia-1b": (50304, 2048),
    "EleutherAI/pythia-6.9b": (50432, 4096),
    "allenai/OLMo-2-1124-7B": (100352, 4096),
}
"""(V, d) of the models with a trajectory (crosscoder-method section 1.2)."""

HUB = {  # released dictionaries on the Hugging Face hub
    "trajectory": "matteohe/parameter-trajectory-crosscoders",
    "prism": "matteohe/sparse-readout-prism",
}
OTHER_OWNER = "hematteo"
"""Who later revisions print as the owner of a release (prism-method, preamble)."""


def repositories(kind: str) -> tuple[str, ...]:
    """Where a release of a kind of `HUB` may lie, the likeliest place first."""
    return HUB[kind], f"{OTHER_OWNER}/{HUB[kind].split('/')[1]}"


@dataclass(frozen=True)
class Released:
    """One released dictionary."""

    run: str
    """Run id: the inventory path without its suffix."""
    model_name: str
    matrix: str
    kind: str
    """`crosscoder`, `sae` or `prism`, as the store calls it."""
    n_snapshots: int
    rows: int | None
    """Vocabulary rows; None where the inventory does not tell."""
    d_model: int
    d_sae: int
    seed: int
    k: int | None
    """Features kept per row, prisms only."""
    explained_variance: float | None
    """As printed on the release card; rowEV for a prism, None where the card has a dash."""
    l0: float | None
    top1_match: float | None = None
    """Prisms only, of hidden states of text that was not published."""
    kl_bits: float | None = None
    """Likewise."""

    @property
    def model(self) -> str:
        return self.run.split("/")[0]

    @property
    def dictionary_bytes(self) -> int:
        """Size of the float32 file (crosscoder-method section 3.1, prism-method section 4.1)."""
        n, d, width = self.n_snapshots, self.d_model, self.d_sae
        if self.kind == "prism":
            return 4 * (2 * d * width + width + d)
        return 4 * (2 * n * d * width + n * width + n * d + width)

    @property
    def snapshot_bytes(self) -> int | None:
        """Size of the float32 snapshots it reads, None where V is not known."""
        return None if self.rows is None else 4 * self.n_snapshots * self.rows * self.d_model


def released() -> list[Released]:
    """All released dictionaries, trajectories first, in the order of the files."""
    trajectories = [_trajectory(row) for row in _rows(INVENTORY / "inventory-crosscoders.csv")]
    return trajectories + [_prism(row) for row in _rows(INVENTORY / "inventory-prism.csv")]


def find_released(run: str) -> Released | None:
    """The released dictionary of a run id, its suffix allowed; None if there is none."""
    wanted = run.removesuffix(".safetensors").removesuffix("/checkpoint.pt").strip("/")
    return next((entry for entry in released() if entry.run == wanted), None)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise BrokenArtifact(
            f"{path} cannot be read ({error}); restore it with `git checkout data/inventory`"
        ) from error


def _trajectory(row: dict[str, str]) -> Released:
    folder = row["kind"]
    heads = re.match(r"cross-snapshot-(\d+)", folder)
    single = folder.endswith("-saes")
    vocabulary, d_model = ROWS[row["model"]]
    return Released(
        run=row["path"].removesuffix(".safetensors"),
        model_name=row["model"],
        matrix=row["matrix"],
        kind="sae" if single else "crosscoder",
        n_snapshots=1 if single else int(heads.group(1)) if heads else 32,
        rows=vocabulary,
        d_model=d_model,
        d_sae=int(row["d_sae"]),
        seed=int(row["seed"]),
        k=None,
        explained_variance=float(row["explained_variance"]),
        l0=float(row["l0"]),
    )


def _prism(row: dict[str, str]) -> Released:
    width = int(row["d_features"])
    return Released(
        run=row["path"],
        model_name=row["model"],
        matrix="W_U",
        kind="prism",
        n_snapshots=1,
        rows=None,
        d_model=width // int(row["width"]),
        d_sae=width,
        seed=0,
        k=int(row["k"]),
        explained_variance=float(row["row_ev"]) if row["row_ev"] else None,
        l0=float(row["k"]),
        top1_match=float(row["top1"]) if row["top1"] else None,
        kl_bits=float(row["kl_bits"]) if row["kl_bits"] else None,
    )
