"""Examples of features: the text, the places, the scores, and the reasons for having none."""

import json
import lzma
import math
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch

from atlas.errors import BrokenArtifact
from atlas.language_model import LanguageModel, load_tokenizer
from atlas.places import model_path
from atlas.tensor_files import load_tensors, save_tensors
from precompute import evaluation, examples, reader
from precompute.evaluation import Text, read_text, text_files, windows
from precompute.examples import BEFORE, EXAMPLES, SCORED, Sample, example_rows
from precompute.kept import run_folder, silent
from precompute.reader import Reading, most_tokens
from precompute.sources import Snapshots, open_dictionary
from precompute.stages import precompute_run
from precompute.writer import read_meta
from tests.tiny import EMBEDDING, LARGE_MODEL, PRISM, SEED0, SMALL, SMALL_MODEL, STEPS, D

CPU = torch.device("cpu")


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of the built tiny store to change."""
    return Path(shutil.copytree(tiny_store, tmp_path / "a store"))


# --- the text ------------------------------------------------------------------------------------


def test_windows_overlap_by_the_token_that_comes_next() -> None:
    text = Text("x", (("", np.arange(100)), ("", np.arange(200, 230))))
    found = windows(text, 40, 1000)
    assert [(w[0], w[-1]) for w in found] == [(0, 40), (40, 80), (80, 99), (200, 229)]
    assert [(w[0], w[-1]) for w in windows(text, 40, 80)] == [(0, 40), (200, 229)]
    short = Text("x", (("", np.arange(evaluation.SHORTEST)),))
    assert windows(short, 40, 1000) == []


def test_every_kind_is_represented_alike() -> None:
    """Of 12 windows a kind with 2 gives both, the others share the rest, spread over each."""
    sizes = {"large": 100, "middle": 50, "small": 2}
    text = Text("x", tuple((kind, np.full(20 * n + 1, place))
                           for place, (kind, n) in enumerate(sizes.items())))
    found = [int(w[0]) for w in windows(text, 20, 240)]
    assert found == [0] * 5 + [1] * 5 + [2] * 2
    numbered = Text("x", (("", np.arange(401)),))
    assert [int(w[0]) for w in windows(numbered, 20, 60)] == [0, 200, 380]


def test_the_files_of_a_text_in_their_order(store: Path) -> None:
    folder = model_path(store, LARGE_MODEL)
    tokenizer = load_tokenizer(folder)

    def ids() -> list[tuple[str, str]]:
        return [(kind, tokenizer.decode(part.tolist()))
                for kind, part in read_text(store, LARGE_MODEL).documents]

    (folder / "evaluation.txt").unlink()
    assert text_files(store, LARGE_MODEL) == []
    with lzma.open(store / "corpus.jsonl.xz", "wt", encoding="utf8") as out:
        for split, text in (("train", "seen"), ("validation", "the light")):
            out.write(json.dumps({"source": "prose", "split": split, "text": text}) + "\n")
    assert ids() == [("prose", "the light")]
    assert "not seen" in read_text(store, LARGE_MODEL).source
    (folder / "evaluation.txt").write_text("the water", "utf8")
    assert ids() == [("", "the water")]
    (folder / "evaluation.jsonl").write_text(
        '{"text": "a name", "source": "code"}\n\n{"text": "the class"}\n', "utf8")
    assert ids() == [("code", "a name"), ("", "the class")]
    save_tensors(folder / "evaluation.safetensors", {"ids": torch.arange(30)})
    assert read_text(store, LARGE_MODEL).documents[0][1].tolist() == list(range(30))
    assert text_files(store, LARGE_MODEL) == [folder / "evaluation.safetensors"]


def test_a_released_corpus_is_read_by_language(store: Path) -> None:
    model = "pythia-14m"
    folder = store / "corpora" / "evaluation"
    save_tensors(folder / "tokens.safetensors", {"ids": torch.arange(5)})
    (folder / "corpus.json").write_text(json.dumps(
        {"scripts": ["ASCII"] * 5, "languages": ["en", "en", "en", "ru", "ru"]}), "utf8")
    assert len(text_files(store, model)) == 2
    found = read_text(store, model)
    assert [(kind, ids.tolist()) for kind, ids in found.documents] == [
        ("en", [0, 1, 2]), ("ru", [3, 4])]
    assert "2 languages" in found.source
    assert folder / "tokens.safetensors" not in text_files(store, LARGE_MODEL)


@pytest.mark.parametrize(("name", "content"), [
    ("evaluation.txt", b"\xff\xfe\x00"), ("evaluation.jsonl", b"[1]\n"),
    ("evaluation.jsonl", b'{"text": 3}\n'), ("evaluation.jsonl", b"{text}\n"),
    ("evaluation.jsonl", b"[" * 100_000),
])
def test_a_text_that_is_none(store: Path, name: str, content: bytes) -> None:
    (model_path(store, LARGE_MODEL) / name).write_bytes(content)
    with pytest.raises(BrokenArtifact, match=name):
        read_text(store, LARGE_MODEL)


def test_a_text_of_a_wrong_form(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_path(store, LARGE_MODEL)
    save_tensors(folder / "evaluation.safetensors", {"ids": torch.zeros(3, 3)})
    with pytest.raises(BrokenArtifact, match="one row of ids"):
        read_text(store, LARGE_MODEL)
    (folder / "evaluation.safetensors").unlink()
    monkeypatch.setattr(evaluation, "LARGEST", 10)
    with pytest.raises(BrokenArtifact, match="at most 10"):
        read_text(store, LARGE_MODEL)
    (folder / "evaluation.txt").unlink()
    (store / "corpus.jsonl.xz").write_bytes(b"no archive")
    with pytest.raises(BrokenArtifact, match="not a corpus"):
        read_text(store, LARGE_MODEL)


# --- places --------------------------------------------------------------------------------------


def made_up(
    lengths: list[int], width: int, seed: int
) -> tuple[list[np.ndarray], list[torch.Tensor]]:
    """Windows of few different tokens, so that formulas recur, and random states."""
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, 2, n) for n in lengths]
    states = [torch.from_numpy(rng.standard_normal((n - 1, width))).float() for n in lengths]
    return parts, states


def test_scores_are_counted_in_standard_deviations() -> None:
    """One number wide: states 0, 1, 2, 5 at the scored tokens, mean 2, standard deviation √3.5."""
    parts = [np.array([7, 1, 2, 3, 4, 9])]
    states = [torch.tensor([[100.0], [0.0], [1.0], [2.0], [5.0]])]
    found = Sample(parts, states, CPU).places(torch.tensor([[2.0], [-1.0], [0.0]]))
    z = (np.array([0, 1, 2, 5]) - 2) / math.sqrt(3.5)
    assert found["place"].tolist() == [[0, -1, -1, -1, -1, -1]] * 2 + [[-1] * EXAMPLES]
    assert found["start"][:, 0].tolist() == [1, 1, -1]
    assert found["z"][0, 0, :4] == pytest.approx(z, abs=0.05)
    assert found["z"][1, 0, :4] == pytest.approx(-z, abs=0.05)
    assert np.isnan(found["z"][:, 0, 4:]).all()
    assert np.isnan(found["z"][2]).all()
    assert found["z_max"][:2] == pytest.approx([z[3], -z[0]], abs=1e-5)
    assert np.isnan(found["z_max"][2])


def slow_places(
    parts: list[np.ndarray], states: list[torch.Tensor], direction: np.ndarray
) -> list[tuple[int, int, list[float]]]:
    """(window, first token, scores) of each example, all scores at once and nothing clever."""
    spots = [(w, t) for w, part in enumerate(parts) for t in range(1, len(part) - 1)]
    raw = np.array([states[w][t].double().numpy() @ direction for w, t in spots])
    z = dict(zip(spots, (raw - raw.mean()) / raw.std(), strict=True))
    found: list[tuple[int, int, list[float]]] = []
    used: set[tuple[int, int]] = set()
    texts: set[tuple[int, ...]] = set()
    for w, t in sorted(spots, key=lambda spot: -z[spot]):
        last = len(parts[w]) - 1
        start = min(max(t - BEFORE, 1), max(last - SCORED, 1))
        inside = [(w, i) for i in range(start, min(start + SCORED, last))]
        text = tuple([-1, -1, *parts[w].tolist()][t - 1 : t + 4])
        fits = used.isdisjoint(inside) and text not in texts
        if fits and z[w, t] == max(z[spot] for spot in inside) and len(found) < EXAMPLES:
            found.append((w, start, [z[spot] for spot in inside]))
            used.update(inside)
            texts.add(text)
    return found


@pytest.mark.parametrize(("candidates", "numbers"), [(256, 2**25), (2, 2**25), (40, 1000)])
def test_places_are_those_of_the_slow_way(
    monkeypatch: pytest.MonkeyPatch, candidates: int, numbers: int
) -> None:
    monkeypatch.setattr(examples, "CANDIDATES", candidates)
    monkeypatch.setattr(examples, "BLOCK_NUMBERS", numbers)
    parts, states = made_up([60, 3, 25, 18, 31], 6, 3)
    directions = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    found = Sample(parts, states, CPU).places(directions)
    fewer = 0
    for feature, direction in enumerate(directions.double().numpy()):
        slow = slow_places(parts, states, direction)
        fewer += len(slow) < EXAMPLES
        count = len(slow)
        assert found["place"][feature].tolist() == (
            [w for w, _, _ in slow] + [-1] * (EXAMPLES - count))
        assert found["start"][feature, :count].tolist() == [start for _, start, _ in slow]
        for rank, (_, _, z) in enumerate(slow):
            assert found["z"][feature, rank, : len(z)] == pytest.approx(z, abs=0.0501)
            assert np.isnan(found["z"][feature, rank, len(z) :]).all()
    assert fewer > 0  # such a short text has no six apart along some of them


def test_excerpts_of_a_feature_share_no_place() -> None:
    parts, states = made_up([300, 300], 4, 0)
    found = Sample(parts, states, CPU).places(torch.eye(4))
    for feature in range(4):
        spans = {(int(w), int(s)) for w, s in
                 zip(found["place"][feature], found["start"][feature], strict=True)}
        assert len(spans) == EXAMPLES
        ordered = sorted(spans)
        for (w, s), (v, t) in zip(ordered, ordered[1:], strict=False):
            assert w != v or t >= s + SCORED


def test_a_recurring_formula_is_shown_once() -> None:
    """The same tokens with the same states in every window: one example, not six."""
    part = np.arange(60)
    states = torch.randn(59, 3, generator=torch.Generator().manual_seed(0))
    found = Sample([part] * 5, [states] * 5, CPU).places(torch.eye(3))
    for feature in range(3):
        shown = found["place"][feature] >= 0
        peaks = found["start"][feature][shown] + np.nanargmax(found["z"][feature][shown], axis=1)
        assert 1 <= len(set(peaks.tolist())) == shown.sum() < EXAMPLES


def test_what_chance_gives_is_about_the_largest_of_so_many_draws() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 300, 129) for _ in range(40)]
    states = [torch.from_numpy(rng.standard_normal((128, 16))).float() for _ in parts]
    sample = Sample(parts, states, CPU)
    random = torch.from_numpy(examples.random_directions(16))
    chance = np.median(sample.places(random)["z_max"])
    assert sample.size == 40 * 127
    assert 0.8 < chance / math.sqrt(2 * math.log(sample.size)) < 1.0


def test_rows_leave_out_dead_features_and_short_excerpts_end() -> None:
    parts, states = made_up([50, 12], 4, 5)
    found = {**Sample(parts, states, CPU).places(torch.eye(4)),
             "tokens": np.concatenate(parts).astype(np.int32), "bounds": np.array([0, 50, 62])}
    rows = example_rows(found, np.array([True, False, True, True]))
    assert rows["sample"]["tokens"].to_pylist() == [part.tolist() for part in parts]
    listed = rows["example"].to_pylist()
    assert {row["feature"] for row in listed} == {0, 2, 3}
    for row in listed:
        assert row["start"] + len(row["z"]) < len(parts[row["place"]])
        assert row["z"] == pytest.approx(np.round(row["z"], 1), abs=1e-6)
    assert example_rows({"told": np.array("{}")}, np.ones(4, bool)) == {}


# --- the stage -----------------------------------------------------------------------------------


def asked(file: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.sql(sql).fetchall()


def told(file: Path) -> dict:
    return json.loads(read_meta(file)["examples"])


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_a_build_writes_what_the_model_says_of_its_text(tiny_store: Path, run: str) -> None:
    """Scores in the file are those of the model's own states along the stored directions."""
    folder = run_folder(tiny_store, run)
    (file,) = folder.path.glob("*.duckdb")
    model = LanguageModel.load(model_path(tiny_store, LARGE_MODEL), tiny_store, STEPS[-1])
    sample = dict(asked(file, "SELECT place, tokens FROM sample"))
    text = (model_path(tiny_store, LARGE_MODEL) / "evaluation.txt").read_text("utf8")
    ids = model.tokenizer.encode(text, add_special_tokens=False).ids
    assert sample[0] == ids[: model.context + 1]
    assert sum(len(t) - 1 for t in sample.values()) <= len(ids) - 1
    states = {p: model.hidden_of(t[:-1])[1:].double().numpy() for p, t in sample.items()}
    assert told(file)["n_tokens"] == sum(map(len, states.values()))
    source = open_dictionary(folder, Snapshots(tiny_store, folder))
    directions = source.directions(len(folder.steps) - 1).double().numpy()
    rows = asked(file, "SELECT feature, rank, place, start, z FROM example")
    dead = {f for (f,) in asked(file, "SELECT feature FROM feature WHERE NOT alive")}
    assert dead
    assert {row[0] for row in rows} == set(range(len(directions))) - dead
    for feature, rank, place, start, z in rows:
        every = {p: s @ directions[feature] for p, s in states.items()}
        flat = np.concatenate(list(every.values()))
        own = (every[place] - flat.mean()) / flat.std()
        assert own[start - 1 : start - 1 + len(z)] == pytest.approx(np.array(z), abs=0.051)
        if rank == 0:
            assert max(z) == pytest.approx((flat.max() - flat.mean()) / flat.std(), abs=0.051)


