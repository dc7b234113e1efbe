"""What the path of a released dictionary says, and the schedules of the models it may name.

Follows crosscoder-method sections 1.2, 1.3 and 5.1 and prism-method section 4.2.
"""

import re
from dataclasses import dataclass

from atlas.errors import InvalidValue
from atlas.inventory import ROWS, released

PYTHIA = (
    0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000,
    14000, 21000, 27000, 34000, 47000, 61000, 75000, 89000, 102000, 116000, 130000, 143000,
)
OLMO = (
    150, 600, 700, 850, 900, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 14000, 21000,
    27000, 34000, 47000, 110000, 173000, 236000, 299000, 362000, 425000, 488000, 614000, 677000,
    740000, 803000, 866000, 928000,
)
PYTHIA_16 = PYTHIA[::2]
"""Every second step of Pythia's, from the first on."""
MATCHED_WINDOW = (
    256, 512, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10000, 13000, 14000, 21000,
    23000, 27000, 33000, 34000, 43000, 47000, 53000, 61000, 73000, 83000, 89000, 93000, 102000,
    113000, 123000, 130000, 143000,
)
SCHEDULES = {
    "Pythia, 32 steps": PYTHIA, "Pythia, 16 steps": PYTHIA_16, "OLMo-2-7B, 32 steps": OLMO,
    "matched window, 32 steps": MATCHED_WINDOW,
}
"""The schedules of record by what they are called in a note."""
FINISHED = "main"
"""Revision of a model that is read as it was finished, without a pretraining step."""

_RUN = r"(?P<model>[A-Za-z0-9][\w.-]*)/(?P<matrix>W_U|W_E)/"
_FORMS = tuple(
    re.compile(form, re.ASCII) for form in (
        _RUN + r"(?P<family>cross-snapshot-(?P<snapshots>\d+)(?:-[\w-]+)?)/d(?P<d_sae>\d+)/"
               r"seed(?P<seed>\d+)(?:-[\w-]+)?",
        _RUN + r"(?P<family>architecture-comparison)/d(?P<d_sae>\d+)/"
               r"(?P<act_fn>jumprelu|batchtopk|gated)(?:-[\w-]+)?/seed(?P<seed>\d+)",
        _RUN + r"(?P<family>lambda-sweep)/d(?P<d_sae>\d+)/"
               r"lam(?P<sparsity>\d+p\d+)_seed(?P<seed>\d+)",
        _RUN + r"(?P<family>per-snapshot-saes)/d(?P<d_sae>\d+)/step(?P<step>\d+)",
        _RUN + r"(?P<family>final-snapshot-saes)/d(?P<d_sae>\d+)",
        r"(?P<model>[A-Za-z0-9][\w.-]*)/k(?P<k>\d+)_(?P<factor>\d+)x",
    )
)


@dataclass(frozen=True)
class Named:
    """What the path of a dictionary says; None where it says nothing."""

    run: str
    """The path without its suffix."""
    model: str
    """Label of the model: the first part."""
    model_name: str | None
    """Id on the hub, of the models that are known."""
    matrix: str
    family: str
    """The directory that stands for its kind; of a prism `prism`."""
    kind: str
    """`crosscoder`, `sae` or `prism`."""
    snapshots: int | None
    d_sae: int | None
    act_fn: str | None
    seed: int | None
    step: int | None
    """Of a per-snapshot SAE."""
    sparsity: float | None
    """lambda, of the sweep."""
    k: int | None
    """Features kept per row of a prism."""
    factor: int | None
    """D over d of a prism."""

    @property
    def schedule(self) -> tuple[int, ...] | None:
        """The steps of record of such a path; None where there are none."""
        if "matched-window" in self.family:
            return MATCHED_WINDOW
        if self.model_name not in ROWS:
            return None
        full = OLMO if "olmo" in self.model_name.lower() else PYTHIA
        return full[::2] if self.snapshots == 16 else full


def read_path(run: str) -> Named:
    """What an inventory path says.

    Raises:
        InvalidValue: it has none of the forms of a release.
    """
    bare = re.sub(r"\.safetensors$|\.pt$", "", run.strip("/").removesuffix("/checkpoint.pt"))
    match = next((m for m in (form.fullmatch(bare) for form in _FORMS) if m), None)
    if match is None or ".." in bare or len(bare) > 200:
        raise InvalidValue(
            f"{run[:120]!r} is no path of a release; such are <model>/W_U/cross-snapshot-<K>/d<D>/"
            f"seed<S> and <model>/k<k>_<width>x, `readout-atlas runs --inventory` lists all"
        )
    said = match.groupdict()
    names = {entry.model: entry.model_name for entry in released()}

    def number(name: str) -> int | None:
        return int(said[name]) if said.get(name) else None

    family = said.get("family") or "prism"
    single = family.endswith("-saes")
    kind = "prism" if family == "prism" else "sae" if single else "crosscoder"
    sparsity = said.get("sparsity")
    return Named(
        run=bare,
        model=said["model"],
        model_name=names.get(said["model"]),
        matrix=said.get("matrix") or "W_U",
        family=family,
        kind=kind,
        snapshots=1 if kind != "crosscoder" else number("snapshots"),
        d_sae=number("d_sae"),
        act_fn=said.get("act_fn") or (None if kind == "prism" else "jumprelu"),
        seed=number("seed"),
        step=number("step"),
        sparsity=float(sparsity.replace("p", ".")) if sparsity else None,
        k=number("k"),
        factor=number("factor"),
    )


def schedule_name(steps: tuple[int, ...]) -> str | None:
    """What a list of steps is called; None if it is no schedule of record."""
    return next((name for name, known in SCHEDULES.items() if known == steps), None)
