"""Births, profiles, turns and rates of a population against their sentences and planted lives."""

import numpy as np
import pytest

from atlas import lifecycle, population, population_store
from atlas.population_store import GROUPS, STANDING, Lives

PYTHIA = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *range(1000, 10_000, 1000), 14_000, 21_000,
          27_000, 34_000, 47_000, 61_000, 75_000, 89_000, 102_000, 116_000, 130_000, 143_000)
K = len(PYTHIA)


def planted() -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Norms (D, K), profile, birth, peak and last snapshot of lives whose shape is known."""
    time = lifecycle.tau(PYTHIA)
    lives = []
    for k in range(3, 8):  # falls before the middle: there from the start until k
        lives.append((np.where(np.arange(K) <= k, 1.0, 0.05), "early-decaying", 0, 0, k))
    for k in range(14, 22):  # rises late and stays
        course = np.where(np.arange(K) >= k, 0.9, 0.02)
        course[K - 2] = 1.0
        lives.append((course, "late-emerging", k, K - 2, K))
    for level in (0.6, 1.0, 1.7):  # always there
        lives.append((np.full(K, level), "persistent", 0, 0, K))
    bump = np.full(K, 0.05)
    bump[9:12] = 0.6, 1.0, 0.7  # steps 256, 512, 1000: the worked number of §14.17
    lives.append((bump, "transitional", 9, 10, 11))
    lives.append((np.full(K, 0.005), "inactive", K, 0, K))
    norms, profiles, births, peaks, deaths = (list(part) for part in zip(*lives, strict=True))
    assert time[6] <= lifecycle.EARLY < lifecycle.LATE <= time[14]
    return np.array(norms, np.float32), profiles, *map(np.array, (births, peaks, deaths))


@pytest.fixture
def lives(monkeypatch: pytest.MonkeyPatch) -> Lives:
    """The planted population in place of a store's."""
    norms, profiles, births, peaks, deaths = planted()
    alive = np.array([name != "inactive" for name in profiles])
    places = np.array([STANDING.index(p) if p in STANDING else -1 for p in profiles], np.int16)
    found = Lives(PYTHIA, alive, {"norms": births, "floor": births}, peaks, deaths, places)
    monkeypatch.setattr(population_store, "lives_of", lambda store, run: found)
    monkeypatch.setattr(
        population_store, "live_norms",
        lambda store, run: (np.flatnonzero(alive), norms[np.flatnonzero(alive)]),
    )
    return found


# --- a planted population -------------------------------------------------------------------------


def test_planted_lives_are_read_as_they_were_made() -> None:
    norms, profiles, births, peaks, deaths = planted()
    born, died = lifecycle.births_and_deaths(norms.T)
    assert lifecycle.profiles(norms.T, PYTHIA) == profiles
    assert born.tolist() == births.tolist()
    assert np.where(died == K - 1, K, died).tolist() == deaths.tolist()
    known = lifecycle.peak_steps(norms.T, PYTHIA)
    assert known[:-1].tolist() == [PYTHIA[k] for k in peaks[:-1]]
    assert known[-1] == -1


def test_the_planted_population_is_recovered(lives: Lives) -> None:
    found = population_store.profile_table(None, "planted")
    assert dict(zip(STANDING, found.found.counts.tolist(), strict=True)) == {
        "persistent": 3, "transitional": 1, "early-decaying": 5, "late-emerging": 8, "mixed": 0}
    standing = dict(zip(STANDING, found.standing.tolist(), strict=True))
    assert standing["persistent"] == [3] * K
    assert standing["early-decaying"][:9] == [5, 5, 5, 5, 4, 3, 2, 1, 0]
    assert standing["late-emerging"][13:22] == list(range(9))
    assert [k for k, n in enumerate(standing["transitional"]) if n] == [9, 10, 11]
    table = population_store.population_table(None, "planted")
    assert table["births_norms"].tolist() == [
        8 if k == 0 else 1 if k == 9 or 14 <= k < 22 else 0 for k in range(K)]
    assert table["deaths"].tolist() == [int(k in (3, 4, 5, 6, 7, 11)) for k in range(K)]
    assert table["peaks"].sum() == 17


