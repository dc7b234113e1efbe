"""Decompose, inside the model: the lens, the score by layer and by component, every position."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.components import v2 as components

from atlas import chart_tables, inside_markup, markup
from atlas.errors import AtlasError
from atlas.inside_markup import LensCell, LensRow, StripToken
from pages import answers_inside as answers
from pages import decompose_inside_score as of_score
from pages import shared
from pages.seen import Seen

if TYPE_CHECKING:
    from atlas.lens import Grid

CELLS = "inside_cells"
CLICKS = components.component(
    "readout_atlas_inside_clicks",
    js="""
export default function ({ data, setTriggerValue }) {
  const clicked = (event) => {
    const cell = event.target.closest && event.target.closest("[data-atl-inside]");
    if (cell && cell.closest(`.st-key-${data.within}`)) {
      setTriggerValue("opened", cell.dataset.atlInside);
    }
  };
  document.addEventListener("click", clicked);
  return () => document.removeEventListener("click", clicked);
}
""",
)
"""A click on a cell or a token: links would carry the whole prompt in each of hundreds."""


@dataclass(frozen=True)
class Asked:
    """What of the model is looked at."""

    span: answers.Span
    layer: int
    """0 is the embedding, l what block l - 1 leaves."""
    split: bool
    """Whether the attention of that layer's block is taken apart by head."""


def draw(seen: Seen) -> None:
    """Draw the view; what cannot be looked into is said."""
    found, row = seen.found, seen.row
    try:
        span = answers.span_of(len(found.tokens), found.position)
        passage = answers.passage(
            seen.view.store.digest, seen.view.run, seen.prompt, row.hidden_step, span
        )
        asked = Asked(span, *read_layer(passage.blocks))
        _draw_readers(seen, passage.precision)
        with st.container(key=CELLS):
            _draw_strip(seen)
            _draw_lens(seen, asked)
        CLICKS(key="inside_clicks", data={"within": CELLS},
               on_opened_change=lambda: _clicked(seen, passage.blocks))
        of_score.draw(seen, asked.span, asked.layer, asked.split)
    except AtlasError as error:
        shared.say(f"Not available, because {error}.")


def read_layer(blocks: int) -> tuple[int, bool]:
    """Layer and head of the address; what it asks for and there is not is said."""
    asked, last = st.query_params.get("layer"), blocks
    layer = last
    if asked is not None:
        number = 0 if asked == "embedding" else shared.whole(asked)
        if asked == "embedding":
            layer = 0
        elif number is not None and 0 <= number < blocks:
            layer = number + 1
        else:
            shared.say(
                f"There is no layer “{shared.clip(asked)}”; there are embedding and blocks 0 to "
                f"{blocks - 1}. The last one is shown.", "bad",
            )
    head = st.query_params.get("head")
    if head not in (None, "all"):
        shared.say(
            f"“{shared.clip(head)}” splits nothing; head=all takes the attention of the chosen "
            "block apart by head.", "bad",
        )
    return layer, head == "all"


def write_layer(layer: int, blocks: int) -> str | None:
    """A layer for the address, which says nothing of the last one."""
    if layer == blocks:
        return None
    return "embedding" if layer == 0 else str(layer - 1)


def _draw_readers(seen: Seen, precision: str) -> None:
    """Which model is looked into, and with which readout it is read."""
    row, card = seen.row, seen.view.card
    model, readout = markup.step_name(row.hidden_step), markup.step_name(row.step)
    if card.revision is not None:
        text = f"The model of revision {card.revision} is looked into."
    elif row.hidden_step == row.step:
        text = f"The model of step {model} is looked into, with its own readout."
    else:
        text = (
            f"The model of step {model} is looked into, with the readout of step {readout}; with "
            "“each snapshot’s own model” the model is that of the readout, where it is kept."
        )
    if precision != "float32":
        text += (
            f" Its body runs in {precision}, so its parts add up less exactly: the additivity "
            "error below says how much."
        )
    shared.say(text)


# --- every position ----------------------------------------------------------------------


def _draw_strip(seen: Seen) -> None:
    view, found, row = seen.view, seen.found, seen.row
    data = answers.strip(
        view.store.digest, view.run, seen.prompt, found.position, row.hidden_step, row.step
    )
    if len(found.tokens) < 2:
        shared.say("Every position: not available, because the prompt is one token.")
        return
    of = "" if len(data.tokens) == len(found.tokens) else (
        f" Tokens {data.first} to {data.first + len(data.tokens) - 1} of {len(found.tokens):,}."
    )
    shared.caption(
        "Every position.",
        "The stronger a token is inked, the likelier the model held it after those before; at "
        f"random it would be 1 in {data.rows:,}. Underlined where features explain its logit, "
        f"dotted where the gate fails.{of} Click a token to ask why it was, or was not, predicted.",
    )
    tokens = []
    for i, text in enumerate(found.texts[data.first : data.first + len(data.tokens)]):
        ledger = data.ledgers[i]
        place = data.first + i
        if ledger is None:
            tokens.append(StripToken(text, place, None, None, "nothing precedes it"))
            continue
        chance = float(data.probabilities[i])
        tokens.append(StripToken(
            text, place, chance, ledger.gate,
            f"{_percent(chance)}, rank {int(data.ranks[i]):,}, logit {data.logits[i]:.2f}; "
            f"ρ {ledger.rho:.2f}, gate {'passes' if ledger.gate else 'fails'}",
        ))
    alt = "every token of the prompt, how likely the model held it, and the gate of its logit"
    if shared.as_tables():
        from atlas.inside_views import strip_frame

        st.html(chart_tables.drawn(
            strip_frame(data).assign(token=[t.text for t in tokens]), alt
        ))
        return
    st.html(inside_markup.strip(tokens, found.position))


