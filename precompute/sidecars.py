"""Small text files of a release: configuration sidecars, the index, the cards; read defensively.

Nothing in them is trusted: sizes are capped before reading, a name is only compared, and a field
of the wrong type is refused with the file and the field (crosscoder-method sections 5.3, 5.4).
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.errors import BrokenArtifact, NotFound

MAX_JSON = 5_000_000
"""Bytes of a JSON file or card that is read."""
MAX_STEP = 10**9
RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(?:/[A-Za-z0-9][A-Za-z0-9._+-]*)*")

CARD_LINES = (
    re.compile(r"\|\s*([^|]{1,60}?)\s*\|\s*([^|]{1,200}?)\s*\|"),
    re.compile(r"(?:[-*]\s+)?\**([A-Za-z][\w .-]{0,59}?)\**\s*:\s*\**\s*(\S.{0,199})"),
)
"""A row of a two-column table; `key: value`, perhaps a bold item of a list."""

TRAINING = {
    "lr": "learning_rate", "l1_coefficient": "sparsity", "tanh_stretch_coefficient": "tanh_stretch",
    "jumprelu_lr_factor": "threshold_rate", "init_threshold": "initial_threshold",
    "decoder_transpose_init": "transpose_factor", "n_epochs": "epochs", "batch_size": "batch",
    "l1_warmup_fraction": "sparsity_warmup", "lr_warmup_fraction": "rate_warmup",
    "lr_decay_fraction": "rate_decay",
}
"""Foreign names of training settings and ours; every other one is kept as it is."""
QUALITY = {
    "explained_variance": "explained_variance", "mean_l0": "l0", "dead_rate": "dead_rate",
    "reconstruction_mse": "reconstruction_mse",
}
"""Foreign names of recorded figures and ours."""
PRISM_QUALITY = {
    "row_centered_ev": "explained_variance", "mean_l0": "l0", "dead_feature_rate": "dead_rate",
    "rare_feature_rate": "rare_rate", "row_centered_cosine": "cosine",
    "val_top1_match": "top1_match", "val_logit_kl_bits_mean": "kl_bits",
}
"""The same of a prism's evaluation (prism-method section 5)."""


def read_bounded_json(path: Path, limit: int = MAX_JSON) -> Any:
    """Contents of a JSON file from anyone: NotFound or BrokenArtifact with one line.

    NaN and Infinity, which Python writes though JSON has none, come through: whoever reads a field
    checks it, and an unread one harms nobody.
    """
    text = _text(path, limit)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenArtifact(f"{path} is not JSON ({_short(error)})") from None


def _text(path: Path, limit: int) -> str:
    try:
        size = path.stat().st_size
        if size > limit:
            raise BrokenArtifact(f"{path} has {size:,} bytes, at most {limit:,} are read")
        return path.read_text(encoding="utf8")
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenArtifact(f"{path} cannot be read as text ({_short(error)})") from None


def _short(value: object) -> str:
    return re.sub(r"\s+", " ", str(value))[:120]


def table_of(value: Any, source: str, field: str = "") -> dict[str, Any]:
    """A JSON table; an absent field is an empty one."""
    if value is None and field:
        return {}
    if not isinstance(value, dict):
        where = f"{source}: {field}" if field else source
        raise BrokenArtifact(f"{where} is a {type(value).__name__}, expected a table of fields")
    return value


def text_of(value: Any, source: str, field: str) -> str | None:
    """A short text or None where the field is absent."""
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise BrokenArtifact(f"{source}: {field} is {_short(repr(value))}, expected a short text")
    return value


