"""What the store knows about the entries of a collection: their tokens, their lives, their state.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from atlas import cards
from atlas.collections import HASH, Entry, tidy_tags
from atlas.errors import AtlasError
from atlas.records import RunCard
from atlas.store import Store

_FEATURES = """
    SELECT f.feature, label, alive, norm FROM {run}.feature AS f JOIN {run}.life USING (feature)
    WHERE f.feature IN (SELECT unnest($wanted::INTEGER[]))"""
_ROWS = """
    SELECT token, norm FROM {run}.row WHERE token IN (SELECT unnest($wanted::INTEGER[]))"""


CHANGED = "the data of its run changed since it was kept"


@dataclass(frozen=True)
class Known:
    """One entry as a store knows it."""

    entry: Entry
    steps: tuple[int, ...]
    """Snapshots of its run; none when this store does not have the entry."""
    text: str
    """The feature's strongest tokens, or the token; '' when not known."""
    course: tuple[float, ...] = ()
    """Norm of the feature's direction, or of the token's row, at every snapshot; empty if there
    is none."""
    odd: str = ""
    """Why it cannot be shown, or that its data changed; '' when all is as it was."""

    @property
    def opens(self) -> bool:
        """Whether there is a page to open."""
        return bool(self.steps)


def known(store: Store, entries: Iterable[Entry]) -> list[Known]:
    """What a store knows of some entries, in their order; one question for each run and kind."""
    wanted = list(entries)
    runs = {card.run: card for card in store.runs()}
    found: dict[tuple[str, str, int], Known] = {}
    for run, kind in sorted({(e.run, e.kind) for e in wanted}):
        some = [e for e in wanted if (e.run, e.kind) == (run, kind)]
        card = runs.get(run)
        if card is None:
            found |= {e.key: Known(e, (), "", odd="its run is not in this store") for e in some}
        elif card.problem is not None:
            found |= {e.key: Known(e, (), "", odd="its run cannot be read") for e in some}
        else:
            ask = _features if kind == "feature" else _tokens
            found |= {k.entry.key: k for k in ask(store, card, some)}
    return [found[e.key] for e in wanted]


def _features(store: Store, card: RunCard, entries: Sequence[Entry]) -> list[Known]:
    texts = store.token_texts(card.model)
    rows = {
        row["feature"]: row
        for row in store.ask(
            card.run, _FEATURES, wanted=[e.number for e in entries]
        ).to_pylist()
    }
    found = []
    for entry in entries:
        row = rows.get(entry.number)
        if row is None:
            last = card.d_sae - 1
            found.append(Known(entry, (), "", odd=f"its run has the features 0 to {last:,}"))
            continue
        text = cards.label_text(row["label"], texts)
        found.append(Known(entry, card.steps, text, _course(row["norm"]), _changed(entry, card)))
    return found


def _tokens(store: Store, card: RunCard, entries: Sequence[Entry]) -> list[Known]:
    texts = store.token_texts(card.model)
    try:
        held = store.ask(card.run, _ROWS, wanted=[e.number for e in entries]).to_pylist()
    except AtlasError:
        held = []
    norms = {row["token"]: row["norm"] for row in held}
    found = []
    for entry in entries:
        if entry.number >= len(texts):
            last = len(texts) - 1
            found.append(Known(entry, (), "", odd=f"{card.model} has the tokens 0 to {last:,}"))
            continue
        found.append(Known(
            entry, card.steps, texts[entry.number], _course(norms.get(entry.number)),
            _changed(entry, card),
        ))
    return found


def _course(norms: Sequence[float | None] | None) -> tuple[float, ...]:
    kept = tuple(0.0 if v is None or v != v else float(v) for v in norms or ())
    return kept if len(kept) > 1 else ()


def _changed(entry: Entry, card: RunCard) -> str:
    if not entry.hash or card.hash.startswith(entry.hash):
        return ""
    return CHANGED


def entry_of(
    card: RunCard, kind: str, number: int, step: int | None = None, tags: Sequence[str] = (),
    note: str = "", added: str = "",
) -> Entry:
    """A new entry about a feature or token of a run."""
    return Entry(
        card.run, kind, number, card.hash[:HASH], tidy_tags(tags), note.strip(), step, added
    )
