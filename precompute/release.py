"""What the path of a released dictionary says.

Follows crosscoder-method sections 1.2 and 5.1 and prism-method section 4.2.
"""

import re
from dataclasses import dataclass

from atlas.errors import InvalidValue
from atlas.inventory import ROWS, released
from atlas.schedules import MATCHED_WINDOW, OLMO, PYTHIA, SCHEDULES

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
