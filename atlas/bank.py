"""Query banks: prompts and contrasts over which a dictionary's explanations are tried.

One JSON object a line, with the fields of prism-method §6.4. A record without a target is a prompt
whose contrasts the model itself proposes (`NATIVE`, §6.2). Records that share a base case are no
independent evidence: intervals resample base cases.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import BrokenArtifact
from atlas.places import BANKS, model_path

OWN = "bank.jsonl"
"""File of a model's folder that somebody put there."""
DEMO_BANK, DEMO_MODELS = BANKS / "demo.jsonl", "demo-"
"""The bank of the bundle's models, and how their names begin."""
LARGEST = 64_000_000
"""Bytes of a bank that is read."""
MOST = 20_000
"""Records of a bank that are read."""
NATIVE = ("top1 vs top2", "top1 vs rank 5", "top1 vs mean", "top1 vs norm-matched",
          "top1 vs random")
"""Contrasts that a prompt without targets gives, in order (§6.2): the likeliest token against the
second, the fifth, the mean row, one with a row of like length, and one of ranks 20 to 199."""
DRAWN = 4096
"""Tokens among which the norm-matched one is looked for."""
FRONT = 20
"""Likeliest tokens that it is not among, and the first rank, from 0, of the random one."""
RANKS = 200
"""One past the last rank, from 0, of the random one."""


@dataclass(frozen=True)
class Record:
    """One line of a bank (§6.4)."""

    case_id: str
    base_case_id: str
    """Cluster of records that are one piece of evidence."""
    variant_id: str
    bank: str
    family: str
    prompt: str
    scored_position: str | int
    """`last`, or the number of a token of the prompt, from 0."""
    target_a: str | None
    """Text of one token; with `target_b` a contrast of two."""
    target_b: str | None
    target_a_family: tuple[str, ...] | None
    """Texts of tokens; with `target_b_family` a contrast of families."""
    target_b_family: tuple[str, ...] | None
    expected_side: str | None
    """`A` or `B`: what a task would count as right."""
    expected_is_task_label_only: bool
    """Whether that says nothing of what the model does."""
    notes: str | None

    @property
    def native(self) -> bool:
        """Whether the model proposes the contrasts."""
        return not (self.target_a or self.target_b or self.target_a_family or self.target_b_family)


def bank_file(store: Path, model: str) -> Path | None:
    """The bank of a model: its own in a store, or the bundle's; None where there is none."""
    own = model_path(store, model) / OWN
    if own.is_file():
        return own
    return DEMO_BANK if model.startswith(DEMO_MODELS) and DEMO_BANK.is_file() else None


