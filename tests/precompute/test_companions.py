"""What comes beside a dictionary: shapes, steps and seeds must be the run's (known answer 30)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atlas.crosscoder import standardize
from atlas.errors import AtlasError, BrokenArtifact, InvalidValue, NotFound
from atlas.inventory import released
from atlas.tensor_files import load_tensors, read_json
from precompute.attribution import (
    attribution_groups,
    read_reconstruction_ev,
    read_shard,
    read_specificity,
)
from precompute.companions import companions_of, take_in_companions
from precompute.corpus import kept_corpus, read_corpus, take_in_corpus
from precompute.intake import take_in
from precompute.pickles import load_pickle
from precompute.tables_of_rates import (
    Shape,
    read_aggregates,
    read_array,
    read_folder,
    read_per_feature,
    read_rates,
    statistics_of,
)
from tests.released import D_MODEL, D_SAE, raw_rows, write_release

STEPS = (0, 1, 4, 16)
SHAPE = Shape(STEPS, D_SAE, "config.json")
K = len(STEPS)
RUN = "pythia-160m/W_U/cross-snapshot-4/d16/seed1"


def table(seed: int = 0, *lead: int) -> np.ndarray:
    return np.random.default_rng(seed).random((*lead, K, D_SAE)).astype(np.float32)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    weights, sidecar = write_release(tmp_path / "hub", RUN, STEPS, seed=1)
    return take_in(tmp_path, RUN, weights, sidecar, {}, lambda line: None)


# --- rates and norms ---------------------------------------------------------------------------


def test_several_seeds_need_the_number_of_one(tmp_path: Path) -> None:
    path = tmp_path / "firing_rates_all_seeds.npy"
    values = table(0, 5)
    np.save(path, values)
    assert np.array_equal(read_rates(path, SHAPE, 3), values[3])
    for seed in (None, 5, -1):
        with pytest.raises(BrokenArtifact, match="holds 5 seeds, so one of 0 to 4 must be named"):
            read_rates(path, SHAPE, seed)
    np.save(path, values[2])
    assert np.array_equal(read_rates(path, SHAPE), values[2])


@pytest.mark.parametrize("shape", [(K, D_SAE + 1), (K + 1, D_SAE), (D_SAE, K), (D_SAE,)])
def test_another_k_or_d_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "rates.npy"
    np.save(path, np.zeros(shape, np.float32))
    for share in (True, False):
        with pytest.raises(BrokenArtifact, match=r"but config.json says \(4, 16\)"):
            read_rates(path, SHAPE, share=share)


def test_arrays_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "rates.npy"
    cases: list[tuple[Any, str]] = [
        (np.array([{}], dtype=object), "Python objects"), (np.array(["a"]), "expected numbers"),
        (np.full((K, D_SAE), np.nan, np.float32), "not finite"),
        (np.full((K, D_SAE), 1.1, np.float32), "expected 0 to 1"),
        (np.full((K, D_SAE), -0.1, np.float32), "expected 0 to 1"),
    ]
    for value, said in cases:
        np.save(path, value, allow_pickle=True)
        with pytest.raises(BrokenArtifact, match=said):
            read_rates(path, SHAPE)
    np.save(path, table())
    content = path.read_bytes()
    for raw in (b"", b"\x93NUMPY", content[:90], content[:-9], b"PK\x03\x04" + content,
                content.replace(b"(4, 16)", b"(4, 99)"), content.replace(b"'<f4'", b"'|O'")):
        path.write_bytes(raw)
        with pytest.raises(BrokenArtifact) as refused:
            read_array(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(NotFound):
        read_array(tmp_path / "none.npy")


def test_rates_of_a_pt_file(tmp_path: Path) -> None:
    path = tmp_path / "we_rates_dsae16_seed1.pt"
    rates = torch.from_numpy(table())
    torch.save({"rates_per_seed": {"we_cc_dsae16_seed1": rates}, "steps": list(STEPS)}, path)
    assert torch.equal(read_rates(path, SHAPE, 1), rates)
    with pytest.raises(BrokenArtifact, match="is of we_cc_dsae16_seed1, but the run has seed 0"):
        read_rates(path, SHAPE, 0)
    torch.save({"rates_per_seed": {"seed1": rates}, "steps": [0, 1, 4, 17]}, path)
    with pytest.raises(BrokenArtifact, match="from place 3 on not those of"):
        read_rates(path, SHAPE, 1)
    torch.save({"rates_per_seed": {"seed1": rates}, "steps": [0, 1, 4]}, path)
    with pytest.raises(BrokenArtifact, match="steps has 3"):
        read_rates(path, SHAPE, 1)
    torch.save({"rates_per_seed": {"seed1": rates, "seed11": 1 - rates}, "steps": list(STEPS)},
               path)
    assert torch.equal(read_rates(path, SHAPE, 11), 1 - rates)
    with pytest.raises(BrokenArtifact, match="none of them alone is of seed 2"):
        read_rates(path, SHAPE, 2)


def test_a_folder_of_steps_is_stacked_in_their_order(tmp_path: Path) -> None:
    values = table()
    for k in (2, 0, 3):  # step 1 is missing
        np.save(tmp_path / f"norms_step{STEPS[k]}.npy", values[k])
    (tmp_path / "._norms_step1.npy").write_bytes(b"left by a Mac")
    steps, stacked = read_folder(tmp_path, SHAPE)
    assert steps == (0, 4, 16)
    assert np.array_equal(stacked, values[[0, 2, 3]])
    with pytest.raises(BrokenArtifact, match="has 3 of the 4 steps"):
        read_rates(tmp_path, SHAPE)
    np.save(tmp_path / "norms_step1.npy", values[1])
    assert np.array_equal(read_rates(tmp_path, SHAPE), values)
    with pytest.raises(NotFound):
        read_folder(tmp_path, Shape((7,), D_SAE, "x"))


def test_peaks_are_training_steps(tmp_path: Path) -> None:
    path = tmp_path / "peak_steps_all_seeds.npy"
    peaks = np.array([[STEPS[(i + s) % K] for i in range(D_SAE)] for s in range(2)])
    np.save(path, peaks)
    assert read_per_feature(path, SHAPE, 1, steps=True).tolist() == peaks[1].tolist()
    with pytest.raises(BrokenArtifact, match="2 seeds"):
        read_per_feature(path, SHAPE, None, steps=True)
    np.save(path, np.full(D_SAE, 2))
    with pytest.raises(BrokenArtifact, match="peak step 2, which is no step"):
        read_per_feature(path, SHAPE, steps=True)


# --- aggregates --------------------------------------------------------------------------------


def aggregates(**changes: Any) -> dict[str, Any]:
    rows = torch.stack([raw_rows(s) for s in STEPS])
    statistics, _ = standardize(rows)
    told = {
        "steps": list(STEPS), "rates": torch.from_numpy(table(1)),
        "decoder_norms": torch.from_numpy(table(2)), "cusum_max": torch.ones(D_SAE),
        "peak_steps": torch.full((D_SAE,), 16),
        "preprocess_stats": {"mean": statistics.mean[:, None], "scale": statistics.scale[:, None,
                                                                                        None],
                             "mode": "center_scale"},
    } | changes
    return {k: v for k, v in told.items() if v is not None}


def test_aggregates_are_read_and_their_statistics_are_the_rebuilt_ones(tmp_path: Path) -> None:
    path = tmp_path / "aggregates.pt"
    torch.save(aggregates(), path)
    found = read_aggregates(path, SHAPE, 0)
    assert np.array_equal(found.rates, table(1))
    assert np.array_equal(found.norms, table(2))
    statistics, _ = standardize(torch.stack([raw_rows(s) for s in STEPS]))
    assert torch.equal(found.mean, statistics.mean)
    assert torch.equal(found.scale, statistics.scale)
    torch.save(aggregates(rates=None, rates_per_seed={"wu_cc_dsae16_seed0": table(1)}), path)
    assert np.array_equal(read_aggregates(path, SHAPE, 0).rates, table(1))  # numpy inside


@pytest.mark.parametrize(("changes", "said"), [
    ({"steps": None}, "has no steps"), ({"steps": [0, 1, 4]}, "steps has 3"),
    ({"rates": None}, "rates_per_seed"), ({"rates": "many"}, "neither rates"),
    ({"rates": torch.zeros(K, 3)}, r"rates is \(4, 3\)"),
    ({"rates": torch.zeros(3, K, D_SAE)}, "holds 3 seeds"),
    ({"decoder_norms": torch.zeros(K - 1, D_SAE)}, r"decoder_norms is \(3, 16\)"),
    ({"decoder_norms": -torch.ones(K, D_SAE)}, "expected 0 or more"),
    ({"cusum_max": torch.zeros(3)}, r"cusum_max is \(3,\)"),
    ({"peak_steps": torch.full((D_SAE,), 3)}, "peak step 3"),
    ({"preprocess_stats": {"mean": torch.zeros(K), "scale": torch.zeros(K)}}, "not positive"),
    ({"preprocess_stats": {"mean": torch.zeros(7), "scale": torch.ones(K)}}, "preprocess_stats"),
])
def test_aggregates_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = tmp_path / "aggregates.pt"
    torch.save(aggregates(**changes), path)
    with pytest.raises(BrokenArtifact, match=said) as refused:
        read_aggregates(path, SHAPE, None)
    assert "\n" not in str(refused.value)


def test_steps_are_assumed_only_if_there_are_k(tmp_path: Path) -> None:
    path = tmp_path / "aggregates.pt"
    torch.save(aggregates(steps=None), path)
    assert read_aggregates(path, SHAPE, fallback=STEPS).steps == STEPS
    with pytest.raises(BrokenArtifact, match="steps has 3"):
        read_aggregates(path, SHAPE, fallback=STEPS[:3])


@pytest.mark.parametrize("squeezed", [False, True])
def test_statistics_come_squeezed_or_not(squeezed: bool) -> None:
    mean, scale = torch.randn(K, 1, D_MODEL), torch.rand(K, 1, 1) + 1
    given = {"mean": mean.squeeze() if squeezed else mean,
             "scale": scale.squeeze() if squeezed else scale}
    found = statistics_of(given, K, D_MODEL, "x")
    assert torch.equal(found[0], mean[:, 0])
    assert torch.equal(found[1], scale[:, 0, 0])
    assert statistics_of({"mode": "none", "mean": None}, K, D_MODEL, "x") == (None, None)


# --- into a run folder -------------------------------------------------------------------------


def test_companions_of_the_inventory() -> None:
    found = {entry.run: companions_of(entry.run) for entry in released()}
    atlas = found["pythia-160m/W_U/cross-snapshot-32/d24576/seed0"]
    assert atlas == [
        "derived/aggregates/aggregates_pythia-160m_d24576_seed0.pt",
        "derived/rates/wu-d24576-multiseed/decoder_norms_dsae24576_seed0.npy",
    ]
    assert found["pythia-160m/W_U/cross-snapshot-32/d8192/seed0"][-1] == "attribution/pythia-160m/"
    assert len(found["pythia-160m/W_U/cross-snapshot-32/d8192/seed4"]) == 4
    assert "we_rates_dsae8192_seed3.pt" in found["pythia-160m/W_E/cross-snapshot-32/d8192/seed3"][0]
    assert found["pythia-6.9b/W_U/cross-snapshot-32/d32768/seed0-sparse"] == []
    assert sum(bool(paths) for paths in found.values()) == 17
    assert companions_of("qwen3.5-2b/k256_32x") == []


def test_companions_are_converted_and_listed_once(tmp_path: Path, run_folder: Path) -> None:
    norms, whole = tmp_path / "n.npy", tmp_path / "a.pt"
    np.save(norms, table(0, 5))
    torch.save(aggregates(), whole)
    files = {
        "derived/rates/wu-d8192-multiseed/decoder_norms_all_seeds.npy": norms,
        "derived/aggregates/aggregates_pythia-160m_d16_seed1.pt": whole,
    }
    written = take_in_companions(tmp_path, RUN, files, lambda line: None)
    assert [p.name for p in written] == ["decoder_norms.safetensors", "aggregates.safetensors"]
    kept = load_tensors(run_folder / "companions" / "decoder_norms.safetensors")
    assert np.array_equal(kept["decoder_norms"], table(0, 5)[1])  # the run's own seed
    listing = (run_folder / "companions" / "companions.json").read_bytes()
    take_in_companions(tmp_path, RUN, files, lambda line: None)
    assert (run_folder / "companions" / "companions.json").read_bytes() == listing
    np.save(norms, table(3, 5))  # a later one of the same path replaces the entry
    take_in_companions(tmp_path, RUN, dict([next(iter(files.items()))]), lambda line: None)
    told = read_json(run_folder / "companions" / "companions.json")
    assert len(told) == 2
    assert told != json.loads(listing)
    with pytest.raises(InvalidValue, match="no companion"):
        take_in_companions(tmp_path, RUN, {"derived/x.npy": norms}, lambda line: None)


# --- attribution -------------------------------------------------------------------------------


def shard_files(folder: Path, **changes: Any) -> tuple[Path, Path]:
    attributions = torch.linspace(1, -1, D_SAE)
    told = {"model": "pythia-160m", "family": "agreement", "h_step": 16, "snapshot_step": 4,
            "n": 30, "rank_by": "pos", "per_K": {"8": {"top_indices": [0, 1]}},
            "feature_attributions_top1024": [
                {"feature": i, "attribution": float(attributions[i])} for i in range(3)]}
    tensors: dict[str, Any] = {
        "attrs": attributions, "feature_order": torch.arange(D_SAE), "scale_step": 1.5,
        "decoder_rows_top_Kmax": torch.ones(8, D_MODEL),
        "decoder_rows_top_Kmax_indices": torch.arange(8)}
    told |= {k: v for k, v in changes.items() if k in told}
    tensors |= {k: v for k, v in changes.items() if k in tensors}
    text, pt = folder / "agreement__h16__s4.json", folder / "agreement__h16__s4.pt"
    text.write_text(json.dumps(told))
    torch.save(tensors, pt)
    return text, pt


def test_a_shard_is_read_from_both_its_files(tmp_path: Path, run_folder: Path) -> None:
    text, pt = shard_files(tmp_path)
    shard = read_shard(text, pt, SHAPE, D_MODEL)
    assert (shard.family, shard.h_step, shard.snapshot_step, shard.n) == ("agreement", 16, 4, 30)
    assert float(shard.attributions.sum()) == pytest.approx(0, abs=1e-5)
    ev, matrix = tmp_path / "ev.json", tmp_path / "specificity_matrix.json"
    ev.write_text(json.dumps({"steps": {"0": 0.5, "4": 0.75}}))
    matrix.write_text(json.dumps({"K": 8, "families": ["a", "b"], "matrix": [[1, 0], [0, 2]]}))
    base = "attribution/pythia-160m/"
    files = {f"{base}shards/{text.name}": text, f"{base}shards/{pt.name}": pt,
             f"{base}reconstruction_ev.json": ev, f"{base}specificity_matrix.json": matrix}
    written = take_in_companions(tmp_path, RUN, files, lambda line: None)
    assert len(written) == 4
    kept = load_tensors(run_folder / "companions/attribution/agreement__h16__s4.safetensors")
    assert torch.equal(kept["attributions"], shard.attributions)
    assert read_reconstruction_ev(ev) == {"steps.0": 0.5, "steps.4": 0.75}
    assert read_specificity(matrix).matrix.tolist() == [[1, 0], [0, 2]]
    loose = {path.replace("shards/", ""): file for path, file in files.items()}
    assert len(take_in_companions(tmp_path, RUN, loose, lambda line: None)) == 4
    del files[f"{base}shards/{pt.name}"]
    with pytest.raises(BrokenArtifact, match=r"has no agreement__h16__s4\.pt beside it"):
        take_in_companions(tmp_path, RUN, files, lambda line: None)


def test_attribution_files_are_read_in_their_groups() -> None:
    pair = ["a/x__h1__s2.json", "a/x__h1__s2.pt"]
    assert attribution_groups(["a/README.md", *pair, "a/b/y__h1__s2.pt", "a/manifest.json",
                               "a/x__h1__s2.png"]) == (
        [["a/b/y__h1__s2.pt"], ["a/manifest.json"], pair], ["a/README.md", "a/x__h1__s2.png"])


@pytest.mark.parametrize(("changes", "said"), [
    ({"snapshot_step": 5}, "snapshot_step is 5, which is no step"),
    ({"family": "tense"}, "is named agreement__h16__s4, but says tense"),
    ({"n": None}, "lacks family"),
    ({"attrs": torch.zeros(3)}, r"attrs is \(3,\), but config.json says \(16,\)"),
    ({"attrs": torch.full((D_SAE,), float("inf"))}, "not finite"),
    ({"feature_order": torch.zeros(D_SAE, dtype=torch.long)}, "no order of 16 features"),
    ({"decoder_rows_top_Kmax": torch.ones(8, 5)}, r"\(8, 5\)"),
    ({"feature_attributions_top1024": [{"feature": 0, "attribution": 7.0}]},
     "feature 0: .* says 7, but .* says 1"),
    ({"feature_attributions_top1024": [{"feature": 16, "attribution": 7.0}]}, "has an entry"),
    ({"feature_attributions_top1024": 3}, "expected a list"),
])
def test_a_shard_that_does_not_fit(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BrokenArtifact, match=said):
        read_shard(*shard_files(tmp_path, **changes), SHAPE, D_MODEL)


@pytest.mark.parametrize(("told", "said"), [
    ({"K": 8, "families": ["a"], "matrix": [[1, 2]]}, "there are 1 families"),
    ({"K": 8, "families": "a", "matrix": [[1]]}, "no list of names"),
    ({"K": 8, "families": ["a"], "matrix": "x"}, "no table of numbers"),
    ({"families": ["a"], "matrix": [[1]]}, "has no K"),
])
def test_a_specificity_matrix_that_is_none(
    tmp_path: Path, told: dict[str, Any], said: str
) -> None:
    path = tmp_path / "specificity_matrix.json"
    path.write_text(json.dumps(told))
    with pytest.raises(BrokenArtifact, match=said):
        read_specificity(path)


# --- the evaluation corpus ---------------------------------------------------------------------


def corpus(**changes: Any) -> dict[str, Any]:
    return {"ids": torch.arange(1030), "scripts": ["ASCII"] * 1000 + ["Thai"] * 30,
            "languages": ["en"] * 1000 + ["th"] * 30, "per_lang_counts": {"en": 1000, "th": 30},
            "script_counts": {"ASCII": 1000, "Thai": 30}} | changes


def test_the_evaluation_corpus_is_kept_without_its_pickle(tmp_path: Path) -> None:
    path = tmp_path / "eval_tokens.pt"
    torch.save(corpus(), path)
    found = read_corpus(path)
    assert found.windows.shape == (2, 512)
    assert found.windows[1, 0] == 512
    take_in_corpus(tmp_path, path)
    kept = kept_corpus(tmp_path)
    assert torch.equal(kept.ids, found.ids)
    assert (kept.scripts, kept.languages) == (found.scripts, found.languages)
    assert not list((tmp_path / "corpora").rglob("*.pt"))


@pytest.mark.parametrize(("changes", "said"), [
    ({"ids": torch.zeros(2, 2)}, "no list of token ids"), ({"ids": "abc"}, "no list of token ids"),
    ({"ids": -torch.ones(1030, dtype=torch.long)}, "ids holds -1"),
    ({"scripts": ["ASCII"]}, "scripts has 1 entries, ids has 1030"),
    ({"languages": [1] * 1030}, "no list of names"),
    ({"script_counts": {"Thai": 31}}, "says 31 of 'Thai', but scripts has 30"),
])
def test_a_corpus_that_does_not_fit(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = tmp_path / "eval_tokens.pt"
    torch.save(corpus(**changes), path)
    with pytest.raises(AtlasError, match=said):
        read_corpus(path)


def test_numpy_values_in_a_pickle_are_read_where_arrays_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"a": np.arange(3, dtype=np.float64), "b": np.float32(2.5), "c": np.int64(7)}, path)
    found = load_pickle(path, arrays=True)
    assert found["a"].tolist() == [0, 1, 2]
    assert (found["b"], found["c"]) == (2.5, 7)
    with pytest.raises(BrokenArtifact, match="could run code"):
        load_pickle(path)
    torch.save({"a": np.array([{"x": 1}], dtype=object)}, path)
    with pytest.raises(BrokenArtifact):
        load_pickle(path, arrays=True)
