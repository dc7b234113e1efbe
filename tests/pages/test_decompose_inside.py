"""The view inside the model through AppTest: what it says, what it withholds, where clicks lead."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from atlas import inside_figures, inside_markup
from atlas.attribution import Attribution, Component
from atlas.inside_markup import LensCell, LensRow, StripToken
from atlas.theme import DARK, LIGHT
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import PRISM, SEED0, SMALL, STEPS

__all__ = ["open_page"]
PROMPT = "In the beginning the light was upon the water, and the"
INSIDE = {"view": "inside", "prompt": PROMPT}


def html_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


def cells(app: AppTest) -> list[str]:
    return re.findall(r'data-atl-inside="(\d+(?::\d+)?)"', html_of(app))


@pytest.mark.parametrize("run", [SEED0, SMALL, PRISM])
def test_it_opens_on_every_kind_of_run(open_page: Open, run: str) -> None:
    app = calm(open_page("decompose", run=run, **INSIDE))
    shown = text_of(app)
    for said in ("Every position.", "The lens.", "The score through the layers.", "Who wrote it.",
                 "Two separate gaps.", "with its own readout"):
        assert said in shown
    assert "not available, because" not in shown.lower()


def test_a_cell_per_layer_and_position_and_a_button_per_token(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, **INSIDE))
    found = cells(app)
    tokens = [c for c in found if ":" not in c]
    count = len(tokens)
    assert tokens == [str(i) for i in range(count)]
    grid = [c for c in found if ":" in c]
    positions = range(max(0, count - 16), count)
    assert grid == [f"{layer}:{p}" for layer in range(3) for p in positions]


def test_layer_and_head_stand_in_the_address(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, layer=0, head="all", **INSIDE))
    assert app.select_slider(key="inside_layer").value == 1
    assert "the attention of block 0 by head" in [t.label for t in app.toggle]
    app.select_slider(key="inside_layer").set_value(0).run()
    assert asked(calm(app), "layer") == "embedding"
    assert "the embedding has no attention" in text_of(app)
    app.select_slider(key="inside_layer").set_value(2).run()
    assert "layer" not in calm(app).query_params
    app.toggle(key="inside_heads").set_value(False).run()
    assert "head" not in calm(app).query_params


@pytest.mark.parametrize("value", ["9", "-1", "first", "<b>1</b>", "1e3", "١"])
def test_nonsense_is_answered_in_words(open_page: Open, value: str) -> None:
    app = calm(open_page("decompose", run=SEED0, layer=value, head=value, **INSIDE))
    shown = text_of(app)
    assert "There is no layer" in shown
    assert "splits nothing" in shown
    assert app.select_slider(key="inside_layer").value == 2


def test_features_are_withheld_where_the_gate_fails(open_page: Open) -> None:
    seen = set()
    for run in (SEED0, PRISM):
        for target in (40, 90, 200):
            app = calm(open_page("decompose", run=run, target=f"#{target}", versus="#120",
                                 charts="tables", **INSIDE))
            shown = text_of(app)
            fails = "The gate fails" in shown
            assert ("parts by feature are withheld" in shown) == fails
            assert bool(re.search(r'<th scope="col" class="r num">feature \d+', html_of(app))) \
                == (not fails)
            seen.add(fails)
    assert seen == {True, False}


def test_everything_is_there_as_tables(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, charts="tables", **INSIDE))
    for alt in ("every token of the prompt", "likeliest token after every block",
                "exact score, base, features", "what every component adds"):
        assert alt in html_of(app)
    assert not cells(app)


def test_another_step_and_whose_state(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, step=4, **INSIDE))
    assert "The model of step 64 is looked into, with the readout of step 4" in text_of(app)
    app = calm(open_page("decompose", run=SEED0, step=16, hidden="own", **INSIDE))
    assert "The model of step 16 is looked into, with its own readout" in text_of(app)


def test_the_score_is_the_one_of_the_header(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, step=4, target="#40", versus="#90", **INSIDE))
    exact = re.findall(r"exact</small><span class=\"num\">([^<]+)<", html_of(app))
    assert len(exact) >= 2
    assert len(set(exact)) == 1


@pytest.mark.parametrize("kind", [
    {"kind": "vocabulary", "target": "#40"}, {"kind": "centred", "target": "#40"},
    {"kind": "topk"}, {"kind": "rank", "rank": 4}, {"target": "#40"},
])
@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_every_kind_of_score(open_page: Open, run: str, kind: dict) -> None:
    shown = text_of(calm(open_page("decompose", run=run, **INSIDE, **kind)))
    assert "Two separate gaps." in shown
    assert ("holds 95 % of tokens" in shown) == (
        kind.get("kind") in ("vocabulary", "centred") or kind == {"target": "#40"})


def test_figures_to_take_away(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, figures="svg", **INSIDE))
    specs = [json.loads(c.proto.spec) for c in app.get("plotly_chart")]
    lines = [str(s["layout"]["annotations"][-1]["text"]) for s in specs]
    assert any("model of step 64" in line and SEED0 in line for line in lines)


def test_a_prompt_of_one_token(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, view="inside", prompt="a"))
    assert "Every position: not available, because the prompt is one token" in text_of(app)
    assert "Who wrote it." in text_of(app)


def test_a_long_prompt_has_pages(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, view="inside", prompt=PROMPT * 20))
    last = int(max(cells(app), key=lambda c: int(c.split(":")[-1])).split(":")[-1])
    assert f"of 0–{last}" in text_of(app)
    assert app.button(key="inside_later").disabled
    app.button(key="inside_earlier").click().run()
    assert int(asked(calm(app), "position")) == last - 16
    assert f"{last - 31}–{last - 16} of 0–{last}" in text_of(app)
    app.button(key="inside_later").click().run()
    assert "position" not in calm(app).query_params
    assert len(html_of(app)) < 100_000


def test_where_clicks_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    from pages import decompose_inside, shared

    changed: list[dict] = []
    monkeypatch.setattr(shared, "address", lambda **found: changed.append(found))
    found = SimpleNamespace(tokens=(11, 22, 33, 44), position=3)
    seen = SimpleNamespace(found=found)
    decompose_inside.asked_token(seen, 2)  # type: ignore
    decompose_inside.asked_cell(seen, 1, 3, 2)  # type: ignore
    decompose_inside.asked_cell(seen, 0, 1, 2)  # type: ignore
    decompose_inside.asked_cell(seen, 2, 3, 2)  # type: ignore
    assert changed == [
        {"position": 1, "target": "#33", "versus": None, "kind": None},
        {"layer": "0"},
        {"layer": "embedding", "position": 1, "target": None, "versus": None},
        {"layer": None},
    ]
    for place in (0, 4, None):
        decompose_inside.asked_token(seen, place)  # type: ignore
    for layer, place in ((3, 1), (1, 4), (None, 1), (1, None)):
        decompose_inside.asked_cell(seen, layer, place, 2)  # type: ignore
    assert len(changed) == 4


# --- figures -----------------------------------------------------------------------------


def apart(blocks: int, features: int = 12) -> SimpleNamespace:
    rng = np.random.default_rng(0)
    named = [Component("embedding")]
    for block in range(blocks):
        named += [Component("attention", block), Component("MLP", block)]
    count = len(named)
    found = Attribution(
        tuple(named), rng.normal(size=count), np.zeros(count), np.arange(features),
        rng.normal(size=(count, features)), np.zeros(count), np.zeros(count), 1.0)
    return SimpleNamespace(found=found, spread=np.tile([-1.0, 1.0], (count, 1)),
                           beyond=rng.random((count, features)) < 0.2)


@pytest.mark.parametrize("p", [LIGHT, DARK])
@pytest.mark.parametrize("blocks", [2, 36])
def test_components_figure(blocks: int, p) -> None:
    data = apart(blocks)
    figure = inside_figures.components_figure(data, [f"{i} <b>" for i in range(12)], 1, p)
    band, bars, cells, dots = figure["data"]
    np.testing.assert_allclose(np.add(band["base"], band["y"]), data.spread[:, 1])
    np.testing.assert_allclose(bars["y"], data.found.totals, rtol=1e-4)
    assert bars["customdata"][:4] == [-1, 0, 0, 1]
    np.testing.assert_allclose(cells["z"][-1], data.found.matrix[:, 0], rtol=1e-4)
    assert len(dots["x"]) == int(data.beyond.sum())
    assert all(data.beyond[x, 11 - y] for x, y in zip(dots["x"], dots["y"], strict=True))
    assert "<b>" not in figure["layout"]["yaxis2"]["ticktext"][0]
    assert len(json.dumps(figure)) < 50_000
    alone = inside_figures.components_figure(data, None, None, p)
    assert len(alone["data"]) == 2
    assert "yaxis2" not in alone["layout"]


def through(count: int) -> SimpleNamespace:
    ledgers = [SimpleNamespace(exact=float(i), base=0.0, feature_sum=i / 2, residual=i / 2,
                               rho=0.4, gate=i % 2 == 0) for i in range(count)]
    return SimpleNamespace(ledgers=ledgers, ranks=np.arange(count, 0, -1) ** 2,
                           probabilities=np.linspace(0, 1, count),
                           nearness=np.linspace(0, 1, count), spread=np.tile([-3, 3], (count, 1)))


@pytest.mark.parametrize("count", [2, 5, 37])
def test_layers_figure(count: int) -> None:
    figure = inside_figures.layers_figure(through(count), count - 1, "<i>", LIGHT)
    exact = next(t for t in figure["data"] if t.get("name") == "exact")
    assert exact["marker"]["color"][:2] == [LIGHT.ink, LIGHT.paper]
    assert exact["customdata"] == list(range(count))
    ticks = figure["layout"]["xaxis"]
    assert ticks["ticktext"][0] == "embedding"
    assert ticks["ticktext"][-1] == str(count - 2)
    assert len(ticks["tickvals"]) <= 18
    grey = [s for s in figure["layout"]["shapes"] if s["type"] == "rect"]
    assert len(grey) == int((np.linspace(0, 1, count) < 0.5).sum())
    assert "<i>" not in json.dumps(figure["layout"]["annotations"])


def test_tokens_are_escaped() -> None:
    evil = '"><img src=x onerror=alert(1)>'
    cell = LensCell(evil, 0.5, False, True, evil)
    table = inside_markup.lens_table([evil], [0], [LensRow(0, evil, (cell,), 0.5)], (0, 0))
    line = inside_markup.strip([StripToken(evil, 0, None, None, evil)], 0)
    for found in (table, line):
        assert "<img" not in found
        assert 'class="ends fails at"' in table


def test_a_deep_lens_stays_small() -> None:
    row = tuple(LensCell("␣beginning", 0.123, True, False, "12.3 %, logit 3.21, ρ 0.12")
                for _ in range(16))
    rows = [LensRow(i, f"block {i}", row, 0.5) for i in range(18)]
    assert len(inside_markup.lens_table(["␣the"] * 16, range(16), rows, (3, 4))) < 60_000


def test_shades_are_bounded() -> None:
    assert inside_markup.shade(-1) == inside_markup.shade(0) == "3%"
    assert inside_markup.shade(1) == inside_markup.shade(7) == "46%"
    assert STEPS[-1] == 64
