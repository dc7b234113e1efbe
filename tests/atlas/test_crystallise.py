"""Features that hold a set of tokens: planted ones are found, chance is not, slow twins agree."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import hypergeom

from atlas import crystallise, crystallise_store
from atlas.crystallise import DEPTHS, holding, null_counts, postings, random_set, timing
from atlas.enrichment import MIN_FIRING
from atlas.errors import InvalidValue
from atlas.reorganisation import log_time
from atlas.store import Store
from tests.tiny import PRISM, RUNS, SEED0, SMALL, V

TOKENS, FEATURES = 900, 60
SET = np.arange(40, 60)


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens (D, 50) of random features, two of which hold the set; alive and allowed."""
    rng = np.random.default_rng(seed)
    top = np.stack([rng.permutation(TOKENS)[: DEPTHS[1]] for _ in range(FEATURES)])
    top[7, :10] = SET[:10]  # at the top alone
    top[7, 10:] = rng.permutation(np.setdiff1d(np.arange(TOKENS), SET))[:40]
    top[8, 30:] = SET  # further down
    top[8, :30] = rng.permutation(np.setdiff1d(np.arange(TOKENS), SET))[:30]
    top[9] = -1
    top[9, :MIN_FIRING - 1] = SET[: MIN_FIRING - 1]  # too few to be tried
    top[10] = top[7]  # dead
    alive = np.ones(FEATURES, bool)
    alive[10] = False
    return top, alive, np.ones(TOKENS, bool)


def slow(top: np.ndarray, alive: np.ndarray, allowed: np.ndarray, tokens: np.ndarray) -> dict:
    """{feature: corrected p} by scipy's tail, feature by feature."""
    tried = [j for j in range(len(top)) if alive[j] and (top[j] >= 0).sum() >= MIN_FIRING]
    found = {}
    for j in tried:
        listed = top[j][top[j] >= 0]
        depths = [d for d in DEPTHS if d < len(listed)] + [len(listed)]
        tails = [hypergeom.sf(np.isin(listed[:d], tokens).sum() - 1, allowed.sum(), len(tokens), d)
                 for d in depths]
        p = min(1.0, min(tails) * len(depths) * len(tried))
        if p <= crystallise.SURE:
            found[j] = p
    return found


def test_planted_features_are_found_and_no_other() -> None:
    top, alive, allowed = planted()
    found = holding(postings(top, alive, allowed), SET)
    assert set(found.features.tolist()) == {7, 8}
    at = dict(zip(found.features.tolist(), zip(found.held.tolist(), found.drawn.tolist(),
                                               strict=True), strict=True))
    assert at[7] == (10, 10)
    assert at[8] == (20, 50)
    assert all(a <= b for a, b in pairwise(found.p.tolist()))


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_the_slow_way(seed: int) -> None:
    top, alive, allowed = planted(seed)
    rng = np.random.default_rng(seed)
    top[20, 25:] = -1  # fewer than the deep list, more than the shallow
    top[21, 8:] = -1
    for tokens in (SET, rng.permutation(TOKENS)[:300], SET[:2], top[21, :8]):
        found = holding(postings(top, alive, allowed), np.sort(tokens))
        wanted = slow(top, alive, allowed, tokens)
        assert set(found.features.tolist()) == set(wanted)
        assert found.p == pytest.approx([wanted[j] for j in found.features.tolist()], rel=1e-6)


def test_random_sets_are_held_by_hardly_any() -> None:
    top, alive, allowed = planted()
    null = null_counts(postings(top, alive, allowed), SET, None, draws=200)
    assert len(null) == 200
    assert (null > 0).mean() <= 2 * crystallise.SURE
    again = null_counts(postings(top, alive, allowed), SET, None, draws=200)
    assert (null == again).all()


def test_random_sets_are_as_frequent() -> None:
    seen = np.arange(TOKENS)
    allowed = seen >= 100
    bands = crystallise.frequency_bands(seen, allowed)
    rare = np.arange(100, 120)
    drawn = random_set(rare, allowed, bands, np.random.default_rng(0))
    assert len(set(drawn.tolist())) == len(rare)
    assert (bands[drawn] == bands[rare]).all()
    assert drawn.max() < 200
    assert crystallise.frequency_bands(np.full(TOKENS, -1), allowed) is None


def test_births_are_set_against_as_many_features_at_random() -> None:
    u = log_time([0, 1, 4, 16, 64])
    everyone = np.array([400, 50, 50, 50, 50])
    late = timing(np.array([0, 0, 0, 5, 25]), everyone, u)
    assert late.median == pytest.approx(u[4])
    assert late.null_high < late.median
    assert late.p <= 0.01
    usual = timing(np.array([20, 3, 2, 3, 2]), everyone, u)
    assert usual.p > 0.05
    assert np.isnan(timing(np.array([2, 0, 0, 0, 0]), everyone, u).p)


# --- from a store -------------------------------------------------------------------------------


@pytest.fixture
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def test_an_address_becomes_a_concept() -> None:
    assert crystallise_store.read_concept(None, None) is None
    assert crystallise_store.read_concept(" , ", "") is None
    found = crystallise_store.read_concept("he, she,he", "family:x")
    assert found.names == ("he", "she")
    assert crystallise_store.read_concept("", "script:Cyrillic").text == "script Cyrillic"
    for wrong in ("moon", "moon:x", "family:"):
        with pytest.raises(InvalidValue):
            crystallise_store.read_concept(None, wrong)
    with pytest.raises(InvalidValue):
        crystallise_store.read_concept(",".join(map(str, range(99))), None)


@pytest.mark.parametrize("run", RUNS)
def test_every_run_is_asked(store: Store, run: str) -> None:
    card = store.run(run)
    concept = crystallise_store.read_concept(None, "family:space-prefixed")
    tokens, left_out = crystallise_store.common_tokens(store, [card], concept)
    assert left_out == 0
    found = crystallise_store.crystal(store, card, tokens[run], draws=19)
    assert 1 / 20 <= found.p <= 1
    assert (found.timing is None) == (run == PRISM)
    for feature, held in zip(found.found.features.tolist(), found.found.held.tolist(),
                             strict=True):
        firing = store.feature(run, feature, 50).firing.tokens
        assert np.isin(firing, tokens[run]).sum() >= held


def test_several_vocabularies_share_tokens_by_their_bytes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = [store.run(SEED0), store.run(SMALL)]
    concept = crystallise_store.read_concept(None, "family:digit-bearing")
    whole = crystallise_store._spelling

    def other(store: Store, card: object) -> crystallise_store._Spelling:
        found = whole(store, card)
        if card.run == SEED0:
            return found
        raw = [b"?" + r if r and r.strip().isdigit() and i % 2 else r
               for i, r in enumerate(found.raw)]
        return crystallise_store._Spelling(raw, found.seen)

    same, none = crystallise_store.common_tokens(store, cards, concept)
    assert none == 0
    monkeypatch.setattr(crystallise_store, "_spelling", other)
    kept, left_out = crystallise_store.common_tokens(store, cards, concept)
    assert left_out > 0
    assert len(kept[SEED0]) == len(kept[SMALL]) == len(same[SEED0]) - left_out
    assert kept[SEED0].max() < V


def test_a_set_that_there_is_not_is_refused(store: Store) -> None:
    with pytest.raises(InvalidValue, match="no token of tiny-large is of script Klingon"):
        crystallise_store.tokens_of(
            store, store.run(SEED0), crystallise_store.read_concept(None, "script:Klingon"))
