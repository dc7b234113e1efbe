"""Every kind of score on the tiny store: it closes, it is what the matrices say, with any run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import crosscoder, prism
from atlas.artifacts import load_snapshot, load_snapshots, read_crosscoder, read_prism, read_run
from atlas.asking import KINDS, Ask
from atlas.average_row import average_row
from atlas.carrying import begins, chance_begins
from atlas.errors import InvalidValue
from atlas.language_model import LanguageModel
from atlas.live import (
    Explanation,
    Parts,
    chance_of_begins,
    contributions_of,
    decompose_prompt,
    strongest,
)
from atlas.odds import Odds
from atlas.places import model_path, run_path
from atlas.reading import read_prompt
from atlas.store import Store
from tests.tiny import FULL, LARGE_MODEL, PRISM, SEED0, SEED1, SMALL, STEPS, D, V

NAME = f"readout-atlas/{LARGE_MODEL}"
PROMPT = "In the beginning the light was upon the"
EPS = np.finfo(np.float64).eps


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> "Store":
    return Store.open(tiny_store)


def hidden_state(folder: Path, prompt: str, step: int | None = None) -> torch.Tensor:
    return LanguageModel.load(model_path(folder, LARGE_MODEL), folder, step).hidden(prompt)[-1]


def assert_closes(found: Explanation) -> None:
    """exact = base + features + residual within eps sqrt(d) sum |terms|."""
    for row in found.rows:
        ledger = row.ledger
        terms = (abs(ledger.exact) + abs(ledger.base) + abs(ledger.residual)
                 + float(np.abs(ledger.contributions).sum()))
        # 64: h . row sums d products of both signs, whose sizes these terms do not show
        assert ledger.identity_error <= 64 * EPS * D**0.5 * max(terms, 1.0)
        assert abs(ledger.contributions.sum() - ledger.feature_sum) <= 64 * EPS * max(terms, 1.0)


asks = st.builds(
    Ask,
    kind=st.sampled_from(["token", "centred", "vocabulary"]), target=st.integers(0, V - 1),
) | st.builds(
    Ask, kind=st.just("family"),
    target=st.lists(st.integers(0, V - 1), min_size=1, max_size=6).map(
        lambda ids: " | ".join(f"#{t}" for t in ids)),
    versus=st.lists(st.integers(0, V - 1), min_size=1, max_size=6).map(
        lambda ids: " | ".join(f"#{t}" for t in ids)),
) | st.builds(Ask, kind=st.just("topk"), rivals=st.integers(1, 60)) | st.builds(
    Ask, kind=st.just("rank"), rank=st.integers(2, V))


class TestIdentity:
    @settings(max_examples=80, deadline=None)
    @given(
        ask=asks, run=st.sampled_from([SEED0, SEED1, PRISM]),
        hidden=st.sampled_from(["final", "own"]),
        prompt=st.sampled_from([PROMPT, "1990", "def value(", "Class Table"]),
    )
    def test_every_kind_at_every_snapshot(
        self, store: "Store", ask: Ask, run: str, hidden: str, prompt: str
    ) -> None:
        try:
            found = decompose_prompt(
                store, run, prompt, step="all", hidden=hidden, ask=ask  # type: ignore
            )
        except InvalidValue as error:
            if "are the same" not in str(error):
                raise
            return
        assert_closes(found)

    @pytest.mark.parametrize("kind", KINDS)
    def test_another_model(self, store: "Store", kind: str) -> None:
        found = decompose_prompt(store, SMALL, PROMPT, step="all", ask=Ask(kind))  # type: ignore
        assert_closes(found)
        assert found.score.kind == kind


class TestAgainstTheMatrices:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_exact_score(self, tiny_store: Path, store: "Store", kind: str) -> None:
        found = decompose_prompt(store, SEED0, PROMPT, step="all", ask=Ask(kind))  # type: ignore
        h = hidden_state(tiny_store, PROMPT).double()
        for row in found.rows:
            w = load_snapshot(tiny_store, NAME, row.step, "W_U").double()
            logits = w @ h
            exact = sum(
                weight * float(logits[t])
                for t, weight in zip(found.score.tokens, found.score.weights, strict=True)
            )
            if kind in ("centred", "vocabulary"):
                exact -= float(logits.mean())
            assert row.ledger.exact == pytest.approx(exact, abs=1e-5)

    @pytest.mark.parametrize("run", [SEED0, SEED1])
    def test_centred_and_vocabulary_of_a_crosscoder(
        self, tiny_store: Path, store: "Store", run: str
    ) -> None:
        """One number, split in two ways: by the features of A, and less those of the mean row."""
        c = read_crosscoder(read_run(run_path(tiny_store, run)))
        raw = load_snapshots(tiny_store, NAME, STEPS, "W_U")
        statistics, x = crosscoder.standardize(raw)
        a = crosscoder.activations(crosscoder.pre_activations(c, x), c.norms, c.threshold)
        h = hidden_state(tiny_store, PROMPT).double()
        centred, vocabulary = (
            decompose_prompt(store, run, PROMPT, step="all", ask=Ask(kind, " water"))
            for kind in ("centred", "vocabulary")
        )
        token = centred.score.target
        for k, (one, other) in enumerate(zip(centred.rows, vocabulary.rows, strict=True)):
            scale = float(statistics.scale[k])
            read = scale * (c.W_D[k].double() @ h)
            assert one.ledger.exact == pytest.approx(other.ledger.exact, abs=1e-9)
            assert one.ledger.base == pytest.approx(scale * float(h @ c.b_D[k].double()), abs=1e-5)
            assert other.ledger.base == pytest.approx(0, abs=1e-12)
            held = a[k, token].double()
            mean = a[k].double().mean(dim=0)
            assert one.ledger.feature_sum == pytest.approx(float(held @ read), rel=2e-3, abs=2e-3)
            wanted = float((held - mean) @ read)
            assert other.ledger.feature_sum == pytest.approx(wanted, rel=4e-3, abs=4e-3)
            alive = set(torch.nonzero(a[k].any(0)).flatten().tolist())
            assert set(other.ledger.features.tolist()) <= alive
            assert len(other.ledger.features) > len(one.ledger.features)
        assert centred.score.signed
        assert centred.rows[-1].ledger.sign_agrees is not None

    def test_centred_and_vocabulary_of_a_prism(self, tiny_store: Path, store: "Store") -> None:
        """prism-method §6.2: base 0 both ways; the code's form leaves h . r_A."""
        weights = read_prism(read_run(run_path(tiny_store, PRISM)))
        x, _, norms = prism.normalise_rows(
            load_snapshot(tiny_store, NAME, STEPS[-1], "W_U"), weights.row_mean
        )
        indices, values = prism.encode(weights, x)
        z = torch.zeros(V, weights.decoder.shape[0], dtype=torch.float64)
        z.scatter_(1, indices, values.double() * norms[:, None].double())
        h = hidden_state(tiny_store, PROMPT).double()
        read = weights.decoder.double() @ h
        centred, vocabulary = (
            decompose_prompt(store, PRISM, PROMPT, ask=Ask(kind, " water")).rows[0].ledger
            for kind in ("centred", "vocabulary")
        )
        token = decompose_prompt(store, PRISM, PROMPT, " water").score.target
        assert centred.base == vocabulary.base == pytest.approx(0, abs=1e-12)
        assert centred.feature_sum == pytest.approx(float(z[token] @ read), rel=2e-3, abs=2e-3)
        assert vocabulary.feature_sum == pytest.approx(
            float((z[token] - z.mean(dim=0)) @ read), rel=4e-3, abs=4e-3
        )

    @pytest.mark.parametrize("run", [SEED0, PRISM])
    def test_the_average_row(self, tiny_store: Path, store: "Store", run: str) -> None:
        """The mean activations are those of all rows, whichever kind of dictionary."""
        card = store.run(run)
        found = average_row(store, card)
        code = store.code_of_tokens(run, range(V))
        parts = Parts.of(store, tiny_store, card, decompose_prompt(store, run, PROMPT).score)
        for k in range(len(card.steps)):
            mean = np.zeros(card.d_sae)
            for ids, p in code.values():
                ids = np.asarray(ids, dtype=np.int64)
                on = np.asarray(p)
                if card.kind != "prism":
                    norms = store.norms_of_features(run, ids)[:, k] if len(ids) else np.zeros(0)
                    on = on * (on * norms > parts.decoder.threshold[ids])
                mean[ids] += on / V
            ids, values = found.at(k)
            assert mean[ids] == pytest.approx(values, rel=3e-3)
            assert mean.sum() == pytest.approx(values.sum(), rel=3e-3)

    def test_a_store_without_mean_activations_says_so(
        self, store: "Store", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "atlas.average_row.LIVES",
            "SELECT feature, norm, NULL::FLOAT[] AS contribution FROM {run}.life ORDER BY feature",
        )
        with pytest.raises(InvalidValue, match="--force"):
            decompose_prompt(store, SEED0, PROMPT, ask=Ask("vocabulary"))


