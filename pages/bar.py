"""What stands above every page: the brand and the links, the run, its scale and seed, the step."""

import streamlit as st

from atlas import markup
from atlas.errors import AtlasError
from atlas.records import RunCard
from pages import answers, shared, window
from pages.shared import Here


def run_name(card: RunCard) -> str:
    """A run for the selector: model, matrix, kind and shape, seed."""
    kind = f"{card.kind} × {len(card.steps)} snapshots" if len(card.steps) > 1 else card.kind
    return f"{card.model} · {card.matrix} · {kind} · {card.d_sae:,} features · seed {card.seed}"


def draw(pages: dict[str, st.Page], view: Here | None) -> None:
    """The brand and the links; below it the run, its scale and seed, and the step control."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="nav"):
        st.html('<div class="atl-brand">Readout <i>Atlas</i></div>', width="content")
        for page, found in pages.items():
            parameters = shared.link_to(page, view) if view else None
            st.page_link(found, label=shared.PAGES[page][0], query_params=parameters)
        _comfort()
        window.watch(shared.palette())
    if view is None:
        return
    cards = sorted(
        view.store.runs(), key=lambda c: (c.model, c.matrix, c.kind, c.d_sae, c.seed)
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="context"):
        _run_control(cards, view)
        meanings = answers.comments(view.store.digest).get("run", {})
        st.html(markup.wrap(_facts(view.card, meanings)), width="content")
        _step_control(view)
    for problem in view.problems:
        shared.say(problem, "bad")
    if view.changed:
        shared.say(view.changed)


def _comfort() -> None:
    """What makes reading easier: figures as tables, the keys, the tour."""
    st.session_state["charts"] = shared.as_tables()
    with st.popover("Help", type="tertiary"):
        st.toggle(
            "charts as tables",
            key="charts",
            on_change=shared.writes("charts", "charts", lambda v: "tables" if v else None),
            help="Every figure as a table of its numbers, for screen readers and for copying. The "
            "address keeps it: charts=tables.",
        )
        st.html(window.OPENERS)


def _facts(card: RunCard, meanings: dict[str, str]) -> str:
    """Scale, seed and quality of the run; tooltips are the store's own words."""
    found = (
        ("scale", f"d = {card.d_model}", "d_model"),
        ("seed", str(card.seed), "seed"),
        ("features alive", f"{card.n_alive:,} of {card.d_sae:,}", "n_alive"),
        ("EV", markup.number(card.explained_variance, 2), "explained_variance"),
    )
    cells = "".join(
        f'<div title="{markup.escape(meanings.get(column, ""))}"><small>{name}</small>'
        f'<span class="num">{markup.escape(value)}</span></div>'
        for name, value, column in found
    )
    return f'<div class="atl-here">{cells}</div>'


def _run_control(cards: list[RunCard], view: Here) -> None:
    names = {card.run: run_name(card) for card in cards}
    st.session_state["run"] = view.run

    def changed() -> None:
        shared.change_run(st.session_state["run"])

    st.selectbox(
        "run: model · matrix · dictionary · seed",
        list(names),
        format_func=names.get,
        key="run",
        on_change=changed,
        width=460,
    )


def _step_control(view: Here) -> None:
    steps = list(view.card.steps)
    if len(steps) < 2:
        name, _, value = view.when.partition(" ")
        st.html(
            markup.wrap(
                f'<div class="atl-here"><div><small>{markup.escape(name)}</small><span '
                f'class="num">{markup.escape(value)}, its only snapshot</span></div></div>'
            ),
            width="content",
        )
        return
    st.session_state["step"] = view.step
    st.select_slider(
        "training step of the view",
        steps,
        format_func=markup.step_name,
        key="step",
        on_change=shared.writes("step", "step"),
        width="stretch",
    )


def no_store(error: AtlasError) -> None:
    """What stands on every page when there is no store to read."""
    st.html(markup.wrap(markup.caption(
        "There is no atlas to show yet.",
        "The pages read a store: a folder of files that `readout-atlas build` writes.",
    )))
    shared.say(shared.sentence(error), "bad")
    st.html(markup.definitions(
        [
            ("readout-atlas demo", "opens the atlas on the bundle that comes with the project"),
            ("readout-atlas serve --store DIR", "opens it on a store of yours"),
            ("readout-atlas doctor", "says what is missing and how to get it"),
        ],
        code=True,
    ))


def come_back(page: str) -> None:
    """Mend the address that the browser's Back finds after a click opened another page.

    Opening a page within the session writes the new parameters while the old page still stands,
    and Back passes by that address: parameters of other pages give way to what this page showed.
    """
    now = st.query_params.to_dict()
    others = {name for names in shared.OWN.values() for name in names} - set(shared.OWN[page])
    if others.isdisjoint(now):
        return
    last = st.session_state.get(f"last_{page}", {})
    kept = {name: value for name, value in now.items() if name not in others}
    st.query_params.from_dict({**last, **kept})


def unread(page: str) -> str:
    """A sentence about parameters of the address that the page does not read; '' if none."""
    known = (*shared.EVERYWHERE, *shared.OWN[page], "embed", "embed_options")
    odd = [name for name in st.query_params.to_dict() if name not in known]
    if not odd:
        return ""
    return (
        f"This page does not read {', '.join(f'“{shared.clip(n)}”' for n in odd[:5])}; it reads "
        f"{', '.join(known[:-2])}."
    )
