"""A token's row: what builds it and what is left, how it moves, which rows lie near it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from atlas import heat, markup, near_rows, row_figures, row_parts
from atlas.chance import chance_cosine
from atlas.detail import RowCourse
from atlas.errors import AtlasError
from atlas.markup import Bar, HeatCell, HeatColumn
from atlas.near_rows import NearRows
from atlas.records import TokenCard
from atlas.row_figures import Panel, Strand
from atlas.row_parts import Bands, RowParts
from pages import answers, shared, token_asked

STRANDS = 6
LINES = 12
"""Features in the ledger of a dictionary of one snapshot."""


@dataclass(frozen=True)
class Row:
    """What is known of the row of the page."""

    card: TokenCard
    built: np.ndarray
    """(n, K) length that each feature adds."""
    parts: RowParts | None
    """None where the matrices cannot be read, or are only read when asked."""
    course: RowCourse | None
    """None where the store has none."""
    missing: str = ""
    """Why there are no parts."""
    cut: bool = False
    """Only a part of the run's code is kept, so that the parts are not all of them."""

    @property
    def explained(self) -> np.ndarray | None:
        """(K,) share of the row that the whole dictionary explains, None where not known.

        The sum of the parts when they are all there, else what the store keeps, which is rounded.
        """
        if self.parts is not None and not (self.cut and self.course is not None):
            return self.parts.explained
        return None if self.course is None else self.course.explained

    @property
    def digits(self) -> int:
        """Digits of a percentage that are known of it."""
        return 1 if self.parts is not None and not self.cut else 0


def read_row(view: shared.Here, card: TokenCard) -> Row:
    """Ask for all of it; what is dear is read when the reader asks for it."""
    built = contributions(card)
    course = answers.row_course(view.store.digest, view.run, card.token)
    if is_dear(view, card) and not token_asked.read("parts"):
        return Row(card, built, None, course, cut=bool(view.card.cut))
    try:
        with st.spinner("Reading the row and its features at every snapshot"):
            parts = answers.row_parts(view.store.digest, view.run, card.token)
    except AtlasError as error:
        return Row(card, built, None, course, str(error), bool(view.card.cut))
    return Row(card, built, parts, course, cut=bool(view.card.cut))


def is_dear(view: shared.Here, card: TokenCard) -> bool:
    """Whether the parts are so many numbers that they are read only when the reader asks."""
    return row_parts.numbers_to_read(card, view.card.d_model) > row_parts.CHEAP


def contributions(card: TokenCard) -> np.ndarray:
    """(n, K) contribution of every firing feature at every snapshot."""
    if card.features.empty:
        return np.zeros((0, len(card.steps)))
    return np.array([list(row) for row in card.features["contribution"]], dtype=float)


def draw(view: shared.Here, row: Row) -> None:
    """What builds the row: through training, or as a ledger when there is one snapshot."""
    card = row.card
    lead = "What builds this row."
    if row.parts is None and row.missing:
        how = ("Length that the strongest features add to the standardised row, activation times "
               f"norm. What they supply of it is not available, because {row.missing}.")
    elif row.parts is None:
        how = "Length that the strongest features add to the standardised row."
    else:
        how = (
            "Share of the row’s squared length that each feature supplies: its contribution’s "
            "product with the row and with what is left of it. The shares and what is not "
            "explained add up to the whole, at every snapshot."
        )
        others = np.nan_to_num(row_parts.bands(row.parts, STRANDS).others)
        if len(card.steps) > 1 and others.min() < -0.03:
            how += (" Where the dark line, the explained share, runs below the bands, other "
                    "features take away of what these supply.")
    shared.caption(lead, how)
    if is_dear(view, card) and not row.missing:
        token_asked.toggle(
            "parts", "as shares of the row, with the remainder",
            "Reads the directions of all its features at every snapshot.",
        )
    if not len(row.built) and row.parts is None:
        shared.say("No feature fires on this token at any snapshot.")
        return
    if len(card.steps) > 1:
        _draw_course(view, row)
    elif row.parts is not None:
        _draw_ledger(view, row.parts, card)
    if view.card.cut and row.parts is not None:
        shared.say(
            "Of this run’s code only the strongest entries of a row are kept: what weaker features "
            "supply counts as not explained here."
        )


def _draw_course(view: shared.Here, row: Row) -> None:
    card, bands = row.card, None if row.parts is None else row_parts.bands(row.parts, STRANDS)
    names = [name_of(card, int(f)) for f in bands.features] if bands else []
    strands = [] if bands else strongest(card, row.built)
    panels = _panels(view, row, bands)
    shared.chart(
        row_figures.row_figure(card.steps, bands, names, strands, panels, view.step, view.palette),
        "token_row",
        f"what builds the row of token {card.token} at every snapshot, its length and its turn",
        lambda: row_figures.row_table(card.steps, bands, names, strands, panels),
    )


def _panels(view: shared.Here, row: Row, bands: Bands | None) -> list[Panel]:
    """The row's own measures, over those of all rows."""
    found = []
    if bands is None and row.explained is not None:
        found.append(Panel("share of the row that is explained", row.explained.tolist(),
                           share=True))
    if row.course is not None:
        all_rows = answers.row_bands(view.store.digest, view.run)
        for key, title in (
            ("norm", "length of the row, its mean over all rows taken off"),
            ("to_terminal", "turn still to come until its last direction, 1 − cos"),
        ):
            found.append(Panel(title, getattr(row.course, key).tolist(), all_rows.get(key)))
    return found


def name_of(card: TokenCard, feature: int) -> str:
    """A feature's number and first tokens, short enough for the margin of a figure."""
    labels = card.features.loc[card.features["feature"] == feature, "label"]
    return shared.clip(f"{feature}  {labels.iloc[0] if len(labels) else ''}", 28)