def test_planted_features_survive_as_long_as_they_were_made_to(lives: Lives) -> None:
    found = population_store.survival_curves(None, "planted", "norms")
    assert set(found) == {*GROUPS, "shuffled"}
    assert (found["early"].total, found["early"].ended) == (8, 5)
    assert found["early"].share[-1] == pytest.approx(3 / 8)
    ends = [np.log10(PYTHIA[k + 1] + 1) for k in (3, 4, 5, 6, 7)]
    assert found["early"].at[1:-1].tolist() == pytest.approx(ends)
    assert (found["middle"].total, found["middle"].ended) == (1, 1)
    assert (found["late"].total, found["late"].ended) == (8, 0)
    assert found["late"].share.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("order", ["birth", "peak"])
def test_planted_lives_are_drawn_in_their_order(lives: Lives, order: str) -> None:
    found = population_store.ordered_lives(None, "planted", order, "norms", (0, 1), rows=7)
    first = {"birth": found.birth, "peak": found.peak}[order]
    assert (np.diff(first) >= 0).all()
    assert found.cells.shape == (7, K)
    norms = planted()[0]
    for r in range(7):
        own = norms[found.features[found.bounds[r] : found.bounds[r + 1]]]
        wanted = (own / own.max(axis=1, keepdims=True)).mean(axis=0)
        assert found.cells[r] == pytest.approx(wanted, abs=1e-6)


def test_nothing_is_left_when_all_are_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = np.zeros(6, bool)
    never = np.full(6, K)
    found = Lives(PYTHIA, dead, {"norms": never, "floor": never}, never, never,
                  np.full(6, -1, np.int16))
    monkeypatch.setattr(population_store, "lives_of", lambda store, run: found)
    monkeypatch.setattr(population_store, "live_norms",
                        lambda store, run: (np.zeros(0, int), np.zeros((0, K), np.float32)))
    assert population_store.survival_curves(None, "", "norms") == {}
    assert population_store.corrected(None, "").born == 0
    profiles = population_store.profile_table(None, "")
    assert np.isnan(profiles.found.share).all()
    assert profiles.standing.sum() == 0
    assert len(population_store.ordered_lives(None, "", "birth", "norms", (0, 1)).cells) == 0
    assert population_store.population_table(None, "")["births_norms"].sum() == 0


# --- each function against its sentence --------------------------------------------------------


@pytest.mark.parametrize("bar", [0.0, 1e-3])
def test_first_above_equals_its_sentence(bar: float) -> None:
    rates = np.random.default_rng(1).choice([0, 5e-4, 1e-3, 0.2, np.nan], (40, 9))
    wanted = [next((k for k, r in enumerate(row) if r > bar), 9) for row in rates]
    assert population.first_above(rates, bar).tolist() == wanted


def test_half_the_norm_is_rounded_as_the_record_is() -> None:
    near = 0.5 + np.arange(-40, 41) * 2e-5
    norms = np.stack([np.ones_like(near), near, near * 0 + 0.3], axis=1).astype(np.float32)
    norms = np.concatenate([norms, norms * 0.37, np.zeros((1, 3), np.float32)])
    assert (population.at_half(norms) == (lifecycle.trajectory(norms.T) >= 0.5).T).all()


def test_correction_counts_what_becomes_of_births() -> None:
    plain = np.array([0, 0, 0, 2, 3, 3, 5])
    corrected = np.array([0, 2, 5, 2, 4, 5, 5])
    found = population.correction(plain, corrected, 5)
    assert (found.born, found.first, found.first_kept, found.first_later) == (6, 3, 1, 1)
    assert (found.never, found.first_never, found.kept, found.surviving) == (2, 1, 2, 4)


