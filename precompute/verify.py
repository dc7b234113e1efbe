"""Recompute the quality of a run from its weights and its snapshots, beside what is recorded.

The canonical figures are crosscoder-method §6.2 (rowEV over all rows for a prism), the training
figures §6.1, whose value depends on the batch (a prism's trainer looks at its first 20,000 rows).
A release does not say which protocol its figures follow, so its figures may be met by either; what
was trained here records the canonical ones. Rows and weights are read in blocks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.artifacts import RunFolder, read_crosscoder, read_prism, read_run, snapshot_path
from atlas.crosscoder import Crosscoder, Measured, Standardization, measure
from atlas.errors import BrokenArtifact
from atlas.language_model import LanguageModel, full_steps
from atlas.places import DEMO, model_path
from atlas.prism import NORM_FLOOR, Tally, logit_fidelity
from atlas.tensor_files import TensorFile, load_tensors, sha256
from precompute.fidelity import held_out_prompts
from precompute.locate import Located

TOLERANCE = 1e-3
"""Absolute for explained variance and dead share."""
L0_TOLERANCE = 5e-3
"""Relative (crosscoder-method section 6.4)."""
PRINTED = {"explained_variance": 5e-4, "l0": 0.5, "dead_rate": 5e-4}
"""What rounding on the release card may add, for figures known from the inventory only."""
FIGURES = ("explained_variance", "l0", "dead_rate")
PRISM_ROWS = 20_000
"""Rows that the released prism trainer measures on (prism-method §14, trap 12)."""
BLOCK = 1024
"""Rows read at once, and the training batch where a run does not say."""
PRISM_BLOCK = 512
"""The widest prism has 131,072 features: a plane of 1,024 rows would be half a gigabyte."""
PROMPTS, STATES = 32, 256
TEXT = "validation documents of the demo corpus"
"""Not the text of the release's own evaluation, which was not published."""
RATES_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Verdict:
    """One recorded figure and whether it came out again."""

    figure: str
    canonical: float
    training: float
    recorded: float | None
    tolerance: float
    """Largest difference that still agrees."""
    met_by: str | None
    """`canonical` or `training`: the protocol that gives the recorded figure; None if neither."""

    @property
    def said(self) -> str:
        """The verdict in words."""
        if self.recorded is None:
            return "not recorded"
        return f"reproduced ({self.met_by})" if self.met_by else "NOT reproduced"


@dataclass(frozen=True)
class Readout:
    """What a prism's rebuilt head does to next-token predictions (prism-method §5)."""

    top1_match: float
    kl_bits: float
    training_top1_match: float
    """Over the first 20,000 rows alone, which are also the softmax's support."""
    training_kl_bits: float
    n_states: int
    text: str


@dataclass(frozen=True)
class Verification:
    """Figures of one run, recomputed and recorded."""

    run: str
    canonical: dict[str, float]
    training: dict[str, float]
    recorded: dict[str, float]
    """From `metrics.json`; figures that no one recorded are absent."""
    verdicts: tuple[Verdict, ...]
    changed: tuple[str, ...]
    """Files whose hash is not the one that provenance recorded."""
    more: dict[str, Any] = field(default_factory=dict)
    """Figures that are shown and not judged."""
    readout: Readout | None = None
    """Prisms whose language model is in the store and fits in memory."""
    companions: dict[str, float] = field(default_factory=dict)
    """Companion -> largest difference between its rates and the recomputed ones."""

    @property
    def off(self) -> tuple[str, ...]:
        """Names of the recorded figures that neither protocol reproduces."""
        figures = [v.figure for v in self.verdicts if v.recorded is not None and v.met_by is None]
        return (*figures, *(n for n, far in self.companions.items() if far > RATES_TOLERANCE))

    @property
    def within_tolerance(self) -> bool:
        """Whether everything that was recorded is reproduced."""
        return not self.off


def verify(located: Located) -> Verification:
    """Recompute the figures of a run.

    Raises:
        NotFound: the run folder or a snapshot is not there.
        BrokenArtifact: a part of it is damaged, or the dictionary does not fit its snapshots.
    """
    folder = read_run(located.folder)
    if folder.kind == "prism":
        return _verify_prism(located, folder)
    crosscoder = read_crosscoder(folder)
    rows = Snapshots(located, folder, crosscoder.d_model)
    batch = _batch(folder)
    measured = measure(crosscoder, rows.batches(batch))
    canonical, training = _figures(measured.canonical), _figures(measured.training)
    by_snapshot = measured.canonical.explained_variance_by_snapshot
    assert by_snapshot is not None
    assert measured.canonical.l0_by_snapshot is not None
    return Verification(
        run=located.run, canonical=canonical, training=training, recorded=_recorded(folder),
        verdicts=_verdicts(folder, canonical, training), changed=_changed(located, folder),
        more={
            "rows": rows.n_rows, "batch": batch,
            "reconstruction_mse": measured.canonical.reconstruction_mse,
            "explained_variance_by_snapshot": by_snapshot.tolist(),
            "l0_by_snapshot": measured.canonical.l0_by_snapshot.tolist(),
        },
        companions=_companions(folder, crosscoder, measured, rows.statistics),
    )


