"""Ledgers of several seeds in lines: against a plain count, with plants that must be found."""

import io
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from atlas import seed_ledger_markup, seed_ledger_recipe, seed_ledger_store
from atlas.decomposition import Ledger
from atlas.explanations import Ask
from atlas.gallery import listed
from atlas.live import decompose_prompt
from atlas.places import STORE_VARIABLE
from atlas.seed_ledgers import Aligned, agreements, align, ranks, rest_of
from atlas.stability import groups_of, stability_of
from atlas.store import Store
from tests.tiny import EMBEDDING, PRISM, SEED0, SEED1, SMALL, WIDTH

PROMPT = "the water and"
Plain = dict[int, float]


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def ledger_of(found: Plain) -> tuple[np.ndarray, np.ndarray]:
    return np.array(list(found), np.int64), np.array(list(found.values()), float)


def plain_share(ledgers: Sequence[Plain], groups: dict, places: Sequence[int]) -> float:
    """The share of Σ|c| in groups with a feature of each that contribute somewhere, by loops."""
    shares = []
    for place in places:
        held = 0.0
        for members in groups.values():
            if all(other in members for other in places):
                held += abs(ledgers[place].get(members[place], 0.0))
        shares.append(held / sum(map(abs, ledgers[place].values())))
    return sum(shares) / len(shares)


def plain_likeness(
    ledgers: Sequence[Plain], groups: dict, places: Sequence[int], ranked: bool
) -> float:
    """Mean correlation over the pairs, by numpy's own."""
    values = [
        [ledgers[p].get(members[p], 0.0) for p in places] for members in groups.values()
        if all(p in members for p in places)
        and any(members[p] in ledgers[p] for p in places)
    ]
    columns = np.array(values).T
    if ranked:
        columns = [[sum(v < x for v in c) + (sum(v == x for v in c) + 1) / 2 for x in c]
                   for c in columns.tolist()]
    found = np.corrcoef(columns)
    return float(np.mean([found[a, b] for a, b in combinations(range(len(places)), 2)]))


def made(seeds: int, seed: int) -> tuple[list[Plain], dict[int, dict[int, int]]]:
    """Ledgers of 12 features among 30 and groups of some of them."""
    rng = np.random.default_rng(seed)
    ledgers = [{int(f): float(v) for f, v in zip(rng.permutation(30)[:12], rng.normal(size=12),
                                                 strict=True)} for _ in range(seeds)]
    orders = [rng.permutation(30) for _ in range(seeds)]
    groups = {}
    for number in range(18):
        members = {place: int(orders[place][number]) for place in range(seeds)
                   if rng.random() < 0.85}
        if len(members) > 1:
            groups[number] = members
    return ledgers, groups


# --- lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_every_contribution_stands_in_the_line_of_its_group(seed: int) -> None:
    ledgers, groups = made(3, seed)
    found = align([ledger_of(one) for one in ledgers], groups)
    home = {(p, f): g for g, members in groups.items() for p, f in members.items()}
    seen = []
    for line in range(len(found.groups)):
        number = int(found.groups[line])
        for place in range(3):
            feature, value = int(found.features[line, place]), found.values[line, place]
            if feature < 0:
                assert math.isnan(value)
                assert number < 0 or place not in groups[number]
                continue
            assert home.get((place, feature), -1) == number
            assert found.active[line, place] == (feature in ledgers[place])
            assert value == ledgers[place].get(feature, 0.0)
            seen.append((place, feature))
    assert len(seen) == len(set(seen))
    assert set(seen) >= {(p, f) for p, one in enumerate(ledgers) for f in one}
    sizes = np.abs(np.nan_to_num(found.values)).sum(axis=1)
    assert (np.diff(sizes) <= 1e-12).all()


def test_the_rest_and_the_first_lines_give_the_feature_sum() -> None:
    ledgers, groups = made(2, 9)
    found = align([ledger_of(one) for one in ledgers], groups)
    for place, one in enumerate(ledgers):
        total = sum(one.values())
        more, value = rest_of(found, place, 5, total)
        named = found.values[:5, place][found.active[:5, place]]
        assert value + named.sum() == pytest.approx(total)
        assert more + len(named) == len(one)


def test_nothing_in_nothing_out() -> None:
    none = (np.zeros(0, np.int64), np.zeros(0))
    assert align([], {}).seeds == 0
    assert agreements(align([], {})) == ()
    found = align([none, none], {0: {0: 1, 1: 2}})
    assert found.features.shape == (0, 2)
    (pair,) = agreements(found)
    assert pair.groups == 0
    assert math.isnan(pair.share.value)
    assert math.isnan(pair.pearson.value)


