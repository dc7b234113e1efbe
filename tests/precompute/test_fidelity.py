"""The gate's share over prompts, and the stage that tries a dictionary on rows, text and a bank."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas import trust as reader
from atlas.artifacts import load_snapshot
from atlas.bank import NATIVE, Record
from atlas.decomposition import token_logit
from atlas.hidden_states import open_model
from atlas.live import Parts, decompose_prompt
from atlas.places import DEMO, model_path
from atlas.prism import logit_fidelity
from atlas.reading import read_prompt
from atlas.store import Store
from precompute import trial, trust
from precompute.evaluation import read_text, windows
from precompute.examples import read_states
from precompute.fidelity import RIVALS, gate_rate, held_out_prompts
from precompute.publish import publish
from precompute.stages import precompute_run
from tests.tiny import EMBEDDING, FULL, LARGE_MODEL, PRISM, SEED0, SMALL, STEPS, V

NAME = f"readout-atlas/{LARGE_MODEL}"


def test_every_contrast_is_counted_once(tiny_store: Path) -> None:
    store = Store.open(tiny_store)
    prompts = ["the light", "name of"]
    rate, n = gate_rate(store, SEED0, prompts)
    assert n == 2 * RIVALS
    by_hand = 0
    for prompt in prompts:
        top = decompose_prompt(store, SEED0, prompt).top
        for rival in top[1 : RIVALS + 1]:
            row = decompose_prompt(
                store, SEED0, prompt, target=top[0].token, versus=rival.token
            ).rows[-1].ledger
            by_hand += row.rho < 0.5 and (row.exact > 0) == (row.base + row.feature_sum > 0)
    assert rate == pytest.approx(by_hand / n)


def test_prompts_are_held_out_and_repeat() -> None:
    prompts = held_out_prompts(DEMO / "corpus.jsonl.xz", 5)
    assert prompts == held_out_prompts(DEMO / "corpus.jsonl.xz", 5)
    assert len(set(prompts)) == 5
    assert all(0 < len(p) <= 150 for p in prompts)


# --- the stage -----------------------------------------------------------------------------------


def record(case: str, prompt: str, **more: object) -> Record:
    empty = dict.fromkeys(("target_a", "target_b", "target_a_family", "target_b_family",
                           "expected_side", "notes"))
    return Record(**{
        "case_id": case, "base_case_id": case.split("-")[0], "variant_id": "0", "bank": "tried",
        "family": "prose", "prompt": prompt, "scored_position": "last",
        "expected_is_task_label_only": True, **empty, **more,
    })


BANK = (
    record("a-0", "the light", target_a=" the", target_b=" water", expected_side="A"),
    record("a-1", "upon the", target_a=" the", target_b=" water", expected_side="B"),
    record("b-0", "the water was", target_a_family=[" the", " water", "no such token at all"],
           target_b_family=[" earth"]),
    record("c-0", "In the beginning", bank="native"),
    record("d-0", "the earth", scored_position=1, target_a=" the", target_b=" earth"),
    record("e-0", "the earth", target_a="several tokens of it", target_b=" earth"),
    record("f-0", "the earth", scored_position=500, target_a=" the", target_b=" earth"),
)
LEFT_OUT = 2
CASES = 4 + len(NATIVE)


@pytest.fixture(scope="module")
def tried(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of its own whose larger model has a bank."""
    own = Path(shutil.copytree(tiny_store, tmp_path_factory.mktemp("tried") / "store"))
    lines = (json.dumps(dataclasses.asdict(r)) for r in BANK)
    (model_path(own, LARGE_MODEL) / "bank.jsonl").write_text("\n".join(lines), encoding="utf8")
    for run in (SEED0, PRISM):
        precompute_run(own, run)
    publish(own)
    return own


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_cases_are_scored_as_a_prompt_is_on_the_page(tried: Path, run: str) -> None:
    store = Store.open(tried)
    cases = reader.cases(store, run)
    assert len(cases) == CASES
    courses = store.ask(
        run, "SELECT exact_at, rebuilt_at FROM {run}.bank_case ORDER BY number").to_pylist()
    named = cases[cases["tokens"].str.len() == 2]
    assert len(named) == CASES - 2  # the family and the one against the mean
    for row in named.itertuples():
        target, versus = (int(t) for t in row.tokens)
        told = decompose_prompt(store, run, row.prompt, target, versus, "all",
                                position=int(row.position))
        course = courses[row.number]
        for at, exact, rebuilt in zip(told.rows, *course.values(), strict=True):
            assert exact == pytest.approx(at.ledger.exact, rel=1e-3, abs=1e-6)
            assert rebuilt == pytest.approx(at.ledger.reconstructed, rel=1e-3, abs=1e-5)
        ledger = told.rows[-1].ledger
        assert row.rho == pytest.approx(ledger.rho, rel=1e-3)
        assert row.gate == ledger.gate


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_a_family_and_the_mean_row_are_scored_by_hand(tried: Path, run: str) -> None:
    store = Store.open(tried)
    cases = reader.cases(store, run)
    family = cases[cases["case_id"] == "b-0"].iloc[0]
    assert sorted(np.round(family["weights"], 6)) == [-1, 0.5, 0.5]
    mean = cases[cases["contrast"] == "top1 vs mean"].iloc[0]
    rows = load_snapshot(tried, NAME, STEPS[-1], "W_U").double()
    h = torch.from_numpy(read_prompt(store, run, mean["prompt"]).h).double()
    exact = float(h @ (rows[int(mean["tokens"][0])] - rows.mean(dim=0)))
    assert mean["exact"] == pytest.approx(exact, rel=1e-3)
    h = torch.from_numpy(read_prompt(store, run, family["prompt"]).h).double()
    weights = torch.tensor(family["weights"].tolist()).double()
    exact = float(h @ (weights @ rows[family["tokens"].tolist()]))
    assert family["exact"] == pytest.approx(exact, rel=1e-3)


