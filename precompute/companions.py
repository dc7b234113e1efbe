"""What a release has beside its dictionaries: aggregates, rates, attributions, a text corpus.

Each is read once, checked against the run it belongs to (K, D, steps) and kept as safetensors and
JSON under `runs/<run>/companions` or `corpora/evaluation`. Follows crosscoder-method sections 5.7
to 5.10; where the release's producer is unknown, what is found is checked and the rest refused.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from atlas.artifacts import RunFolder, read_run
from atlas.errors import BrokenArtifact, InvalidValue
from atlas.places import run_path
from atlas.tensor_files import read_json, save_tensors, sha256, write_json
from precompute.attribution import keep_attribution
from precompute.corpus import CORPUS, take_in_corpus
from precompute.tables_of_rates import (
    Shape,
    read_aggregates,
    read_per_feature,
    read_rates,
)

__all__ = ["CORPUS", "companions_of", "take_in_companions", "take_in_corpus"]

Report = Callable[[str], None]
AGGREGATES, RATES = "derived/aggregates/", "derived/rates/"
ATTRIBUTION = "attribution/pythia-160m/"
"""Of `ATTRIBUTION_RUN` only; a path that ends in `/` stands for every file below it."""
ATTRIBUTION_RUN = "pythia-160m/W_U/cross-snapshot-32/d8192/seed0"
AGGREGATED = {"pythia-160m": (24576,), "pythia-1b": (8192, 16384, 24576), "pythia-6.9b": (32768,)}
"""Model -> widths whose seed 0 has aggregates (section 5.7)."""
LISTING = "companions.json"


def companions_of(run: str) -> list[str]:
    """Paths in the release that belong to a run; a path that ends in `/` is a folder.

    The release may lack some of them: its file lists are not published (section 5.8).
    """
    match = re.fullmatch(r"([\w.-]+)/(W_U|W_E)/cross-snapshot-32/d(\d+)/seed(\d+)", run)
    if match is None:
        return []
    model, matrix, width, seed = match[1], match[2], int(match[3]), int(match[4])
    paths = []
    if matrix == "W_U" and seed == 0 and width in AGGREGATED.get(model, ()):
        paths.append(f"{AGGREGATES}aggregates_{model}_d{width}_seed0.pt")
    if (model, matrix, width) == ("pythia-160m", "W_U", 8192):
        paths += [
            f"{RATES}wu-d8192-multiseed/{name}_all_seeds.npy"
            for name in ("firing_rates", "decoder_norms", "cusum_max", "peak_steps")
        ]
    if (model, matrix, width) == ("pythia-160m", "W_U", 24576):
        paths.append(f"{RATES}wu-d24576-multiseed/decoder_norms_dsae24576_seed{seed}.npy")
    if (model, matrix, width, seed) == ("pythia-1b", "W_U", 24576, 0):
        paths.append(f"{RATES}wu-1b-d24576/decoder_norms_dsae24576_seed0.npy")
    if (model, matrix, width) == ("pythia-160m", "W_E", 8192):
        paths += [f"{RATES}we-d8192-multiseed/we_rates_dsae8192_seed{seed}.pt",
                  f"{RATES}we-d8192-multiseed/we_cc_dsae8192_seed{seed}_norms.npy"]
    return paths + ([ATTRIBUTION] if run == ATTRIBUTION_RUN else [])


def take_in_companions(
    store: Path, run: str, files: Mapping[str, Path], report: Report
) -> list[Path]:
    """Convert companions of a run that is in the store.

    Args:
        store: where `runs/<run>` is.
        run: run id.
        files: release path -> the file on this machine; pairs such as a shard's .json and .pt
            belong together in one call.
        report: called with a line per file.

    Returns:
        What was written. A file that was taken in before is written again in its place.

    Raises:
        BrokenArtifact: a file is damaged, or does not fit the run; names both sides.
        InvalidValue: a path is of no known companion.
    """
    folder = read_run(run_path(store, run))
    shape = Shape(tuple(folder.steps), folder.config["config"]["d_sae"], str(folder.path))
    out = folder.path / "companions"
    written: list[Path] = []
    attribution = {p: f for p, f in files.items() if p.startswith("attribution/")}
    for path, file in files.items():
        if path in attribution:
            continue
        name, tensors = _converted(folder, path, file, shape)
        target = out / f"{name}.safetensors"
        save_tensors(target, tensors)
        _list(out, path, file, target)
        written.append(target)
        report(f"{run}: {path} as companions/{target.name}")
    for path, target in keep_attribution(attribution, out / "attribution", shape,
                                         folder.config["config"]["d_model"]):
        _list(out, path, attribution[path], target)
        written.append(target)
        report(f"{run}: {path} as companions/attribution/{target.name}")
    return written


def _converted(
    folder: RunFolder, path: str, file: Path, shape: Shape
) -> tuple[str, dict[str, Tensor]]:
    seed, name = int(folder.config["seed"]), Path(path).name
    if path.startswith(AGGREGATES):
        found = read_aggregates(file, shape, seed)
        tensors = {"rates": found.rates, "decoder_norms": found.norms,
                   "cusum_max": found.cusum_max, "peak_steps": found.peak_steps,
                   "mean": found.mean, "scale": found.scale}
        return "aggregates", {n: t for n, t in tensors.items() if t is not None}
    if path.startswith(RATES) and "norms" in name:
        return "decoder_norms", {"decoder_norms": read_rates(file, shape, seed, share=False)}
    if path.startswith(RATES) and "rates" in name:
        return "rates", {"rates": read_rates(file, shape, seed)}
    if path.startswith(RATES) and "cusum_max" in name:
        return "cusum_max", {"cusum_max": read_per_feature(file, shape, seed)}
    if path.startswith(RATES) and "peak_steps" in name:
        return "peak_steps", {"peak_steps": read_per_feature(file, shape, seed, steps=True)}
    raise InvalidValue(f"{path!r:.120} is no companion that is read; {AGGREGATES} and {RATES} are")


def _list(out: Path, path: str, file: Path, target: Path) -> None:
    """Note where a companion came from; a later one of the same path replaces the entry."""
    listing = out / LISTING
    known = read_json(listing) if listing.is_file() else {}
    if not isinstance(known, dict):
        raise BrokenArtifact(f"{listing} is no table; remove it and fetch the companions again")
    entry = {"sha256": sha256(file), "kept": target.relative_to(out).as_posix()}
    write_json(listing, dict(sorted((known | {path: entry}).items())))


def keep_statistics(folder: Path, mean: Tensor | None, scale: Tensor | None) -> None:
    """Keep the preprocessing statistics that a legacy checkpoint carries (section 2)."""
    if mean is not None and scale is not None:
        save_tensors(folder / "companions" / "preprocess.safetensors",
                     {"mean": mean, "scale": scale})