def _clicked(seen: Seen, blocks: int) -> None:
    """A click on a token of the prompt asks for it, one on a cell of the lens for its place."""
    layer, colon, place = str(st.session_state["inside_clicks"].opened).partition(":")
    if colon:
        asked_cell(seen, shared.whole(layer), shared.whole(place), blocks)
    else:
        asked_token(seen, shared.whole(layer))


def asked_token(seen: Seen, place: int | None) -> None:
    """The position before a token of the prompt, with that token as the target."""
    tokens = seen.found.tokens
    if place is None or not 0 < place < len(tokens):
        return
    shared.address(
        position=place - 1, target=f"#{tokens[place]}", versus=None, kind=None,
    )


# --- the lens ----------------------------------------------------------------------------


def _draw_lens(seen: Seen, asked: Asked) -> None:
    view, found, row = seen.view, seen.found, seen.row
    data = answers.grid(
        view.store.digest, view.run, seen.prompt, row.hidden_step, row.step, asked.span
    )
    shared.caption(
        "The lens.",
        "What the readout would say after every block, under the token that is read: the stronger "
        "the ink, the likelier; in vermilion where it is already what the last block says, in "
        "italics where features do not explain its logit (the gate fails). On the right the mean "
        "cosine with what the head reads: a dictionary is made for that, and far from it even a "
        "passing gate says little. Click a cell to look there.",
    )
    heads = found.texts[slice(*asked.span)]
    alt = "likeliest token after every block at every position"
    texts = answers.texts(view.store.digest, view.run, seen.prompt, data.tokens.ravel().tolist())
    if shared.as_tables():
        from atlas.inside_views import grid_frame

        st.html(chart_tables.drawn(grid_frame(data).assign(token=texts), alt))
    else:
        st.html(inside_markup.lens_table(
            heads, data.positions, _lens_rows(data, texts), (asked.layer, found.position)
        ))
    _draw_pages(seen, asked.span)


def _lens_rows(data: "Grid", texts: list[str]) -> list[LensRow]:
    from atlas.attribution import layer_name

    wide = len(data.positions)
    rows = []
    for n, layer in enumerate(data.layers):
        cells = []
        for i in range(wide):
            ledger, chance = data.ledgers[n][i], float(data.probabilities[n, i])
            cells.append(LensCell(
                texts[n * wide + i], chance, ledger.gate,
                bool(data.tokens[n, i] == data.tokens[-1, i]),
                f"{_percent(chance)}, logit {data.logits[n, i]:.2f}, ρ {ledger.rho:.2f}",
            ))
        rows.append(LensRow(layer, layer_name(layer), tuple(cells), float(data.nearness[n].mean())))
    return rows


def asked_cell(seen: Seen, layer: int | None, position: int | None, blocks: int) -> None:
    """Layer and position of a cell; another position has other candidates."""
    last = len(seen.found.tokens) - 1
    if layer is None or position is None or not (0 <= layer <= blocks and 0 <= position <= last):
        return
    changes: dict[str, object] = {"layer": write_layer(layer, blocks)}
    if position != seen.found.position:
        changes |= {"position": None if position == last else position, "target": None,
                    "versus": None}
    shared.address(**changes)


def _draw_pages(seen: Seen, span: answers.Span) -> None:
    """The way to the positions before and after those of the lens."""
    last = len(seen.found.tokens) - 1
    if span == (0, last + 1):
        return

    def moved(position: int) -> None:
        shared.address(
            position=None if position == last else position, target=None, versus=None
        )

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button("Earlier positions", key="inside_earlier", type="tertiary",
                  disabled=span[0] == 0, on_click=moved, args=(span[0] - 1,))
        st.html(markup.wrap(
            f'<span class="dim num">{span[0]}–{span[1] - 1} of 0–{last}</span>'
        ), width="content")
        later = answers.span_of(last + 1, min(span[1], last))[1] - 1
        st.button("Later positions", key="inside_later", type="tertiary",
                  disabled=span[1] > last, on_click=moved, args=(later,))


def _percent(chance: float) -> str:
    return f"{100 * chance:.1f} %" if chance >= 0.0005 else f"{chance:.0e}"