@pytest.mark.parametrize(("features", "rows"), [(1, 5), (7, 3), (100, 7), (5, 5)])
def test_rows_of_the_picture_are_means_of_neighbours(features: int, rows: int) -> None:
    rng = np.random.default_rng(features)
    norms = rng.random((features, 4)).astype(np.float32)
    norms[0] = 0
    order = rng.permutation(features)
    found = population.picture(norms, order, rows)
    assert found.bounds[0] == 0
    assert found.bounds[-1] == features
    assert np.ptp(np.diff(found.bounds)) <= 1
    for r, cells in enumerate(found.cells):
        own = [norms[f] / norms[f].max() if norms[f].any() else norms[f] * 0
               for f in order[found.bounds[r] : found.bounds[r + 1]]]
        assert cells == pytest.approx(np.mean(own, axis=0), abs=1e-6)


def test_the_interval_of_a_share_is_that_of_resampled_features() -> None:
    places = np.repeat([0, 1, 2], [300, 80, 20])
    found = population.composition(places, 4)
    assert found.counts.tolist() == [300, 80, 20, 0]
    rng = np.random.default_rng(7)
    drawn = np.array([
        np.bincount(rng.choice(places, len(places)), minlength=4) for _ in range(3000)
    ]) / len(places)
    low, high = np.quantile(drawn, (0.05, 0.95), axis=0)
    assert found.low == pytest.approx(low, abs=0.006)
    assert found.high == pytest.approx(high, abs=0.006)
    again = population.composition(places, 4)
    assert again.low.tolist() == found.low.tolist()
    assert population.composition(places, 4, seed=1).low.tolist() != found.low.tolist()


def test_the_interval_holds_the_truth_nine_times_in_ten() -> None:
    rng, inside = np.random.default_rng(3), 0
    for draw in range(200):
        found = population.composition((rng.random(400) < 0.3).astype(int), 2, seed=draw)
        inside += found.low[1] <= 0.3 <= found.high[1]
    assert 165 <= inside <= 194  # 180 expected, 99.9 % of binomial draws


def test_shuffling_keeps_the_norms_of_each_feature() -> None:
    norms = np.random.default_rng(0).random((50, 6)).astype(np.float32)
    found = population.shuffled(norms, most=10)
    assert found.shape == (10, 6)
    assert (np.sort(found, axis=1) == np.sort(norms[::5], axis=1)).all()
    assert (found != norms[::5]).any()
    assert (population.shuffled(norms, most=10) == found).all()


def test_the_spectrum_counts_every_turn_once() -> None:
    rng = np.random.default_rng(2)
    rotation = np.exp(rng.uniform(-12, np.log(2), (300, 3))).astype(np.float32)
    rotation[0] = np.nan
    rotation[1] = 0, 2, 1
    found = population.spectrum(rotation, bins=20)
    assert found.known.tolist() == [299] * 3
    for k in range(3):
        wanted = [0] * 20
        for value in rotation[1:, k].astype(float):
            place = np.searchsorted(found.edges, value, side="right") - 1
            wanted[min(max(int(place), 0), 19)] += 1
        assert found.counts[k].tolist() == wanted


def test_rank_curves_are_sorted_rates() -> None:
    rates = np.random.default_rng(4).random((120, 3))
    rates[5, 1] = np.nan
    found = population.rank_curves(rates, points=9)
    assert found.ranks[0] == 1
    assert found.ranks[-1] == 120
    for k in range(3):
        falling = sorted(np.nan_to_num(rates[:, k]), reverse=True)
        assert found.rates[k].tolist() == [falling[r - 1] for r in found.ranks]
        assert found.mean[k] == pytest.approx(np.nan_to_num(rates[:, k]).mean())
    assert population.rank_curves(np.zeros((0, 3))).ranks.size == 0
