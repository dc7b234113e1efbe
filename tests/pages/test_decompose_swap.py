"""The view of readout swaps: what it draws, its control, its cell, bad addresses, its code."""

import json
import re

import numpy as np
import pytest

from atlas.asking import Ask, score_of
from atlas.reading import read_prompt
from atlas.store import Store
from atlas.swap import METRICS
from atlas.swap_grid import swap_grid
from pages import answers_swap
from tests.pages.test_pages import Open, asked, calm, open_page, text_of  # noqa: F401
from tests.tiny import FULL, PRISM, SEED0, STEPS

PROMPT = "In the beginning the light was upon the"


@pytest.fixture
def opened(open_page: Open):  # noqa: F811
    def view(**address: object):
        usual = {"run": SEED0, "prompt": PROMPT, "view": "swap"}
        return open_page("decompose", **(usual | address))

    return view


def figure(app) -> dict:
    return json.loads(app.get("plotly_chart")[-1].proto.spec)


def grid_of(store_folder, over: str = "position", align: str = "none"):
    store = Store.open(store_folder)
    reading = read_prompt(store, SEED0, PROMPT)
    return swap_grid(reading, score_of(reading, Ask()).score.target, over, align)


def test_it_draws_every_state_under_every_readout(opened, tiny_store) -> None:
    app = calm(opened(step=4))
    shown = text_of(app)
    cells = figure(app)["data"][0]
    assert cells["x"] == [f"{s:,}" for s in STEPS]
    assert cells["y"] == [f"{s:,}" for s in FULL]
    assert cells["customdata"][-1][-1] == len(STEPS) * len(FULL) - 1
    grid = grid_of(tiny_store)
    assert f"{grid.values['nll'][2, 2]:.2f}" in json.dumps(cells["hovertext"][2][2])
    for part in ("Readout swap.", "dealt out anew", "log V = 5.77", "counts of tokens in training",
                 "State of step 64, readout of step 4.", "What the swap does to the score."):
        assert part in shown, part


@pytest.mark.parametrize("metric", METRICS)
def test_every_measure(opened, metric: str) -> None:
    app = calm(opened(metric=metric, over="prompt"))
    assert re.search(rf"{re.escape(METRICS[metric])}, over \d+ predictions", text_of(app))
    assert "Control:" in text_of(app)
    assert app.selectbox(key="swap_metric").value == metric


@pytest.mark.parametrize("align", ["mean", "scale", "row_norm", "procrustes"])
def test_every_alignment(opened, align: str) -> None:
    app = calm(opened(align=align))
    assert asked(app, "align") == align
    values = np.array(figure(app)["data"][0]["z"], dtype=float)
    assert np.isfinite(values).all()


def test_widgets_write_the_address(opened) -> None:
    app = calm(opened())
    app.selectbox(key="swap_metric").set_value("kl").run()
    assert asked(calm(app), "metric") == "kl"
    app.selectbox(key="swap_state").set_value(16).run()
    assert asked(calm(app), "state") == "16"
    assert "State of step 16" in text_of(app)
    app.selectbox(key="swap_state").set_value(64).run()
    assert "state" not in calm(app).query_params


def test_its_own_readout_is_said_to_be_native(opened) -> None:
    shown = text_of(calm(opened(step=64)))
    assert "nothing is swapped" in shown
    assert "What the swap does to the score." not in shown


def test_a_failing_gate_withholds_the_features(opened) -> None:
    app = calm(opened(step=4))
    if "withheld" not in text_of(app):
        pytest.skip("both gates pass")
    shown = text_of(calm(opened(step=4, bars="show")))
    assert "so the features are not shown one by one" not in shown


@pytest.mark.parametrize(("address", "said"), [
    ({"metric": "<b>x"}, "is no metric"), ({"over": "all"}, "is no over"),
    ({"align": "none;--"}, "is no align"), ({"state": "4"}, "No whole model is kept at step"),
    ({"state": "x" * 300}, "No whole model is kept"),
])
def test_bad_addresses_are_said_calmly(opened, address: dict, said: str) -> None:
    app = calm(opened(**address))
    assert said in text_of(app)
    assert len(app.get("plotly_chart")) == 1


def test_one_snapshot_has_nothing_to_swap(opened) -> None:
    app = calm(opened(run=PRISM))
    assert "Not available, because" in text_of(app)
    assert not app.get("plotly_chart")


def test_a_prompt_of_one_token_has_no_next(opened) -> None:
    shown = text_of(calm(opened(prompt="t", over="prompt")))
    assert "Not available, because the prompt has one token" in shown
    assert "What the swap does" in shown or "nothing is swapped" in shown


def test_tables_instead_of_the_figure(opened) -> None:
    app = calm(opened(charts="tables"))
    assert not app.get("plotly_chart")
    assert "hidden state of step" in text_of(app)


def test_an_interaction_stays_small(opened) -> None:
    app = calm(opened())
    assert len(app.get("plotly_chart")[-1].proto.spec) < 30_000


def test_the_code_gives_the_same(tiny_store, monkeypatch, capsys) -> None:
    from atlas.places import STORE_VARIABLE
    from atlas.swap_recipe import python_of

    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    store = Store.open(tiny_store)
    reading = read_prompt(store, SEED0, PROMPT)
    target = score_of(reading, Ask()).score.target
    names: dict = {}
    exec(python_of(SEED0, PROMPT, -1, repr(Ask()), target, "prompt", "scale", 16, 4), names)
    wanted = grid_of(tiny_store, "prompt", "scale")
    for name in METRICS:
        np.testing.assert_array_equal(names["grid"].values[name], wanted.values[name])
    assert f"{names['cell'].kl}" in capsys.readouterr().out


class TestKept:
    def test_it_is_bounded(self) -> None:
        kept = answers_swap.Kept(3)
        for i in range(9):
            kept.keep((i,), i)
        assert len(kept) == 3
        assert kept.get((8,)) == 8
        assert kept.get((0,)) is None

    def test_one_at_a_time_and_whoever_gives_up_blocks_nobody(self) -> None:
        kept = answers_swap.Kept(3)

        class GivenUp(Exception):
            pass

        def give_up(what: str, share: float) -> None:
            assert "waiting" in what
            raise GivenUp

        with kept.turn(give_up), pytest.raises(GivenUp), kept.turn(give_up):
            pass
        with pytest.raises(GivenUp), kept.turn(give_up):
            raise GivenUp
        with kept.turn(give_up):  # neither of them kept the turn
            pass
