"""Prompts that were taken apart when a run was built: the same answers, no language model needed.

A record keeps all sums of a score at every snapshot in full and the largest contributions; what is
not kept is told in the note.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.decomposition import FLOOR_LOGIT, Ledger, Score, verdict
from atlas.errors import BrokenArtifact
from atlas.explanations import Ask, Candidate, Explanation, Row
from atlas.recent import Recent
from atlas.schema_trust import KEPT
from atlas.store import Store

_LISTED = "SELECT number, name, shows, prompt, position, hidden, ask, told FROM {run}.gallery"
_ROWS = """
SELECT told, steps, hidden_steps, exact, base, feature_sum, residual, n_active, features,
  contributions
FROM {run}.gallery WHERE number = $number"""
_LISTS = Recent(16)
_ROW = ("steps", "hidden_steps", "exact", "base", "feature_sum", "residual", "n_active", "features",
        "contributions")


@dataclass(frozen=True)
class Entry:
    """A prompt of the gallery and what was asked of it."""

    number: int
    name: str
    shows: str | None
    """What there is to see."""
    prompt: str
    position: int
    """Token after which the next is predicted, from 0."""
    is_last: bool
    """Whether that is the prompt's last token."""
    hidden: str
    """`final` or `own`."""
    ask: Ask
    score: Score


# --- to a record and back ------------------------------------------------------------------------


def record_of(found: Explanation) -> dict[str, Any]:
    """The columns `told` and those of the rows of the table `gallery` (`atlas.schema_trust`)."""
    told = {
        field.name: getattr(found, field.name) for field in dataclasses.fields(Explanation)
        if field.name not in ("run", "prompt", "rows")
    }
    told["top"] = [dataclasses.asdict(candidate) for candidate in found.top]
    told["score"] = dataclasses.asdict(found.score)
    ledgers = [row.ledger for row in found.rows]
    return {
        "told": json.dumps(told, ensure_ascii=False),
        "steps": [row.step for row in found.rows],
        "hidden_steps": [row.hidden_step for row in found.rows],
        **{name: [getattr(ledger, name) for ledger in ledgers]
           for name in ("exact", "base", "feature_sum", "residual")},
        "n_active": [len(ledger.features) for ledger in ledgers],
        "features": [ledger.features[:KEPT].tolist() for ledger in ledgers],
        "contributions": [ledger.contributions[:KEPT].astype(np.float32).tolist()
                          for ledger in ledgers],
    }


def explanation_of(run: str, prompt: str, record: Mapping[str, Any]) -> Explanation:
    """The explanation that a record keeps.

    Raises:
        BrokenArtifact: the record is not whole.
    """
    try:
        told = json.loads(record["told"])
        score = _score(told["score"])
        known = {field.name for field in dataclasses.fields(Explanation)}
        values = {name: _frozen(value) for name, value in told.items() if name in known}
        values |= {
            "run": run, "prompt": prompt, "score": score,
            "top": tuple(Candidate(**candidate) for candidate in told["top"]),
            "rows": tuple(_row(score, dict(zip(_ROW, row, strict=True)))
                          for row in zip(*(record[name] for name in _ROW), strict=True)),
        }
        most = max(record["n_active"], default=0)
        if most > KEPT:
            kept = (f"taken apart when the run was built: the {KEPT} largest of up to {most:,} "
                    "contributions are kept, all sums in full")
            values["note"] = "; ".join(filter(None, (values.get("note"), kept)))
        return Explanation(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenArtifact(
            f"the gallery of run {run} holds a record that cannot be read ({error!r:.100})"
        ) from error


def _score(told: Mapping[str, Any]) -> Score:
    return Score(told["kind"], tuple(told["tokens"]), tuple(told["weights"]))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _row(score: Score, row: Mapping[str, Any]) -> Row:
    exact, base, feature_sum = (float(row[name]) for name in ("exact", "base", "feature_sum"))
    residual = float(row["residual"])
    said = verdict(exact, base + feature_sum, score.signed)
    ledger = Ledger(
        exact=exact, base=base, feature_sum=feature_sum, residual=residual,
        features=np.asarray(row["features"], dtype=np.int64),
        contributions=np.asarray(row["contributions"], dtype=np.float64),
        rho=said.rho, rho_centred=abs(residual) / (abs(exact - base) + FLOOR_LOGIT),
        sign_agrees=said.sign_agrees, gate=said.gate,
    )
    return Row(int(row["steps"]), int(row["hidden_steps"]), ledger)


# --- from the store ------------------------------------------------------------------------------


def listed(store: Store, run: str) -> tuple[Entry, ...]:
    """All entries of a run's gallery, in order; none where the run was built without a model.

    Raises:
        NotFound: no such run. BrokenArtifact: it cannot be read.
    """
    return _LISTS.get((store.folder, store.digest, run), lambda: _entries(store, run))


def _entries(store: Store, run: str) -> tuple[Entry, ...]:
    found = []
    for row in sorted(store.ask(run, _LISTED).to_pylist(), key=lambda r: r["number"]):
        try:
            told, ask = json.loads(row["told"]), json.loads(row["ask"])
            is_last = row["position"] == len(told["tokens"]) - 1
            found.append(Entry(
                row["number"], row["name"], row["shows"], row["prompt"], row["position"], is_last,
                row["hidden"], ask_of(ask), _score(told["score"]),
            ))
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenArtifact(
                f"the gallery of run {run} holds an entry that cannot be read ({error!r:.100})"
            ) from error
    return tuple(found)


def ask_of(told: Mapping[str, Any]) -> Ask:
    """What is asked, from its fields; unknown ones are a TypeError."""
    return Ask(**{name: _frozen(value) for name, value in told.items()})


def stored(
    store: Store, run: str, prompt: str, position: int = -1, ask: Ask | None = None,
    hidden: str = "final",
) -> Explanation | None:
    """A prompt's explanation at every snapshot, if the gallery has it; None if it has not.

    Args:
        position: as asked, -1 for the prompt's last token.
        ask: what is asked; None is `Ask()`, the two likeliest tokens.

    Raises:
        NotFound: no such run. BrokenArtifact: it cannot be read.
    """
    ask = Ask() if ask is None else ask
    for entry in listed(store, run):
        here = entry.position == position or (entry.is_last and position == -1)
        if entry.prompt == prompt and entry.hidden == hidden and here and (
            entry.ask == ask or _asks_for(ask, entry.score)
        ):
            (row,) = store.ask(run, _ROWS, number=entry.number).to_pylist()
            return explanation_of(run, prompt, row)
    return None


def _asks_for(ask: Ask, score: Score) -> bool:
    """Whether an ask by the ids of tokens names a score that was answered for another ask."""
    named: Sequence[int | str | None] = (ask.target, ask.versus)
    kind = ask.kind or ("token" if ask.versus is None else "contrast")
    wanted = tuple(t for t in named if t is not None)
    return (kind == score.kind and kind in ("token", "centred", "contrast")
            and ask.target is not None and wanted == score.tokens)
