"""The population of a built store: equal to its own counts, and every link holds what it says."""

from pathlib import Path

import numpy as np
import pytest

from atlas import browsing, lifecycle, population_recipe, population_where
from atlas import population_store as found_in
from atlas.errors import InvalidValue
from atlas.places import STORE_VARIABLE
from atlas.population import CONVENTIONS
from atlas.population_store import ORDERS, Ordered
from atlas.store import Store
from tests.tiny import DEAD, PRISM, SEED0, STEPS, WIDTH

CHANGE = (STEPS[1], STEPS[-1])


@pytest.fixture
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def listed(store: Store, parameters: dict[str, str]) -> list[int]:
    """Every feature of a link into Browse, in its order."""
    wish, problems = browsing.read_wish(parameters, store.run(SEED0))
    assert not problems
    k = len(STEPS) - 1
    return browsing.all_rows(store, SEED0, k, wish)["feature"].tolist()


def test_counts_are_those_of_the_store(store: Store) -> None:
    table = found_in.population_table(store, SEED0)
    kept = store.births(SEED0)
    for name, own in (("births", "births_norms"), ("births_floor", "births_floor"),
                      ("deaths", "deaths"), ("alive", "standing")):
        assert table[own].tolist() == kept[name].tolist(), name
    assert table["step"].tolist() == STEPS
    assert {f"births_{name}" for name in CONVENTIONS} <= set(table)


def test_first_rates_are_those_of_the_courses(store: Store) -> None:
    lives = found_in.lives_of(store, SEED0)
    for feature in range(WIDTH):
        rate = store.feature(SEED0, feature).rate
        for name, bar in (("any", 0.0), ("thousandth", 1e-3)):
            wanted = next((k for k, r in enumerate(rate) if r > bar), len(STEPS))
            assert lives.births[name][feature] == wanted
    assert not lives.alive[DEAD]


@pytest.mark.parametrize("kind", [*(f"births_{n}" for n in CONVENTIONS), "peaks", "deaths"])
def test_a_bar_opens_the_features_it_counts(store: Store, kind: str) -> None:
    table = found_in.population_table(store, SEED0)
    for step, count in zip(STEPS, table[kind], strict=True):
        assert len(listed(store, population_where.bar(kind, step))) == count


@pytest.mark.parametrize("convention", list(CONVENTIONS))
@pytest.mark.parametrize("order", ["birth", "peak"])
def test_a_row_opens_its_stretch_of_the_order(store: Store, order: str, convention: str) -> None:
    found = found_in.ordered_lives(store, SEED0, order, convention, CHANGE, rows=5)
    keys = list(zip(found.birth.tolist(), found.peak.tolist(), strict=True))
    if order == "peak":
        keys = [key[::-1] for key in keys]
    for r in range(5):
        a, b = int(found.bounds[r]), int(found.bounds[r + 1])
        wanted = [f for f, key in zip(found.features.tolist(), keys, strict=True)
                  if keys[a] <= key <= keys[b - 1]]
        link = population_where.row(STEPS, found, order, convention, CHANGE, r, 100)
        assert sorted(listed(store, link)) == sorted(wanted)
        assert set(found.features[a:b].tolist()) <= set(wanted)


@pytest.mark.parametrize("seed", range(6))
def test_a_stretch_is_an_interval_of_pairs(seed: int) -> None:
    """With "never" last, whichever ends: the conditions against the order of pairs itself."""
    rng = np.random.default_rng(seed)
    count = 4
    steps = (0, 1, 4, 16)
    first, then = rng.integers(0, count + 1, (2, 60))
    pairs = sorted({(int(a), int(b)) for a, b in zip(first, then, strict=True)})
    for start in pairs:
        for end in pairs[pairs.index(start) :]:
            where = population_where.stretch(steps, ("birth_step", "peak_step"), start, end)
            values = {"birth_step": first, "peak_step": then}
            holds = [any(all(holding(c, values[c.name][i], steps) for c in group)
                         for group in where) for i in range(60)]
            wanted = [start <= (int(a), int(b)) <= end for a, b in zip(first, then, strict=True)]
            assert holds == wanted, (start, end, where)


def holding(condition: object, k: int, steps: tuple[int, ...]) -> bool:
    """Whether a condition holds for a snapshot number, as Browse reads it."""
    value = steps[k] if k < len(steps) else None
    if hasattr(condition, "values"):
        return (value in condition.values) != condition.negated
    low, high = condition.low, condition.high
    inside = value is not None and (low is None or value >= low) and (
        high is None or (value < high if condition.below else value <= high))
    return inside != condition.negated


