"""The lens and the views of the inside, against the plain way and on a store of their own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas import inside_views as views
from atlas import lens
from atlas.artifacts import load_snapshot
from atlas.asking import Ask, score_of
from atlas.attribution import Component, attribute
from atlas.decomposition import contrast, decompose_prism, token_logit
from atlas.errors import InvalidValue
from atlas.inside import look_inside
from atlas.inside_recipe import python_of
from atlas.lens import read_cells
from atlas.places import STORE_VARIABLE, model_path
from atlas.reading import read_prompt
from atlas.store import Store
from tests.families import CAP, FAMILIES, released_model, spaced_tokenizer, tiny_family
from tests.tiny import LARGE_MODEL, PRISM, SEED0, STEPS, D, V

RNG = np.random.default_rng(1)
PROMPT = "In the beginning the light was upon the water, and the"
NAME = f"readout-atlas/{LARGE_MODEL}"
LAST = STEPS[-1]


def blocks_of(rows: torch.Tensor, size: int):
    return lambda: ((i, rows[i : i + size]) for i in range(0, len(rows), size))


class TestReadCells:
    @pytest.mark.parametrize("cap", [None, 3.0])
    @pytest.mark.parametrize("size", [1, 7, 100])
    def test_against_all_logits_at_once(self, cap: float | None, size: int) -> None:
        rows = torch.from_numpy(RNG.normal(size=(61, D)).astype(np.float32))
        states, asked = 2 * RNG.normal(size=(9, D)).astype(np.float32), RNG.integers(0, 61, 9)
        found = read_cells(
            states, asked.tolist(), blocks_of(rows, size), lambda t: rows[t].numpy(), cap)
        logits = states.astype(np.float64) @ rows.numpy().T.astype(np.float64)
        model = logits if cap is None else cap * np.tanh(logits / cap)
        chance = np.exp(model) / np.exp(model).sum(1, keepdims=True)
        every = np.arange(9)
        np.testing.assert_array_equal(found.tops, logits.argmax(1))
        np.testing.assert_allclose(found.logits, logits.max(1), rtol=1e-5)
        np.testing.assert_allclose(found.probabilities, chance.max(1), rtol=1e-5)
        np.testing.assert_allclose(found.asked_logits, logits[every, asked], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.asked_probabilities, chance[every, asked], rtol=1e-5)
        ranks = [1 + sum(row[t] < v for v in row) for row, t in zip(logits, asked, strict=True)]
        np.testing.assert_array_equal(found.ranks, ranks)

    def test_the_likeliest_token_has_rank_one(self) -> None:
        rows = torch.from_numpy(RNG.normal(size=(50, D)).astype(np.float32))
        states = RNG.normal(size=(40, D)).astype(np.float32)
        tops = (torch.from_numpy(states) @ rows.T).argmax(1).tolist()
        found = read_cells(states, tops, blocks_of(rows, 8), lambda t: rows[t].numpy(), None)
        assert found.ranks.tolist() == [1] * 40


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_and_columns_of_every_family(name: str) -> None:
    """h_c . q = O_c + sum_i M_ci + R_c, and the rows add up to the score (prism-method §8.3)."""
    found = look_inside(tiny_family(name), [3, 50, 70, 12, 99], [4])
    named, values = found.components(4)
    shares = found.norm.shares(values, found.residual[-1][0])
    if found.norm.bias is not None:
        named, shares = (*named, Component("norm bias")), np.vstack([shares, found.norm.bias])
    rows = RNG.normal(size=(2, 16))
    known = {"rows": rows, "weights": [1.0, -1.0], "mean": RNG.normal(size=16),
             "activations": [(np.array([1, 4]), np.ones(2)), (np.array([4, 6]), np.ones(2) / 3)],
             "directions": RNG.normal(size=(3, 16))}
    whole = decompose_prism(found.normed[0], **known)
    assert whole.exact == pytest.approx(found.normed[0] @ (rows[0] - rows[1]), abs=1e-6)
    got = attribute(named, [decompose_prism(s, **known) for s in shares], whole.exact)
    assert got.identity_error < 1e-10
    assert abs(got.additivity_error) < 1e-4
    assert got.sparse_residual == pytest.approx(whole.residual, abs=1e-4)


@pytest.fixture
def own(tiny_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path / "own"))


@pytest.fixture
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


class TestViews:
    @pytest.mark.parametrize("run", [SEED0, PRISM])
    def test_the_last_layer_is_what_the_page_says(self, store: Store, run: str) -> None:
        reading = read_prompt(store, run, PROMPT)
        score = score_of(reading, Ask()).score
        at, step = reading.position, LAST
        passage = views.passage_of(reading, step, views.window_of(len(reading.tokens), at))
        grid = views.grid_of(store, reading, passage, step)
        assert grid.tokens[-1, -1] == reading.top[0].token
        assert grid.probabilities[-1, -1] == pytest.approx(reading.top[0].probability, rel=1e-4)
        assert grid.logits[-1, -1] == pytest.approx(reading.top[0].logit, rel=1e-4)
        np.testing.assert_allclose(grid.nearness[-1], 1)
        through = views.layers_of(store, reading, passage, score, step, at)
        assert through.ranks[-1] == 1
        from atlas.live import explain

        whole = explain(store, reading, Ask(), step=step).rows[0].ledger
        assert through.ledgers[-1].exact == pytest.approx(whole.exact, abs=1e-5)
        assert through.ledgers[-1].gate == whole.gate
        apart = views.components_of(store, reading, passage, score, step, step, at).found
        assert apart.exact == pytest.approx(whole.exact, abs=1e-5)
        assert abs(apart.additivity_error) < 1e-5
        assert apart.sparse_residual == pytest.approx(whole.residual, abs=1e-5)
        assert apart.feature_sums.sum() == pytest.approx(whole.feature_sum, abs=1e-5)
        by_feature = dict(zip(whole.features.tolist(), whole.contributions, strict=True))
        for feature, value in zip(apart.features.tolist(), apart.matrix.sum(0), strict=True):
            assert value == pytest.approx(by_feature[feature], abs=1e-5)

    def test_ledgers_of_the_lens_are_of_what_is_read_there(self, store: Store) -> None:
        reading = read_prompt(store, SEED0, PROMPT)
        passage = views.passage_of(reading, LAST, (0, 3))
        grid = views.grid_of(store, reading, passage, LAST)
        rows = load_snapshot(Path(store.folder), NAME, LAST, "W_U").double().numpy()
        for n, layer in enumerate(grid.layers):
            states = passage.lens(layer)
            for i in range(2):
                token = grid.tokens[n, i]
                assert token == (states[i] @ rows.T).argmax()
                wanted = states[i] @ (rows[token] - rows.mean(0))
                assert grid.ledgers[n][i].exact == pytest.approx(wanted, abs=1e-4)

    def test_heads_take_the_place_of_an_attention(self, store: Store) -> None:
        reading = read_prompt(store, SEED0, PROMPT)
        at, score = reading.position, contrast(40, 90)
        passage = views.passage_of(reading, LAST, (at,))
        whole, split = (
            views.components_of(store, reading, passage, score, LAST, LAST, at, block)
            for block in (None, 1)
        )
        names = [c.kind for c in split.found.components if c.block == 1]
        assert names == ["head 0", "head 1", "attention bias", "MLP"]
        pieces = [t for t, c in zip(split.found.totals, split.found.components, strict=True)
                  if c.block == 1 and c.kind != "MLP"]
        place = [c.name for c in whole.found.components].index("block 1 attention")
        assert sum(pieces) == pytest.approx(whole.found.totals[place], abs=1e-6)
        assert (split.split, whole.split) == (1, None)
        with pytest.raises(InvalidValue, match="no block 2; there are 0 to 1"):
            views.components_of(store, reading, passage, score, LAST, LAST, at, 2)

    def test_the_model_of_another_step(self, store: Store) -> None:
        """Model and readout may be of different steps; the score is that of the ledger."""
        from atlas.live import explain

        reading = read_prompt(store, SEED0, PROMPT)
        at, score = reading.position, score_of(reading, Ask(target=40, versus=90)).score
        for hidden, model, step in (("own", 16, 16), ("final", LAST, 4)):
            passage = views.passage_of(reading, model, (at,))
            found = views.components_of(store, reading, passage, score, model, step, at)
            row = explain(store, reading, Ask(target=40, versus=90), step, hidden).rows[0]
            assert row.hidden_step == model
            assert found.found.exact == pytest.approx(row.ledger.exact, abs=1e-5)

    def test_every_position(self, store: Store) -> None:
        reading = read_prompt(store, SEED0, PROMPT)
        found = views.strip_of(store, reading, LAST, LAST)
        assert found.tokens == reading.tokens
        assert found.ledgers[0] is None
        assert np.isnan(found.probabilities[0])
        rows = load_snapshot(Path(store.folder), NAME, LAST, "W_U").double().numpy()
        states = reading.states(LAST).astype(np.float64)
        logits = states[:-1] @ rows.T
        for i, token in enumerate(reading.tokens[1:]):
            assert found.logits[i + 1] == pytest.approx(logits[i, token], abs=1e-5)
            chance = np.exp(logits[i]) / np.exp(logits[i]).sum()
            assert found.probabilities[i + 1] == pytest.approx(chance[token], rel=1e-4)
            exact = states[i] @ (rows[token] - rows.mean(0))
            assert found.ledgers[i + 1].exact == pytest.approx(exact, abs=1e-4)
        assert found.rows == V

    def test_a_prompt_of_one_token(self, store: Store) -> None:
        reading = read_prompt(store, SEED0, "a")
        assert views.strip_of(store, reading, LAST, LAST).ledgers == (None,)
        passage = views.passage_of(reading, LAST, (0,))
        found = views.components_of(store, reading, passage, token_logit(5), LAST, LAST, 0)
        assert abs(found.found.additivity_error) < 1e-5

    def test_a_prompt_as_long_as_the_context(self, store: Store) -> None:
        reading = read_prompt(store, SEED0, PROMPT * 30)
        length = len(reading.tokens)
        assert length == reading.model.context
        span = views.window_of(length, length - 1)
        assert (len(span), span[-1]) == (views.WINDOW, length - 1)
        passage = views.passage_of(reading, LAST, span)
        assert passage.sum_error < 1e-4
        assert len(views.strip_of(store, reading, LAST, LAST).tokens) <= views.STRIP


class TestWindow:
    @pytest.mark.parametrize("length", [1, 15, 16, 17, 40])
    def test_pages_cover_the_prompt_once(self, length: int) -> None:
        pages = {views.window_of(length, p) for p in range(length)}
        assert sorted(p for page in pages for p in page) == list(range(length))
        assert all(p in views.window_of(length, p) for p in range(length))
        assert views.window_of(length, length - 1)[-1] == length - 1
        assert len(views.window_of(length, length - 1)) == min(length, views.WINDOW)


def test_a_capped_model(own: Path) -> None:
    """Logits and scores before the cap, probabilities after it (prism-method §8.4)."""
    shutil.rmtree(model_path(own, LARGE_MODEL) / "whole", ignore_errors=True)
    for path in model_path(own, LARGE_MODEL).glob("step*.safetensors"):
        path.unlink()
    module = tiny_family("gemma4_text", width=D)
    head = 60 * load_snapshot(own, NAME, LAST, "W_U")
    module.get_output_embeddings().weight.data.copy_(head)
    from atlas.artifacts import snapshot_path
    from atlas.tensor_files import save_tensors

    save_tensors(snapshot_path(own, NAME, LAST, "W_U"), {"W_U": head})
    released_model(own, LARGE_MODEL, LAST, module, tokenizer=spaced_tokenizer())
    store = Store.open(own)
    reading = read_prompt(store, SEED0, PROMPT)
    passage = views.passage_of(reading, LAST, (reading.position,))
    grid = views.grid_of(store, reading, passage, LAST)
    with torch.inference_mode():
        logits = module(input_ids=torch.tensor([reading.tokens])).logits[0, -1]
    assert grid.logits[-1, 0] > CAP
    assert grid.probabilities[-1, 0] == pytest.approx(float(logits.softmax(0).max()), rel=1e-3)
    found = views.components_of(
        store, reading, passage, contrast(100, 200), LAST, LAST, reading.position)
    wanted = reading.h.astype(np.float64) @ (head[100] - head[200]).double().numpy()
    assert found.found.exact == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    assert abs(found.found.additivity_error) < 1e-3
    kinds = {c.kind for c in found.found.components}
    assert kinds == {"embedding", "attention", "MLP", "per-layer input"}


def test_the_recipe_gives_the_same(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    names: dict = {}
    exec(python_of(SEED0, PROMPT, 5, contrast(40, 90), LAST, 16, split=1), names)
    reading = read_prompt(store, SEED0, PROMPT, 5)
    passage = views.passage_of(reading, LAST, views.window_of(len(reading.tokens), 5))
    wanted = views.components_frame(views.components_of(
        store, reading, passage, contrast(40, 90), LAST, 16, 5, 1))
    assert names["components"].equals(wanted)
    assert names["layers"]["after"].tolist() == ["embedding", "block 0", "block 1"]
    assert names["lens"].shape[0] == 3 * len(passage.positions)
    assert len(names["prompt"]) == len(reading.tokens)
    assert "head 1" in capsys.readouterr().out


def test_nearness_is_a_cosine() -> None:
    states = RNG.normal(size=(3, 4, D))
    found = lens._nearness(states)
    wanted = [[s @ t / np.linalg.norm(s) / np.linalg.norm(t)
               for s, t in zip(layer, states[-1], strict=True)] for layer in states]
    np.testing.assert_allclose(found, wanted)