def _batch(folder: RunFolder) -> int:
    batch = folder.config["training"].get("batch", BLOCK)
    if type(batch) is not int or batch < 1:
        raise BrokenArtifact(
            f"{folder.path / 'config.json'}: training.batch is {batch!r}, expected 1 or more"
        )
    return batch


class Snapshots:
    """The standardised rows of a run, read by slices: no snapshot is in memory whole."""

    def __init__(self, located: Located, folder: RunFolder, d_model: int) -> None:
        """Open the snapshots, check their shapes and add up their statistics (§2)."""
        self._matrix = folder.config["matrix"]
        self._files = [
            TensorFile(snapshot_path(located.store, folder.config["model_name"], s, self._matrix))
            for s in folder.steps
        ]
        self.n_rows = self._files[0].shape(self._matrix)[0]
        for file in self._files:
            file.expect({self._matrix: (self.n_rows, d_model)}, f"{folder.weights} with its rows")
        statistics = [self._statistics(file) for file in self._files]
        self.statistics = Standardization(*(torch.stack(p) for p in zip(*statistics, strict=True)))

    def _statistics(self, file: TensorFile) -> tuple[Tensor, Tensor]:
        """Mean (d,) and scale () of the rows of a snapshot, as §2 says, in float64."""
        total: Tensor | float = 0.0
        for _, block in file.blocks(self._matrix):
            total = total + block.double().sum(dim=0)
        assert isinstance(total, Tensor)
        mean = total / self.n_rows
        squares = sum(
            float((block.double() - mean).square().sum())
            for _, block in file.blocks(self._matrix, check=False)
        )
        scale = max(squares / (self.n_rows * len(mean)), 1e-8) ** 0.5
        return mean.float(), torch.tensor(scale)

    def batches(self, size: int) -> Iterator[Tensor]:
        """Standardised rows (K, B, d), B of `size` or what is left."""
        parts = (file.blocks(self._matrix, size, check=False) for file in self._files)
        for blocks in zip(*parts, strict=True):
            yield self.statistics.apply(torch.stack([block for _, block in blocks]))


# --- prisms ------------------------------------------------------------------------------------


def _verify_prism(located: Located, folder: RunFolder) -> Verification:
    prism = read_prism(folder)
    name, matrix = folder.config["model_name"], folder.config["matrix"]
    file = TensorFile(snapshot_path(located.store, name, folder.steps[-1], matrix))
    n_rows = file.shape(matrix)[0]
    file.expect({matrix: (len(prism.row_norms), prism.d_model)}, str(folder.weights))
    hidden, softcap = _hidden_states(located, folder)
    tally = Tally(prism)
    first = None
    logits = torch.empty(2, 0 if hidden is None else len(hidden), n_rows)
    for raw in _cut(file, matrix, PRISM_ROWS):
        norms = (raw - prism.row_mean).norm(dim=-1).clamp(min=NORM_FLOOR)
        here = slice(tally.n_rows, tally.n_rows + len(raw))
        x_hat = tally.add((raw - prism.row_mean) / norms[:, None])
        if hidden is not None:
            logits[0, :, here] = hidden @ raw.T
            logits[1, :, here] = hidden @ (prism.row_mean + norms[:, None] * x_hat).T
        if tally.n_rows == min(PRISM_ROWS, n_rows):
            first = tally.quality()
    assert first is not None
    whole = tally.quality()
    readout = None
    if hidden is not None:
        readout = _readout(*logits, softcap)
    canonical, training = _figures(whole), _figures(first)
    return Verification(
        run=located.run, canonical=canonical, training=training, recorded=_recorded(folder),
        verdicts=_verdicts(folder, canonical, training), changed=_changed(located, folder),
        more={
            "rows": n_rows, "cosine": whole.cosine, "rare_rate": whole.rare_rate,
            "training_rare_rate": first.rare_rate,
            "reconstruction_mse": whole.reconstruction_mse,
            **{f"recorded_{n}": folder.metrics[n] for n in ("top1_match", "kl_bits", "rare_rate")
               if n in folder.metrics},
        },
        readout=readout,
    )


