"""Trainings on the Runs page: drawn where a store has logs, and while they go on again and again.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit
from streamlit.testing.v1 import AppTest

from atlas import trainings as reader
from atlas.places import STORE_VARIABLE
from atlas.training_log import METRICS, WORK
from pages import trainings as page
from tests.atlas.test_trainings import line, write
from tests.pages.test_pages import Open, asked, calm, open_page, text_of

__all__ = ["open_page"]  # the fixture, found by its name

RUN = "demo/small/W_U/cross-snapshot-24/d512/seed0"
Log = Callable[..., Path]


@pytest.fixture
def log(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch, open_page: Open) -> Log:
    """Write a log beside the runs of the tiny store, of which this test has a copy."""
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    monkeypatch.setenv(STORE_VARIABLE, str(store))

    def written(run: str = RUN, age: float = 2.0, **options: Any) -> Path:
        work = write(store, run, **options)
        for file in work.iterdir():
            os.utime(file, (time.time() - age, time.time() - age))
        return work

    return written


@pytest.fixture
def fragments(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How often each fragment of the page is drawn again."""
    found: list[float | None] = []

    def fragment(draw: Callable, run_every: float | None = None) -> Callable:
        found.append(run_every)
        return draw

    monkeypatch.setattr(streamlit, "fragment", fragment)
    return found


def words(app: AppTest) -> str:
    return " ".join(text_of(app).split())


def spec(app: AppTest) -> dict:
    (chart,) = app.get("plotly_chart")
    return json.loads(chart.proto.spec)


def places(app: AppTest, *said: str) -> list[int]:
    """Where some words stand on the page."""
    shown = words(app)
    assert all(shown.count(text) == 1 for text in said), [(t, shown.count(t)) for t in said]
    return [shown.index(text) for text in said]


def test_a_store_without_a_log_has_no_section(
    open_page: Open, fragments: list[float | None]
) -> None:
    app = calm(open_page("runs"))
    assert not app.get("plotly_chart")
    assert "raining" not in words(app).replace("by the training", "").replace("training step", "")
    assert fragments == []


def test_a_training_that_goes_on_stands_first_and_is_looked_at_again(
    open_page: Open, log: Log, fragments: list[float | None]
) -> None:
    log()
    app = calm(open_page("runs"))
    first, second = places(app, "In training.", "The dictionaries of this store.")
    assert first < second
    shown = words(app)
    assert "going on: last line" in shown
    assert "100 of 400" in shown
    assert "25%" in shown
    assert "8,000 25 s 1 min 15 s" in shown
    assert {t.get("name") for t in spec(app)["data"]} >= {"loss", "reconstruction", "EV", "L0"}
    assert fragments == [page.REFRESH]
    assert not [c.value for c in app.code if c.value.startswith("readout-atlas train")]


@pytest.mark.parametrize("finished", [True, False])
def test_one_that_stands_still_comes_after_the_table_and_is_left_alone(
    open_page: Open, log: Log, fragments: list[float | None], finished: bool
) -> None:
    log(age=1e4, finished=finished)
    app = calm(open_page("runs"))
    table, section, released = places(
        app, "The dictionaries of this store.", "Trainings of this store.",
        "Released dictionaries.")
    assert table < section < released
    assert fragments == [None]
    commands = [c.value for c in app.code if c.value.startswith("readout-atlas train")]
    assert commands == ([] if finished else [f"readout-atlas train {RUN} --store x"])
    assert ("finished" if finished else "stopped: nothing for 2 h 46 min") in words(app)


def test_the_choice_stands_in_the_address(open_page: Open, log: Log) -> None:
    log("a/done", finished=True)
    log("b/going", lines=[line(7)])
    app = calm(open_page("runs"))
    assert "training" not in app.query_params
    assert app.selectbox(key="runs_training").value == "b/going"
    assert app.selectbox(key="runs_training").options == ["b/going", "a/done"]
    assert spec(app)["data"][0]["x"] == [7]
    app.selectbox(key="runs_training").set_value("a/done").run()
    assert asked(calm(app), "training") == "a/done"
    assert len(spec(app)["data"][0]["x"]) == 50
    odd = calm(open_page("runs", training="<b>x"))
    assert "There is no log of a training of “&lt;b&gt;x” in this store" in words(odd)
    assert odd.selectbox(key="runs_training").value == "b/going"
    assert "does not read" not in words(odd)


def test_the_section_moves_when_a_training_ends(open_page: Open, log: Log) -> None:
    folder = log().parent
    app = calm(open_page("runs"))
    begins = words(app).index("In training.")
    (folder / "provenance.json").write_text("{}")
    after = words(calm(app.run()))
    assert "In training." not in after
    assert after.index("Trainings of this store.") > begins


