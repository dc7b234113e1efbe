"""When a concept crystallises: which features hold a set of tokens, and when they are born."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from atlas import crystallise_store, markup, scales_figures
from atlas.crystallise import DEPTHS, DRAWS, SEED
from atlas.crystallise_store import Concept, Crystal
from atlas.errors import AtlasError
from atlas.markup import step_name
from atlas.records import RunCard
from atlas.scales_figures import Look, Side
from pages import answers_comparison as answers
from pages import exporting, shared

NONE = "–"


def as_typed() -> tuple[str, str]:
    """The words and the named set of the address, as they stand there."""
    return st.query_params.get("words", ""), st.query_params.get("concept", "")


def draw(
    view: shared.Here, cards: Sequence[RunCard], sides: Sequence[Side], look: Look,
    convention: str,
) -> dict:
    """The question, and per run what holds the concept; the table to take away."""
    shared.caption(
        "When does a concept crystallise?",
        f"Features that hold more of its tokens among their {DEPTHS[0]} or {DEPTHS[1]} strongest "
        "firing ones than chance gives (hypergeometric, corrected for the depths and for all live "
        "features, p ≤ 0.05), and when they are born and peak. Dotted, all live features.",
    )
    _draw_question(view, cards)
    try:
        concept = crystallise_store.read_concept(*as_typed())
        if concept is None:
            _draw_examples(view)
            return {}
        found = _found(view, cards, concept, convention)
    except AtlasError as error:
        shared.say(shared.sentence(error), "bad")
        return {}
    if not found:
        return {}
    names = {side.card.run: side.name for side in sides}
    rows = [(names[card.run], card, one) for card, one in zip(cards, found, strict=True)]
    shared.caption(
        f"{concept.text[0].upper()}{concept.text[1:]}.",
        f"In each title the null of the number: {DRAWS} random sets of as many tokens, as frequent "
        "where occurrences are known. Diamonds, the median; the bar under them, as many live "
        "features drawn at random (5 to 95 %), which is what its p is of.",
    )
    exporting.chart(
        view, scales_figures.crystal_figure(rows, look), "concept_figure",
        f"Births and peaks of the features that hold {concept.text}, run by run",
        table=partial(crystallise_store.crystals_table, found),
        note=f"{concept.text} · seed {SEED}",
    )
    _draw_features(view, rows)
    return {"concept": partial(crystallise_store.crystals_table, found)}


def _draw_question(view: shared.Here, cards: Sequence[RunCard]) -> None:
    words, named = as_typed()
    options = [NONE] + [
        f"{kind}:{name}" for kind in crystallise_store.KINDS
        for name in answers.set_names(view.store.digest, cards[0].run, kind)
    ]
    st.session_state["concept_words"] = words
    st.session_state["concept_named"] = named if named in options else NONE

    def typed() -> None:
        shared.address(words=st.session_state["concept_words"].strip() or None, concept=None)

    def chose() -> None:
        name = st.session_state["concept_named"]
        shared.address(concept=None if name == NONE else name, words=None)

    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.text_input(
            "words, between commas", key="concept_words", max_chars=400, on_change=typed,
            width=460, placeholder="Monday, Tuesday, Wednesday",
            help="Whole words, with and without their space and in any case; only those that are "
            "one token count.",
        )
        st.selectbox("or a set of tokens", options, key="concept_named", on_change=chose,
                     width=260)


def _draw_examples(view: shared.Here) -> None:
    """A few questions to begin with, as links that keep the rest of the view."""
    now = st.query_params.to_dict()
    kept = {name: now[name] for name in ("runs", "axis", "births", "labels", "figures")
            if name in now}
    examples = (
        ("numbers", {"concept": "family:digit-bearing"}),
        ("Cyrillic", {"concept": "script:Cyrillic"}),
        ("pronouns", {"words": "he, she, they, him, her, them, his, their, we, us, our"}),
        ("code", {"words": "return, class, def, import, self, None, if, else, for, while"}),
    )
    links = (
        markup.link(name, shared.href("comparison", view, view="scales", **kept, **asked))
        for name, asked in examples
    )
    st.html(markup.wrap(f'Ask for words or a set, or begin with {" · ".join(links)}.'))


def _found(
    view: shared.Here, cards: Sequence[RunCard], concept: Concept, convention: str
) -> list[Crystal]:
    """What the concept is to every run; what it cannot be asked of is said."""
    digest, runs = view.store.digest, tuple(card.run for card in cards)
    tokens, left_out = answers.common_tokens(digest, runs, concept)
    least = min(map(len, tokens.values()))
    if other := answers.other_vocabularies(digest, runs):
        if least < crystallise_store.FEWEST_TOKENS:
            shared.say(f"{concept.text} cannot be asked of these runs, because {other}, and "
                       f"{least} of its tokens are one token in all of them.", "bad")
            return []
        shared.say(f"Token ids are not compared, because {other}. {least:,} of its tokens have the "
                   f"same bytes in all of them and are asked for; {left_out:,} are left out.")
    elif least < crystallise_store.FEWEST_TOKENS:
        shared.say(
            f"{concept.text} has {least} token{'' if least == 1 else 's'} here: a set has "
            f"{crystallise_store.FEWEST_TOKENS} at least. A single token has a page of its own "
            "(Token), and words of several tokens have no row.", "bad")
        return []
    found = []
    with st.spinner(f"Asking {len(cards)} runs, {DRAWS} random sets each", show_time=True):
        for card in cards:
            asked = tuple(tokens[card.run].tolist())
            found.append(answers.crystal(digest, card.run, asked, convention))
    return found


def _draw_features(
    view: shared.Here, rows: Sequence[tuple[str, RunCard, Crystal]]
) -> None:
    """The features themselves, run by run, each a link."""
    cells = []
    for name, card, one in rows:
        lines = []
        for i, feature in enumerate(one.found.features[: crystallise_store.SHOWN].tolist()):
            href = shared.href("feature", view, run=card.run, step=card.steps[-1],
                               feature=feature)
            born = one.birth_step[i]
            lines.append(
                f"<tr><td>{markup.link(str(feature), href)}</td>"
                f'<td class="r num">{int(one.found.held[i])} of {int(one.found.drawn[i])}</td>'
                f'<td class="r num">{"never" if born is None else step_name(born)}</td>'
                f'<td class="tok">{markup.escape(one.labels[i])}</td></tr>'
            )
        more = len(one.found.features) - len(lines)
        foot = f'<div class="dim">and {more:,} more</div>' if more > 0 else ""
        left = f'<div class="dim">{len(one.tokens):,} tokens</div>'
        body = (
            '<table class="atl-table"><tr><th>feature</th><th class="r">holds</th>'
            f'<th class="r">born</th><th>its tokens</th></tr>{"".join(lines)}</table>{foot}'
            if lines else '<div class="dim">no feature holds it beyond chance</div>'
        )
        cells.append(f'<div style="min-width:0;overflow:hidden"><b>{markup.escape(name)}</b>{left}'
                     f"{body}</div>")
    grid = "display:grid;grid-template-columns:repeat(auto-fit,minmax(360px,1fr));gap:14px 34px"
    st.html(markup.wrap(f'<div style="{grid}">{"".join(cells)}</div>'))
