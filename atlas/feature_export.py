"""What the page of a feature shows, to take along: as a table, as JSON, as code, as an array."""

import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlas.errors import AtlasError, NotFound
from atlas.matrix_files import MatrixFile
from atlas.pointer import read_pointer
from atlas.records import FeatureCard, RunCard, TokenList

MEASURES = ("norm", "rate", "rotation", "to_terminal", "contribution")


def life_table(card: FeatureCard) -> pd.DataFrame:
    """One row per snapshot: step, the five measures, the promoted and the suppressed tokens.

    Rotation is that since the snapshot before, so the first has none; tokens are as they are
    drawn, best first.
    """
    rotation = np.concatenate([[np.nan], card.rotation]) if len(card.steps) > 1 else [np.nan]
    return pd.DataFrame({
        "step": list(card.steps),
        "norm": card.norm,
        "rate": card.rate,
        "rotation": rotation,
        "to_terminal": card.to_terminal,
        "contribution": card.contribution,
        "promoted": [list(found.texts) for found in card.promoted],
        "suppressed": [list(found.texts) for found in card.suppressed],
    })


def as_json(run: RunCard, card: FeatureCard, more: dict[str, Any] | None = None) -> bytes:
    """All numbers of the page, with the hash of the run's data; what is not available is null.

    `more` holds what the card does not: changes of level, matches, examples.
    """
    rotation = [None, *card.rotation.tolist()]
    found = {
        "run": run.run,
        "hash": run.hash,
        "feature": asdict(card.info),
        "steps": list(card.steps),
        **{name: rotation if name == "rotation" else getattr(card, name).tolist()
           for name in MEASURES},
        "promoted": [_tokens(found) for found in card.promoted],
        "suppressed": [_tokens(found) for found in card.suppressed],
        "firing": _tokens(card.firing),
        "neighbours": {
            "features": card.neighbours.features.tolist(),
            "cosines": _short(card.neighbours.cosines),
        },
        **(more or {}),
    }
    text = json.dumps(_clean(found), ensure_ascii=False, indent=1, allow_nan=False)
    return text.encode("utf8", "replace")


def _tokens(found: TokenList) -> dict[str, Any]:
    return {"tokens": found.tokens.tolist(), "texts": list(found.texts),
            "values": _short(found.values)}


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{v:.6g}") for v in values.tolist()]


def _clean(value: Any) -> Any:
    """The same with None for what is not a number."""
    if isinstance(value, dict):
        return {str(key): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value


def directions(folder: Path, run: RunCard, feature: int) -> np.ndarray:
    """The feature's decoder rows at all snapshots, (K, d) float32.

    Raises:
        NotFound: the run's weights are not in this store. BrokenArtifact: they are damaged.
    """
    path = folder / run.folder / "dictionary.safetensors"
    if not path.is_file():
        raise NotFound(f"the weights of {run.run} are not in this store: {path} is not there")
    name = "decoder" if run.kind == "prism" else "W_D"
    return MatrixFile(path).rows(name, [k * run.d_sae + feature for k in range(len(run.steps))])


def has_directions(folder: Path, run: RunCard) -> bool:
    """Whether `directions` has a file to read."""
    return (folder / run.folder / "dictionary.safetensors").is_file()


def as_npy(values: np.ndarray) -> bytes:
    """An array as the bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def python_of(folder: Path | str, run: str, feature: int, k: int) -> str:
    """Lines of Python that read what the page shows."""
    return (
        "from atlas.store import Store\n\n"
        f"store = Store.open({str(folder)!r})\n"
        f"card = store.feature({run!r}, {feature})\n"
        "print(card.info.label, card.info.birth_step)\n"
        f"print(dict(zip(card.promoted[{k}].texts, card.promoted[{k}].values)))"
    )


def sql_of(folder: Path, run: RunCard, feature: int) -> str:
    """Statements for the `duckdb` command line that list the life and the promoted tokens.

    The files named in them are immutable; the next generation of the store has others.
    """
    def quoted(path: Path) -> str:
        return "'" + str(path).replace("'", "''") + "'"

    lines = [f"ATTACH {quoted(folder / run.file)}\n  AS run (READ_ONLY);"]
    try:
        catalog = folder / str(read_pointer(folder)["catalog"])
    except AtlasError:
        catalog = None
    if catalog is not None:
        lines.append(f"ATTACH {quoted(catalog)}\n  AS catalog (READ_ONLY);")
    model = run.model.replace("'", "''")
    names = (
        "(\n         SELECT list(text ORDER BY place)\n"
        "         FROM unnest(p.tokens) WITH ORDINALITY AS t(id, place)\n"
        f"         JOIN catalog.token ON token = id AND model = '{model}')"
    )
    lines.append(
        "SELECT step, l.norm[s.k + 1] AS norm, l.rate[s.k + 1] AS rate,\n"
        f"       {names if catalog is not None else 'p.tokens'} AS promoted\n"
        "FROM run.snapshot AS s, run.life AS l JOIN run.promoted AS p USING (feature)\n"
        f"WHERE l.feature = {feature} AND p.k = s.k ORDER BY s.k;"
    )
    return "\n".join(lines)