def count_of(value: Any, source: str, field: str, least: int = 1) -> int | None:
    """A whole number from `least` on, or None where the field is absent."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not least <= value <= MAX_STEP:
        raise BrokenArtifact(
            f"{source}: {field} is {_short(repr(value))}, expected a whole number from {least}"
        )
    return value


def steps_of(value: Any, source: str) -> tuple[int, ...] | None:
    """Training steps, rising; None where the field is absent."""
    if value is None:
        return None
    if not isinstance(value, list) or not 0 < len(value) <= 1000:
        raise BrokenArtifact(f"{source}: steps is {_short(repr(value))}, expected a list of steps")
    steps = tuple(count_of(step, source, "steps", least=0) for step in value)
    if any(step is None for step in steps):
        raise BrokenArtifact(f"{source}: steps holds a null")
    known = tuple(int(step) for step in steps if step is not None)
    fall = next((i for i in range(1, len(known)) if known[i] <= known[i - 1]), None)
    if fall is not None:
        raise BrokenArtifact(
            f"{source}: steps must rise, but {known[fall - 1]} is followed by {known[fall]}"
        )
    return known


def figures_of(
    value: Any, names: Mapping[str, str], source: str, field: str, notes: list[str]
) -> dict[str, float]:
    """Recorded figures under our names; absent ones stay absent, and so, with a note, does one
    that is null or not finite.
    """
    table = table_of(value, source, field)
    out = {}
    for foreign, ours in names.items():
        if foreign not in table:
            continue
        found = table[foreign]
        if found is None or (isinstance(found, float) and not math.isfinite(found)):
            notes.append(f"{field}.{foreign} is recorded as {found} and left out")
            continue
        if type(found) not in (int, float):
            raise BrokenArtifact(
                f"{source}: {field}.{foreign} is {_short(repr(found))}, expected a number"
            )
        out[ours] = float(found)
    return out


def training_of(value: Any, source: str) -> dict[str, Any]:
    """Training settings under our names: numbers, short texts and lists of them."""
    table = table_of(value, source, "training")
    out: dict[str, Any] = {}
    for name, found in table.items():
        if len(name) > 80 or len(table) > 500:
            raise BrokenArtifact(f"{source}: training holds too many or too long fields")
        if isinstance(found, dict | list):
            found = _short(json.dumps(found))
        elif isinstance(found, str) or (isinstance(found, float) and not math.isfinite(found)):
            found = _short(found)
        ours = TRAINING.get(name, name)
        if ours in out and out[ours] != found:
            raise BrokenArtifact(
                f"{source}: training gives {ours} as {out[ours]!r} and as {found!r} ({name})"
            )
        out[ours] = found
    for name in ("batch", "epochs"):
        count_of(out.get(name), source, f"training.{name}", least=0 if name == "epochs" else 1)
    return out


# --- the index and the cards -------------------------------------------------------------------


def read_index(path: Path) -> dict[str, dict[str, Any]]:
    """`index.json` of a release: run id -> its entry, whatever form the file has.

    A list of tables with a `path` (or `name`), a table of such tables by path, or one of these
    under a single key. Entries whose path is no run id are left out, for a path from outside is
    never joined to a folder.
    """
    value = read_bounded_json(path)
    if isinstance(value, dict) and len(value) <= 8:
        inner = [v for v in value.values() if isinstance(v, list | dict) and v]
        nested = [v for v in inner if _entries(v)]
        if not _entries(value) and len(nested) == 1:
            value = nested[0]
    found = _entries(value)
    if not found:
        raise BrokenArtifact(f"{path} lists no dictionaries: expected a list of tables with a path")
    return found


def _entries(value: Any) -> dict[str, dict[str, Any]]:
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = [(e.get("path") or e.get("name"), e) for e in value if isinstance(e, dict)]
    out = {}
    for name, entry in pairs:
        if not isinstance(name, str) or not isinstance(entry, dict):
            continue
        run = re.sub(r"\.safetensors$|/checkpoint\.pt$", "", name)
        if "/" in run and len(run) <= 200 and RUN.fullmatch(run):
            out[run] = entry
    return out


def read_card(path: Path) -> dict[str, str]:
    """Fields of a card (`.md`): front matter, `key: value` lines and two-column tables.

    The first value of a name counts; anything else in the text is left unread.
    """
    out: dict[str, str] = {}
    for line in _text(path, MAX_JSON).splitlines():
        line = line.strip()
        match = next((m for m in (form.fullmatch(line) for form in CARD_LINES) if m), None)
        if match and not set(match[2]) <= set("-: "):
            name = re.sub(r"\W+", "_", match[1].strip("*` ")).strip("_").lower()
            out.setdefault(name, match[2].strip("*` \"'"))
    quality = re.search(r"EV\s+(-?\d+\.\d+)\s*/\s*L0\s+(\d+(?:\.\d+)?)", _text(path, MAX_JSON))
    if quality:
        out.setdefault("explained_variance", quality[1])
        out.setdefault("l0", quality[2])
    return out
