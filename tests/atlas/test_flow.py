"""The strands of promoted tokens: who stays how long, what is kept, what is named and where."""

import copy
import itertools
import math

import numpy as np
import plotly.graph_objects as go
import pytest

from atlas.flow import (
    FILLED,
    HOLLOW,
    LETTER,
    flow_figure,
    place_of,
    placed_names,
    shortened,
)
from atlas.rankings import RANKS, Null, Ranking, kept, null_of, stays
from atlas.records import PromotedNull
from atlas.theme import DARK, LIGHT, contrast

STEPS = [0, 1, 4, 16, 64, 143_000]
PALETTES = pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])


def ranking(*tokens: int) -> Ranking:
    return Ranking(tokens, [f"t{t}" for t in tokens], [0.9 - 0.1 * r for r in range(len(tokens))])


def drawn_at_random(count: int, seed: int) -> list[Ranking]:
    generator = np.random.default_rng(seed)
    return [
        ranking(*generator.permutation(16)[: int(generator.integers(0, 13))].tolist())
        for _ in range(count)
    ]


def stays_by_hand(rankings: list[Ranking]) -> set[tuple[int, int, tuple[int, ...]]]:
    """Token, first snapshot, ranks: token by token instead of snapshot by snapshot."""
    found = set()
    for token in {t for r in rankings for t in r.tokens}:
        ranks = [list(r.tokens).index(token) if token in r.tokens else None for r in rankings]
        k = 0
        for present, run in itertools.groupby(ranks, key=lambda rank: rank is not None):
            length = len(inner := list(run))
            if present:
                found.add((token, k, tuple(inner)))
            k += length
    return found


@pytest.mark.parametrize("seed", range(5))
def test_stays_are_what_following_each_token_gives(seed: int) -> None:
    rankings = drawn_at_random(9, seed)
    found = stays(rankings)
    assert {(s.token, s.first, tuple(s.ranks)) for s in found} == stays_by_hand(rankings)
    assert [s.first for s in found] == sorted(s.first for s in found)
    assert all(s.last == s.first + len(s.ranks) - 1 for s in found)


def test_a_token_that_comes_back_has_two_stays() -> None:
    found = stays([ranking(1, 2), ranking(2), ranking(2, 1)])
    assert [(s.token, s.first, s.ranks) for s in found] == [
        (1, 0, [0]), (2, 0, [1, 0, 0]), (1, 2, [1])
    ]


def test_only_the_best_are_followed() -> None:
    assert {s.token for s in stays([ranking(*range(20))])} == set(range(RANKS))


def test_the_share_kept_is_missing_where_there_is_nothing_to_keep() -> None:
    assert kept([ranking(1, 2), ranking(2, 3), ranking(), ranking(3)]) == [None, 0.5, None, None]
    assert kept([ranking(1), ranking(1)])[1] == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_no_name_lies_over_another(seed: int) -> None:
    rankings = drawn_at_random(24, seed)
    pitch = 40.0
    names = placed_names(stays(rankings), 24, pitch)
    assert len(names) > 5
    for one, other in itertools.combinations(names, 2):
        if one.rank == other.rank:
            first, second = sorted((one, other), key=lambda n: n.x)
            assert first.x + LETTER * len(first.text) / pitch < second.x


def test_tokens_of_the_last_list_are_named_first() -> None:
    # 7 enters where 5, which stays longer, has just left: the name of 7 wins the place
    rankings = [ranking(5)] * 2 + [ranking(7), ranking(8), *[ranking(7)] * 3]
    names = placed_names(stays(rankings), 7, 12.0)
    assert [n.text for n in names if n.stays][0] == "t7"


def a_figure(palette, null: Null | None = None, silent=None) -> dict:
    rankings = [ranking(1, 2, 3), ranking(2, 3, 1), ranking(2, 9), ranking(9, 2), ranking(2, 9),
                ranking(9, 2, 4)]
    return flow_figure(STEPS, rankings, 16, palette, null, silent)


def dots(figure: dict) -> dict[tuple[int, int], tuple[str, int, str]]:
    """(snapshot, rank) -> (text, symbol, colour) of all dots."""
    found = {}
    for trace in figure["data"]:
        if trace.get("name") != "rank":
            continue
        symbols = trace["marker"]["symbol"]
        symbols = [symbols] * len(trace["x"]) if isinstance(symbols, int) else symbols
        for x, y, text, symbol in zip(
            trace["x"], trace["y"], trace["text"], symbols, strict=True
        ):
            if x is not None:
                found[x, y] = (text, symbol, trace["marker"]["color"])
    return found