# --- agreement ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_agreement_is_that_of_the_plain_count(seeds: int) -> None:
    ledgers, groups = made(seeds, seeds)
    found = agreements(align([ledger_of(one) for one in ledgers], groups))
    assert [one.places for one in found] == (
        [tuple(range(seeds))] * (seeds > 2) + list(combinations(range(seeds), 2)))
    for one in found:
        assert one.share.value == pytest.approx(plain_share(ledgers, groups, one.places))
        for ranked, told in ((False, one.pearson), (True, one.rank)):
            assert told.value == pytest.approx(
                plain_likeness(ledgers, groups, one.places, ranked))
            assert told.low <= told.middle <= told.high


def test_the_null_of_the_share_is_dealing_memberships_out() -> None:
    ledgers, groups = made(2, 3)
    (pair,) = agreements(align([ledger_of(one) for one in ledgers], groups), draws=4000)
    rng = np.random.default_rng(5)
    held = [{members[p] for members in groups.values() if len(members) == 2} for p in (0, 1)]
    plain = []
    for _ in range(4000):
        shares = []
        for place, one in enumerate(ledgers):
            dealt = dict(zip(one, rng.permutation([f in held[place] for f in one]), strict=True))
            shares.append(sum(abs(v) for f, v in one.items() if dealt[f])
                          / sum(map(abs, one.values())))
        plain.append(sum(shares) / 2)
    low, middle, high = np.quantile(plain, (0.05, 0.5, 0.95))
    assert pair.share.low == pytest.approx(low, abs=0.02)
    assert pair.share.middle == pytest.approx(middle, abs=0.02)
    assert pair.share.high == pytest.approx(high, abs=0.02)


def planted(alike: bool) -> Aligned:
    """Twenty large features in groups and twenty small ones without; the same in both, or dealt
    anew."""
    rng = np.random.default_rng(11)
    large = np.concatenate([rng.normal(0, 3, 20), rng.normal(0, 0.1, 20)])
    order = rng.permutation(40)
    other = large if alike else rng.permutation(large)
    groups = {g: {0: g, 1: int(order[g])} for g in range(20)}
    if not alike:
        mixed = rng.permutation(40)[:20].tolist()
        groups = {g: {0: f, 1: int(order[f])} for g, f in enumerate(mixed)}
    return align([(np.arange(40), large), (order[np.arange(40)], other)], groups)


def test_a_dictionary_with_its_features_permuted_agrees_beyond_chance() -> None:
    (pair,) = agreements(planted(True))
    assert pair.groups == 20
    assert pair.share.value > 0.9
    assert pair.pearson.value == pytest.approx(1)
    assert pair.rank.value == pytest.approx(1)
    for told in (pair.share, pair.pearson, pair.rank):
        assert told.value > told.high
        assert told.p == pytest.approx(1 / 201)


def test_memberships_that_say_nothing_agree_as_chance_does() -> None:
    (pair,) = agreements(planted(False))
    for told in (pair.share, pair.pearson, pair.rank):
        assert told.p > 0.05


def test_the_same_seed_gives_the_same_null() -> None:
    found = planted(False)
    assert agreements(found) == agreements(found)
    assert agreements(found)[0].share.low != agreements(found, seed=1)[0].share.low


def test_ranks_share_what_is_equal() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


# --- from a store ---------------------------------------------------------------------------------


def test_seeds_are_runs_that_differ_in_their_seed(store: Store) -> None:
    found = seed_ledger_store.seeds_of(store, SEED0)
    assert [card.run for card in found.cards] == [SEED0, SEED1]
    assert "trajectory" in found.ways
    for alone in (EMBEDDING, SMALL, PRISM):
        found = seed_ledger_store.seeds_of(store, alone)
        assert [card.run for card in found.cards] == [alone]
        assert found.ways == ()