def _cut(file: TensorFile, matrix: str, at: int) -> Iterator[Tensor]:
    """Rows in blocks, one of which ends at row `at`."""
    for start, block in file.blocks(matrix, PRISM_BLOCK):
        if start < at < start + len(block):
            yield block[: at - start]
            yield block[at - start :]
        else:
            yield block


def _hidden_states(located: Located, folder: RunFolder) -> tuple[Tensor | None, float | None]:
    """Hidden states (n, d) of held-out text, and the softcap of the model that they are of.

    None where the store does not have the run's model at its step, or it does not fit in memory.
    """
    models, step = model_path(located.store, folder.config["model"]), folder.steps[-1]
    corpus = DEMO / "corpus.jsonl.xz"
    if not models.is_dir() or step not in full_steps(models) or not corpus.is_file():
        return None, None
    parts = [*models.glob(f"step{step}.safetensors"), *models.glob(f"whole/step{step}/*")]
    if 2 * sum(p.stat().st_size for p in parts) > _free_memory():
        return None, None
    model = LanguageModel.load(models, located.store, step)
    states = torch.cat([model.hidden(prompt) for prompt in held_out_prompts(corpus, PROMPTS)])
    order = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))
    return states[order[:STATES]], model.softcap


def _free_memory() -> float:
    """Bytes that may still be used; without limit where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    return 1024 * float(told["MemAvailable"].split()[0]) if "MemAvailable" in told else float("inf")


def _readout(native: Tensor, rebuilt: Tensor, softcap: float | None) -> Readout:
    whole = logit_fidelity(native, rebuilt, softcap)
    first = logit_fidelity(native[:, :PRISM_ROWS], rebuilt[:, :PRISM_ROWS], softcap)
    return Readout(
        whole.top1_match, whole.kl_bits, first.top1_match, first.kl_bits, len(native), TEXT
    )


# --- beside what is recorded -------------------------------------------------------------------


def _recorded(folder: RunFolder) -> dict[str, float]:
    metrics = folder.metrics
    wrong = [f for f in FIGURES if f in metrics and not isinstance(metrics[f], int | float)]
    if wrong:
        raise BrokenArtifact(f"{folder.path / 'metrics.json'}: {wrong[0]} is no number")
    return {f: float(metrics[f]) for f in FIGURES if f in metrics}


def _verdicts(
    folder: RunFolder, canonical: dict[str, float], training: dict[str, float]
) -> tuple[Verdict, ...]:
    source = folder.metrics.get("recorded_from")
    recorded = _recorded(folder)
    verdicts = []
    for name in FIGURES:
        value = recorded.get(name)
        tolerance = max(1e-6, L0_TOLERANCE * abs(value or 0.0)) if name == "l0" else TOLERANCE
        if source == "inventory":
            tolerance += PRINTED[name]
        sides = [("canonical", canonical[name])]
        if source is not None:
            sides.append(("training", training[name]))
        met = [s for s, found in sides if value is not None and abs(found - value) <= tolerance]
        verdicts.append(Verdict(name, canonical[name], training[name], value, tolerance,
                                met[0] if met else None))
    return tuple(verdicts)


def _companions(
    folder: RunFolder, c: Crosscoder, measured: Measured, statistics: Standardization
) -> dict[str, float]:
    """How far what was fetched beside the dictionary is from what was recomputed."""
    kept = folder.path / "companions"
    here = {
        "rates": measured.rates, "decoder_norms": c.norms, "mean": statistics.mean,
        "scale": statistics.scale,
    }
    found = {}
    for path in sorted(kept.glob("*.safetensors")) if kept.is_dir() else ():
        for name, values in load_tensors(path).items():
            if name not in here:
                continue
            if values.shape != here[name].shape:
                raise BrokenArtifact(
                    f"{path}: {name} is {tuple(values.shape)}, but {folder.weights} gives "
                    f"{tuple(here[name].shape)}"
                )
            off = (values.double() - here[name].double()).abs().max()
            unit = 1.0 if name == "rates" else max(1.0, float(here[name].abs().max()))
            found[f"{path.stem}/{name}"] = float(off) / unit
    return found


def _figures(measured: Any) -> dict[str, float]:
    return {figure: float(getattr(measured, figure)) for figure in FIGURES}


def _changed(located: Located, folder: RunFolder) -> tuple[str, ...]:
    provenance = folder.provenance
    recorded = {located.store / path: want for path, want in provenance.get("inputs", {}).items()}
    if "weights" in provenance:
        recorded[located.folder / "dictionary.safetensors"] = provenance["weights"]
    return tuple(
        str(path) for path, want in recorded.items() if not path.is_file() or sha256(path) != want
    )
