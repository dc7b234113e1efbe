"""The live decomposition with released models and with every kind of dictionary."""

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from atlas import crosscoder, hidden_states, slices
from atlas.artifacts import load_snapshot, load_snapshots, read_crosscoder, read_run, snapshot_path
from atlas.crosscoder import Crosscoder, standardize
from atlas.decomposition import contrast
from atlas.errors import BrokenArtifact, NotFound
from atlas.forward import Desk
from atlas.language_model import LanguageModel
from atlas.live import Explanation, Parts, decompose_prompt
from atlas.odds import Odds
from atlas.places import model_path, run_path
from atlas.reading import read_prompt
from atlas.row_parts import row_parts
from atlas.store import Store
from atlas.tensor_files import read_json, save_tensors, write_json
from tests.families import CAP, released_model, spaced_tokenizer, tiny_family
from tests.tiny import LARGE_MODEL, PRISM, SEED0, STEPS, WIDTH, D, V

NAME = f"readout-atlas/{LARGE_MODEL}"
PROMPT = "In the beginning the light was upon the"
LAST = STEPS[-1]


@pytest.fixture
def own(tiny_store: Path, tmp_path: Path) -> Path:
    """A store of its own, with the same runs."""
    return Path(shutil.copytree(tiny_store, tmp_path / "own"))


def release(store: Path, module: torch.nn.Module, **more: object) -> Path:
    """Put a released model in the place of the bundle's."""
    shutil.rmtree(model_path(store, LARGE_MODEL) / "whole", ignore_errors=True)
    for path in model_path(store, LARGE_MODEL).glob("step*.safetensors"):
        path.unlink()
    return released_model(store, LARGE_MODEL, LAST, module, **more)  # type: ignore


def assert_closes(found: Explanation) -> None:
    for row in found.rows:
        parts = row.ledger.base + row.ledger.feature_sum + row.ledger.residual
        assert abs(row.ledger.exact - parts) <= 1e-9 * (1 + abs(row.ledger.exact))