class TestThroughTraining:
    def test_contributions_of_features(self, store: "Store") -> None:
        found = decompose_prompt(store, SEED0, PROMPT, step="all")
        features = strongest(found, range(len(STEPS)), 6)
        values = contributions_of(found, features)
        for i, feature in enumerate(features):
            for k, row in enumerate(found.rows):
                held = dict(zip(row.ledger.features.tolist(), row.ledger.contributions,
                                strict=True))
                assert values[i, k] == held.get(feature, 0.0)
        peaks = np.abs(values).max(axis=1)
        assert (np.diff(peaks) <= 0).all()
        rest = {f for row in found.rows for f in row.ledger.features.tolist()} - set(features)
        others = contributions_of(found, sorted(rest))
        assert len(rest) == 0 or np.abs(others).max() <= peaks[-1]

    @pytest.mark.parametrize("kind", ["contrast", "vocabulary", "family"])
    @pytest.mark.parametrize("run", [SEED0, SEED1])
    def test_coefficients_are_contributions_over_what_h_reads(
        self, tiny_store: Path, store: "Store", run: str, kind: str
    ) -> None:
        found = decompose_prompt(store, run, PROMPT, step="all", ask=Ask(kind))  # type: ignore
        parts = Parts.of(store, tiny_store, store.run(run), found.score)
        features = np.array(strongest(found, range(len(STEPS)), 5))
        h = hidden_state(tiny_store, PROMPT).double().numpy()
        values = contributions_of(found, features)
        for k, step in enumerate(STEPS):
            read = parts.decoder.directions(k, features).astype(np.float64) @ h
            assert parts.coefficients(step, features) * read == pytest.approx(
                values[:, k], abs=1e-9)

    def test_chance_is_that_of_the_run_s_own_paths(
        self, tiny_store: Path, store: "Store"
    ) -> None:
        reading = read_prompt(store, SEED0, PROMPT)
        found = decompose_prompt(store, SEED0, PROMPT, step="all")
        features = strongest(found, range(len(STEPS)), 4)
        parts = Parts.of(store, tiny_store, store.run(SEED0), found.score)
        ids = np.array(features)
        held = np.stack([parts.coefficients(s, ids) for s in STEPS], axis=1)
        paths = np.stack([parts.decoder.directions(k, ids) for k in range(len(STEPS))], axis=1)
        assert chance_of_begins(store, reading, found, features) == chance_begins(held, paths)
        own = begins(np.einsum("nk,nkd,d->nk", held, paths, hidden_state(tiny_store, PROMPT)))
        assert own.tolist() == begins(contributions_of(found, features)).tolist()


