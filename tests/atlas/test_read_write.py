"""Reading and writing: peaks, families, leads with their nulls, against slow twins and by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from atlas import read_write as rw
from atlas import read_write_figures as figures
from atlas import read_write_store as stored
from atlas.errors import NotFound
from atlas.read_write_figures import Mirror, Pair
from atlas.store import Store
from atlas.theme import DARK, LIGHT
from atlas.vocabulary import families
from tests.tiny import EMBEDDING, PRISM, SEED0, SEED1, SMALL, STEPS, WIDTH, D, V

U = rw.log_time(STEPS)


# --- peaks and medians ---------------------------------------------------------------------------


def test_peaks_take_the_later_rate_and_the_first_norm() -> None:
    values = [[1, 3, 3, 0], [0, 0, 0, 0], [2, math.nan, 1, 0], [5, 5, 5, 5]]
    assert rw.peaks(values, "rate").tolist() == [2, -1, -1, 3]
    assert rw.peaks(values, "norm").tolist() == [1, -1, -1, 0]


@pytest.mark.parametrize("seed", range(6))
def test_medians_of_counts_are_those_of_the_values(seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 4, (7, 3, len(U)))
    counts[0, 0] = 0
    found = rw.medians(counts, U)
    for at in np.ndindex(found.shape):
        values = np.repeat(U, counts[at])
        expected = np.median(values) if len(values) else math.nan
        assert found[at] == pytest.approx(expected, nan_ok=True)


def test_a_swing_is_how_far_the_median_course_moves() -> None:
    assert rw.swing([[1, 2, 4], [1, 1, 1], [3, 4, 2]]) == 0.5
    assert rw.swing([[0, 0], [math.nan, 1]]) != rw.swing([[0, 0]])  # nan: none is left
    assert math.isnan(rw.swing(np.zeros((0, 3))))


def test_holm_by_hand() -> None:
    found = rw.holm([0.01, math.nan, 0.04, 0.03, 0.9])
    assert found == pytest.approx([0.04, math.nan, 0.09, 0.09, 0.9], nan_ok=True)
    assert rw.holm([0.4, 0.6]).tolist() == [0.8, 0.8]
    assert rw.holm([]).tolist() == []
    assert np.isnan(rw.holm([math.nan])).all()


# --- families ------------------------------------------------------------------------------------


def test_a_family_has_all_above_the_share_or_the_24_highest() -> None:
    shares = np.zeros((60, 3))
    shares[:30, 0] = 0.35
    shares[30:, 0] = 0.34
    shares[:, 1] = np.arange(60) / 200  # none reaches the share
    shares[:4, 2] = 0.2  # few have any token of it
    allowed = np.ones(60, dtype=bool)
    allowed[59] = False
    found = rw.members(shares, allowed)
    assert np.flatnonzero(found[:, 0]).tolist() == list(range(30))
    assert np.flatnonzero(found[:, 1]).tolist() == list(range(35, 59))
    assert np.flatnonzero(found[:, 2]).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(3))
def test_matched_controls_are_the_nearest_by_comparing_all(seed: int) -> None:
    generator = np.random.default_rng(seed)
    places = generator.random((80, 2))
    member = generator.random(80) < 0.3
    eligible = ~member & (generator.random(80) < 0.8)
    pool = np.flatnonzero(eligible)
    slow = [pool[np.square(places[pool] - places[j]).sum(axis=1).argmin()]
            for j in np.flatnonzero(member)]
    assert rw.matched_controls(places, member, eligible).tolist() == slow
    few = np.zeros(80, dtype=bool)
    few[: rw.FEWEST - 1] = True
    assert len(rw.matched_controls(places, member, few)) == 0


def test_counts_by_hand() -> None:
    member = np.array([[1, 0], [1, 1], [0, 1], [1, 0]], dtype=bool)
    assert rw.counts_of([0, 2, -1, 2], member, 3).tolist() == [[1, 0, 2], [0, 0, 1]]
    assert rw.counts_of([0], np.zeros((1, 0), dtype=bool), 3).shape == (0, 3)


def test_shares_places_and_lengths_of_lists_by_hand() -> None:
    masks = np.zeros((2, 7), dtype=bool)
    masks[0, :3] = masks[1, 4] = True
    found = stored.TokenFamilies(masks, np.array([1, 2, 3, 4, 5, 6, 0]))
    top = np.array([[0, 1, 2, 3, 4, 5], [4, 3, 0, 6, 6, 6], [6] * 6])
    shares, places, enough = stored.describe(top, found)
    assert shares.tolist() == pytest.approx(np.array([[0.5, 1 / 6], [1 / 3, 1 / 3], [0, 0]]))
    assert enough.tolist() == [True, False, False]
    scale = np.percentile([3.5, 4], 95)
    assert places == pytest.approx(np.array([[2.5 / 6, 3.5 / scale], [3 / 6, 4 / scale], [0, 0]]))


# --- leads ---------------------------------------------------------------------------------------


def slow_null(
    everyone: np.ndarray, n: int, generator: np.random.Generator, draws: int
) -> np.ndarray:
    """Medians of n features drawn from all, one draw after the other."""
    values = np.repeat(U, everyone)
    return np.array([np.median(generator.permutation(values)[:n]) for _ in range(draws)])


def test_the_null_deals_names_out_as_the_slow_twin_does() -> None:
    write_all, read_all = np.array([30, 5, 10, 20, 35]), np.array([10, 40, 10, 15, 5])
    write, read = np.array([[2, 1, 1, 5, 12]]), np.array([[2, 12, 1, 3, 1]])
    found = rw.leads(write, read, write_all, read_all, U, draws=4000)
    generator = np.random.default_rng(1)
    null = slow_null(write_all, 21, generator, 4000) - slow_null(read_all, 19, generator, 4000)
    own = np.median(np.repeat(U, write[0])) - np.median(np.repeat(U, read[0]))
    assert found.difference[0] == pytest.approx(own)
    assert found.p[0] == pytest.approx(rw.two_sided(own, null), abs=0.03)
    assert [found.null_low[0], found.null_high[0]] == pytest.approx(
        np.percentile(null, rw.INTERVAL), abs=0.15)


def test_the_interval_draws_features_again_as_the_slow_twin_does() -> None:
    write, read = np.array([[6, 5, 20, 9, 2]]), np.array([[2, 3, 10, 25, 9]])
    found = rw.leads(write, read, 3 * write[0], 3 * read[0], U)
    generator = np.random.default_rng(2)
    slow = [
        np.median(generator.choice(np.repeat(U, write[0]), write.sum()))
        - np.median(generator.choice(np.repeat(U, read[0]), read.sum())) for _ in range(3000)
    ]
    assert [found.low[0], found.high[0]] == pytest.approx(np.percentile(slow, rw.INTERVAL),
                                                          abs=0.12)


def test_a_planted_lead_is_found_and_an_unplanted_one_is_not() -> None:
    everyone = np.array([40, 40, 40, 40, 40])
    early, late = np.array([25, 5, 0, 0, 0]), np.array([0, 0, 0, 5, 25])
    same = np.array([6, 6, 6, 6, 6])
    found = rw.leads([late, same], [early, same], everyone, everyone, U)
    assert found.difference.tolist() == pytest.approx([U[4] - U[0], 0])
    assert found.p[0] == pytest.approx(1 / (rw.DRAWS + 1))
    assert found.p[1] > 0.3
    assert found.low[0] > found.null_high[0]
    turned = rw.leads([early, same], [late, same], everyone, everyone, U)
    assert turned.difference.tolist() == pytest.approx([U[0] - U[4], 0])


def test_whole_dictionaries_are_compared_by_dealing_features_out() -> None:
    late, early = np.array([0, 0, 5, 20, 30]), np.array([30, 20, 5, 0, 0])
    found = rw.lead_of_all(late, early, U)
    assert found.difference[0] == pytest.approx(U[4] - U[0])
    assert found.p[0] == pytest.approx(1 / (rw.DRAWS + 1))
    assert rw.lead_of_all(late, late, U).p[0] > 0.5
    none = rw.lead_of_all([0] * 5, early, U)
    assert np.isnan([none.p[0], none.difference[0], none.low[0]]).all()


def test_few_features_give_nothing() -> None:
    found = rw.leads([[4, 0, 0, 0, 0]], [[9, 9, 9, 9, 9]], [9] * 5, [9] * 5, U)
    for name in ("write", "read", "low", "high", "null_low", "null_high", "p"):
        assert np.isnan(getattr(found, name)).all(), name
    assert (found.n_write[0], found.n_read[0]) == (4, 45)


def test_the_same_seed_gives_the_same_numbers() -> None:
    asked = ([[3, 2, 4, 6, 9]], [[6, 4, 4, 3, 2]], [20] * 5, [20] * 5, U)
    one, other = rw.leads(*asked), rw.leads(*asked)
    assert (one.p, one.low) == (other.p, other.low)
    assert rw.leads(*asked, seed=1).p != one.p


def test_p_is_uniform_where_names_mean_nothing() -> None:
    """200 families drawn at random out of all features: no more small p than chance gives."""
    steps = np.cumsum(np.random.default_rng(0).random(65))
    found = []
    for seed in range(200):
        generator = np.random.default_rng(1000 + seed)
        everyone = [generator.integers(5, 30, 65) for _ in range(2)]
        own = [generator.multivariate_hypergeometric(pool, 60) for pool in everyone]
        found.append(rw.leads([own[0]], [own[1]], *everyone, steps, seed, draws=399).p[0])
    p = np.sort(found)
    above = ((np.arange(200) + 1) / 200 - p).max()
    assert above < 1.52 / math.sqrt(200)  # 1 % of the one-sided Kolmogorov-Smirnov test
    assert (p <= 0.05).mean() <= 0.09
    assert 0.3 < (p <= 0.5).mean() < 0.62  # equal medians make p larger, never smaller


# --- the matrices --------------------------------------------------------------------------------


def test_a_turned_and_stretched_matrix_aligns_wholly() -> None:
    generator = np.random.default_rng(4)
    x = generator.standard_normal((40, 6))
    turn = np.linalg.qr(generator.standard_normal((6, 6)))[0]
    found = rw.procrustes(x, 3 * x @ turn)
    assert found.cosine == pytest.approx(1)
    assert found.scaled_residual == pytest.approx(0, abs=1e-9)
    assert found.residual == pytest.approx(4 / 9)  # |x - 3x|^2 / |3x|^2
    assert math.isnan(rw.procrustes(np.zeros((3, 2)), x[:3, :2]).cosine)


def test_the_alignment_is_the_best_of_all_turns() -> None:
    generator = np.random.default_rng(5)
    x, y = generator.standard_normal((2, 30, 2))
    found = rw.procrustes(x, y)
    best = math.inf
    for angle in np.linspace(0, 2 * math.pi, 3601):
        for flip in (1, -1):
            c, s = math.cos(angle), math.sin(angle)
            turn = np.array([[c, -s * flip], [s, c * flip]])
            best = min(best, float(np.square(x @ turn - y).sum() / np.square(y).sum()))
    assert found.residual == pytest.approx(best, abs=1e-4)


# --- the store -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def test_partners_are_of_the_other_matrix_the_likest_first(store: Store) -> None:
    assert [c.run for c in stored.partners(store, store.run(SEED0))] == [EMBEDDING]
    assert [c.run for c in stored.partners(store, store.run(EMBEDDING))] == [SEED0, SEED1]
    assert stored.partners(store, store.run(SMALL)) == []
    assert stored.partners(store, store.run(PRISM)) == []


def test_token_families_are_those_of_the_vocabulary(store: Store) -> None:
    found = stored.token_families(store, store.run(SEED0))
    assert found.masks.shape == (len(stored.FAMILIES), V + 1)
    assert not found.masks[:, V].any()
    texts = store.token_texts(store.run(SEED0).model)
    space = found.masks[stored.FAMILIES.index("space-prefixed")]
    assert [t for t in range(V) if texts[t].startswith("␣")] == np.flatnonzero(space).tolist()


def test_families_by_the_kinds_of_characters_are_those_of_the_text() -> None:
    odd = ["", " ", "a", " ab", "a1", "\n", " \n!", "\x00", "ab\x1f", "$", "^`~|", "_", "é ", "Δx",
           "\u0416\u0416", "12.", " 漢", "\x7f", "\ta", "a b", "-", "+ +", "٣", "\x1c!"]
    odd += [chr(code) for code in range(128)] + [f" {chr(c)}{chr(c + 1)}" for c in range(127)]
    known: dict[str, list[int]] = {}
    for text in odd:
        found = {stored.FAMILIES[f] for f in stored._families_of(text, known)}
        assert found == families(text), repr(text)


@pytest.mark.parametrize("peak", rw.PEAKS)
def test_a_side_agrees_with_the_features_one_by_one(store: Store, peak: str) -> None:
    card = store.run(SEED0)
    found = stored.side(store, card, STEPS, stored.token_families(store, card), peak, "label")
    cards = [store.feature(SEED0, f) for f in range(WIDTH)]
    alive = [c for c in cards if c.info.alive]
    assert found.n_alive == len(alive)
    assert found.l0 == pytest.approx(np.sum([c.rate for c in alive], axis=0), rel=1e-5)
    assert found.norm == pytest.approx(np.mean([c.norm for c in alive], axis=0), rel=1e-5)
    at = [len(STEPS) - 1 - int(np.argmax(c.rate[::-1])) if peak == "rate"
          else int(np.argmax(c.norm)) for c in alive]
    assert found.everyone.tolist() == np.bincount(at, minlength=len(STEPS)).tolist()
    for f, name in enumerate(stored.FAMILIES):
        own = [k for k, c in zip(at, alive, strict=True)
               if c.info.family == name and c.info.family_share >= rw.FAMILY_SHARE]
        assert found.families[f].tolist() == np.bincount(own, minlength=len(STEPS)).tolist()


def test_families_by_share_are_counted_from_the_firing_tokens(store: Store) -> None:
    card = store.run(SEED0)
    tokens = stored.token_families(store, card)
    found = stored.side(store, card, STEPS, tokens, "rate", "share")
    shares, allowed = [], []
    for f in range(WIDTH):
        feature = store.feature(SEED0, f)
        if feature.info.alive:
            top = feature.firing.tokens[: stored.N_TOP]
            shares.append(tokens.masks[:, top].mean(axis=1) if len(top) else np.zeros(9))
            allowed.append(len(top) >= stored.FEWEST_TOKENS)
    member = rw.members(shares, allowed)
    assert found.families.sum(axis=1).tolist() == member.sum(axis=0).tolist()


def test_matrices_turn_into_each_other_no_better_than_they_do(store: Store) -> None:
    own, null = stored.aligned(store, store.run(SEED0), 64)
    assert 0 < null.cosine < own.cosine < 1
    with pytest.raises(NotFound):
        stored.aligned(store, store.run(SEED0), 63)
    assert stored.numbers_to_read(store.run(SEED0), V, 5) == 2 * V * D * 5


# --- what is drawn -------------------------------------------------------------------------------


def pair(**changes: object) -> Pair:
    values: dict = {
        "name": "latin <alpha>", "write": 1.5, "read": 0.5, "low": 0.4, "high": 1.6,
        "null_low": -0.3, "null_high": 0.3, "p": 0.01, "n_write": 30, "n_read": 24,
        "write_href": "?run=a&b", "read_href": "", "control": (1.0, math.nan),
    }
    return Pair(**values | changes)


def test_a_dumbbell_has_two_dots_an_interval_and_a_band() -> None:
    drawn = figures.dumbbells(STEPS, [pair(), pair(name="other", p=0.2, seeds=(0.1, 0.9))])
    assert "latin &lt;alpha&gt;" in drawn
    assert 'href="?run=a&amp;b"' in drawn
    assert drawn.count('class="write"') == drawn.count('class="read"') == 2
    assert drawn.count("matched controls") == 2  # of the nan there is no ring
    assert drawn.count('<div class="weak">') == 1
    assert "over pairs of seeds +0.10 to +0.90" in drawn
    assert "+1.00" in drawn
    blank = figures.dumbbells(STEPS, [pair(low=math.nan, high=math.nan, null_low=math.nan,
                                           null_high=math.nan, p=math.nan)])
    assert "nan" not in blank.replace("latin &lt;alpha&gt;", "")


@pytest.mark.parametrize("p", [LIGHT, DARK])
def test_courses_are_mirrored_and_each_over_its_own_maximum(p) -> None:
    relative = Mirror("norm", [1, 2, 4, 2, 1], [10, 5, 5, 5, math.nan], [[1, 1, 1, 1, 2]])
    shares = Mirror("peaks", [0.4, 0.2, 0, 0, 0], [0.1, 0, 0, 0, 0.2], relative=False)
    found = figures.mirrored(STEPS, [relative, shares], 16, p)
    named = [t for t in found["data"] if "name" in t]
    assert named[0]["y"] == [0.25, 0.5, 1, 0.5, 0.25]
    assert named[1]["y"] == [-1, -0.5, -0.5, -0.5, None]
    assert named[2]["y"] == [1, 0.5, 0, 0, 0]
    assert named[3]["y"] == [-0.25, 0, 0, 0, -0.5]
    thin = [t for t in found["data"] if t.get("hoverinfo") == "skip"]
    assert [t["y"] for t in thin] == [[0.5, 0.5, 0.5, 0.5, 1]]
    assert found["layout"]["yaxis2"]["ticktext"][0] == "40%"


def test_alignment_draws_the_null_beside_it() -> None:
    found = figures.alignment(STEPS, [0.1, 0.2, 0.3, 0.3, 0.4], [0.1] * 5, 16, LIGHT)
    assert [t["name"] for t in found["data"]] == ["shuffled rows", "W_E and W_U"]
    assert found["layout"]["yaxis"]["range"] == [0, 0.5]