class TestReleasedModel:
    def test_whole_and_bundled_form_agree(self, tiny_store: Path, own: Path) -> None:
        bundled = LanguageModel.load(model_path(tiny_store, LARGE_MODEL), tiny_store)
        release(own, bundled.module)
        one, other = (
            decompose_prompt(Store.open(store), SEED0, PROMPT, step="all")
            for store in (tiny_store, own)
        )
        assert_closes(other)
        assert (one.tokens, one.score, one.note) == (other.tokens, other.score, other.note)
        for a, b in zip(one.rows, other.rows, strict=True):
            assert a.ledger.exact == pytest.approx(b.ledger.exact, abs=1e-5)
            assert a.ledger.feature_sum == pytest.approx(b.ledger.feature_sum, abs=1e-5)
        for a, b in zip(one.top, other.top, strict=True):
            assert a.probability == pytest.approx(b.probability, abs=1e-6)
            assert (b.model_logit, other.softcap) == (b.logit, None)

    def test_a_capped_model(self, own: Path) -> None:
        """exact = h . row before the cap, probabilities after it (prism-method §8.4)."""
        module = tiny_family("gemma4_text", width=D)
        head = 60 * load_snapshot(own, NAME, LAST, "W_U")
        module.get_output_embeddings().weight.data.copy_(head)  # tied: the embedding too
        save_tensors(snapshot_path(own, NAME, LAST, "W_U"), {"W_U": head})
        tokenizer = spaced_tokenizer()
        release(own, module, tokenizer=tokenizer)
        found = decompose_prompt(Store.open(own), SEED0, PROMPT, 100, 200)
        assert_closes(found)
        ids = [tokenizer.token_to_id("<bos>"),
               *tokenizer.encode(PROMPT, add_special_tokens=False).ids]
        assert list(found.tokens) == ids
        assert found.texts[0] == "<bos>"
        with torch.inference_mode():
            states = module.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
            own_logits = module(input_ids=torch.tensor([ids])).logits[0, -1]
        exact = float(states.double() @ (head[100] - head[200]).double())
        assert found.rows[0].ledger.exact == pytest.approx(exact, rel=1e-5)
        assert found.softcap == CAP
        assert found.note is not None
        assert "reads <bos> before" in found.note
        assert "caps its logits at 30" in found.note
        for candidate in found.top:
            assert candidate.logit == pytest.approx(
                float(states @ head[candidate.token]), rel=1e-4, abs=1e-4
            )
            assert candidate.model_logit == pytest.approx(
                float(own_logits[candidate.token]), rel=1e-4, abs=1e-4
            )
            chance = float(own_logits.softmax(0)[candidate.token])
            assert candidate.probability == pytest.approx(chance, rel=1e-3, abs=1e-6)
            odds = Odds(read_prompt(Store.open(own), SEED0, PROMPT), "final")
            odds.read(LAST)
            assert odds.of(LAST, [candidate.token]).probability == pytest.approx(
                chance, rel=1e-3, abs=1e-6)
        assert max(abs(c.logit) for c in found.top) > CAP
        logits = [c.logit for c in found.top]
        assert logits == sorted(logits, reverse=True)

    def test_a_snapshot_of_another_model(self, own: Path) -> None:
        module = LanguageModel.load(model_path(own, LARGE_MODEL), own).module
        module.get_output_embeddings().weight.data += 0.5
        release(own, module)
        with pytest.raises(BrokenArtifact, match="is not the head of"):
            decompose_prompt(Store.open(own), SEED0, PROMPT)

    def test_a_readout_that_is_in_no_snapshot(self, own: Path) -> None:
        """Where the last snapshot is not kept the model's own head says what comes next."""
        module = LanguageModel.load(model_path(own, LARGE_MODEL), own).module
        wanted = decompose_prompt(Store.open(own), SEED0, PROMPT)
        release(own, module)
        snapshot_path(own, NAME, LAST, "W_U").unlink()
        found = decompose_prompt(Store.open(own), SEED0, PROMPT, step=16)
        assert found.score == wanted.score
        assert found.top[0].logit == pytest.approx(wanted.top[0].logit, abs=1e-4)
        assert found.rows[0].hidden_step == LAST

    def test_no_model_names_the_command(self, own: Path) -> None:
        shutil.rmtree(model_path(own, LARGE_MODEL))
        with pytest.raises(NotFound, match=rf"`readout-atlas build {SEED0} --model`"):
            decompose_prompt(Store.open(own), SEED0, PROMPT)

    def test_another_target_asks_no_model_again(
        self, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, asked = Store.open(own), []
        plain = LanguageModel.hidden_of_many
        monkeypatch.setattr(LanguageModel, "hidden_of_many",
                            lambda self, prompts: asked.append(1) or plain(self, prompts))
        monkeypatch.setattr(hidden_states, "_DESK", Desk())
        decompose_prompt(store, SEED0, PROMPT, 5)
        decompose_prompt(store, SEED0, PROMPT, 9, 7, position=2)
        assert asked == [1]


class TestFinishedModel:
    def test_a_run_with_a_revision(self, own: Path) -> None:
        """A finished model has one snapshot, step 0, and lies in whole/step0."""
        module = LanguageModel.load(model_path(own, LARGE_MODEL), own).module
        folder = release(own, module)
        (folder / "whole" / f"step{LAST}").rename(folder / "whole" / "step0")
        (folder / "tokenizer.json").touch()
        shutil.copy(snapshot_path(own, NAME, LAST, "W_U"), snapshot_path(own, NAME, 0, "W_U"))
        store = Store.open(own)
        card = store.run(PRISM)
        path = own / card.folder / "config.json"
        write_json(path, read_json(path) | {"steps": [0], "revision": "main"})
        store._view.runs[PRISM] = replace(card, steps=[0])
        found = decompose_prompt(store, PRISM, PROMPT, step="all")
        assert [(row.step, row.hidden_step) for row in found.rows] == [(0, 0)]
        assert_closes(found)


class Stand:
    """What a decomposition asks of a store, answered from a dictionary itself."""

    def __init__(self, codes: torch.Tensor, norms: torch.Tensor) -> None:
        self.codes, self.norms = codes, norms

    def code_of_tokens(self, run: str, tokens: list[int]) -> dict:
        return {t: (self.codes[t].nonzero()[:, 0].numpy().astype(np.int32),
                    self.codes[t][self.codes[t] != 0].numpy()) for t in tokens}

    def norms_of_features(self, run: str, features: np.ndarray) -> np.ndarray:
        return self.norms[:, torch.from_numpy(features)].T.numpy()

    def standardization(self, run: str) -> None:
        return None


@pytest.mark.parametrize("act_fn", ["jumprelu", "batchtopk", "gated"])
@pytest.mark.parametrize("flat", [False, True])
def test_every_kind_of_dictionary(
    act_fn: str, flat: bool, tiny_store: Path, tmp_path: Path
) -> None:
    """base + features is the dictionary's own reconstruction, whatever decides what fires."""
    steps = STEPS[-1:] if flat else STEPS
    settings = {"act_fn": act_fn, "d_sae": WIDTH, "d_model": D}
    settings |= {"k": 4} if act_fn == "batchtopk" else {}
    generator = torch.Generator().manual_seed(5)
    raw = load_snapshots(tiny_store, NAME, steps, "W_U")
    statistics, x = standardize(raw)
    planted = read_crosscoder(read_run(run_path(tiny_store, SEED0)))
    rows = slice(-1, None) if flat else slice(None)
    own = {"b_gate": 0.1 * torch.randn(WIDTH, generator=generator),
           "r_mag": 0.1 * torch.randn(WIDTH, generator=generator),
           "b_mag": torch.zeros(WIDTH),
           "log_jumprelu_threshold": (planted.threshold / (5 if flat else 1)).log()}
    kept = {"jumprelu": ["log_jumprelu_threshold"], "batchtopk": [],
            "gated": ["b_gate", "r_mag", "b_mag"]}[act_fn]
    weights = {"W_E": planted.W_E[rows], "b_E": planted.b_E[rows], "W_D": planted.W_D[rows],
               "b_D": torch.randn(len(steps), D, generator=generator)}
    tensors = {n: t[0] if flat else t for n, t in weights.items()}
    tensors |= {f"activation_function.{n}": own[n] for n in kept}
    folder = tmp_path / "runs" / "r"
    save_tensors(folder / "dictionary.safetensors", tensors)
    for name in ("metrics", "provenance"):
        write_json(folder / f"{name}.json", {})
    config = {"run": "r", "model": LARGE_MODEL, "model_name": NAME, "matrix": "W_U",
              "kind": "sae" if flat else "crosscoder", "steps": steps, "seed": 0,
              "config": settings, "training": {}}
    write_json(folder / "config.json", config)
    (tmp_path / "snapshots").symlink_to(tiny_store / "snapshots")
    c: Crosscoder = read_crosscoder(read_run(folder))
    p = crosscoder.pre_activations(c, x)
    a = crosscoder.row_activations(c, p)
    restored = statistics.restore(crosscoder.decode(c, a))
    card = SimpleNamespace(folder="runs/r", **config)
    store = Stand(crosscoder.row_codes(c, p), c.norms)
    h = torch.randn(D, generator=generator).numpy()
    score = contrast(40, 90)
    parts = Parts.of(store, tmp_path, card, score)  # type: ignore
    fired = 0
    for k, step in enumerate(steps):
        ledger = parts.ledger(step, h)
        exact = h.astype(np.float64) @ (raw[k, 40] - raw[k, 90]).double().numpy()
        said = h.astype(np.float64) @ (restored[k, 40] - restored[k, 90]).double().numpy()
        assert ledger.exact == pytest.approx(exact, abs=1e-6)
        assert ledger.reconstructed == pytest.approx(said, abs=1e-4)
        assert ledger.identity_error < 1e-9
        fired += len(ledger.features)
    assert fired > len(steps)
    fires = a[:, 40].T
    features = fires.any(dim=1).nonzero()[:, 0]
    frame = pd.DataFrame({"feature": features.numpy(), "activation": fires[features].tolist()})
    token = SimpleNamespace(token=40, features=frame)
    found = row_parts(tmp_path, card, token, None).explained  # type: ignore
    x_hat = crosscoder.decode(c, a)[:, 40]
    wanted = 1 - (x[:, 40] - x_hat).square().sum(1) / x[:, 40].square().sum(1)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)