def strongest(card: TokenCard, built: np.ndarray) -> list[Strand]:
    """The features that ever add most length."""
    order = np.argsort(-built.max(axis=1), kind="stable")[:STRANDS]
    ids = card.features["feature"].to_numpy()
    return [
        Strand(name_of(card, int(ids[i])), built[i].tolist(), f"feature {ids[i]}") for i in order
    ]


def _draw_ledger(view: shared.Here, parts: RowParts, card: TokenCard) -> None:
    """The shares of one snapshot as an account that adds up."""
    shares = parts.parts[0]
    order = np.argsort(-np.abs(shares), kind="stable")[:LINES]
    rest = float(shares.sum() - shares[order].sum())
    labels = dict(zip(card.features["feature"], card.features["label"], strict=True))
    lines = [
        Bar(labels.get(int(parts.features[i]), ""), float(shares[i]), "feature",
            f"{parts.features[i]}",
            shared.href("feature", view, feature=int(parts.features[i])))
        for i in order if shares[i] != 0
    ]
    if len(shares) > len(order):
        lines.append(Bar(row_figures.OTHERS, rest, "rest"))
    if parts.offset[0]:
        lines.append(Bar("what is added to every row", float(parts.offset[0]), "base"))
    lines.append(Bar(row_figures.REMAINDER, float(parts.remainder[0]), "residual"))
    lines.append(Bar("the whole row", 1.0, "exact"))
    st.html(markup.ledger(lines))


# --- nearest rows -------------------------------------------------------------------------------


def draw_near(view: shared.Here, card: TokenCard) -> None:
    """The nearest rows through training, inked above chance, with what is usual below."""
    n_rows = len(view.store.token_texts(view.card.model))
    several = len(card.steps) > 1
    chance = chance_cosine(max(1, n_rows - 1), view.card.d_model)
    drawn = min(near_rows.SAMPLED, n_rows - 1)
    shared.caption(
        "Nearest rows through training." if several else "Nearest rows.",
        f"By cosine, the mean of all rows taken off. {'Ink begins at' if several else 'Chance is'} "
        f"{chance:.2f}, the nearest of {n_rows:,} rows that pointed anywhere; the "
        f"{'last line' if several else 'tick'} is what is usual in these very rows: of "
        f"{drawn} rows drawn at random half have one at least as near.",
        "Vermilion stays until the last snapshot." if several else "",
    )
    cheap = near_rows.numbers_to_read(view.card, n_rows, view.k) <= near_rows.CHEAP
    if not cheap:
        token_asked.toggle(
            "near", "Read the rows",
            "They are read from the matrices themselves, so this is done when it is asked for.",
        )
        if not token_asked.read("near"):
            return
    try:
        with st.spinner("Reading the rows"):
            found = {
                k: answers.nearest_rows(view.store.digest, view.run, card.token, k)
                for k in near_rows.snapshots_to_read(len(card.steps), view.k)
            }
    except AtlasError as error:
        shared.say(f"Not available, because {error}.")
        return
    if not any(len(near.tokens) for near in found.values()):
        shared.say("Not available, because the row has no length at any snapshot.")
        return
    if shared.as_tables():
        st.dataframe(near_table(view, found), hide_index=True, alt="nearest rows by snapshot")
        return
    if several:
        st.html(markup.heat_table(_columns(view, found, chance)))
    else:
        st.html(markup.bars(_bars(view, found[0])))


def _bars(view: shared.Here, near: NearRows) -> list[Bar]:
    """The nearest rows of the only snapshot."""
    texts = view.store.token_texts(view.card.model)
    return [
        Bar(text_of(texts, int(token)), float(cosine), null=near.usual[1],
            href=link_of(view, texts, int(token)))
        for token, cosine in zip(near.tokens, near.cosines, strict=True)
    ]


def _columns(view: shared.Here, found: dict[int, NearRows], chance: float) -> list[HeatColumn]:
    texts = view.store.token_texts(view.card.model)
    last = set(found[max(found)].tokens.tolist())
    columns = []
    for k, near in found.items():
        cells = tuple(
            HeatCell(
                text=text_of(texts, int(token)),
                ink=heat.ink(cosine, chance),
                stays=int(token) in last,
                href=link_of(view, texts, int(token)),
                title=f"{rank}: cosine {cosine:.2f}; half of the rows drawn at random have "
                      f"theirs at {near.usual[1]:.2f} or more",
            )
            for rank, (token, cosine) in enumerate(
                zip(near.tokens, near.cosines, strict=True), 1)
        )
        columns.append(HeatColumn(
            view.card.steps[k], cells, k == view.k, foot=f"usual {near.usual[1]:.2f}"
        ))
    return columns


def link_of(view: shared.Here, texts: list[str], token: int) -> str:
    """The way to a row's page, with what was asked for here; '' for a row past the vocabulary."""
    if token >= len(texts):
        return ""
    return shared.href("token", view, token=token, **token_asked.kept())


def text_of(texts: list[str], token: int) -> str:
    """What is drawn for a row; rows past the vocabulary have a number only."""
    return texts[token] if token < len(texts) else f"⟨row {token}⟩"


def near_table(view: shared.Here, found: dict[int, NearRows]) -> pd.DataFrame:
    """The nearest rows as a frame, one row per snapshot and rank."""
    texts = view.store.token_texts(view.card.model)
    return pd.DataFrame([
        {"step": view.card.steps[k], "rank": rank, "token": int(token),
         "text": text_of(texts, int(token)), "cosine": float(cosine), "usual": near.usual[1]}
        for k, near in found.items()
        for rank, (token, cosine) in enumerate(zip(near.tokens, near.cosines, strict=True), 1)
    ])
