"""Windows of a dictionary, of rows and of a control, and what is said of them."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from atlas import control_words, dense_figures, reorganisation, turnover
from atlas.control_births import KINDS, births_drawing, births_table
from atlas.dense_figures import Curve, Panel, Score
from atlas.life_marks import Span
from atlas.reorganisation import COMPONENTS, PairMetrics, Reorganisation
from atlas.theme import LIGHT
from atlas.turnover import ROW_COMPONENTS, Born, Control

STEPS = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]
RUN = "a/run"


def pairs(peak: int, seed: int = 0, rate: bool = True) -> PairMetrics:
    """Metrics of eleven pairs that all peak at one pair, on a little noise."""
    g = np.random.default_rng(seed)
    found = {name: 0.05 * g.random(11) for name in (*COMPONENTS, "unweighted_rotation",
                                                    "mass_change")}
    for values in found.values():
        values[peak] += 1
    if not rate:
        found["activation_turnover"] = np.full(11, np.nan)
    return PairMetrics(**found)


def test_a_planted_window_is_found_by_six_metrics_and_by_five():
    six = turnover.scored(pairs(7), STEPS, RUN)
    five = turnover.scored(pairs(7, rate=False), STEPS, RUN, ROW_COMPONENTS)
    for found in (six, five):
        w = found.windows
        assert w.from_step[found.best] <= 64 < w.to_step[found.best]
        assert found.p_any[found.best] <= 0.05
    expected = reorganisation.score_windows(pairs(7).components, STEPS, reorganisation.seed_of(RUN))
    np.testing.assert_array_equal(six.score, expected.score)
    assert turnover.scored(pairs(7, rate=False), STEPS, RUN) is None


def test_why_no_window_can_be_scored():
    assert turnover.unscored(STEPS) == ""
    assert "8 snapshots are fewer than the 9" in turnover.unscored(STEPS[:8])
    assert "half-decade" in turnover.unscored(range(1000, 1010))
    assert turnover.scored(pairs(2), range(1000, 1012), RUN) is None


def place(start: int, p: float) -> Reorganisation:
    """A scored run whose chosen window begins at a snapshot and has a p."""
    w = reorganisation.windows(STEPS)
    one = np.ones(len(w.start))
    best = int(np.flatnonzero(w.from_step == start)[0])
    return Reorganisation(w, 0.5 * one, 2 * one, 0.01 * one, np.where(one > 0, p, 1),
                          np.ones((3, len(one))), best)


def test_the_answer_hangs_on_both_nulls_and_on_the_place():
    def said(own: Reorganisation, rows: Reorganisation) -> str:
        return control_words.answer("W_U", {"dictionary": own, "rows": rows})

    assert "in the same half-decade" in said(place(16, 0.01), place(16, 0.01))
    assert "at different times" in said(place(16, 0.01), place(128, 0.01))
    assert "Only the dictionary’s window" in said(place(16, 0.01), place(16, 0.2))
    assert "the dictionary’s does not stand out" in said(place(16, 0.2), place(16, 0.01))
    assert "Neither window" in said(place(16, 0.2), place(16, 0.2))
    assert "cannot be said" in control_words.answer("W_U", {"dictionary": place(16, 0.01)})
    weak = {"dictionary": place(16, 0.01), "rows": place(16, 0.01), "five": place(16, 0.3)}
    assert "does not even stand out" in control_words.answer("W_U", weak)
    assert control_words.common(place(16, 1), place(16, 1)) == pytest.approx(1)
    assert control_words.common(place(16, 1), place(256, 1)) == 0


def control(explained: float | None = 0.5) -> Control:
    count = np.arange(12)
    return Control(count, count // 2, count, count, np.ones((12, 5)), pairs(7), 0, explained, 3.0,
                   40, "all rows")


def test_what_the_control_adds_says_how_weak_it_is():
    scores = {"dictionary": place(16, 0.01), "control": place(16, 0.01)}
    assert "Even a dictionary" in control_words.about_control(scores, control(), 0.6)
    weak = control_words.about_control(scores, control(0.1), 0.6)
    assert "weak comparison" in weak
    assert "40 features that fire" in weak
    assert "weak" not in control_words.about_control(scores, control(None), 0.6)
    elsewhere = scores | {"control": place(256, 0.01)}
    assert "elsewhere" in control_words.about_control(elsewhere, control(), 0.6)
    none = scores | {"control": place(16, 0.5)}
    assert "no window" in control_words.about_control(none, control(), 0.6)
    assert control_words.about_control(scores, None, 0.6) == ""
    few = replace(control(), n_alive=7)
    assert "too few features that fire, 7," in control_words.about_control(
        {"dictionary": place(16, 0.01)}, few, 0.6)
    births = control_words.control_births(control(0.1), 0.6)
    assert "66 births, 30 above its floor" in births
    assert "no surprise" in births


def test_survivors_in_words():
    said = control_words.survivors(Born(500, 283, 16, 346, 199), 0)
    assert said.startswith("484 of 500 births survive")
    assert "of 346 at step 0 199 stay there" in said
    assert "No feature" in control_words.survivors(Born(0, 0, 0, 0, 0), 0)


# --- figures -------------------------------------------------------------------------------------


def test_panels_have_a_null_and_a_reading_and_leave_out_nan():
    values = np.linspace(3, 100, 12)
    values[0] = math.nan
    panels = [
        Panel("axes", values, 2 * values, 50.0, other_name="rank", logarithmic=True),
        Panel("share", values / 200, percent=True, band=np.ones((12, 5)) / 4),
        Panel("nothing", np.full(12, math.nan), null=math.nan),
    ]
    figure = dense_figures.panels_figure(STEPS, panels, 16, Span(16, 50), LIGHT)
    assert [t["y"] for t in figure["data"] if t.get("name") == "noise"] == [[50.0, 50.0]]
    titles = [a["text"] for a in figure["layout"]["annotations"]]
    assert "at step 16" in titles[0]
    assert "not available" in titles[2]
    assert figure["data"][1]["y"][0] is None
    assert figure["layout"]["yaxis"]["type"] == "log"
    table = dense_figures.panels_table(STEPS, panels)
    assert list(table) == ["step", "axes", "rank", "axes, noise", "share", "nothing",
                           "nothing, noise"]


def test_score_panels_show_each_window_with_its_null():
    found = turnover.scored(pairs(7), STEPS, RUN)
    scores = [Score("one", found), Score("two", place(16, 0.2))]
    figure = dense_figures.scores_figure(STEPS, scores, 64, LIGHT, beside=5)
    shaded = [s for s in figure["layout"]["shapes"] if s["type"] == "rect"]
    assert [s["yref"] for s in shaded] == ["y domain", "y2 domain"]
    diamonds = figure["data"][-1]["marker"]["symbol"]
    assert [i for i, s in enumerate(diamonds) if s == "diamond"] == [scores[1].found.best]
    table = dense_figures.scores_table(scores)
    assert table["chosen"].sum() == 2
    assert dense_figures.scores_table([]).empty


def test_curves_are_named_at_their_ends_and_cut_at_the_foot():
    curves = [
        Curve("deep", STEPS, np.linspace(-2, 1, 12), "accent"),
        Curve("points", [4, 16], np.array([0.5, math.nan]), "4", points=True),
        Curve("none", STEPS, np.full(12, math.nan), "1"),
    ]
    figure = dense_figures.explained_figure(STEPS, curves, 16, LIGHT)
    assert min(figure["data"][0]["y"]) == dense_figures.LEAST_SHARE
    assert "-200.0%" in figure["data"][0]["text"][0]
    assert [a["text"] for a in figure["layout"]["annotations"]] == ["deep", "points"]
    assert len(dense_figures.explained_table(curves)) == 26


def test_births_of_run_and_control_are_bars_that_lead_on():
    population = pd.DataFrame({"step": STEPS, "births": [9.0, *[0.0] * 11],
                               "births_floor": [1.0, 2.0, *[0.0] * 10]})
    table = births_table(population, np.full(12, 4), np.zeros(12))
    found = births_drawing(table, lambda kind, k: f"{kind}-{k}", 16, LIGHT)
    assert len(found.parts) == 3 + 12
    first = found.parts[0]
    assert (first.href, first.title) == ("births-0", "step 0, the paper’s rule: 9")
    assert first.y[1] == pytest.approx(3 * found.parts[1].y[1])  # by the square root
    assert max(part.y[1] for part in found.parts) < 1
    assert list(table)[1:] == [kind for kind, _ in KINDS]
