"""Two features side by side: scores against those that matching kept, since when, whom else."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas import (
    life_match,
    pair_recipe,
    paired,
    paired_courses,
    paired_figures,
    paired_markup,
)
from atlas.chance import pair_cosine
from atlas.matches import BEYOND, WAYS, match_columns, splits_between
from atlas.paired import Pair
from atlas.paired_courses import Cosines
from atlas.paired_figures import Course
from atlas.places import STORE_VARIABLE
from atlas.store import Store
from atlas.theme import DARK, LIGHT
from tests.tiny import DEAD, EMBEDDING, PRISM, RUNS, SEED0, SEED1, SILENT_AT_BIRTH, SMALL, WIDTH


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def best(store: Store, run: str, other: str, way: str, feature: int) -> int:
    return int(match_columns(store, run, other, way).partner[feature])


# --- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("other", "way"), [
    (SEED1, "trajectory"), (SEED1, "terminal"), (SEED1, "tokens"), (SEED1, "life"),
    (PRISM, "terminal"), (PRISM, "tokens"), (SMALL, "tokens"), (SMALL, "life"),
    (EMBEDDING, "tokens"),
])
def test_what_is_worked_out_is_what_matching_kept(store: Store, other: str, way: str) -> None:
    columns = match_columns(store, SEED0, other, way)
    asked = np.flatnonzero(columns.partner >= 0)
    assert len(asked) > 10
    for feature in asked.tolist():
        pair = Pair(SEED0, feature, other, int(columns.partner[feature]))
        found = {
            "trajectory": lambda p: paired.cosines(store, p).whole,
            "terminal": lambda p: paired.cosines(store, p).last,
            "tokens": lambda p: paired.jaccard(store, p),
            "life": lambda p: paired.likeness(store, p),
        }[way](pair)
        assert found == pytest.approx(float(columns.score[feature]), abs=1.5e-3)


def test_best_partners_have_the_score_and_percentile_of_both_sides(store: Store) -> None:
    there = best(store, SEED0, SEED1, "trajectory", 0)
    pair = Pair(SEED0, 0, SEED1, there)
    found = paired.evidence(store, pair)
    assert [one.way for one in found] == list(WAYS)
    one = found[0]
    assert one.kept
    assert one.score == one.forth.score
    assert one.forth.partner == there
    assert paired.mutual(one, pair) is one.forth.reciprocal
    assert paired.returned(one, pair) is (one.forth.reciprocal and one.forth.percentile >= BEYOND)
    back = paired.evidence(store, pair.swapped)
    for mine, theirs in zip(found, back, strict=True):
        assert (mine.forth, mine.back) == (theirs.back, theirs.forth)
        assert mine.score == pytest.approx(theirs.score, abs=1e-3)


def test_two_that_are_no_partners_have_a_score_worked_out(store: Store) -> None:
    taken = {best(store, SEED0, SEED1, way, 0) for way in WAYS}
    taken |= {int(match_columns(store, SEED0, SEED1, way).assigned[0]) for way in WAYS}
    there = next(f for f in range(DEAD) if f not in taken and all(
        0 not in (getattr(match_columns(store, SEED1, SEED0, way), name)[f]
                  for name in ("partner", "assigned")) for way in WAYS))
    pair = Pair(SEED0, 0, SEED1, there)
    for one in paired.evidence(store, pair):
        assert not one.kept
        assert math.isfinite(one.score)
        assert 0 <= one.below <= 1
        assert not paired.mutual(one, pair)
        assert one.score <= one.forth.score + 1.5e-3


def test_a_dead_feature_has_no_partner_and_no_score_but_its_direction(store: Store) -> None:
    found = {one.way: one for one in paired.evidence(store, Pair(SEED0, DEAD, SEED1, 0))}
    assert all(one.forth is None for one in found.values())
    assert math.isnan(found["tokens"].score)
    assert math.isfinite(found["terminal"].score)


def test_the_share_below_is_rounded_down() -> None:
    null = tuple(np.linspace(0, 1, 101))
    assert paired.share_below(null, 0.505) == pytest.approx(0.50)
    assert paired.share_below(null, 1.5) == 1.0
    assert paired.share_below(null, -1.0) == 0.0
    assert math.isnan(paired.share_below((), 0.5))
    assert math.isnan(paired.share_below(null, math.nan))


def test_ways_that_cannot_be_say_why(store: Store) -> None:
    def why(other: str) -> dict[str, str]:
        return {one.way: one.why for one in paired.evidence(store, Pair(SEED0, 0, other, 0))}

    assert not any(why(SEED1).values())
    assert "different snapshots" in why(PRISM)["trajectory"]
    assert f"{PRISM} has fewer than 3 snapshots" in why(PRISM)["life"]
    assert "different language models" in why(SMALL)["terminal"]
    assert "different matrices (W_U and W_E)" in why(EMBEDDING)["trajectory"]


def test_runs_that_were_not_matched_name_the_command(tmp_path: Path, tiny_store: Path) -> None:
    from precompute.publish import publish

    folder = tmp_path / "store"
    shutil.copytree(tiny_store, folder)
    shutil.rmtree(folder / "matches")
    publish(folder)
    bare = Store.open(folder)
    for one in paired.evidence(bare, Pair(SEED0, 0, SEED1, 0)):
        assert f"readout-atlas match {SEED0} {SEED1}" in one.why
        assert math.isnan(one.score)
    assert all(not one.ways for one in paired.beside(bare, SEED0))
    assert paired.candidates(bare, SEED0, 0, SEED1, "trajectory") == ()
    contribution = [store_info(bare, feature) for feature in range(WIDTH)]
    assert paired.first_feature(bare, SEED0, SEED1, None) == int(np.argmax(contribution))


def store_info(store: Store, feature: int) -> float:
    return store.feature(SEED0, feature).info.contribution


# --- which ----------------------------------------------------------------------------------------


def test_seeds_stand_first_among_the_runs_beside(store: Store) -> None:
    found = paired.beside(store, SEED0)
    assert found[0].run == SEED1
    assert found[0].ways == tuple(WAYS)
    assert {one.run for one in found} == set(RUNS) - {SEED0}
    assert {one.run: one.ways for one in found}[PRISM] == ("terminal", "tokens")


@pytest.mark.parametrize("way", WAYS)
def test_the_first_feature_is_where_most_ways_agree_and_then_the_strongest(
    store: Store, way: str
) -> None:
    columns = match_columns(store, SEED0, SEED1, way)
    others = [match_columns(store, SEED0, SEED1, one) for one in WAYS]
    ranked = []
    for feature in range(WIDTH):
        if not columns.returned[feature] and columns.returned.any():
            continue
        votes = sum(
            bool(c.returned[feature]) and c.partner[feature] == columns.partner[feature]
            for c in others
        ) if columns.returned.any() else 0
        if columns.partner[feature] >= 0:
            ranked.append((votes, store_info(store, feature), -feature))
    assert paired.first_feature(store, SEED0, SEED1, way) == -max(ranked)[2]


def test_candidates_are_partners_and_parts_each_with_its_null(store: Store) -> None:
    parts = 0
    for feature in range(DEAD):
        found = paired.candidates(store, SEED0, feature, SEED1, "tokens")
        assert len({one.feature for one in found}) == len(found)
        assert found[0].feature == best(store, SEED0, SEED1, "tokens", feature)
        assert (found[0].reasons[0].kind, found[0].reasons[0].way) == ("best", "tokens")
        told = {(one.feature, r.kind, r.way) for one in found for r in one.reasons}
        for way in WAYS:
            assert (best(store, SEED0, SEED1, way, feature), "best", way) in told
            for split in splits_between(store, SEED0, SEED1, way):
                if split.feature == feature:
                    parts += 1
                    assert {(p, "part", way) for p in split.parts} <= told
            for split in splits_between(store, SEED1, SEED0, way):
                if feature in split.parts:
                    parts += 1
                    assert (split.feature, "whole", way) in told
        for one in found:
            assert one.label == store.feature(SEED1, one.feature).info.label
            assert all(0 <= r.percentile <= 1 for r in one.reasons)
    assert paired.candidates(store, SEED0, DEAD, SEED1, "tokens") == ()
    assert parts == len([0 for way in WAYS for split in splits_between(store, SEED0, SEED1, way)]
                        ) + sum(len(split.parts) for way in WAYS
                                for split in splits_between(store, SEED1, SEED0, way))


# --- courses --------------------------------------------------------------------------------------


def test_likeness_is_that_of_matching_on_any_schedule() -> None:
    assert paired_courses.POINTS == life_match.POINTS
    draw = np.random.default_rng(3)
    one, other = draw.random(5), draw.random(7)
    steps, others = (0, 1, 8, 64, 512), (0, 2, 4, 16, 128, 256, 1000)
    lives = [torch.from_numpy(life_match.lives(norm[None], np.array(at)))
             for norm, at in ((one, steps), (other, others))]
    expected = float(life_match.similarity(*lives))
    assert paired_courses.likeness((one, steps), (other, others)) == pytest.approx(expected)
    assert math.isnan(paired_courses.likeness((one, steps), (other[:1], others[:1])))
    assert math.isnan(paired_courses.likeness((one, steps), (np.zeros(7), others)))


def test_a_direction_beside_itself_has_cosine_one_and_without_length_none(store: Store) -> None:
    same = paired.cosines(store, Pair(SEED0, 3, SEED0, 3))
    np.testing.assert_allclose(same.values, 1, atol=1e-6)
    assert same.whole == pytest.approx(1)
    assert same.chance == pair_cosine(8)
    silent = paired.cosines(store, Pair(SEED0, SILENT_AT_BIRTH, SEED1, 0))
    assert np.isnan(silent.values[0])
    assert np.isfinite(silent.values[1:]).all()
    crossed = paired.cosines(store, Pair(SEED0, 0, PRISM, 0))
    assert crossed.steps == (64,)
    assert math.isnan(crossed.whole)
    assert crossed.last == pytest.approx(float(crossed.values[0]))


def test_no_cosine_without_one_space_or_without_weights(store: Store, tmp_path: Path) -> None:
    assert "language models" in paired.cosines(store, Pair(SEED0, 0, SMALL, 0)).why
    assert "matrices" in paired.cosines(store, Pair(SEED0, 0, EMBEDDING, 0)).why
    one, other = store.run(SEED0), store.run(SEED1)
    assert "weights" in paired_courses.cosines(tmp_path, (one, 0), (other, 0)).why
    late = replace(other, steps=(2, 3))
    assert "no snapshot in common" in paired_courses.cosines(tmp_path, (one, 0), (late, 0)).why
    wide = replace(other, d_model=16)
    assert "widths (8 and 16)" in paired_courses.cosines(tmp_path, (one, 0), (wide, 0)).why


def test_since_when_they_are_alike_is_told() -> None:
    def told(*values: float) -> str:
        steps = tuple(range(len(values)))
        return paired_courses.told(Cosines(steps, np.array(values), chance=0.2))

    assert told(0.9) == ""
    assert "never rises" in told(0.1, -0.9, 0.0)
    assert "at every snapshot, most at step 1 (0.90)." in told(0.5, 0.9)
    assert "at 2 of 3 snapshots, most at step 2 (0.70); from step 1 on" in told(0.0, 0.5, 0.7)
    assert "at 1 of 2 snapshots, most at step 0 (0.60); at the end it does not" in told(0.6, 0.1)


def test_tokens_that_both_promote_are_counted_at_common_steps(store: Store) -> None:
    left, right = store.feature(SEED0, 0), store.feature(SEED1, 0)
    shared = paired_courses.tokens_shared(left, right)
    assert list(shared) == list(left.steps)
    last = set(left.promoted[-1].tokens[:12]) & set(right.promoted[-1].tokens[:12])
    assert shared[left.steps[-1]] == len(last)
    assert paired_courses.tokens_shared(left, left)[64] == 12
    silent = store.feature(SEED0, SILENT_AT_BIRTH)
    assert paired_courses.tokens_shared(silent, right)[0] is None
    frame = paired_courses.courses_frame(left, right, paired.cosines(
        store, Pair(SEED0, 0, SEED1, 0)), shared)
    assert frame["step"].tolist() == list(left.steps)
    np.testing.assert_allclose(frame["left norm"], left.norm)
    assert frame["left of its largest"].max() == 1
    assert frame["promoted tokens shared"].iloc[-1] == len(last)


# --- drawn ----------------------------------------------------------------------------------------


def course(store: Store, run: str, feature: int) -> Course:
    return Course(f"#{feature} <{run}>", store.run(run), store.feature(run, feature))


def figure(
    store: Store, other: str, there: int, kind: str = "step", palette: object = LIGHT
) -> dict:
    left, right = course(store, SEED0, 0), course(store, other, there)
    found = paired.cosines(store, Pair(SEED0, 0, other, there))
    shared = paired_courses.tokens_shared(left.card, right.card)
    return paired_figures.lives_figure(left, right, found, shared, kind, 64, palette)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("kind", ["step", "tau"])
def test_both_lives_are_drawn_each_in_its_ink(store: Store, kind: str, palette: object) -> None:
    found = figure(store, SEED1, 1, kind, palette)
    lines = [t for t in found["data"] if t["mode"] == "lines+markers"]
    assert [t["line"]["color"] for t in lines] == [
        palette.accent, palette.counter, palette.ink] * 2  # column by column
    norms = store.feature(SEED1, 1).norm
    np.testing.assert_allclose(lines[1]["y"], norms, rtol=1e-4)
    np.testing.assert_allclose(lines[4]["y"], norms / norms.max(), rtol=1e-4)
    names = " ".join(a["text"] for a in found["layout"]["annotations"])
    assert "&lt;tiny" in names
    born = store.feature(SEED0, 0).info.birth_floor_step
    assert f"born {born:,}" in names
    assert len(json.dumps(found)) < 20_000


def test_a_run_of_one_snapshot_has_no_course(store: Store) -> None:
    found = figure(store, PRISM, 1)
    assert len(found["data"]) == 2
    left = course(store, PRISM, 0)
    assert paired_figures.lives_figure(left, left, Cosines(), {}, "step", 64, LIGHT) == {}


def test_two_languages_of_direction_leave_the_tokens_alone(store: Store) -> None:
    titles = " ".join(a["text"] for a in figure(store, SMALL, 1)["layout"]["annotations"])
    assert "promoted tokens that both have" in titles
    assert "cosine" not in titles


def test_other_schedules_are_set_side_by_side_on_their_own_steps(store: Store) -> None:
    left, right = course(store, SEED0, 0), course(store, SEED1, 0)
    card = right.card
    few = replace(card, steps=card.steps[::2], norm=card.norm[::2], rate=card.rate[::2],
                  promoted=card.promoted[::2])
    other = Course("other", replace(right.run, steps=few.steps), few)
    shared = paired_courses.tokens_shared(left.card, few)
    assert list(shared) == [0, 4, 64]
    drawn = paired_figures.lives_figure(left, other, Cosines(), shared, "step", 64, LIGHT)
    assert [len(t["x"]) for t in drawn["data"] if t.get("mode") == "lines+markers"][:2] == [5, 3]
    tau = paired_figures.lives_figure(left, other, Cosines(), shared, "tau", 64, LIGHT)
    assert "not drawn on τ" in " ".join(a["text"] for a in tau["layout"]["annotations"])


def test_evidence_in_words_has_its_null_and_is_escaped(store: Store) -> None:
    there = best(store, SEED0, SEED1, "tokens", 0)
    pair = Pair(SEED0, 0, SEED1, there)
    found = paired.evidence(store, pair)
    shown = paired_markup.evidence_table(
        found, pair, ("<left>", "<right>"), "tokens", (lambda f: f"a?f={f}", lambda f: f"b?f={f}"))
    assert "<left>" not in shown
    assert "&lt;right&gt;" in shown
    assert "<b>its best</b>" in shown
    assert shown.count("by chance") >= 4
    refused = paired_markup.evidence_table(
        paired.evidence(store, Pair(SEED0, 0, SMALL, 0)), Pair(SEED0, 0, SMALL, 0), ("a", "b"), "",
        (str, str))
    assert refused.count("Not available, because") == 2
    frame = paired_markup.evidence_frame(found, pair)
    assert frame["way"].tolist() == list(WAYS)
    assert frame["left partner"].iloc[2] == there


def test_words_for_chance_at_its_ends() -> None:
    assert paired_markup.chance(1.0) == "none by chance reaches it"
    assert paired_markup.chance(0.987) == "98.7 % by chance stay below"
    assert paired_markup.chance(math.nan) == "without a null"
    assert "3 of 12 and 7 tokens" in paired_markup.shared_words(3, (12, 7), 320, "tokens")
    assert "at random, 0.26" in paired_markup.shared_words(3, (12, 7), 320, "tokens")


def test_the_recipe_gives_the_same_numbers(
    store: Store, tiny_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    names: dict = {}
    exec(pair_recipe.python_of(SEED0, 0, SEED1, 2), names)
    assert repr(names["evidence"]) == repr(paired.evidence(store, Pair(SEED0, 0, SEED1, 2)))
    assert len(names["courses"]) == 5
    assert "promoted tokens shared" in capsys.readouterr().out
