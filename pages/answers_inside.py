"""Cached answers of the view inside the model, keyed by the store's digest; see `pages.answers`.

One pass of a model serves all of them. torch is imported when the first of them is asked for.
"""

from typing import TYPE_CHECKING

import streamlit as st

from pages.answers import at
from pages.answers_decompose import reading

if TYPE_CHECKING:
    from atlas.decomposition import Score
    from atlas.inside import Passage
    from atlas.inside_views import Components, Strip
    from atlas.lens import Grid, Layers

Span = tuple[int, int]
"""First position that is looked into, and the one after the last."""


def span_of(length: int, position: int) -> Span:
    """The page of positions that holds one of them."""
    from atlas.inside_views import window_of

    found = window_of(length, position)
    return found[0], found[-1] + 1


@st.cache_resource(max_entries=32, show_spinner="Looking inside the model", show_time=True)
def passage(digest: str, run: str, prompt: str, hidden_step: int, span: Span) -> "Passage":
    """One pass of the model of a step, kept at some positions."""
    from atlas.inside_views import passage_of

    return passage_of(reading(digest, run, prompt, -1), hidden_step, tuple(range(*span)))


@st.cache_resource(max_entries=32, show_spinner="Reading every layer", show_time=True)
def grid(
    digest: str, run: str, prompt: str, hidden_step: int, step: int, span: Span
) -> "Grid":
    """The lens at those positions, with the readout of a step."""
    from atlas.inside_views import grid_of

    asked = reading(digest, run, prompt, -1)
    return grid_of(at(digest), asked, passage(digest, run, prompt, hidden_step, span), step)


@st.cache_resource(max_entries=16, show_spinner="Taking the score apart by layer", show_time=True)
def layers(
    digest: str, run: str, prompt: str, position: int, score: "Score", hidden_step: int,
    step: int, span: Span,
) -> "Layers":
    """The score after every block."""
    from atlas.inside_views import layers_of

    asked = reading(digest, run, prompt, position)
    looked = passage(digest, run, prompt, hidden_step, span)
    return layers_of(at(digest), asked, looked, score, step, position)


@st.cache_resource(
    max_entries=64, show_spinner="Taking the score apart by component", show_time=True
)
def components(
    digest: str, run: str, prompt: str, position: int, score: "Score", hidden_step: int,
    step: int, span: Span, split: int | None,
) -> "Components":
    """The score by component, the attention of one block by head where `split` names it."""
    from atlas.inside_views import components_of

    asked = reading(digest, run, prompt, position)
    looked = passage(digest, run, prompt, hidden_step, span)
    return components_of(at(digest), asked, looked, score, hidden_step, step, position, split)


@st.cache_resource(max_entries=32, show_spinner="Reading every position", show_time=True)
def strip(
    digest: str, run: str, prompt: str, position: int, hidden_step: int, step: int
) -> "Strip":
    """How well the model saw the tokens around a position coming."""
    from atlas.inside_views import strip_of

    return strip_of(at(digest), reading(digest, run, prompt, position), hidden_step, step)


def texts(digest: str, run: str, prompt: str, tokens: list[int]) -> list[str]:
    """How some tokens are drawn."""
    from atlas.language_model import draw_token

    tokenizer = reading(digest, run, prompt, -1).tokenizer
    return [draw_token(tokenizer, token) for token in tokens]