def test_what_of_a_bank_cannot_be_read_is_left_out_and_said(tried: Path) -> None:
    found = reader.trust(Store.open(tried), SEED0)
    assert found.bank == "bank.jsonl"
    assert found.left_out.startswith(f"{LEFT_OUT} left out, the first: f-0: scored_position 500")
    assert found.expected_share in (0.0, 0.5, 1.0)


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_whole_vocabularies_are_compared_as_written_out(tried: Path, run: str) -> None:
    store = Store.open(tried)
    found = reader.trust(store, run)
    own = found.vocabulary[(found.vocabulary["method"] == "dictionary")
                           & (found.vocabulary["step"] == STEPS[-1])
                           & (found.vocabulary["hidden"] == "final")].iloc[0]
    model = open_model(tried, LARGE_MODEL, NAME, STEPS[-1], "cpu")
    parts = windows(read_text(tried, LARGE_MODEL), min(512, model.context), trial.TEXT)
    states = trust._spread(read_states(model, parts, lambda _: None)).double()
    rows = load_snapshot(tried, NAME, STEPS[-1], "W_U").double()
    rebuilt = slow_rebuilt(store, run, rows)
    native, other = states @ rows.T, states @ rebuilt.T
    told = logit_fidelity(native, other)
    assert own["n_states"] == len(states)
    assert own["kl_bits"] == pytest.approx(told.kl_bits, rel=1e-3)
    assert own["top1"] == pytest.approx(told.top1_match, abs=2 / len(states))
    both = [len(set(a.topk(5).indices.tolist()) & set(b.topk(5).indices.tolist()))
            for a, b in zip(native, other, strict=True)]
    assert own["top5"] == pytest.approx(np.mean(both) / 5, abs=2 / len(states))
    x = rows - rows.mean(dim=0)
    ev = 1 - ((rows - rebuilt).square().sum(1) / x.square().sum(1)).mean()
    assert reader.row_ev(found) == pytest.approx(float(ev), abs=2e-3)


def slow_rebuilt(store: Store, run: str, rows: torch.Tensor) -> torch.Tensor:
    """Every rebuilt row (V, d), one at a time, by the ledger of its coordinates."""
    card = store.run(run)
    found = []
    for token in range(V):
        parts = Parts.of(store, store.folder, card, token_logit(token))
        ledgers = [parts.ledger(STEPS[-1], axis) for axis in np.eye(card.d_model)]
        found.append([ledger.reconstructed for ledger in ledgers])
    return torch.tensor(found, dtype=torch.float64)


