"""The view of the controls: what it says of a run, and why something is not there."""

import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from atlas.dense import PCA_RANKS
from atlas.places import STORE_VARIABLE
from precompute.publish import publish
from precompute.stages import precompute_run
from tests.pages.test_pages import FILES, Open, calm, open_page, text_of
from tests.precompute.test_dense import control, shorter
from tests.tiny import PRISM, RUNS, SEED0

__all__ = ["open_page"]  # the fixture, found by its name
PARTS = ("Is the window a property of the matrix or of the dictionary?",
         "Reorganisation windows, scored alike.", "What W_U shows without a dictionary.",
         "What plainer codes explain.", "Snapshots alike", "Births without a history")


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "reorganisation", "reorganisation.py")


def opened(open_page: Open, **address: object) -> AppTest:
    return calm(open_page("reorganisation", view="controls", **address))


@pytest.mark.parametrize("run", RUNS)
def test_the_view_opens_on_every_run(open_page: Open, run: str) -> None:
    shown = text_of(opened(open_page, run=run))
    if run == PRISM:
        assert "has one snapshot" in shown
        return
    assert "5 snapshots are fewer than the 9" in shown
    assert "cannot be said of this run" in shown


def test_every_part_has_its_null_or_its_reason(open_page: Open) -> None:
    shown = text_of(opened(open_page, run=SEED0))
    for part in (*PARTS, "as many rows of noise", "The null is 0", "births survive",
                 f"readout-atlas control {SEED0}", "holds no dictionary of a single snapshot",
                 "no snapshot of this matrix between", "weighs all alike",
                 f"PCA of the snapshot, rank {PCA_RANKS[0]}"):
        assert part in shown, part


def test_figures_as_tables(open_page: Open) -> None:
    app = opened(open_page, run=SEED0, charts="tables")
    assert not app.get("plotly_chart")
    shown = text_of(app)
    for column in ("axes that the rows spread over, participation ratio, noise", "explained",
                   "length, 95 %"):
        assert column in shown, column


def test_a_wrong_kind_of_file_is_said(open_page: Open) -> None:
    assert "Figures cannot be taken as" in text_of(opened(open_page, run=SEED0, figures="gif"))


@pytest.fixture
def fewer(
    open_page: Open, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A store with a control, a run over fewer steps and an SAE of one of them; and that run."""
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    control(store / "runs" / SEED0)
    precompute_run(store, SEED0)
    run = shorter(store, "cross-snapshot-3", [0, 4, 64])
    precompute_run(store, run)
    precompute_run(store, shorter(store, "alone", [4]))
    publish(store)
    monkeypatch.setenv(STORE_VARIABLE, str(store))
    return run


def test_control_held_out_snapshots_and_saes_are_shown_where_they_are(
    open_page: Open, fewer: str
) -> None:
    shown = text_of(opened(open_page, run=SEED0))
    assert "The control (seed 3) has" in shown
    assert "all of it" in shown
    assert "holds no dictionary of a single snapshot" not in shown
    shown = text_of(opened(open_page, run=fewer))
    assert "on average over 2 that the dictionary was not trained on" in shown