class TestOdds:
    @pytest.mark.parametrize("hidden", ["final", "own"])
    def test_against_the_softmax_of_the_matrix(
        self, tiny_store: Path, store: "Store", hidden: str
    ) -> None:
        odds = Odds(read_prompt(store, SEED0, PROMPT), hidden)
        steps = list(STEPS if hidden == "final" else FULL)
        assert odds.missing(steps) == steps
        assert odds.rows == V
        for step in steps:
            odds.read(step)
            state = hidden_state(tiny_store, PROMPT, step if hidden == "own" else None)
            logits = load_snapshot(tiny_store, NAME, step, "W_U") @ state
            chance = logits.double().softmax(0)
            order = logits.argsort(descending=True).tolist()
            for token in (0, 17, V - 1, order[0]):
                found = odds.of(step, [token])
                assert found.probability == pytest.approx(float(chance[token]), rel=1e-4)
                assert found.rank == 1 + int((logits > logits[token]).sum())
            both = odds.of(step, [order[3], order[9]])
            assert both.probability == pytest.approx(
                float(chance[order[3]] + chance[order[9]]), rel=1e-4)
            assert both.rank == 4
        assert odds.missing(steps) == []

    def test_the_last_step_agrees_with_the_candidates(self, store: "Store") -> None:
        reading = read_prompt(store, SEED0, PROMPT)
        odds = Odds(reading, "final")
        odds.read(STEPS[-1])
        for rank, candidate in enumerate(reading.top, 1):
            found = odds.of(STEPS[-1], [candidate.token])
            assert found.probability == pytest.approx(candidate.probability, rel=1e-5)
            assert found.rank == rank

    def test_no_model_of_its_own(self, store: "Store") -> None:
        with pytest.raises(InvalidValue, match="no whole model is kept at step 4"):
            Odds(read_prompt(store, SEED0, PROMPT), "own").read(4)