def test_methods_share_base_and_the_full_pca_is_exact(tried: Path) -> None:
    found = reader.trust(Store.open(tried), SEED0)
    assert found.methods[0] == "dictionary"
    assert {"ridge", "shuffled", "random"} < set(found.methods)
    pca = [m for m in found.methods if m.startswith("pca-")]
    evs = [reader.row_ev(found, m) for m in pca]
    assert evs == sorted(evs)
    assert reader.row_ev(found, "shuffled") < reader.row_ev(found)
    table = reader.method_table(found)
    assert table["kl_bits"].notna().all()
    whole = found.whole()
    assert whole["n_cases"] == CASES
    assert whole["n_base"] == 4
    assert (whole[["passing_low", "sign_low"]] <= whole[["passing", "sign"]].to_numpy()).all()
    bins = reader.margin_table(found)
    assert bins[bins["method"] == "dictionary"]["n_cases"].sum() == CASES


def test_own_states_are_tried_where_whole_models_are_kept(tried: Path) -> None:
    found = reader.trust(Store.open(tried), SEED0)
    table = reader.course_table(found)
    own = table[(table["hidden"] == "own") & (table["method"] == "dictionary")]
    assert own["step"].tolist() == list(FULL)
    final = table[(table["hidden"] == "final") & (table["method"] == "dictionary")]
    assert final["step"].tolist() == STEPS
    assert final[["passing", "kl_bits", "ev"]].notna().all().all()
    last = [t[t["step"] == STEPS[-1]][["passing", "rho", "kl_bits"]].to_numpy()
            for t in (own, final)]
    assert last[0] == pytest.approx(last[1])


def test_without_a_bank_text_is_tried_and_the_reason_is_kept(tiny_store: Path) -> None:
    found = reader.trust(Store.open(tiny_store), SEED0)
    assert found.contrasts.empty
    assert f"no query bank for {LARGE_MODEL}" in found.bank_reason
    assert len(found.vocabulary)
    small = reader.trust(Store.open(tiny_store), SMALL)  # its model has no text either
    assert "no evaluation text" in small.text_reason
    assert small.vocabulary.empty
    assert len(small.rows)


def test_an_embedding_is_tried_on_its_rows_alone(tiny_store: Path) -> None:
    found = reader.trust(Store.open(tiny_store), EMBEDDING)
    assert "reads no hidden states" in found.reason
    assert found.vocabulary.empty
    assert found.contrasts.empty
    assert set(found.rows["split"]) == {"all", "norm", "count"}


def test_without_a_model_only_rows_are_tried(tiny_store: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(tiny_store, tmp_path / "own"))
    for file in model_path(own, LARGE_MODEL).glob("step*.safetensors"):
        file.unlink()
    assert precompute_run(own, SEED0, force=True).done
    publish(own)
    found = reader.trust(Store.open(own), SEED0)
    assert "keeps no whole tiny-large of step 64" in found.reason
    assert found.vocabulary.empty
    assert reader.verdict(found, "step 64").startswith("rowEV is")


def test_a_broken_bank_costs_the_contrasts_and_not_the_build(tried: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(tried, tmp_path / "own"))
    bank = model_path(own, LARGE_MODEL) / "bank.jsonl"
    bank.write_text(bank.read_text("utf8").replace('"family": "prose"', '"family": 7', 1), "utf8")
    lines: list[str] = []
    built = precompute_run(own, SEED0, report=lines.append)
    assert built.done == ("fidelity", "write")
    publish(own)
    found = reader.trust(Store.open(own), SEED0)
    assert found.contrasts.empty
    assert found.bank_reason == "bank.jsonl: line 1: family is 7, expected some text"
    assert any(line.startswith("note: ") and "line 1: family" in line for line in lines)
    assert len(found.vocabulary)


def test_a_changed_bank_tries_again_and_nothing_else(tried: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(tried, tmp_path / "own"))
    bank = model_path(own, LARGE_MODEL) / "bank.jsonl"
    bank.write_text("\n".join(bank.read_text("utf8").split("\n")[:2]), "utf8")
    assert precompute_run(own, SEED0).done == ("fidelity", "write")
    assert precompute_run(own, SEED0).done == ()
