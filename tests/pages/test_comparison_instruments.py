"""Instruments: all released figures and all runs on the page, filters, tables, where a click goes.
"""

import json

import pytest
from streamlit.testing.v1 import AppTest

from atlas import instruments
from atlas.inventory import released
from pages import comparison_instruments, shared
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import PRISM, RUNS, SEED0, STEPS

__all__ = ["open_page"]  # the fixture, found by its name


def instruments_of(open_page: Open, **address: object) -> AppTest:
    return calm(open_page("comparison", view="instruments", run=SEED0, **address))


def drawn(app: AppTest) -> list[int]:
    """Numbers of the points in the first panel of every figure of runs."""
    found: list[int] = []
    for chart in app.get("plotly_chart"):
        spec = json.loads(chart.proto.spec)
        found += [n for trace in spec["data"] if trace.get("name") == "runs"
                  and trace.get("yaxis", "y") == "y" for n in trace["customdata"]]
    return found


@pytest.mark.parametrize("by", instruments.BY)
def test_all_87_figures_and_every_run_are_drawn(open_page: Open, by: str) -> None:
    app = instruments_of(open_page, by=by)
    assert len(released()) == 87
    assert sorted(drawn(app)) == list(range(87 + len(RUNS)))
    shown = " ".join(text_of(app).split())
    assert "70 released figures and 4 of this store" in shown
    assert "17 released figures and 1 of this store" in shown
    assert "What may not be set against each other" in shown
    assert "first 20,000 rows" in shown
    assert ("where they would be at least" in shown) == (by == "live")


def test_a_family_is_kept_and_the_address_says_so(open_page: Open) -> None:
    app = instruments_of(open_page)
    app.segmented_control(key="instruments_family").set_value("pythia").run()
    assert asked(calm(app), "family") == "pythia"
    assert "69 released figures and 0 of this store" in text_of(app)
    assert "No prism is drawn, because pythia has none" in text_of(app)
    app.segmented_control(key="instruments_family").set_value("gemma").run()
    assert "The plane of EV and L0 is empty, because gemma has prisms alone" in text_of(calm(app))
    assert len(drawn(app)) == 4
    app.segmented_control(key="instruments_by").set_value("width").run()
    assert asked(calm(app), "by") == "width"


@pytest.mark.parametrize(("name", "value", "said"), [
    ("by", "moon", "L0 cannot be laid out by “moon”"),
    ("family", "moon", "“moon” is no family of models here"),
    ("figures", "gif", "Figures cannot be taken as “gif”"),
])
def test_what_is_not_valid_is_said(open_page: Open, name: str, value: str, said: str) -> None:
    app = instruments_of(open_page, **{name: value})
    assert said in text_of(app)
    assert len(drawn(app)) == 87 + len(RUNS)


def test_tables_hold_every_point(open_page: Open) -> None:
    app = instruments_of(open_page, charts="tables")
    assert not app.get("plotly_chart")
    body = " ".join(e.proto.body for e in app.get("html"))
    assert body.count('class="atl atl-instead"') == 3
    missing = {point.run for point in instruments.points(shared.store())
               if f">{point.run}<" not in body}
    assert not missing
    assert f">{PRISM}<" in body


def test_figures_are_taken_with_the_store_they_are_of(open_page: Open) -> None:
    app = instruments_of(open_page, figures="png")
    said = "".join(str(e.proto.SerializeToString()) for e in app.get("plotly_chart"))
    assert said.count("toImage") >= 3
    assert f"store {shared.store().digest[:12]}" in said
    assert [e.proto.label for e in app.get("download_button")] == ["plane", "prisms", "by step"]


def test_a_point_opens_its_run(monkeypatch: pytest.MonkeyPatch, tiny_store: object) -> None:
    from types import SimpleNamespace

    from atlas.store import Store

    store = Store.open(str(tiny_store))
    points = instruments.points(store)
    went: list[tuple[str, dict]] = []
    monkeypatch.setattr(comparison_instruments.shared, "go",
                        lambda page, view, /, **parameters: went.append((page, parameters)))
    view = SimpleNamespace(store=store)
    at = {p.run: i for i, p in enumerate(points)}
    comparison_instruments._open(view, points, at[SEED0])
    comparison_instruments._open(view, points, at["olmo-2-7b/W_U/cross-snapshot-32/d32768/seed0"])
    for odd in (-1, len(points), "3", None, 2.5):
        comparison_instruments._open(view, points, odd)
    assert went == [
        ("browse", {"run": SEED0, "step": STEPS[-1], "page": 1}),
        ("runs", {"released": "olmo-2-7b/W_U/cross-snapshot-32/d32768/seed0", "model": None,
                  "kind": None}),
    ]
