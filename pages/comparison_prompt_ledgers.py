"""The ledgers of several seeds beside each other, and how far they agree."""

import math
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from atlas import markup, seed_ledger_markup, seed_ledger_recipe
from atlas.feature_labels import feature_labels
from atlas.matches import WAYS
from atlas.seed_ledger_markup import Cell, Head, Line, Sum
from atlas.seed_ledgers import DRAWS, SEED, Agreement, Aligned, rest_of
from pages import answers_prompt, comparison_prompt_ask, exporting, score, shared

if TYPE_CHECKING:
    from pages.comparison_prompt import Compared, Side

PAIRS = 7
"""Lines of agreement beyond those of all seeds; the table to take away has every pair."""


def draw(found: "Compared") -> None:
    """Agreement above, ledgers below, everything to take away."""
    view, sides = found.view, found.sides
    _draw_exact(found)
    shown = [side for side in sides if side.shown]
    runs = tuple(side.card.run for side in shown)
    aligned, agree = answers_prompt.compared(
        view.store.digest, runs, found.prompt, found.position, found.ask, view.step, found.way,
        found.live,
    )
    _draw_withheld(found)
    _draw_agreement(found, shown, agree)
    _draw_ledgers(found, aligned)
    exporting.take_away(
        view, seed_ledger_recipe.python_of(
            runs, found.prompt, found.position, found.ask, sides[0].row.step, found.way),
        {"ledgers": partial(_lines_table, shown, aligned), "parts": partial(_parts_table, found),
         "agreement": partial(_agreement_table, shown, agree)}, "seed_ledgers",
    )


def _draw_exact(found: "Compared") -> None:
    """The score, and what of it is the same in all seeds."""
    ledgers = [side.row.ledger for side in found.sides]
    own = found.sides[0]
    moment = markup.moment(own.row.step, found.view.card.revision)
    apart = max(x.base for x in ledgers) - min(x.base for x in ledgers)
    base = ("the base is 0 in all, because the weights of the score add up to 0"
            if max(abs(x.base) for x in ledgers) < 1e-6 else
            f"the base holds the bias of each dictionary and differs by {markup.number(apart, 2)} "
            "at most" if apart >= 5e-3 else "and so is the base, to two decimals")
    st.html(markup.wrap(
        f'<p style="margin:2px 0 0"><span class="tok" style="font-size:15px">'
        f"{markup.escape(score.score_name(own.found))}</span> at {markup.escape(moment)}: exact "
        f'<span class="num">{markup.signed(ledgers[0].exact)}</span> logits in every seed; '
        f"{base}.</p>"
    ))
    if own.row.step != found.view.step:
        shared.say(f"Step {found.view.step:,} has no answer; the nearest that has, "
                   f"{own.row.step:,}, is shown.")


def _draw_withheld(found: "Compared") -> None:
    failed = [side for side in found.sides if not side.row.ledger.gate]
    if not failed:
        return
    names = ", ".join(side.name for side in failed)
    bars = ("are shown only because they were asked for" if failed[0].shown else
            "are withheld and in none of the numbers of agreement")
    shared.say(f"The gate fails in {names}: features do not explain this score there, so their "
               f"bars {bars}.", "bad")
    st.session_state["seeds_withheld"] = failed[0].shown
    st.toggle("Show the bars of failed explanations anyway", key="seeds_withheld",
              on_change=shared.writes("withheld", "seeds_withheld",
                                      lambda v: "show" if v else None))


# --- agreement ------------------------------------------------------------------------------------


def _draw_agreement(
    found: "Compared", shown: "list[Side]", agree: tuple[Agreement, ...]
) -> None:
    if len(shown) < 2:
        shared.caption("How far do they agree?")
        shared.say("Not available, because fewer than two seeds explain this score: their gates "
                   "fail.")
        return
    first = agree[0]
    if not any(one.groups for one in agree):
        shared.caption("How far do they agree?")
        shared.say("Not available, because no feature that is active here is one that these seeds "
                   f"share by {WAYS[found.way]}; other ways of matching stand above.")
        return
    names = [side.name for side in shown]
    who = f"all {len(shown)}" if len(shown) > 2 else "both"
    share = first.share
    shared.caption(
        "How far do they agree?",
        f"{_share(share.value)} of what the features say (Σ|c|) lies in the {first.groups:,} that "
        f"{who} seeds share by {WAYS[found.way]}; memberships dealt out at random among the "
        f"features active here give {_share(share.low)} to {_share(share.high)}, "
        f"{markup.probability(share.p)}.",
        tail="Dots, the seeds; grey, 90 % of what chance gives, with its median: for r the matches "
        f"are exchanged. {DRAWS} deals, seed {SEED}.",
    )
    listed = _listed(agree, len(shown))
    if shared.as_tables():
        shared.chart({}, "seed_agreement", "agreement of the seeds beside chance",
                     _agreement_table(shown, agree))
        return
    st.html(seed_ledger_markup.agreement(listed, names))
    if len(listed) < len(agree):
        shared.say(f"Pairs with {names[0]} are shown; the table to take away has all "
                   f"{len(agree) - 1}.")


def _listed(agree: tuple[Agreement, ...], seeds: int) -> list[Agreement]:
    """All lines where they are few; else all seeds together and the pairs of the first."""
    if len(agree) <= PAIRS:
        return list(agree)
    return [one for one in agree if len(one.places) == seeds or one.places[0] == 0]


def _share(value: float) -> str:
    return markup.NOT_AVAILABLE if math.isnan(value) else f"{value:.0%}"


# --- ledgers --------------------------------------------------------------------------------------


