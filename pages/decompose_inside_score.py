"""Decompose, inside the model: one score at one position, by layer and by component."""

from typing import TYPE_CHECKING

import streamlit as st

from atlas import inside_figures, inside_recipe, markup
from atlas.attribution import layer_name
from atlas.feature_labels import feature_labels
from atlas.markup import Bar, Fact
from pages import answers_inside as answers
from pages import exporting, score, shared
from pages.browse_map import CLICKS
from pages.seen import Seen

if TYPE_CHECKING:
    from atlas.inside_views import Components
    from atlas.lens import Layers

NAMED = 7
"""Features named beside the layers."""


def draw(seen: Seen, span: answers.Span, layer: int, split: bool) -> None:
    """The score after every block, and what every component adds to it."""
    view, found, row = seen.view, seen.found, seen.row
    key = (view.store.digest, view.run, seen.prompt, found.position, found.score)
    by_layer = answers.layers(*key, row.hidden_step, row.step, span)
    blocks = len(by_layer.ledgers) - 1
    _draw_layers(seen, by_layer, layer, blocks)
    block = layer - 1 if layer else None
    apart = answers.components(
        *key, row.hidden_step, row.step, span, block if split else None
    )
    _draw_components(seen, apart, block, split)
    _draw_take(seen, apart, by_layer)


def _drawn(seen: Seen) -> str:
    """What the bands of chance are drawn from."""
    from atlas.inside_views import paired

    return "pairs of tokens" if paired(seen.found.score) else "tokens"


def _choose(layer: object, blocks: int) -> None:
    """Write a layer into the address, which says nothing of the last one."""
    if isinstance(layer, int) and 0 <= layer <= blocks:
        shared.address(layer=None if layer == blocks else
                       "embedding" if layer == 0 else str(layer - 1))


# --- by layer ----------------------------------------------------------------------------


def _draw_layers(seen: Seen, found: "Layers", layer: int, blocks: int) -> None:
    view = seen.view
    left, right = st.columns([1.35, 1], gap="large")
    with left:
        far = (
            " Grey ground: cosine with the final state below 0.5, where the dictionary was never "
            "meant to read."
        ) if min(found.nearness) < inside_figures.NEAR else ""
        shared.caption(
            "The score through the layers.",
            "Exact, and what the dictionary makes of it; a filled mark: the gate passes there. "
            f"The band holds 95 % of {_drawn(seen)} drawn at random. Beneath, the rank of "
            f"{seen.found.target_text} among all tokens.{far} Click a mark to look at its layer.",
        )
        exporting.chart(
            view,
            inside_figures.layers_figure(found, layer, seen.found.target_text, view.palette),
            "inside_layers",
            "exact score, base, features and residual after every block, and the target’s rank",
            table=lambda: _layers_frame(found),
            note=_note(seen),
        )
        CLICKS(key="inside_layer_clicks", data={"map": "inside_layers"},
               on_opened_change=lambda: _choose(
                   st.session_state["inside_layer_clicks"].opened, blocks))
    with right:
        _draw_layer(seen, found, layer, blocks)


def _layers_frame(found: "Layers"):
    from atlas.inside_views import layers_frame

    return layers_frame(found)


def _draw_layer(seen: Seen, found: "Layers", layer: int, blocks: int) -> None:
    """The ledger of the score at one layer; its features where they may be read."""
    ledger = found.ledgers[layer]
    st.session_state["inside_layer"] = layer
    st.select_slider(
        "after", list(range(blocks + 1)), format_func=layer_name, key="inside_layer",
        on_change=lambda: _choose(st.session_state["inside_layer"], blocks),
    )
    st.html(markup.wrap(markup.facts([
        Fact("rank", f"{int(found.ranks[layer]):,}", "of the score's target among all tokens"),
        Fact("probability", markup.share(float(found.probabilities[layer])), "of the target"),
        Fact("rho", f"{ledger.rho:.2f}", "|residual| / (|exact| + 0.5); below 0.5 passes"),
        Fact("gate", "passes" if ledger.gate else "fails"),
        Fact("cosine", f"{found.nearness[layer]:.2f}", "with what the head reads"),
    ])))
    lines = [Bar("base: what all rows share", ledger.base, "base")]
    if ledger.gate or seen.anyway:
        named = ledger.features[:NAMED].tolist()
        names = feature_labels(seen.view.store, seen.view.run, named)
        dots = score.badges(seen.view, named)
        for f, value in zip(named, ledger.contributions, strict=False):
            lines.append(Bar(
                names.get(f, ""), float(value), "feature", note=f"#{f}",
                href=shared.href("feature", seen.view, feature=f), title=names.get(f, ""),
                badge=dots.get(f, ""),
            ))
        rest = len(ledger.features) - NAMED
        if rest > 0:
            lines.append(Bar(
                f"{rest} other feature{'s' if rest > 1 else ''}",
                float(ledger.contributions[NAMED:].sum()), "rest",
            ))
    else:
        lines.append(Bar(
            f"{len(ledger.features)} features, withheld", ledger.feature_sum, "rest"
        ))
    lines += [Bar("residual", ledger.residual, "residual"), Bar("exact", ledger.exact, "exact")]
    st.html(markup.ledger(lines))