@PALETTES
def test_a_flow_is_a_figure_with_every_token_at_its_rank(palette) -> None:
    figure = a_figure(palette)
    go.Figure(figure)
    found = dots(figure)
    assert len(found) == 3 + 3 + 2 + 2 + 2 + 3
    assert found[0, 0][0] == "t1 0.90"
    assert found[1, 2][0].endswith(" leaves")
    assert found[2, 1][0].endswith(" enters")
    assert found[5, 2][0] == "t4 0.70 enters"
    assert found[5, 0][2] == palette.accent
    assert contrast(found[0, 0][2], palette.paper) > 2
    (ends,) = (t for t in figure["data"] if t.get("name") == "last list")
    assert list(zip(ends["y"], ends["text"], strict=True)) == [(0, "t9"), (1, "t2"), (2, "t4")]
    assert figure["layout"]["xaxis"]["ticktext"][-1] == "143k"


def test_what_chance_reaches_is_hollow_and_what_it_keeps_is_a_line() -> None:
    beyond = [0.85] * RANKS * len(STEPS)
    null = Null(beyond, [(0.1, 0.2, 0.3)] * len(STEPS), [None, 0.5, 0.6, 0.7, 0.8, 0.9])
    figure = a_figure(LIGHT, null)
    go.Figure(figure)
    found = dots(figure)
    assert found[0, 0][1] == FILLED
    assert found[0, 1][1] == HOLLOW
    assert {symbol for _, symbol, _ in dots(a_figure(LIGHT)).values()} == {FILLED}
    lines = {t["name"]: t["y"] for t in figure["data"] if t.get("yaxis") == "y2"}
    assert lines["random direction"] == null.kept
    assert lines["feature"][2] == 0.5
    said = [a["text"] for a in figure["layout"]["annotations"]]
    assert "a random one 90%" in said
    assert all(t.get("name") != "random direction" for t in a_figure(LIGHT)["data"])


def test_snapshots_without_a_firing_row_are_shaded() -> None:
    silent = [True, True, False, False, False, False]
    plain, shaded = a_figure(LIGHT), a_figure(LIGHT, silent=silent)
    more = [s for s in shaded["layout"]["shapes"] if s not in plain["layout"]["shapes"]]
    assert [(s["x0"], s["x1"]) for s in more] == [(-0.5, 0.5), (0.5, 1.5)]


def test_a_token_cannot_speak_to_the_figure() -> None:
    evil = Ranking([1], ["<a href='x'>%{y}</a>"], [0.5])
    figure = flow_figure([0, 1], [evil, evil], 0, LIGHT)
    said = [a["text"] for a in figure["layout"]["annotations"]]
    said += [t for trace in figure["data"] for t in trace.get("text", ())]
    assert any("href" in t for t in said)
    assert not any("<a" in t or "%{" in t for t in said)


def test_empty_lists_still_make_a_figure() -> None:
    figure = flow_figure([0, 1, 2], [ranking(), ranking(1), ranking()], 1, LIGHT)
    go.Figure(figure)
    before = copy.deepcopy(figure)
    assert before == flow_figure([0, 1, 2], [ranking(), ranking(1), ranking()], 1, LIGHT)


def test_the_null_of_the_store_fills_the_ranks_it_has() -> None:
    quantiles = np.zeros((2, 3, 3), dtype=np.float32)
    quantiles[:, :, 2] = 0.5
    quantiles[1, 0] = [0.25, 0.5, 0.75]
    null = null_of(PromotedNull((0, 1), quantiles, np.array([np.nan, 0.5], dtype=np.float32)))
    assert null.beyond[:3] == [0.5] * 3
    assert math.isnan(null.beyond[3])
    assert null.beyond[RANKS] == 0.75
    assert null.best[1] == (0.25, 0.5, 0.75)
    assert null.kept == [None, 0.5]
    assert null_of(None) is None
    assert null_of(PromotedNull((0,), np.zeros((1, 0, 3)), np.zeros(1))) is None


def test_long_names_are_cut() -> None:
    assert shortened("short") == "short"
    assert len(shortened("x" * 50)) == 15


def test_a_clicked_dot_names_its_place_and_anything_else_none() -> None:
    def click(**point: object) -> dict:
        return {"selection": {"points": [point]}}

    assert place_of(click(x=3, y=2, text="t")) == (3, 2)
    for odd in (None, {}, {"selection": {"points": []}}, click(x=3), click(x="3", y=2),
                click(x=1.5, y=0.5), click(x=-1, y=2)):
        assert place_of(odd) is None
