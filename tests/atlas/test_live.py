"""The live decomposition: it closes, it agrees with encoding, it refuses what it cannot do."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atlas import crosscoder, prism
from atlas.artifacts import load_snapshot, load_snapshots, read_crosscoder, read_prism, read_run
from atlas.errors import AtlasError, BrokenArtifact, InvalidValue, NotFound
from atlas.language_model import LanguageModel
from atlas.live import MAX_CHARACTERS, Explanation, decompose_prompt
from atlas.places import model_path, run_path
from atlas.store import Store
from tests.tiny import EMBEDDING, FULL, LARGE_MODEL, PRISM, SEED0, SEED1, SMALL, STEPS, V

NAME = f"readout-atlas/{LARGE_MODEL}"
PROMPT = "In the beginning the light was upon the"
STRANGE = [
    "🌊", "👩\u200d👩\u200d👧 family", "مرحبا بالعالم", "שלום \u202eolleh", "\x00\x01\x1b[2J",
    "a\u200bb\ufeff", "e\u0301\u0301\u0301", "\u2028x", "﷽", "日本語のテキスト", "\U0010ffff",
    "<|endoftext|>", "![x](http://localhost)",
]


# In this file "Store" is quoted: pytest keeps what signatures name until after the interpreter has
# taken DuckDB down, and DuckDB then reports every type as leaked.
@pytest.fixture(scope="module")
def store(tiny_store: Path) -> "Store":
    return Store.open(tiny_store)


def assert_closes(explanation: Explanation) -> None:
    for row in explanation.rows:
        parts = row.ledger.base + row.ledger.feature_sum + row.ledger.residual
        assert abs(row.ledger.exact - parts) <= 1e-9 * (1 + abs(row.ledger.exact))
        assert abs(row.ledger.contributions.sum() - row.ledger.feature_sum) <= 1e-9


class TestIdentity:
    @settings(max_examples=30, deadline=None)
    @given(prompt=st.text(min_size=1, max_size=60), run=st.sampled_from([SEED0, SEED1, PRISM]))
    @example(prompt=STRANGE[1], run=SEED0)
    @example(prompt=STRANGE[3], run=PRISM)
    @example(prompt=STRANGE[4], run=SEED0)
    def test_any_prompt(self, store: "Store", prompt: str, run: str) -> None:
        if prompt.strip():
            assert_closes(decompose_prompt(store, run, prompt, step="all"))

    @settings(max_examples=30, deadline=None)
    @given(
        target=st.integers(0, V - 1), versus=st.none() | st.integers(0, V - 1),
        hidden=st.sampled_from(["final", "own"]), position=st.integers(-5, 4),
    )
    def test_any_pair_of_tokens(
        self, store: "Store", target: int, versus: int | None, hidden: str, position: int
    ) -> None:
        if versus != target:
            assert_closes(decompose_prompt(
                store, SEED0, PROMPT, target, versus, "all", position, hidden  # type: ignore
            ))

    @pytest.mark.parametrize("prompt", STRANGE)
    def test_strange_prompts(self, store: "Store", prompt: str) -> None:
        explanation = decompose_prompt(store, SEED0, prompt)
        assert_closes(explanation)
        assert all(text.isprintable() for text in explanation.texts)
        assert explanation.context.isprintable()


class TestAgainstEncoding:
    """The stored code, p rounded to a thousandth of its median, gives what encoding anew gives."""

    @pytest.mark.parametrize("run", [SEED0, SEED1])
    def test_crosscoder(self, tiny_store: Path, store: "Store", run: str) -> None:
        found = decompose_prompt(store, run, PROMPT, " water", " earth", step="all")
        c = read_crosscoder(read_run(run_path(tiny_store, run)))
        raw = load_snapshots(tiny_store, NAME, STEPS, "W_U")
        statistics, x = crosscoder.standardize(raw)
        tokens = list(found.score.tokens)
        p = crosscoder.pre_activations(c, x[:, tokens])
        a = crosscoder.activations(p, c.norms, c.threshold)
        rebuilt = statistics.restore(crosscoder.decode(c, a))
        h = hidden_state(tiny_store, PROMPT)
        for k, row in enumerate(found.rows):
            exact = (h.double() @ (raw[k, tokens[0]] - raw[k, tokens[1]]).double()).item()
            kept = (h.double() @ (rebuilt[k, 0] - rebuilt[k, 1]).double()).item()
            assert row.step == STEPS[k]
            assert row.hidden_step == FULL[-1]
            assert row.ledger.exact == pytest.approx(exact, abs=1e-6)
            assert row.ledger.feature_sum == pytest.approx(kept, rel=2e-3, abs=2e-3)
            assert row.ledger.base == pytest.approx(0, abs=1e-9)
            fired = set(torch.nonzero(a[k].any(0)).flatten().tolist())
            assert set(row.ledger.features.tolist()) <= fired

    def test_prism(self, tiny_store: Path, store: "Store") -> None:
        found = decompose_prompt(store, PRISM, PROMPT, " water")
        weights = read_prism(read_run(run_path(tiny_store, PRISM)))
        raw = load_snapshot(tiny_store, NAME, STEPS[-1], "W_U")
        x, _, _ = prism.normalise_rows(raw, weights.row_mean)
        token = [found.score.target]
        indices, values = prism.encode(weights, x[token])
        rebuilt = prism.rebuild_rows(weights, indices, values, weights.row_norms[token])[0]
        h = hidden_state(tiny_store, PROMPT).double()
        ledger = found.rows[0].ledger
        assert ledger.base == pytest.approx((h @ weights.row_mean.double()).item(), abs=1e-6)
        kept = (h @ rebuilt.double()).item()
        assert ledger.base + ledger.feature_sum == pytest.approx(kept, rel=2e-3, abs=2e-3)
        assert len(ledger.features) <= 3

    def test_single_token_base(self, tiny_store: Path, store: "Store") -> None:
        """base = h . (mean + scale b_D), the same for every token."""
        one, other = (
            decompose_prompt(store, SEED0, PROMPT, t).rows[0].ledger for t in (" water", " earth")
        )
        assert one.base == other.base
        assert one.sign_agrees is None


def hidden_state(folder: Path, prompt: str, step: int | None = None) -> torch.Tensor:
    return LanguageModel.load(model_path(folder, LARGE_MODEL), folder, step).hidden(prompt)[-1]


class TestAnswer:
    def test_default_is_the_two_likeliest(self, tiny_store: Path, store: "Store") -> None:
        found = decompose_prompt(store, SEED0, PROMPT)
        logits = load_snapshot(tiny_store, NAME, 64, "W_U") @ hidden_state(tiny_store, PROMPT)
        best = logits.topk(2).indices.tolist()
        assert found.score.kind == "contrast"
        assert [found.score.target, found.score.versus] == best
        assert [c.token for c in found.top[:2]] == best
        assert found.top[0].logit == pytest.approx(logits.max().item(), abs=1e-5)
        assert 0 < sum(c.probability for c in found.top) <= 1

    def test_target_alone_is_a_logit(self, store: "Store") -> None:
        found = decompose_prompt(store, SEED0, PROMPT, "water")
        assert (found.score.kind, found.target, found.versus) == ("token", " water", None)
        assert (found.target_text, found.versus_text) == ("␣water", None)

    def test_versus_alone_is_against_the_likeliest(self, store: "Store") -> None:
        likeliest = decompose_prompt(store, SEED0, PROMPT).score.target
        found = decompose_prompt(store, SEED0, PROMPT, versus=" earth")
        assert (found.score.target, found.versus) == (likeliest, " earth")

    def test_steps(self, store: "Store") -> None:
        def steps(**asked: object) -> list[tuple[int, int]]:
            found = decompose_prompt(store, SEED0, PROMPT, **asked)  # type: ignore
            return [(row.step, row.hidden_step) for row in found.rows]

        assert steps() == [(64, 64)]
        assert steps(step=4) == steps(step="4") == [(4, 64)]
        assert steps(step="all") == [(s, 64) for s in STEPS]
        assert steps(step="all", hidden="own") == [(s, s) for s in FULL]
        assert steps(step=16, hidden="own") == [(16, 16)]

    def test_own_hidden_state(self, tiny_store: Path, store: "Store") -> None:
        found = decompose_prompt(store, SEED0, PROMPT, " water", step=16, hidden="own")
        row = load_snapshot(tiny_store, NAME, 16, "W_U")[found.score.target]
        exact = (hidden_state(tiny_store, PROMPT, 16).double() @ row.double()).item()
        assert found.rows[0].ledger.exact == pytest.approx(exact, abs=1e-6)

    def test_position(self, store: "Store") -> None:
        whole = decompose_prompt(store, SEED0, PROMPT, " water")
        early = decompose_prompt(store, SEED0, PROMPT, " water", position=2)
        back = decompose_prompt(store, SEED0, PROMPT, " water", position=2 - len(whole.tokens))
        assert whole.position == len(whole.tokens) - 1
        assert early.position == back.position == 2
        assert early.rows[0].ledger.exact == back.rows[0].ledger.exact
        assert early.rows[0].ledger.exact != whole.rows[0].ledger.exact
        assert early.context == "".join(early.texts[:3])

    def test_a_long_prompt_keeps_its_end_and_says_so(self, store: "Store") -> None:
        found = decompose_prompt(store, SEED0, " water" * 300)
        assert len(found.tokens) == 128
        assert found.note is not None
        assert "last 128" in found.note
        assert decompose_prompt(store, SEED0, PROMPT).note is None

    def test_other_model(self, store: "Store") -> None:
        assert_closes(decompose_prompt(store, SMALL, PROMPT, step="all"))

    def test_contributions_fall_in_size(self, store: "Store") -> None:
        sizes = np.abs(decompose_prompt(store, SEED0, PROMPT).rows[0].ledger.contributions)
        assert (np.diff(sizes) <= 0).all()


class TestRefusals:
    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ({"prompt": ""}, "empty"),
            ({"prompt": " \n\t\u2003"}, "white space"),
            ({"prompt": "a" * 100_000}, "100,000 characters"),
            ({"prompt": "a" * (MAX_CHARACTERS + 1)}, "20,001"),
            ({"prompt": "a\ud800"}, "surrogate"),
            ({"target": "xyz"}, "3 tokens"),
            ({"versus": "beginning light"}, "tokens"),
            ({"target": ""}, "empty"),
            ({"target": V}, f"0 to {V - 1}"),
            ({"target": -1}, "no token -1"),
            ({"target": " water", "versus": "water"}, "same token"),
            ({"step": 3}, "0, 1, 4, 16, 64"),
            ({"step": "soon"}, "'soon'"),
            ({"step": "1e3"}, "'1e3'"),
            ({"step": -1}, "no snapshot at step -1"),
            ({"step": 4, "hidden": "own"}, "only at 0, 16, 64"),
            ({"hidden": "mine"}, "'mine'"),
            ({"position": 99}, "outside"),
            ({"position": -99}, "outside"),
        ],
    )
    def test_bad_values(self, store: "Store", asked: dict[str, object], said: str) -> None:
        with pytest.raises(InvalidValue) as caught:
            decompose_prompt(store, SEED0, **({"prompt": PROMPT} | asked))  # type: ignore
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_longest_prompt_is_read(self, store: "Store") -> None:
        assert decompose_prompt(store, SEED0, "a" * MAX_CHARACTERS).note is not None

    def test_unknown_run(self, store: "Store") -> None:
        with pytest.raises(NotFound, match="nearest"):
            decompose_prompt(store, SEED0 + "9", PROMPT)

    def test_embedding_run_names_a_readout_run(self, store: "Store") -> None:
        with pytest.raises(InvalidValue, match=f"use {SEED0}"):
            decompose_prompt(store, EMBEDDING, PROMPT)

    def test_prism_has_one_step(self, store: "Store") -> None:
        with pytest.raises(InvalidValue, match="it has 64"):
            decompose_prompt(store, PRISM, PROMPT, step=16)

    def test_damaged_or_missing_files(self, tiny_store: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(tiny_store, tmp_path / "own store"))
        own = Store.open(folder)
        decompose_prompt(own, SEED0, PROMPT)
        weights = run_path(folder, SEED0) / "dictionary.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        with pytest.raises(BrokenArtifact, match=r"dictionary\.safetensors"):
            decompose_prompt(own, SEED0, PROMPT)
        weights.unlink()
        with pytest.raises(AtlasError, match=r"dictionary\.safetensors"):
            decompose_prompt(own, SEED0, PROMPT)
        shutil.rmtree(model_path(folder, LARGE_MODEL))
        with pytest.raises(NotFound, match="no language model"):
            decompose_prompt(own, SEED1, PROMPT)
