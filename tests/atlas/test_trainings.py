"""Logs of trainings: where they lie, how each training stands, what cannot be read, the curves."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from atlas import training_command, training_figures, trainings
from atlas.exports import csv_bytes
from atlas.figures import unchecked
from atlas.places import STORE_VARIABLE
from atlas.theme import DARK, LIGHT
from atlas.training_figures import POINTS, thinned
from atlas.training_log import METRICS, PLAN, WORK
from atlas.trainings import FINISHED, FRESH, GOING, STOPPED, Training, find, read_log

RUN = "demo/small/W_U/cross-snapshot-24/d512/seed0"
NOW = 1_800_000_000.0


def line(step: int, **changes: Any) -> dict[str, Any]:
    """A line of figures as the loop writes it."""
    found = {
        "step": step, "steps": 2, "loss": 40.0 / step + 2, "reconstruction": 40.0 / step + 1,
        "sparsity": 30.0, "l0": 200.0 / step + 5, "explained_variance": 1 - 1 / step, "dead": 0.25,
        "rows_per_second": 8000.0, "seconds": step / 4,
    }
    return found | changes


def write(
    store: Path, run: str = RUN, lines: list[Any] | bytes | None = None, plan: Any = None,
    age: float = 2.0, finished: bool = False,
) -> Path:
    """A run folder with a log that last changed `age` seconds before `NOW`."""
    work = store / "runs" / run / WORK
    work.mkdir(parents=True)
    if lines is None:
        lines = [line(step) for step in range(2, 102, 2)]
    if not isinstance(lines, bytes):
        lines = "".join(json.dumps(found) + "\n" for found in lines).encode()
    (work / METRICS).write_bytes(lines)
    told = {"run": run, "steps": 400, "recipe": {}, "processes": 1, "device": "cpu",
            "command": ["train", run, "--store", "x"]}
    (work / PLAN).write_text(json.dumps(told if plan is None else plan))
    for file in work.iterdir():
        os.utime(file, (NOW - age, NOW - age))
    if finished:
        (work.parent / "provenance.json").write_text("{}")
    return work


def only(store: Path) -> Training:
    found = find(store, NOW)
    assert not found.problems
    (training,) = found.trainings
    return training


# --- how one stands ------------------------------------------------------------------------------


def test_a_training_that_goes_on_says_how_far_it_is(tmp_path: Path) -> None:
    write(tmp_path)
    found = only(tmp_path)
    assert (found.run, found.state, found.step, found.total) == (RUN, GOING, 100, 400)
    assert found.said == "going on: last line 2 s ago"
    assert found.share == 0.25
    assert (found.seconds, found.left, found.rows_per_second) == (25.0, 75.0, 8000.0)
    assert found.problems == ()


@pytest.mark.parametrize(("age", "finished", "step", "state", "said"), [
    (FRESH - 1, False, 100, GOING, "going on: last line 2 min 59 s ago"),
    (FRESH + 1, False, 100, STOPPED, "stopped: nothing for 3 min 1 s"),
    (9e4, True, 400, FINISHED, "finished"),
    (3, True, 400, FINISHED, "finished"),
    (3, False, 400, GOING, "going on: all steps are done, what was written is being measured"),
    (7200, False, 400, STOPPED, "stopped after the last step, before what was written was "
                                "measured: nothing for 2 h"),
    (-3600, False, 100, STOPPED, "not known: its log is dated in the future"),
    (-5, False, 100, GOING, "going on: last line 0 s ago"),
])
def test_states(
    tmp_path: Path, age: float, finished: bool, step: int, state: str, said: str
) -> None:
    write(tmp_path, lines=[line(step - 2), line(step)], age=age, finished=finished)
    found = only(tmp_path)
    assert (found.state, found.said) == (state, said)


def test_rare_lines_are_waited_for_longer_but_not_for_ever(tmp_path: Path) -> None:
    rare = [line(50, seconds=500), line(100, seconds=1000)]
    write(tmp_path, "a", lines=rare, age=1400)
    write(tmp_path, "b", lines=rare, age=1600)
    write(tmp_path, "c", lines=[line(50, seconds=0), line(100, seconds=1e6)], age=3700)
    assert [(t.run, t.state) for t in find(tmp_path, NOW).trainings] == [
        ("a", GOING), ("b", STOPPED), ("c", STOPPED)]


def test_one_that_just_began_has_a_plan_alone(tmp_path: Path) -> None:
    (write(tmp_path) / METRICS).unlink()
    found = only(tmp_path)
    assert (found.state, found.said, found.step) == (GOING, "going on: no figures yet", 0)
    assert found.share == 0
    assert found.left is None
    assert read_log(found).steps == ()


def test_those_going_on_come_first_and_keep_their_order(tmp_path: Path) -> None:
    write(tmp_path, "old", age=9000)
    write(tmp_path, "done", finished=True)
    write(tmp_path, "newer", age=8000)
    write(tmp_path, "b", age=1)
    slow = write(tmp_path, "a", age=30)
    found = find(tmp_path, NOW)
    assert [t.run for t in found.trainings] == ["a", "b", "newer", "old", "done"]
    assert found.going
    os.utime(slow / METRICS, (NOW, NOW))
    assert find(tmp_path, NOW).stand == found.stand


def test_a_store_without_logs_has_none(tmp_path: Path) -> None:
    assert find(tmp_path, NOW) == trainings.Found()
    assert find(tmp_path / "nowhere", NOW) == trainings.Found()
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert find(tmp_path, NOW) == trainings.Found()


# --- what cannot be read -------------------------------------------------------------------------


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    whole = "".join(json.dumps(line(s)) + "\n" for s in (2, 4)).encode()
    write(tmp_path, "going", lines=whole + b'{"step": 6, "lo')
    write(tmp_path, "killed", lines=whole + b'{"step": 6, "lo', age=1e4)
    write(tmp_path, "whole", lines=whole.rstrip(), age=2e4)
    going, killed, complete = find(tmp_path, NOW).trainings
    assert (going.step, going.problems) == (4, ())
    assert (killed.step, killed.problems) == (4, ("its last line was cut short",))
    assert (complete.step, complete.problems) == (4, ())


def test_what_is_no_line_or_no_number_is_counted(tmp_path: Path) -> None:
    texts = [
        json.dumps(line(2)), "half", "[1, 2]", '{"loss": 3}', '{"step": true}', '{"step": "4"}',
        '{"step": -3}', '{"step": 1e3}', '{"step": ' + "9" * 400 + "}", "[" * 100_000,
        '{"step": 4, "loss": NaN, "l0": "7", "dead": [1], "seconds": ' + "9" * 5000 + "}",
        '{"step": 6, "loss": Infinity, "l0": 1' + "0" * 400 + ', "dead": null}', "",
        "\udcff\x00".encode("utf8", "surrogateescape").decode("latin1"),
    ]
    write(tmp_path, lines="\n".join(texts).encode() + b"\n")
    found = only(tmp_path)
    log = read_log(found)
    assert log.steps == (2, 6)  # a number of 5,000 digits spoils its line
    assert log.of("loss")[1] is None
    assert log.of("dead")[1] is None
    assert log.problems == (
        "11 of its lines cannot be read and are left out",
        "2 of its values are no numbers and are left out")
    assert found.problems == ("not everything of its log can be read",)
    unchecked(training_figures.figure(found, log, LIGHT))


def test_lines_of_a_second_attempt_take_the_place_of_the_first(tmp_path: Path) -> None:
    write(tmp_path, lines=[line(2), line(4, loss=9.0), line(6), line(4, loss=1.0)])
    log = read_log(only(tmp_path))
    assert log.steps == (2, 4, 6)
    assert log.of("loss")[1] == 1.0


@pytest.mark.parametrize(("plan", "said"), [
    ([1], "plan.json is damaged"),
    ({"run": RUN}, "plan.json does not say how many steps there are"),
    ({"run": RUN, "steps": "many"}, "plan.json does not say how many steps there are"),
    ({"run": RUN, "steps": 0}, "plan.json does not say how many steps there are"),
    ({"run": RUN, "steps": 10**400}, "plan.json does not say how many steps there are"),
    ({"run": RUN, "steps": 400, "pad": "x" * 300_000},
     "plan.json is too large to be one and not read"),
])
def test_a_plan_that_is_none_leaves_the_share_open(tmp_path: Path, plan: Any, said: str) -> None:
    write(tmp_path, plan=plan)
    found = only(tmp_path)
    assert (found.total, found.share, found.left) == (None, None, None)
    assert found.problems == (said,)
    unchecked(training_figures.figure(found, read_log(found), LIGHT))
    assert "not available" in training_figures.standings([found], RUN)


def test_a_plan_of_another_run_is_told(tmp_path: Path) -> None:
    write(tmp_path, plan={"run": "x\ny", "steps": 50})
    found = only(tmp_path)
    assert found.problems == ("plan.json is of another run, x\ufffdy",)
    assert (found.step, found.share, found.left) == (100, 1.0, 0.0)


def test_links_out_of_the_store_are_not_followed(tmp_path: Path) -> None:
    store, secret = tmp_path / "store", tmp_path / "secret"
    secret.write_text(json.dumps(line(9)) + "\n")
    for name, target in (("out", secret), ("broken", store / "gone"), ("device", "/dev/zero")):
        file = write(store, name) / METRICS
        file.unlink()
        file.symlink_to(target)
    elsewhere = write(tmp_path / "other", "elsewhere")
    (store / "runs" / "linked").symlink_to(elsewhere.parent)
    (store / "runs" / "work").mkdir()
    (store / "runs" / "work" / WORK).symlink_to(elsewhere)
    within = write(store, "within") / METRICS
    within.rename(store / "kept.jsonl")
    within.symlink_to(store / "kept.jsonl")
    found = find(store, NOW)
    by_run = {t.run: t for t in found.trainings}
    assert set(by_run) == {"out", "broken", "device", "work", "within"}
    for name in ("out", "device"):
        told = f"runs/{name}/{WORK}/{METRICS} is a link out of the store and not followed"
        assert by_run[name].problems == (told,)
        assert by_run[name].step == 0
        assert read_log(by_run[name]).problems == (told,)
    assert "cannot be read: no such file" in by_run["broken"].problems[0]
    assert by_run["work"].said == "not known: nothing of it can be read"
    assert by_run["within"].step == 100
    assert found.problems == ("runs/linked is a link and not followed",)


def test_folders_and_pipes_are_no_logs(tmp_path: Path) -> None:
    for name, make in (("folder", os.mkdir), ("pipe", os.mkfifo)):
        file = write(tmp_path, name) / METRICS
        file.unlink()
        make(file)
    for found in find(tmp_path, NOW).trainings:
        assert found.problems == (f"runs/{found.run}/{WORK}/{METRICS} is no file",)


def test_names_of_folders_cannot_break_a_line(tmp_path: Path) -> None:
    odd = os.fsdecode(b"a\xff\n<b>")
    write(tmp_path, odd)
    found = only(tmp_path)
    assert found.run == "a\ufffd\ufffd<b>"
    html = training_figures.standings([found], found.run)
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_of_a_huge_log_the_end_is_read(tmp_path: Path) -> None:
    texts = [json.dumps(line(step)) for step in range(1, 9001)]
    write(tmp_path, lines=("\n".join(texts) + "\n").encode())
    found = only(tmp_path)
    assert found.step == 9000
    log = read_log(found, most=100_000)
    assert log.steps[-1] == 9000
    assert len(log.steps) == 9000 - log.steps[0] + 1
    assert log.skipped == sum(len(text) + 1 for text in texts[: log.steps[0] - 1])
    assert not log.problems
    short = b"".join(b'{"step": %d}\n' % step for step in range(1, trainings.LINES + 11))
    (found.work / METRICS).write_bytes(short)
    log = read_log(found)
    assert (log.steps[0], len(log.steps)) == (11, trainings.LINES)
    assert log.skipped == sum(len(b'{"step": %d}\n' % step) for step in range(1, 11))


def test_a_log_is_read_again_only_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = write(tmp_path)
    seen = []
    monkeypatch.setattr(trainings, "_line", lambda text, real=trainings._line: (
        seen.append(text), real(text))[1])
    log = read_log(only(tmp_path))
    first = len(seen)
    assert first > 0
    assert read_log(only(tmp_path)) is log
    assert len(seen) == first
    with open(work / METRICS, "a", encoding="utf8") as file:
        file.write(json.dumps(line(102)) + "\n")
    assert read_log(find(tmp_path, NOW).trainings[0]).steps[-1] == 102
    assert len(seen) > first


def test_trainings_are_counted_and_depth_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainings, "FOUND", 3)
    for name in "abcde":
        write(tmp_path, name)
    found = find(tmp_path, NOW)
    assert len(found.trainings) == 3
    assert found.problems == (
        "more than 3 trainings left logs; the others are not looked at",)
    deep = tmp_path / "deep"
    write(deep, "/".join("x" * (trainings.DEEP + 2)))
    assert find(deep, NOW).trainings == ()


# --- the command that goes on --------------------------------------------------------------------


@pytest.mark.parametrize(("words", "processes", "told"), [
    (["train", RUN, "--set", "epochs=30", "--store", "/a store"], 1,
     f"readout-atlas train {RUN} --set epochs=30 --store '/a store'"),
    (["train", RUN], 4, f"torchrun --nproc-per-node 4 -m precompute train {RUN}"),
    (["train", "x; rm -rf /"], 1, "readout-atlas train 'x; rm -rf /'"),
    (["train", "$(whoami)"], "2; ls", "readout-atlas train '$(whoami)'"),
    (["rm", "-rf"], 1, None), (["train"], 1, None), ("train x", 1, None),
    (["train", "x" * 301], 1, None), (["train", 7], 1, None), (None, 1, None),
])
def test_the_command_is_that_of_the_plan_quoted(
    tmp_path: Path, words: object, processes: object, told: str | None
) -> None:
    write(tmp_path, RUN, plan={"run": RUN, "steps": 400, "command": words,
                               "processes": processes}, age=1e4)
    assert training_command.command(only(tmp_path)) == told
    html = training_figures.standings([only(tmp_path)], "")
    assert ("goes on with the command that began it" in html) == (told is None)


# --- curves --------------------------------------------------------------------------------------


def test_thinning_keeps_ends_extremes_and_gaps() -> None:
    values: list[float | None] = [math.sin(i / 900) for i in range(12_345)]
    values[7001], values[7002], values[0], values[-1] = 50.0, -50.0, 0.123, 0.456
    values[3000:4000] = [None] * 1000
    kept = thinned(tuple(values))
    assert len(kept) <= POINTS == 400
    assert kept == sorted(set(kept))
    assert {0, 7001, 7002, 12_344} <= set(kept)
    drawn = [values[i] for i in kept]
    assert sum(v is None for v in drawn) > 10
    for begin in range(0, 12_345, 200):  # no stretch of the curve is left without its points
        assert any(begin <= i < begin + 200 for i in kept)
    assert thinned(tuple(values[:400])) == list(range(400))


def curves(figure: dict) -> dict[str, dict]:
    return {trace["name"]: trace for trace in figure["data"] if trace.get("name")}


def test_the_loss_is_drawn_with_what_it_is_made_of(tmp_path: Path) -> None:
    write(tmp_path)
    found = only(tmp_path)
    figure = training_figures.figure(found, read_log(found), LIGHT)
    unchecked(figure)
    drawn = curves(figure)
    assert set(drawn) == {"loss", "reconstruction", "sparsity, weighted", "EV", "L0", "dead"}
    assert drawn["sparsity, weighted"]["y"] == [1.0] * 50  # the loss less the reconstruction
    assert drawn["loss"]["x"] == list(range(2, 102, 2))
    layout = figure["layout"]
    assert layout["xaxis"]["range"][1] > 400  # what is still to come stays empty
    assert figure["layout"]["yaxis3"].get("type") == "log"  # L0 from 105 to 7
    assert layout["yaxis4"]["tickformat"] == ".0%"
    assert figure != training_figures.figure(found, read_log(found), DARK)
    alt = training_figures.alt(found, read_log(found))
    assert f"of {RUN} by training step; at step 100: loss 2.40, EV 0.990" in alt
    assert alt.endswith("L0 7.00, dead 25.0%")


def test_a_training_without_penalties_says_so(tmp_path: Path) -> None:
    write(tmp_path, lines=[line(s, loss=3.0, reconstruction=3.0, sparsity=0.0, l0=5.0)
                           for s in range(1, 9)])
    found = only(tmp_path)
    figure = training_figures.figure(found, read_log(found), LIGHT)
    assert set(curves(figure)) == {"loss", "EV", "L0", "dead"}
    assert "all of it reconstruction" in str(figure["layout"]["annotations"])
    assert "type" not in figure["layout"]["yaxis3"]


def test_a_prism_names_its_penalty(tmp_path: Path) -> None:
    lines = [{k: v for k, v in line(s).items() if k != "sparsity"} | {"penalty": 0.5}
             for s in (2, 4)]
    write(tmp_path, lines=lines)
    found = only(tmp_path)
    assert "prism penalty, weighted" in curves(training_figures.figure(
        found, read_log(found), LIGHT))


def test_zero_stands_at_the_foot_of_a_log_axis(tmp_path: Path) -> None:
    write(tmp_path, lines=[line(s, l0=v) for s, v in ((1, 300.0), (2, 0.0), (3, 4.0))])
    found = only(tmp_path)
    figure = training_figures.figure(found, read_log(found), LIGHT)
    y = figure["layout"]["yaxis3"]
    assert y["ticktext"][0] == "0"
    drawn = curves(figure)["L0"]["y"]
    assert drawn[1] == pytest.approx(y["tickvals"][0], rel=1e-3)
    assert 0 < drawn[1] < 4


def test_foreign_figures_are_drawn_as_not_available(tmp_path: Path) -> None:
    write(tmp_path, lines=[{"step": 1, "odd": 3}, {"step": 2, "odd": 4}])
    found = only(tmp_path)
    figure = training_figures.figure(found, read_log(found), LIGHT)
    unchecked(figure)
    words = [a["text"] for a in figure["layout"]["annotations"]]
    assert words.count("not available") == 4
    assert "not available" in training_figures.alt(found, read_log(found))


def test_a_long_training_is_sixty_kilobytes_at_most(tmp_path: Path) -> None:
    noise = [line(50 * s, **{k: 1.23456789 + math.sin(s * 7.7 + i) for i, k in enumerate(
        ("loss", "reconstruction", "l0", "explained_variance", "dead"))}) for s in range(1, 6001)]
    write(tmp_path, lines=noise)
    found = only(tmp_path)
    log = read_log(found)
    size = len(json.dumps(training_figures.figure(found, log, LIGHT)))
    size += len(training_figures.standings([found] * 12, RUN))
    assert 20_000 < size < 60_000


def test_the_table_of_few_lines_has_both_ends(tmp_path: Path) -> None:
    write(tmp_path, lines=[line(s) for s in range(1, 1001)])
    frame = training_figures.few(read_log(only(tmp_path)))
    assert len(frame) == training_figures.LINES
    assert frame["step"].iloc[[0, -1]].tolist() == [1, 1000]
    assert frame["step"].is_unique
    assert frame["sparsity, weighted"].iloc[-1] == pytest.approx(1.0)
    assert len(training_figures.few(trainings.Log())) == 0


def test_lines_can_be_taken_away_and_read_in_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line(2), line(4, l0=None), line(6, note="=1+1")]
    write(tmp_path, lines=lines)
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path))
    names: dict[str, Any] = {}
    exec(trainings.python_of(RUN), names)
    frame = names["lines"]
    assert frame["step"].tolist() == [2, 4, 6]
    assert frame["loss"].tolist() == [found["loss"] for found in lines]
    assert pd.isna(frame["l0"][1])
    text = csv_bytes(frame).decode()
    assert text.splitlines()[2].startswith("4,2,12,11,30,,")


@pytest.mark.parametrize(("seconds", "said"), [
    (None, "not known"), (math.nan, "not known"), (0.4, "0 s"), (59.4, "59 s"), (60, "1 min"),
    (61, "1 min 1 s"), (3599, "59 min 59 s"), (3660, "1 h 1 min"), (90_000, "1 d 1 h"),
])
def test_times_are_said_in_two_units(seconds: float | None, said: str) -> None:
    assert trainings.clock(seconds) == said


def test_moments_are_said_to_the_minute() -> None:
    assert trainings.moment("2026-11-22T15:14:23+02:00") == "2026-11-22 13:14 UTC"
    assert trainings.moment("yesterday\n") == "yesterday\ufffd"
    assert trainings.moment(7) == "7"