# --- by component ------------------------------------------------------------------------


def _draw_components(seen: Seen, apart: "Components", block: int | None, split: bool) -> None:
    view, a = seen.view, apart.found
    features = a.features.tolist() if seen.show else []
    shared.caption(
        "Who wrote it.",
        "What the embedding and every block add to the score, through the final norm with its "
        f"scale held; each grey box holds 95 % of {_drawn(seen)} drawn at random. " + (
            "Beneath, the same by feature: vermilion raises the score, blue lowers it; a dot where "
            "a part is larger than for 95 % of 256 features drawn at random at the same strength."
            if features else
            "The parts by feature are withheld, because the gate fails."
        ),
        tail="An account of one pass, not of what would happen without a part.",
    )
    _draw_split(block, split)
    if apart.why_whole:
        shared.say(f"By head: not available, because {apart.why_whole}.")
    names = feature_labels(view.store, view.run, features) if features else {}
    exporting.chart(
        view,
        inside_figures.components_figure(
            apart,
            [shared.clip(f"{f}  {names.get(f, '')}", 38) for f in features] or None,
            block, view.palette,
        ),
        "inside_components",
        "what every component adds to the score, and through which features",
        table=lambda: _components_frame(apart, bool(features)),
        note=_note(seen),
    )
    CLICKS(key="inside_block_clicks", data={"map": "inside_components"},
           on_opened_change=_asked_block)
    _draw_gaps(apart)


def _asked_block() -> None:
    """A click on a column chooses its block."""
    block = st.session_state["inside_block_clicks"].opened
    if isinstance(block, int) and block >= 0:
        shared.address(layer=str(block))


def _components_frame(apart: "Components", by_feature: bool):
    from atlas.inside_views import components_frame

    frame = components_frame(apart)
    return frame if by_feature else frame.loc[:, ~frame.columns.str.startswith("feature ")]


def _draw_split(block: int | None, split: bool) -> None:
    """Whether the attention of the chosen block is taken apart by head."""
    if block is None:
        if split:
            shared.say("By head: not available, because the embedding has no attention.")
        return
    st.session_state["inside_heads"] = split
    st.toggle(
        f"the attention of block {block} by head", key="inside_heads",
        on_change=shared.writes("head", "inside_heads", lambda on: "all" if on else None),
    )


def _draw_gaps(apart: "Components") -> None:
    """The two gaps of the accounting, kept apart."""
    a = apart.found
    shared.caption(
        "Two separate gaps.",
        f"The components miss {_tiny(a.additivity_error)} of the score, which is rounding of the "
        f"pass; the dictionary misses {markup.signed(a.sparse_residual)}, which is what it leaves "
        "out of the rows.",
    )
    st.html(markup.wrap(markup.facts([
        Fact("exact", markup.signed(a.exact), "the score of the whole hidden state"),
        Fact("sum of components", markup.signed(float(a.totals.sum()))),
        Fact("additivity error", _tiny(a.additivity_error),
             "exact less the sum: rounding of the pass, and nothing of the dictionary"),
        Fact("sparse residual", markup.signed(a.sparse_residual),
             "what the dictionary leaves out of the rows, and nothing of the components"),
        Fact("rows close to", _tiny(a.identity_error),
             "largest |total - offset - features - residual| of a component"),
        Fact("stream closes to", _tiny(apart.sum_error),
             "largest difference of the components' sum from the residual stream"),
        Fact("norm closes to", _tiny(apart.norm_error),
             "largest difference of the shares' sum from what the head reads"),
    ]), "atl-gaps"))


def _tiny(value: float) -> str:
    if not value:
        return "0"
    shown = markup.signed(value) if abs(value) >= 0.005 else f"{value:.0e}"
    return shown.replace("-", "−")


def _note(seen: Seen) -> str:
    """What the figures depend on beside the run."""
    row = seen.row
    return (f"model of step {row.hidden_step} · readout of step {row.step} · position "
            f"{seen.found.position}")


def _draw_take(seen: Seen, apart: "Components", by_layer: "Layers") -> None:
    row = seen.row
    python = inside_recipe.python_of(
        seen.view.run, seen.prompt, seen.found.position, seen.found.score, row.hidden_step,
        row.step, apart.split,
    )
    exporting.take_away(
        seen.view, python,
        {
            "components": lambda: _components_frame(apart, seen.show),
            "layers": lambda: _layers_frame(by_layer),
        },
        "inside",
    )
