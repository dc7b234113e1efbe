"""One cell of the readout swap: what it lists, and what of the score changed."""

from typing import TYPE_CHECKING

import streamlit as st

from atlas import markup
from atlas.feature_labels import feature_labels
from atlas.markup import Bar, Fact
from pages import answers_swap, shared
from pages.seen import Seen

if TYPE_CHECKING:
    from atlas.swap_cell import Listed, Swapped
    from atlas.swap_grid import Grid

SHOWN = 12
"""Features drawn by name."""


def draw(seen: Seen, grid: "Grid | None", state: int) -> None:
    """The cell of the chosen hidden state and step."""
    view = seen.view
    if grid is not None and view.step not in grid.readout_steps:
        shared.say(f"Not available, because the readout of step {view.step:,} is not here.")
        return
    found = answers_swap.cell(
        view.store.digest, view.run, seen.prompt, seen.position, seen.ask, state, view.step
    )
    own = state == view.step
    shared.caption(
        f"State of step {state:,}, readout of step {view.step:,}.",
        "This is the model as it was: nothing is swapped. Click another cell to swap a readout in."
        if own else
        "The likeliest next tokens by the state's own readout and by the other one, with "
        "where each goes or comes from; in vermilion the tokens of the score.",
        tail="" if grid is None else "In brackets: with the rows of the readout dealt out anew." + (
            "" if grid.align == "none" else
            " The lists and the ledger read both readouts as they are: what the grid aligns is "
            "not applied there."
        ),
    )
    _draw_facts(seen, found, grid, state)
    one, two = st.columns([1.5, 1], gap="large")
    with one:
        _draw_lists(seen, found)
    with two:
        _draw_changes(seen, found)


def _draw_facts(seen: Seen, found: "Swapped", grid: "Grid | None", state: int) -> None:
    from atlas import swap_figures

    change = found.after.exact - found.before.exact
    facts = [
        Fact("score before", markup.signed(found.before.exact), "By the state's own readout."),
        Fact("after", markup.signed(found.after.exact), "By the readout of the other step."),
        Fact("change", markup.signed(change)),
        Fact("KL", f"{found.kl:.3f} nats · {found.kl / swap_figures.NAT:.3f} bits",
             "KL(swapped ‖ native) of the next token at this position, readouts as they are."),
    ]
    if grid is not None:
        row = grid.hidden_steps.index(state)
        column = grid.readout_steps.index(seen.view.step)
        over = "position" if grid.over == "position" else "prompt"
        for metric, name in (("nll", "NLL"), ("rank", "rank"), ("r2", "R²")):
            said = swap_figures.reading_of(grid, metric, row, column)
            by_chance = swap_figures.reading_of(grid, metric, row, column, chance=True)
            facts.append(Fact(
                f"{name}, {over}", f"{said} ({by_chance})",
                "As the grid has it; in brackets with the rows of the readout dealt out anew.",
            ))
    st.html(markup.wrap(markup.facts(facts), "atl-window"))


def _draw_lists(seen: Seen, found: "Swapped") -> None:
    from atlas import swap_figures

    hot = set(seen.found.score.tokens)

    def lines(tokens: "tuple[Listed, ...]", native: bool) -> list:
        out = []
        for place, t in enumerate(tokens, 1):
            note, rises = swap_figures.change_of_rank(place, t.other_rank, native)
            out.append(swap_figures.Line(t.text, t.probability, note, t.token in hot, rises))
        return out

    st.html(swap_figures.lists(
        (f"its own readout, step {found.hidden_step:,}", lines(found.native, True)),
        (f"readout of step {found.step:,}", lines(found.swapped, False)),
    ))


def _draw_changes(seen: Seen, found: "Swapped") -> None:
    """By how much the score changed, taken apart."""
    before, after = found.before, found.after
    if found.hidden_step == found.step:
        return
    shared.caption(
        "What the swap does to the score.",
        "Ledger after less ledger before, with the same hidden state: bars to the right raise it.",
    )
    failing = [
        f"step {step:,}" for step, ledger in ((found.hidden_step, before), (found.step, after))
        if not ledger.gate
    ]
    lines = [Bar("base: what all rows share", after.base - before.base, "base")]
    if failing and not seen.anyway:
        shared.say(
            f"The gate fails with the readout of {' and of '.join(failing)}, so the features are "
            "not shown one by one; their sum, the base and the residual are."
        )
        lines.append(Bar(
            f"{len(found.features)} features, withheld", after.feature_sum - before.feature_sum,
            "rest",
        ))
    else:
        shown = min(SHOWN, len(found.features))
        names = feature_labels(seen.view.store, seen.view.run, found.features[:shown].tolist())
        lines += [
            Bar(
                names.get(int(f), ""), float(value), "feature", note=f"#{int(f)}",
                href=shared.href("feature", seen.view, feature=int(f)),
                title=names.get(int(f), ""),
            )
            for f, value in zip(found.features[:shown], found.changes[:shown], strict=True)
        ]
        rest = len(found.features) - shown
        if rest:
            lines.append(Bar(
                f"{rest} other feature{'s' if rest > 1 else ''}",
                float(found.changes[shown:].sum()), "rest",
            ))
    lines += [
        Bar("residual", after.residual - before.residual, "residual"),
        Bar("change of the score", after.exact - before.exact, "exact"),
    ]
    st.html(markup.ledger(lines))