def test_a_row_by_change_opens_the_page_that_holds_it(store: Store) -> None:
    found = found_in.ordered_lives(store, SEED0, "change", "norms", CHANGE, rows=6)
    link = population_where.row(STEPS, found, "change", "norms", CHANGE, 5, 4)
    page = int(link.pop("page"))
    rows = listed(store, link)
    assert rows == found.features.tolist()
    assert found.features[found.bounds[5]] in rows[4 * (page - 1) : 4 * page]
    norms = store.norms_of_features(SEED0, rows)
    moved = dict(zip(sorted(rows), norms[:, -1] - norms[:, 1], strict=True))
    assert found.change == pytest.approx([moved[f] for f in rows], abs=1e-5)


def test_the_picture_holds_every_feature_that_fires(store: Store) -> None:
    for order in ORDERS:
        found: Ordered = found_in.ordered_lives(store, SEED0, order, "norms", CHANGE)
        assert DEAD not in found.features
        assert len(set(found.features.tolist())) == len(found.features) == len(found.cells)
        assert ((found.cells >= 0) & (found.cells <= 1)).all()
        assert found.cells.max(axis=1) == pytest.approx(1)


def test_profiles_are_those_of_the_features(store: Store) -> None:
    found = found_in.profile_table(store, SEED0)
    infos = [store.feature(SEED0, f).info for f in range(WIDTH)]
    wanted = [sum(i.alive and i.profile == name for i in infos) for name in found_in.STANDING]
    assert found.found.counts.tolist() == wanted
    assert found.standing.sum(axis=0).tolist() == store.births(SEED0)["alive"].tolist()
    assert found.null.sum() == pytest.approx(1)


def test_turns_and_ranks_are_those_of_the_courses(store: Store) -> None:
    cards = [store.feature(SEED0, f) for f in range(WIDTH)]
    turns = found_in.rotation_spectrum(store, SEED0)
    wanted = [sum(bool(np.isfinite(c.rotation[k])) for c in cards if c.info.alive)
              for k in range(len(STEPS) - 1)]
    assert turns.known.tolist() == wanted == turns.counts.sum(axis=1).tolist()
    ranks = found_in.rate_ranks(store, SEED0)
    assert ranks.rates[:, 0] == pytest.approx(np.max([c.rate for c in cards], axis=0))
    assert ranks.mean == pytest.approx(np.mean([c.rate for c in cards], axis=0))


def test_a_run_of_one_snapshot_has_no_lives_but_rates(store: Store) -> None:
    with pytest.raises(InvalidValue, match="one snapshot"):
        found_in.lives_of(store, PRISM)
    assert found_in.course_columns(store, PRISM, "rotation") is None
    assert found_in.rate_ranks(store, PRISM).rates.shape[0] == 1


def test_a_feature_whose_norm_is_missing_is_left_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = found_in.norm_columns(store, SEED0).copy()
    norms[3, 2] = np.nan
    monkeypatch.setattr(found_in, "norm_columns", lambda *_: norms)
    features, kept = found_in.live_norms(store, SEED0)
    assert 3 not in features
    assert np.isfinite(kept).all()
    assert np.isfinite(found_in.ordered_lives(store, SEED0, "birth", "norms", CHANGE).cells).all()


def test_without_rates_the_rules_on_rates_are_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found_in, "course_columns", lambda *_: None)
    monkeypatch.setattr(found_in, "_LIVES", found_in.Recent(1))
    table = found_in.population_table(store, SEED0)
    assert [n for n in CONVENTIONS if f"births_{n}" in table] == ["norms", "floor"]
    assert found_in.rate_ranks(store, SEED0) is None
    assert found_in.ordered_lives(store, SEED0, "birth", "any", CHANGE).cells.size


def test_the_lines_of_python_run_and_give_the_same(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    lines = population_recipe.python_of(SEED0, "floor", "peak", CHANGE)
    names: dict = {}
    exec(lines.replace("population.ordered_lives", "found = population.ordered_lives"), names)
    wanted = found_in.ordered_lives(store, SEED0, "peak", "floor", CHANGE)
    assert (names["found"].cells == wanted.cells).all()


def test_shuffled_snapshots_are_read_by_the_same_rules(store: Store) -> None:
    found = found_in.profile_table(store, SEED0)
    norms = found_in.live_norms(store, SEED0)[1]
    mean = np.zeros(len(found_in.STANDING))
    rng = np.random.default_rng(9)
    for _ in range(200):
        names = lifecycle.profiles(rng.permuted(norms, axis=1).T, tuple(STEPS))
        mean += [names.count(name) / len(names) / 200 for name in found_in.STANDING]
    assert found.null == pytest.approx(mean, abs=0.3)