def read_bank(path: Path) -> tuple[Record, ...]:
    """The records of a bank.

    Raises:
        BrokenArtifact: names the file, the line and the field that is missing or wrong.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise BrokenArtifact(f"{path} has {size:,} bytes, at most {LARGEST:,} are read")
        lines = path.read_text(encoding="utf8").split("\n")
    except (OSError, ValueError) as error:
        raise BrokenArtifact(f"{path} is no text in UTF-8 ({_short(error)})") from error
    found: list[Record] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        record = _record(f"{path}: line {number}", line)
        if record.case_id in seen:
            raise BrokenArtifact(
                f"{path}: line {number}: case_id {record.case_id[:60]!r} is that of line "
                f"{seen[record.case_id]}"
            )
        seen[record.case_id] = number
        found.append(record)
    if not found or len(found) > MOST:
        raise BrokenArtifact(f"{path} has {len(found):,} records; 1 to {MOST:,} are read")
    return tuple(found)


def _record(where: str, line: str) -> Record:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BrokenArtifact(f"{where} is not JSON ({_short(error)})") from error
    if not isinstance(told, Mapping):
        raise BrokenArtifact(f"{where} is no JSON object")
    strange = sorted(set(told) - set(FIELDS))
    if strange:
        raise BrokenArtifact(f"{where} has a field {strange[0][:60]!r}, which no bank has")
    values = {}
    for name, (fits, form) in FIELDS.items():
        if name not in told:
            raise BrokenArtifact(f"{where} lacks the field {name}")
        if not fits(told[name]):
            raise BrokenArtifact(f"{where}: {name} is {_shown(told[name])}, expected {form}")
        values[name] = tuple(told[name]) if isinstance(told[name], list) else told[name]
    record = Record(**values)
    for one, other in (("target_a", "target_b"), ("target_a_family", "target_b_family")):
        if (getattr(record, one) is None) != (getattr(record, other) is None):
            missing = one if getattr(record, one) is None else other
            raise BrokenArtifact(f"{where}: {missing} is null, but the other side is not")
    if record.target_a is not None and record.target_a == record.target_b:
        raise BrokenArtifact(f"{where}: target_b is {record.target_b!r:.60}, as target_a is")
    return record


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= 20_000


def _token(value: Any) -> bool:
    return value is None or (isinstance(value, str) and 0 < len(value) <= 200)


def _family(value: Any) -> bool:
    return value is None or (isinstance(value, list) and 0 < len(value) <= 200 and all(
        isinstance(member, str) and member for member in value))


_A_TEXT = (_text, "some text")
_A_TOKEN = (_token, "the text of a token, or null")
_A_FAMILY = (_family, "a list of texts of tokens, or null")
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("case_id", "base_case_id"), _A_TEXT),
    "variant_id": (lambda v: isinstance(v, str), "text"),
    **dict.fromkeys(("bank", "family", "prompt"), _A_TEXT),
    "scored_position": (lambda v: v == "last" or (type(v) is int and 0 <= v < 2**20),
                        '"last" or the number of a token, from 0'),
    "target_a": _A_TOKEN, "target_b": _A_TOKEN,
    "target_a_family": _A_FAMILY, "target_b_family": _A_FAMILY,
    "expected_side": (lambda v: v in ("A", "B", None), '"A", "B" or null'),
    "expected_is_task_label_only": (lambda v: isinstance(v, bool), "true or false"),
    "notes": (lambda v: v is None or isinstance(v, str), "text or null"),
}
"""Fields of a record, in order: what fits, and how that is said."""


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:100]


def _shown(value: Any) -> str:
    return repr(value)[:60]


# --- what a model proposes -----------------------------------------------------------------------


def native_tokens(
    case_id: str, logits: np.ndarray, norms: np.ndarray, known: np.ndarray
) -> dict[str, tuple[int, int | None]]:
    """The contrasts of a prompt by the model's own ranking (§6.2): kind -> (token, rival).

    The rival of `top1 vs mean` is None. The generator of the two draws is seeded with the first
    8 hex digits of the md5 of the case id.

    Args:
        logits: (V,) of the true readout.
        norms: (V,) lengths of the centred rows.
        known: (V,) bool, the rows that are tokens; at least 21 of them.
    """
    order = np.argsort(-np.where(known, logits, -np.inf), kind="stable")[: int(known.sum())]
    first = int(order[0])
    rest, ranks = order[FRONT:], order[FRONT:RANKS]
    random = np.random.default_rng(seed_of(case_id))
    drawn = random.choice(rest, min(DRAWN, len(rest)), replace=False)
    near = int(drawn[np.argmin(np.abs(norms[drawn] - norms[first]))])
    rivals = (int(order[1]), int(order[4]), None, near, int(random.choice(ranks)))
    return {kind: (first, rival) for kind, rival in zip(NATIVE, rivals, strict=True)}


def seed_of(case_id: str) -> int:
    """The first 8 hex digits of the md5 of a case id."""
    return int(hashlib.md5(case_id.encode(), usedforsecurity=False).hexdigest()[:8], 16)


def native_records(documents: Sequence[tuple[str, str]], pieces: int = 2) -> list[Record]:
    """Prompts for the model's own contrasts: the native part of `data/banks/demo.jsonl`.

    Args:
        documents: (source, text) of held-out documents. Each gives up to `pieces` prompts of at
            most 150 characters at evenly spread places, cut to whole words; they share a base case.
    """
    found = []
    for number, (source, text) in enumerate(documents):
        base = f"native-{source}-{number:02d}"
        for piece in range(pieces):
            start = (2 * piece + 1) * len(text) // (2 * pieces)
            words = text[start : start + LENGTH].partition(" ")[2].rpartition(" ")[0]
            if len(words) < LENGTH // 3:
                continue
            found.append(Record(
                f"{base}-{piece}", base, str(piece), "model-native", source, words, "last",
                None, None, None, None, None, False, None,
            ))
    return found


LENGTH = 150
"""Characters of such a prompt, at most."""