def test_who_is_no_other_seed_is_left_out_with_the_reason(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    real = store.runs()
    own = next(card for card in real if card.run == SEED0)
    odd = {
        "other-model": {"model": "tiny-other"}, "narrow": {"d_sae": 12},
        "short": {"steps": (0, 1)}, "broken": {"problem": "its file is damaged"},
        "unmatched": {}, "embedding": {"matrix": "W_E"},
    }
    stem = SEED0.rsplit("/", 1)[0]
    more = [dataclasses.replace(own, run=f"{stem}/{name}", **what) for name, what in odd.items()]
    monkeypatch.setattr(type(store), "runs", lambda self: [*real, *more])
    found = seed_ledger_store.seeds_of(store, SEED0)
    assert [card.run for card in found.cards] == [SEED0, SEED1]
    told = "\n".join(found.left_out)
    for words in ("tiny-other", "12 features", "other snapshots", "its file is damaged",
                  f"readout-atlas match {SEED0} {stem}/unmatched", "W_E"):
        assert words in told


def test_groups_of_features_are_those_of_the_family(store: Store) -> None:
    for way in ("trajectory", "tokens"):
        every = groups_of(store, SEED0, way)
        assert every
        asked = [group.members[0][1] for group in every[:2] if group.members[0][0] == SEED0]
        found = seed_ledger_store.groups_of_features(store, (SEED0, SEED1), (asked, []), way)
        wanted = {g.number: {(SEED0, SEED1).index(run): f for run, f in g.members}
                  for g in every if any(m == (SEED0, f) for f in asked for m in g.members)}
        assert found == wanted
    assert seed_ledger_store.groups_of_features(store, (SEED0, SEED1), ([], []), "tokens") == {}


def test_badges_of_many_are_those_of_one(store: Store) -> None:
    found = seed_ledger_store.stability_of_features(store, SEED0, range(WIDTH))
    for feature in range(WIDTH):
        assert repr(found.get(feature, ())) == repr(stability_of(store, SEED0, feature))
    assert any(found.values())
    assert seed_ledger_store.stability_of_features(store, SMALL, range(WIDTH)) == {}
    assert seed_ledger_store.stability_of_features(store, SEED0, ()) == {}


def test_kept_prompts_say_where_their_gate_passes(store: Store) -> None:
    step = store.run(SEED0).steps[-1]
    found = seed_ledger_store.kept_prompts(store, (SEED0, SEED1), step)
    assert len(found) == len([e for e in listed(store, SEED0) if e.hidden == "final"])
    assert [one.passes for one in found] == sorted((one.passes for one in found), reverse=True)
    for one in found[:3]:
        gates = [
            decompose_prompt(store, run, one.entry.prompt, ask=one.entry.ask,
                             position=one.entry.position).rows[0].ledger.gate
            for run in (SEED0, SEED1)
        ]
        assert (one.seeds, one.passes) == (2, sum(gates))


def test_lines_of_python_give_the_numbers(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    step = store.run(SEED0).steps[-1]
    ask = Ask("token", target=40)
    text = seed_ledger_recipe.python_of((SEED0, SEED1), PROMPT, 1, ask, step, "trajectory")
    known: dict = {}
    with redirect_stdout(io.StringIO()):
        exec(text, known)  # what a reader would do with it
    ledgers: list[Ledger] = [
        decompose_prompt(store, run, PROMPT, position=1, ask=ask, step=step).rows[0].ledger
        for run in (SEED0, SEED1)
    ]
    groups = seed_ledger_store.groups_of_features(
        store, (SEED0, SEED1), [x.features for x in ledgers], "trajectory")
    wanted = align([(x.features, x.contributions) for x in ledgers], groups)
    np.testing.assert_array_equal(known["found"].features, wanted.features)
    assert repr(known["agree"]) == repr(agreements(wanted))


# --- drawn ----------------------------------------------------------------------------------------


def test_the_table_draws_what_it_is_given_and_escapes_it() -> None:
    heads = [seed_ledger_markup.Head(f"seed {i}", f"<run{i}>", "decompose?a=1&b=2", "gate passes",
                                     True, "") for i in (0, 1)]
    cell = seed_ledger_markup.Cell(17, -0.5, True, "feature?feature=17", "<b>the</b>")
    silent = seed_ledger_markup.Cell(4, 0.0, False, "feature?feature=4", "of")
    lines = [seed_ledger_markup.Line("<i>", (cell, None), True),
             seed_ledger_markup.Line("of", (cell, silent), True)]
    sums = [seed_ledger_markup.Sum("exact", (1.0, 1.0), "exact")]
    html = seed_ledger_markup.ledgers(heads, lines, sums, [True, True], "x")
    assert "<run0>" not in html
    assert "<b>the" not in html
    assert "−0.50" in html
    assert "does not fire" in html
    assert html.count("no such feature") == 1
    withheld = seed_ledger_markup.ledgers(heads, [lines[0]], sums, [True, False], "x")
    assert "no such feature" not in withheld


def test_agreement_is_drawn_beside_its_null_or_not_at_all() -> None:
    html = seed_ledger_markup.agreement(agreements(planted(True)), ["seed 0", "seed 1"])
    assert "seed 0 and 1" in html
    assert "p = 0.005" in html
    assert html.count("<i style=") == 3
    none = align([ledger_of({1: 1.0}), ledger_of({2: 1.0})], {})
    assert "not available" in seed_ledger_markup.agreement(agreements(none), ["a", "b"])