def test_a_look_that_finds_another_stand_runs_the_page_anew(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Anew(Exception):
        pass

    def again() -> None:
        raise Anew

    folder = log().parent
    monkeypatch.setattr(streamlit, "rerun", again)
    monkeypatch.setattr(page, "_draw_one", lambda *_: None)
    stand = page.look().stand
    page._draw_now(None, RUN, stand)  # nothing began or ended: no new run
    with open(folder / WORK / METRICS, "a", encoding="utf8") as file:
        file.write(json.dumps(line(102)) + "\n")
    page._draw_now(None, RUN, stand)  # nor by a further line
    (folder / "provenance.json").write_text("{}")
    with pytest.raises(Anew):
        page._draw_now(None, RUN, stand)


def test_charts_as_tables(open_page: Open, log: Log) -> None:
    log()
    app = calm(open_page("runs", charts="tables"))
    assert not app.get("plotly_chart")
    shown = words(app)
    assert f"Loss and its parts, EV, L0 and dead share of {RUN} by training step" in shown
    assert "sparsity, weighted" in shown


def test_lines_are_taken_away_under_the_name_of_their_training(open_page: Open, log: Log) -> None:
    log()
    app = calm(open_page("runs", figures="svg"))
    (button,) = app.get("download_button")
    assert button.proto.label == "lines of the log"
    (chart,) = app.get("plotly_chart")
    stamps = [a["text"] for a in spec(app)["layout"]["annotations"] if "Atlas" in a["text"]]
    assert len(stamps) == 1
    assert stamps[0].startswith(f"{RUN} · step 100 · Readout Atlas")
    assert RUN.replace("/", "_") in chart.proto.config
    (python,) = [c.value for c in app.code if "read_log" in c.value]
    assert repr(RUN) in python
    assert "Figures cannot be taken as “gif”" in words(calm(open_page("runs", figures="gif")))


def test_damage_is_said_and_the_page_stands(open_page: Open, log: Log) -> None:
    log("half", lines=b'{"step": 4, "loss"', age=1e4)
    app = calm(open_page("runs"))
    assert "Not available, because its log has no line of figures that can be read" in words(app)
    assert "its last line was cut short" in words(app)
    log("foreign", lines=["x", {"step": 3, "loss": "high"}], plan=[1])
    app = calm(open_page("runs", training="foreign"))
    shown = words(app)
    assert "plan.json is damaged" in shown
    assert "not everything of its log can be read" in shown
    assert "Of this log, 1 of its lines cannot be read and are left out" in shown
    assert "Of this log, 1 of its values are no numbers and are left out" in shown
    link = log("link")
    (link / METRICS).unlink()
    (link / METRICS).symlink_to("/etc/hostname")
    app = calm(open_page("runs", training="link"))
    assert "is a link out of the store and not followed" in words(app)
    assert "its log has no line of figures" in words(app)


def test_of_many_trainings_some_are_listed_and_all_can_be_chosen(
    open_page: Open, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(page.LISTED + 3):
        log(f"run{number:02}", age=1e4 + number, lines=[line(number + 1)])
    last = f"run{page.LISTED + 2:02}"
    app = calm(open_page("runs", training=last))
    shown = words(app)
    assert f"{page.LISTED} of {page.LISTED + 3} trainings are listed" in shown
    assert "run00 goes on with readout-atlas train run00 --store x" in shown
    assert f"{last} stopped" in shown
    assert len(app.selectbox(key="runs_training").options) == page.LISTED + 3


def test_a_refresh_stays_under_sixty_kilobytes(open_page: Open, log: Log) -> None:
    log(lines=[line(50 * step, loss=step % 37 + 0.123456, l0=step % 41 + 0.98765,
                    reconstruction=step % 29 + 0.54321, dead=(step % 11) / 23)
               for step in range(1, 5001)])
    app = calm(open_page("runs"))
    table = next(e for e in app.get("html") if "trainings of this store" in e.proto.body)
    (chart,) = app.get("plotly_chart")
    size = len(table.proto.SerializeToString()) + len(chart.proto.SerializeToString())
    assert 20_000 < size < 60_000


def test_a_look_at_many_logs_costs_little(log: Log) -> None:
    for number in range(40):
        log(f"run{number}")
    page.look()
    began = time.process_time()
    page.look()
    assert time.process_time() - began < 0.15
    assert len(page.look().trainings) == 40
    assert reader.FOUND >= 100
