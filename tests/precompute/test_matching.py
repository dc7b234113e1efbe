"""Matching in a store: which runs fit, files that say what they are of, the verb, the catalog."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.errors import BrokenArtifact, InvalidValue, NotFound, StoreBusy
from atlas.matches import matches_of, other_runs
from atlas.places import run_path
from atlas.store import Store
from atlas.tensor_files import load_tensors, read_json, save_tensors, sha256, write_json
from precompute import cli
from precompute.match_files import FOLDER, MISSING, WAYS, read_pair, said_by
from precompute.match_ways import Side, compare, misfit
from precompute.matching import all_pairs, fitting_pairs, match_runs
from precompute.publish import publish
from precompute.receive import receive_folder
from precompute.safety import writer_lock
from precompute.share import share
from precompute.stages import precompute_run
from tests.precompute.test_share import relist
from tests.tiny import DEAD, EMBEDDING, PRISM, RUNS, SEED0, SEED1, SMALL, STEPS, WIDTH
from trainer import demo

PAIR = (SEED0, SEED1, "trajectory")


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path / "own store"))


def record(store: Path, task: tuple[str, str, str] = PAIR) -> Path:
    (path,) = (p for p in (store / FOLDER).glob("*.json") if said_by(p) == task)
    return path


def retrain(store: Path, run: str) -> None:
    """Weights that are a little different, built again."""
    path = run_path(store, run) / "dictionary.safetensors"
    tensors = load_tensors(path)
    tensors["W_D"][:, 0] *= 1.01
    save_tensors(path, tensors)
    precompute_run(store, run)


def spoil(store: Path, name: str, values: object) -> None:
    """Another tensor in a file of matches, whose record is made to fit it."""
    path = record(store)
    tensors = load_tensors(path.with_suffix(".safetensors"))
    tensors[name] = torch.as_tensor(values, dtype=tensors[name].dtype)
    save_tensors(path.with_suffix(".safetensors"), tensors)
    write_json(path, read_json(path) | {"tensors": sha256(path.with_suffix(".safetensors"))})


# --- which runs fit ------------------------------------------------------------------------------


def ways_between(tasks: list[tuple[str, str, str]], one: str, other: str) -> list[str]:
    return [way for *pair, way in tasks if set(pair) == {one, other}]


def test_each_pair_fits_in_the_ways_that_mean_something(tiny_store: Path) -> None:
    tasks = all_pairs(tiny_store, RUNS)
    assert len(set(tasks)) == len(tasks)
    for one, other, ways in (
        (SEED0, SEED1, list(WAYS)), (SEED0, SMALL, ["tokens", "life"]),
        (SEED0, EMBEDDING, ["tokens", "life"]), (SEED0, PRISM, ["terminal", "tokens"]),
        (EMBEDDING, PRISM, ["tokens"]), (SMALL, PRISM, ["tokens"]),
    ):
        assert ways_between(tasks, one, other) == ways, (one, other)
    assert fitting_pairs(tiny_store, [SEED1, SEED0], ["tokens"]) == [(SEED1, SEED0, "tokens")]
    assert {other for _, other, _ in fitting_pairs(tiny_store, [SEED0])} == {*RUNS} - {SEED0}
    assert fitting_pairs(tiny_store, [SEED0], ["trajectory"]) == [PAIR]


def test_what_does_not_fit_is_refused_with_its_reason(tiny_store: Path) -> None:
    lines: list[str] = []
    assert fitting_pairs(tiny_store, [SEED0, SMALL, SEED1], ["terminal"], lines.append) == [
        (SEED0, SEED1, "terminal")]
    assert [("left out: " in line, SMALL in line) for line in lines] == [(True, True)] * 2
    for other, way, words in (
        (EMBEDDING, "trajectory", "different matrices (W_U and W_E)"),
        (SMALL, "terminal", "different language models"),
        (PRISM, "trajectory", "different snapshots (5: 0 to 64 and 1: 64 to 64)"),
        (PRISM, "life", "1 of the 3 snapshots that a life takes"),
        (SEED0, "tokens", "named twice"),
        (SEED1, "colour", "there is no way 'colour'; the ways are trajectory, terminal, tokens"),
    ):
        with pytest.raises(InvalidValue) as error:
            fitting_pairs(tiny_store, [SEED0, other], [way])
        assert words in str(error.value)
    with pytest.raises(InvalidValue, match="no other run of .* by trajectory"):
        fitting_pairs(tiny_store, [PRISM], ["trajectory"])


ONE = {"run": "a", "model": "m", "model_name": "M", "matrix": "W_U", "steps": STEPS,
       "config": {"d_model": 8}, "input_preprocess": "center_scale"}


@pytest.mark.parametrize(("way", "change", "words"), [
    ("trajectory", {"steps": [0, 1, 4, 16, 63]}, "different snapshots"),
    ("terminal", {"steps": [0, 1, 4, 16, 63]}, "different last snapshots (64 and 63)"),
    ("terminal", {"steps": [2, 64]}, None),
    ("trajectory", {"revision": "main"}, "different revisions (None and main)"),
    ("trajectory", {"config": {"d_model": 9}}, "width 8, b of 9"),
    ("trajectory", {"input_preprocess": "center"}, "standardise their rows differently"),
    ("terminal", {"input_preprocess": "center"}, None),
    ("tokens", {"model": "n", "model_name": "N", "steps": [7]}, None),
    ("tokens", {"model": "foreign"}, "different vocabularies (m and foreign)"),
    ("life", {"model": "foreign"}, "different vocabularies"),
    ("life", {"config": {"d_model": 9}, "steps": [0, 5, 9]}, None),
    ("life", {"steps": [0, 5]}, "b has 2 of the 3 snapshots"),
    ("trajectory", {}, None),
])
def test_the_reason_names_what_differs(
    way: str, change: dict[str, object], words: str | None
) -> None:
    found = misfit(way, ONE, ONE | {"run": "b"} | change,
                   lambda model: (b"x",) if model == "foreign" else (b"a", b"b"))
    assert found is None if words is None else words in str(found)


# --- files ---------------------------------------------------------------------------------------


def test_damaged_matches_are_matched_anew(store: Path) -> None:
    DAMAGES["no tensors"](store)
    assert match_runs(store, [PAIR])[0].computed
    assert not publish(store).changed


def test_a_pair_is_matched_once(store: Path) -> None:
    before = record(store).stat().st_mtime_ns
    lines: list[str] = []
    found = match_runs(store, [(SEED1, SEED0, "trajectory")], report=lines.append)
    assert [(one.run, one.other, one.computed) for one in found] == [
        (SEED0, SEED1, False), (SEED1, SEED0, False)]
    assert (found[0].features, found[0].matched) == (WIDTH, WIDTH - 1)
    assert 6 <= found[0].beyond <= found[0].reciprocal == found[1].reciprocal < WIDTH
    best = read_pair(record(store))[0].best
    assert found[0].score == pytest.approx(np.nanmedian(best.score))
    assert found[0].null == best.null[50]
    assert lines == [f"{SEED0} and {SEED1} by trajectory: matched already, nothing to do"]
    again = match_runs(store, [PAIR], force=True)
    assert [one.computed for one in again] == [True, True]
    assert record(store).stat().st_mtime_ns > before
    assert not publish(store).changed


@pytest.mark.parametrize("way", WAYS)
def test_matches_read_back_as_they_were_found(way: str, tiny_store: Path) -> None:
    sides = [Side.read(tiny_store, run) for run in (SEED0, SEED1)]
    computed = compare(way, *sides)
    first, second = read_pair(record(tiny_store, (SEED0, SEED1, way)), (WIDTH, WIDTH))
    known = np.arange(WIDTH) != DEAD
    for evidence, other, fresh in ((first, second, computed[0]), (second, first, computed[1])):
        best = evidence.best
        assert (best.partner[known] >= 0).all()
        assert best.partner[DEAD] == evidence.assigned[DEAD] == -1
        for values in (best.score, best.margin, best.percentile, evidence.assigned_score,
                       evidence.assigned_percentile, evidence.life, evidence.life_percentile):
            assert np.isnan(values).tolist() == (~known).tolist()
        both = np.flatnonzero(best.reciprocal)
        assert (other.best.partner[best.partner[both]] == both).all()
        pairs = np.flatnonzero(evidence.assigned >= 0)
        assert len(pairs) == WIDTH - 1
        assert (other.assigned[evidence.assigned[pairs]] == pairs).all()
        assert (np.diff(best.null) >= 0).all()
        assert evidence.splits == fresh.splits
        for field in dataclasses.fields(best):
            np.testing.assert_array_equal(getattr(best, field.name),
                                          getattr(fresh.best, field.name))
        for name in ("assigned", "assigned_score", "assigned_percentile", "life",
                     "life_percentile"):
            np.testing.assert_array_equal(getattr(evidence, name), getattr(fresh, name))


def test_matches_of_another_dictionary_are_left_out_until_matched_again(store: Path) -> None:
    retrain(store, SEED1)
    lines: list[str] = []
    done = publish(store, lines.append)
    assert len(done.skipped) == 4  # one for each run that it was matched with
    assert f"run `readout-atlas match {SEED0} {SEED1}`" in "".join(lines)
    assert other_runs(Store.open(store), SEED0) == []
    old, count = record(store), len(list((store / FOLDER).glob("*.safetensors")))
    assert match_runs(store, [PAIR])[0].computed
    assert record(store) != old  # and the old one went
    assert len(list((store / FOLDER).glob("*.safetensors"))) == count
    assert f"{SEED0} {SEED1}`" in "".join(publish(store).skipped)  # the other ways
    match_runs(store, all_pairs(store, RUNS))
    assert publish(store).skipped == ()
    assert other_runs(Store.open(store), SEED0) == [SEED1]


def test_figures_of_a_run_may_change_without_its_matches(store: Path) -> None:
    path = run_path(store, SEED1) / "metrics.json"
    write_json(path, read_json(path) | {"l0": 3.5})
    precompute_run(store, SEED1)
    assert publish(store).skipped == ()
    assert other_runs(Store.open(store), SEED1) == [SEED0]


def test_a_run_that_is_not_built_as_it_stands_is_not_matched(store: Path) -> None:
    path = run_path(store, SEED1) / "dictionary.safetensors"
    tensors = load_tensors(path)
    save_tensors(path, tensors | {"b_D": tensors["b_D"] + 1})
    with pytest.raises(NotFound, match=f"readout-atlas build {SEED1}"):
        match_runs(store, [PAIR])
    path.unlink()
    with pytest.raises(BrokenArtifact, match="has no dictionary.safetensors"):
        match_runs(store, [PAIR])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a partner beyond the dictionary": lambda s: spoil(s, "a.partner", [WIDTH] * WIDTH),
    "a cosine of 2": lambda s: spoil(s, "b.score", [2.0] * WIDTH),
    "too few features": lambda s: spoil(s, "a.margin", [0.5]),
    "no features": lambda s: spoil(s, "a.partner", []),
    "another file": lambda s: record(s).with_suffix(".safetensors").write_bytes(b"<html>" * 50),
    "no tensors": lambda s: record(s).with_suffix(".safetensors").unlink(),
    "a tensor less": lambda s: drop(s, "b.null"),
    "a pair with nobody": lambda s: spoil(s, "a.assigned", [-2] * WIDTH),
    "parts of no split": lambda s: spoil(s, "b.part", [0] * 50),
}


def drop(store: Path, name: str) -> None:
    path = record(store)
    tensors = load_tensors(path.with_suffix(".safetensors"))
    del tensors[name]
    save_tensors(path.with_suffix(".safetensors"), tensors)
    write_json(path, read_json(path) | {"tensors": sha256(path.with_suffix(".safetensors"))})


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_matches_are_left_out_with_their_mending_command(damage: str, store: Path) -> None:
    DAMAGES[damage](store)
    done = publish(store)
    assert set(done.runs) == set(RUNS)
    assert len(done.skipped) == 1
    assert f"run `readout-atlas match {SEED0} {SEED1} --force`" in done.skipped[0]
    assert other_runs(Store.open(store), SEED0) == []


@pytest.mark.parametrize("text", ["", "[]", '{"runs": 7}', '{"runs": {"a": 1}}', "\0"])
def test_a_record_of_nonsense_is_passed_over(text: str, store: Path) -> None:
    (store / FOLDER / "0.json").write_text(text)
    assert publish(store).skipped == ()
    assert other_runs(Store.open(store), SEED0) == [SEED1]


def test_one_at_a_time(store: Path) -> None:
    with writer_lock(store / FOLDER, "matches"), pytest.raises(StoreBusy):
        match_runs(store, [PAIR], force=True)


def test_a_missing_margin_survives(store: Path) -> None:
    path = record(store)
    margins = load_tensors(path.with_suffix(".safetensors"))["a.margin"]
    margins[0] = MISSING
    spoil(store, "a.margin", margins)
    publish(store)
    (found,) = matches_of(Store.open(store), SEED0, 0)
    assert np.isnan(found.margin)


# --- the verb ------------------------------------------------------------------------------------


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main([str(a) for a in arguments])
        return status, *capsys.readouterr()

    return run


def test_the_verb_says_what_returned(call: Call, store: Path) -> None:
    status, out, err = call("match", SEED0, SEED1, "--store", store, "--json", "--force")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert [(one["run"], one["other"], one["way"]) for one in found] == [
        task for way in WAYS for task in ((SEED0, SEED1, way), (SEED1, SEED0, way))]
    assert found[0]["matched"] == WIDTH - 1
    assert found[0]["computed"] is True
    status, out, _ = call("match", SEED0, "--store", store)
    assert status == 0
    assert "matched already" in out
    assert re.search(f"{SEED0} +{SEED1} +trajectory +{WIDTH - 1} of {WIDTH}", out)
    assert "turned at random" in out
    status, out, _ = call("match", SEED0, "--store", store, "--by", "life,tokens", "--json")
    assert {one["way"] for one in json.loads(out)} == {"tokens", "life"}


@pytest.mark.parametrize(("arguments", "words"), [
    ((), "required: RUN"),
    ((SEED0, EMBEDDING, "--by", "trajectory,terminal"), "different matrices"),
    ((SEED0, SEED1, "--by", "colour"), "there is no way 'colour'"),
    ((SEED0, SEED0), "named twice"),
    ((PRISM, "--by", "life"), "no other run"),
    ((SEED0, "no/such/run"), "is not there"),
    ((SEED0, "../../etc"), "is no run id"),
    ((SEED0, SEED1, "--device", "abacus"), "abacus"),
    ((SEED0, SEED1, "--store", "hf://datasets/someone/store"), "can be read, not written"),
])
def test_bad_input_is_one_line(
    call: Call, store: Path, arguments: tuple[str, ...], words: str
) -> None:
    named = () if "--store" in arguments else ("--store", store)
    status, out, err = call("match", *arguments, *named)
    assert status == 2, err
    assert words in err
    assert err.count("\n") == 1
    assert out == ""


def test_building_the_demo_matches_its_seeds(
    call: Call, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle's runs lie below `demo`; the tiny ones stand in for them."""
    from precompute.commands import build

    monkeypatch.setattr(build, "WHOLE", "tiny")
    monkeypatch.setattr(build, "write_card", lambda store: None)
    monkeypatch.setattr(demo, "train_demo", lambda *_: pytest.fail("nothing is to be trained"))
    shutil.rmtree(store / FOLDER)
    publish(store)
    assert other_runs(Store.open(store), SEED0) == []
    assert call("build", "tiny", "--store", store)[0] == 0
    assert other_runs(Store.open(store), SEED0) == [SEED1]