def test_a_score_costs_its_own_rows(tmp_path: Path) -> None:
    """A decoder of 200 MB is asked for a few hundred rows and is not brought into memory."""
    def resident() -> int:
        text = Path("/proc/self/status").read_text(encoding="utf8")
        return int(text.split("VmRSS:")[1].split()[0])  # kB

    steps, width, d, folder = [0, 1, 2, 4, 8], 20_000, 512, tmp_path / "runs" / "r"
    config = {"run": "r", "model": "m", "model_name": "a/b", "matrix": "W_U", "seed": 0,
              "kind": "crosscoder", "steps": steps, "training": {},
              "config": {"act_fn": "batchtopk", "d_sae": width, "d_model": d, "k": 4}}
    for name in ("metrics", "provenance"):
        write_json(folder / f"{name}.json", {})
    write_json(folder / "config.json", config)
    entries, end = {}, 0
    for name, shape in {"W_D": [5, width, d], "b_D": [5, d]}.items():
        size = 4 * int(np.prod(shape))
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    with open(folder / "dictionary.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + end)  # zeros that no disk holds
    for step in steps:
        rows = torch.randn(50, d, generator=torch.Generator().manual_seed(step))
        save_tensors(snapshot_path(tmp_path, "a/b", step, "W_U"), {"W_U": rows})
    codes = torch.zeros(50, width)
    codes[3, ::100], codes[4, ::90] = 1.0, 2.0
    card = SimpleNamespace(folder="runs/r", **config)
    before = resident()
    store = Stand(codes, torch.ones(5, width))
    parts = Parts.of(store, tmp_path, card, contrast(3, 4))  # type: ignore
    ledgers = [parts.ledger(step, np.ones(d, dtype=np.float32)) for step in steps]
    assert resident() - before < 40_000
    assert len(ledgers[0].features) > 350
    assert all(ledger.identity_error < 1e-9 for ledger in ledgers)


class TestStandards:
    def test_blocks_equal_the_plain_way(self, tiny_store: Path) -> None:
        card = Store.open(tiny_store).run(SEED0)
        statistics, _ = standardize(load_snapshots(tiny_store, NAME, STEPS, "W_U"))
        for k, step in enumerate(STEPS):
            mean, scale = slices.standards_of(tiny_store, card, step)
            np.testing.assert_allclose(mean, statistics.mean[k].numpy(), atol=1e-6)
            assert scale == pytest.approx(float(statistics.scale[k]), rel=1e-6)

    def test_a_large_common_offset_keeps_its_digits(self, tmp_path: Path) -> None:
        rows = torch.randn(2000, D, generator=torch.Generator().manual_seed(1)) + 300
        save_tensors(snapshot_path(tmp_path, "a/b", 0, "W_U"), {"W_U": rows})
        card = SimpleNamespace(model_name="a/b", matrix="W_U")
        mean, scale = slices.standards_of(tmp_path, card, 0)  # type: ignore
        exact = rows.double()
        wanted = (exact - exact.mean(0)).square().mean().sqrt()
        assert scale == pytest.approx(float(wanted), rel=1e-6)
        np.testing.assert_allclose(mean, exact.mean(0).numpy(), rtol=1e-6)

    def test_with_and_without_those_of_the_store(
        self, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = Store.open(tiny_store)
        one = decompose_prompt(store, SEED0, PROMPT, 7, step="all")
        monkeypatch.setattr(Store, "standardization", lambda self, run: None)
        other = decompose_prompt(store, SEED0, PROMPT, 7, step="all")
        for a, b in zip(one.rows, other.rows, strict=True):
            assert a.ledger.base == pytest.approx(b.ledger.base, abs=1e-5)
            assert a.ledger.exact == b.ledger.exact

    def test_a_snapshot_that_holds_something_else(self, tmp_path: Path) -> None:
        save_tensors(snapshot_path(tmp_path, "a/b", 0, "W_U"), {"W_E": torch.ones(V, D)})
        card = SimpleNamespace(model_name="a/b", matrix="W_U")
        with pytest.raises(BrokenArtifact, match="not a snapshot of W_U"):
            slices.rows_of(tmp_path, card, 0, [1])  # type: ignore

    def test_a_replaced_file_is_read_anew(self, tmp_path: Path) -> None:
        card = SimpleNamespace(model_name="a/b", matrix="W_U")
        path = snapshot_path(tmp_path, "a/b", 0, "W_U")
        for value in (1.0, 2.0):
            save_tensors(path, {"W_U": torch.full((V, D), value)})
            assert slices.rows_of(tmp_path, card, 0, [1])[0, 0] == value  # type: ignore