def _draw_ledgers(found: "Compared", aligned: Aligned) -> None:
    sides = found.sides
    count = min(found.bars, len(aligned.groups))
    shared.caption(
        "The same ledger, seed by seed.",
        f"The {count} features of {len(aligned.groups):,} with the largest mean |contribution|; a "
        "line is one feature that seeds share, a number opens it, a dash is a seed without it and "
        "0 one in which it does not fire on these tokens. Faint, features of one seed alone. Bars "
        "have one scale in all seeds, the sums below another." if count else
        "Every seed’s features are withheld; the sums are those of the whole.",
    )
    if shared.as_tables():
        shown = [side for side in sides if side.shown]
        shared.chart({}, "seed_ledgers", "contributions by seed", _lines_table(shown, aligned))
        shared.chart({}, "seed_parts", "parts of the score by seed", _parts_table(found))
        return
    st.html(seed_ledger_markup.ledgers(
        [_head(found, side) for side in sides], _lines(found, aligned, count),
        _sums(found, aligned, count), [side.shown for side in sides],
        f"contributions to the score by {len(sides)} seeds",
    ))


def _head(found: "Compared", side: "Side") -> Head:
    ledger = side.row.ledger
    rho = f"ρ = {ledger.rho:.2f}"
    verdict = (f"gate passes, {rho}" if ledger.gate else
               f"gate fails, {rho}" + (", the sign differs" if ledger.sign_agrees is False else ""))
    if not side.shown:
        verdict += ": withheld"
    spread = score.spread_of(side.row)
    said = ("" if not side.shown or not spread.n80 else
            f"{len(ledger.features):,} features; {spread.n80:,} hold 80 %")
    href = shared.href("decompose", found.view, run=side.card.run,
                       **comparison_prompt_ask.question(found.prompt))
    return Head(side.name, side.card.run, href, verdict, ledger.gate, said)


def _lines(found: "Compared", aligned: Aligned, count: int) -> list[Line]:
    view = found.view
    shown = [side for side in found.sides if side.shown]
    names = [
        feature_labels(view.store, side.card.run,
                       [f for f in aligned.features[:count, place].tolist() if f >= 0])
        for place, side in enumerate(shown)
    ]
    lines = []
    for row in range(count):
        cells = iter([
            _cell(view, side, aligned, row, place, names[place])
            for place, side in enumerate(shown)
        ])
        line = tuple(next(cells) if side.shown else None for side in found.sides)
        label = next(cell.title for cell in line if cell is not None)
        lines.append(Line(label, line, bool(aligned.groups[row] >= 0)))
    return lines


def _cell(
    view: shared.Here, side: "Side", aligned: Aligned, row: int, place: int, names: dict[int, str]
) -> Cell | None:
    feature = int(aligned.features[row, place])
    if feature < 0:
        return None
    return Cell(
        feature, float(aligned.values[row, place]), bool(aligned.active[row, place]),
        shared.href("feature", view, run=side.card.run, feature=feature), names.get(feature, ""),
    )


def _sums(found: "Compared", aligned: Aligned, count: int) -> list[Sum]:
    """Numbers of the whole; a withheld seed's features are one sum."""
    ledgers = [side.row.ledger for side in found.sides]
    rest, notes, place = [], [], 0
    for side, ledger in zip(found.sides, ledgers, strict=True):
        if side.shown:
            more, value = rest_of(aligned, place, count, ledger.feature_sum)
            place += 1
        else:
            more, value = len(ledger.features), ledger.feature_sum
        rest.append(value)
        notes.append(f"{more:,}" if more else "")
    return [
        Sum("other features", tuple(rest), "rest", tuple(notes)),
        Sum("base", tuple(x.base for x in ledgers), "base"),
        Sum("residual", tuple(x.residual for x in ledgers), "residual"),
        Sum("exact, their sum", tuple(x.exact for x in ledgers), "exact"),
    ]


# --- to take away ---------------------------------------------------------------------------------


def _lines_table(shown: "list[Side]", aligned: Aligned) -> pd.DataFrame:
    """A line per feature: its group and, of each seed, feature and contribution."""
    frame = pd.DataFrame({"group": [None if g < 0 else g for g in aligned.groups.tolist()]},
                         dtype=object)
    for place, side in enumerate(shown):
        ids = aligned.features[:, place].tolist()
        frame[f"feature, {side.name}"] = pd.Series([None if f < 0 else f for f in ids],
                                                   dtype=object)
        frame[f"contribution, {side.name}"] = aligned.values[:, place]
    return frame


def _parts_table(found: "Compared") -> pd.DataFrame:
    """A line per seed: the parts of the score, the gate, the number of features."""
    return pd.DataFrame([
        {"run": side.card.run, "exact": x.exact, "base": x.base, "features": x.feature_sum,
         "residual": x.residual, "rho": x.rho, "gate": x.gate, "active": len(x.features)}
        for side, x in ((side, side.row.ledger) for side in found.sides)
    ])


def _agreement_table(shown: "list[Side]", agree: tuple[Agreement, ...]) -> pd.DataFrame:
    """A line per set of seeds, numbers beside the 5, 50 and 95 % of their null."""
    names = [side.name for side in shown]
    rows = []
    for one in agree:
        row: dict[str, object] = {"seeds": seed_ledger_markup.between(one, names),
                                  "features": one.groups}
        for name, found in (("share", one.share), ("r", one.pearson), ("rank", one.rank)):
            row |= {name: found.value, f"{name} 5 %": found.low, f"{name} 50 %": found.middle,
                    f"{name} 95 %": found.high, f"{name} p": found.p}
        rows.append(row)
    return pd.DataFrame(rows)
