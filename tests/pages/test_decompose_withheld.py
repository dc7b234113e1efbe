"""Where the gate fails no view gives the features away: not in sight, hovered, nor to download."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from atlas.asking import Ask
from atlas.explanations import Row
from atlas.live import decompose_prompt
from atlas.store import Store
from pages import exporting, taking
from tests.pages.test_pages import Open, calm, open_page, text_of
from tests.tiny import SEED0

__all__ = ["open_page"]
PROMPT = "In the beginning the light was upon the"
TARGETS = (40, 90, 200, 17, 61)
Tables = dict[str, pd.DataFrame]


@pytest.fixture
def failing(tiny_store: Path) -> tuple[str, Row]:
    """A target whose score fails the gate at the last step, and its row."""
    store = Store.open(tiny_store)
    for target in TARGETS:
        row = decompose_prompt(
            store, SEED0, PROMPT, ask=Ask(target=target, versus=120)).rows[-1]
        if not row.ledger.gate and len(row.ledger.features) > 1:
            return f"#{target}", row
    raise AssertionError("every score passes the gate: nothing is withheld")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Tables:
    """The tables that the page offers to download."""
    found: Tables = {}

    def several(_view, _python, tables: dict[str, Callable[[], pd.DataFrame]], _key) -> None:
        found.update({name: made() for name, made in tables.items()})

    def one(_view, _python, frame=None, name="", _sql="") -> None:
        if frame is not None:
            found[name] = frame() if callable(frame) else frame

    monkeypatch.setattr(exporting, "take_away", several)
    monkeypatch.setattr(taking, "take_away", one)
    return found


def numbers(frame: pd.DataFrame) -> np.ndarray:
    return frame.select_dtypes("number").to_numpy(float).ravel()


def given_away(frame: pd.DataFrame, row: Row) -> list[float]:
    """Contributions of the failed score that stand in a table, of either sign."""
    shown = np.abs(numbers(frame))
    whole = {abs(v) for v in (row.ledger.feature_sum, row.ledger.exact, row.ledger.residual)}
    return [c for c in row.ledger.contributions.tolist()
            if abs(c) not in whole and np.isclose(shown, abs(c), rtol=1e-6, atol=0).any()]


@pytest.mark.parametrize("charts", ["", "tables"])
@pytest.mark.parametrize("view", ["why", "training", "inside", "swap", "edit"])
def test_no_view_gives_a_failed_explanation_away(
    open_page: Open, failing: tuple[str, Row], taken: Tables, view: str, charts: str
) -> None:
    target, row = failing
    address = {"run": SEED0, "prompt": PROMPT, "target": target, "versus": "#120", "view": view}
    if charts:
        address["charts"] = charts
    app = calm(open_page("decompose", **address))
    assert "The gate fails" in text_of(app)
    assert taken, "the view offers nothing to download"
    offered = [*taken.values(), *(table.value for table in app.dataframe)]
    assert [given_away(frame, row) for frame in offered] == [[] for _ in offered]
    html = " ".join(e.proto.body for e in app.get("html"))
    assert "sum of their contributions" not in html
    assert not any("together" in chart.proto.spec for chart in app.get("plotly_chart"))
    where = [f"feature={int(f)}" for f in row.ledger.features]
    if view in ("why", "inside", "swap"):
        assert not [w for w in where if f"{w}&" in html or f'{w}"' in html]
    if view == "edit":
        assert '<small>predicted</small><span class="num">withheld</span>' in html
        assert not any("predicted" in frame.columns for frame in taken.values())


def test_what_was_asked_for_all_the_same_is_given(
    open_page: Open, failing: tuple[str, Row], taken: Tables
) -> None:
    target, row = failing
    for view in ("why", "training"):
        taken.clear()
        app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, target=target, versus="#120",
                       view=view, bars="show"))
        assert any(given_away(frame, row) for frame in taken.values())
        assert (view == "why") == any(
            "together" in chart.proto.spec for chart in app.get("plotly_chart"))