# --- sharing -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a share") / "shared"
    share(tiny_store, folder, [SEED0, SEED1])
    return folder


def test_matches_travel_with_both_of_their_runs(
    tiny_store: Path, shared: Path, tmp_path: Path
) -> None:
    share(tiny_store, tmp_path / "alone", [SEED0])
    assert not (tmp_path / "alone" / FOLDER).exists()
    receive_folder(tmp_path / "alone", tmp_path / "store")
    assert other_runs(Store.open(tmp_path / "store"), SEED0) == []
    receive_folder(shared, tmp_path / "store")  # joins the run that is there
    there, back = Store.open(tiny_store), Store.open(tmp_path / "store")
    for feature in range(WIDTH):
        assert matches_of(there, SEED0, feature) == matches_of(back, SEED0, feature)


def test_a_listed_match_whose_file_is_gone_is_not_shared(store: Path, tmp_path: Path) -> None:
    record(store).unlink()
    with pytest.raises(BrokenArtifact, match=f"readout-atlas match {SEED0} {SEED1}"):
        share(store, tmp_path / "shared")
    assert not (tmp_path / "shared").exists()


def test_a_match_that_was_tampered_with_is_refused(shared: Path, tmp_path: Path) -> None:
    theirs = Path(shutil.copytree(shared, tmp_path / "shared"))
    spoil(theirs, "a.score", [0.5] * WIDTH)
    relist(theirs)
    with pytest.raises(BrokenArtifact, match="the table match made from"):
        receive_folder(theirs, tmp_path / "store")
    assert not (tmp_path / "store").exists()