def reason_of(store: Path, run: str) -> str:
    return str(Reading(store, run_folder(store, run), CPU).reason)


def test_a_run_without_examples_says_why(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "embedding" in reason_of(store, EMBEDDING)
    assert f"models/{SMALL_MODEL}/evaluation.txt" in reason_of(store, SMALL)
    assert reason_of(store, SEED0) == "None"
    monkeypatch.setattr(reader, "CPU_OPERATIONS", 1e6)
    assert "too large to read a text on a CPU" in reason_of(store, SEED0)
    monkeypatch.undo()
    body = model_path(store, LARGE_MODEL) / f"step{STEPS[-1]}.safetensors"
    body.unlink()
    assert "no whole tiny-large of step 64" in reason_of(store, SEED0)
    built = precompute_run(store, SEED0, force=True)
    found = told(built.file)
    assert found == {"source": None, "n_tokens": 0, "chance": None,
                     "reason": reason_of(store, SEED0)}
    assert asked(built.file, "SELECT count(*) FROM sample") == [(0,)]
    assert asked(built.file, "SELECT count(*) FROM example") == [(0,)]


def test_a_model_that_comes_later_gives_examples(store: Path) -> None:
    body = model_path(store, LARGE_MODEL) / f"step{STEPS[-1]}.safetensors"
    aside = body.rename(store / "aside.safetensors")
    without = precompute_run(store, SEED0, force=True)
    aside.rename(body)
    again = precompute_run(store, SEED0)
    assert again.done == ("examples", "fidelity", "gallery", "write")
    assert again.digest != without.digest
    assert told(again.file)["reason"] is None


def test_a_damaged_model_costs_the_examples_and_not_the_build(store: Path) -> None:
    body = model_path(store, LARGE_MODEL) / f"step{STEPS[-1]}.safetensors"
    tensors = load_tensors(body)
    save_tensors(body, dict(list(tensors.items())[1:]))
    lines: list[str] = []
    built = precompute_run(store, SEED0, report=lines.append)
    assert "examples" in built.done
    assert told(built.file)["reason"] == "tiny-large of step 64 cannot be read"
    assert any(line.startswith("note: no examples") and "lacks" in line for line in lines)


def test_a_text_of_other_tokens_is_refused(store: Path) -> None:
    save_tensors(model_path(store, LARGE_MODEL) / "evaluation.safetensors",
                 {"ids": torch.arange(300, 340)})
    with pytest.raises(BrokenArtifact, match=r"token 339.*320 rows"):
        precompute_run(store, SEED0)


def test_a_text_too_short_to_read(store: Path) -> None:
    (model_path(store, LARGE_MODEL) / "evaluation.txt").write_text("The water.", "utf8")
    assert "too short" in told(precompute_run(store, SEED0).file)["reason"]


def test_the_text_is_cut_to_what_device_and_memory_bear() -> None:
    cuda = torch.device("cuda")
    assert most_tokens(10**6, D, CPU, True) == reader.MOST_TRAINED
    assert most_tokens(10**6, 768, CPU, False) == reader.MOST
    assert 50_000 < most_tokens(162_000_000, 768, CPU, False) < 70_000
    assert most_tokens(7 * 10**9, 4096, CPU, False) < reader.FEWEST
    assert most_tokens(7 * 10**9, 4096, cuda, False) == reader.STATE_BYTES // (4 * 4096)


def test_a_window_is_read_with_the_opening_before_it(tiny_store: Path) -> None:
    """A model that wants a first token of its own gets it, and its state is not scored."""
    model = LanguageModel.load(model_path(tiny_store, LARGE_MODEL), tiny_store, STEPS[-1])
    opened = LanguageModel(model.step, model.tokenizer, model.module, model.context, (0, 5))
    part = np.arange(20, 60)
    (found,) = examples.read_states(opened, [part], silent)
    assert found.shape == (39, D)
    assert torch.equal(found, model.hidden_of([0, 5, *part[:-1].tolist()])[2:])
