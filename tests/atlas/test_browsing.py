"""Lists of features: every filter and order against filtering by hand, row by row."""

import dataclasses
import math
import re

import numpy as np
import pytest

from atlas import shapes
from atlas.browsing import (
    Wish,
    all_rows,
    categories,
    order_of,
    page,
    parameters_of,
    place,
    random_feature,
    read_wish,
    usual_distance,
)
from atlas.columns import number_columns
from atlas.errors import InvalidValue, NotFound
from atlas.measures import MEASURES, OF_TIME, measures_of
from atlas.schema import NEIGHBOURS_AT
from atlas.selections import ranked, selection, within
from atlas.store import Store
from atlas.wishes import change_of
from tests.tiny import EMBEDDING, PRISM, RUNS, SEED0, SILENT_AT_BIRTH, STEPS, WIDTH

LAST = len(STEPS) - 1


@pytest.fixture(scope="module")
def store(tiny_store):
    return Store.open(tiny_store)


@pytest.fixture(scope="module")
def rows(store):
    """All features as dictionaries, None for NULL."""
    return store.ask(SEED0, "SELECT * FROM {run}.feature ORDER BY feature").to_pylist()


def wish_of(store, run=SEED0, **parameters):
    wish, problems = read_wish(parameters, store.run(run))
    assert problems == ()
    return wish


def listed(store, k=LAST, run=SEED0, **parameters):
    """The features of an address in their order."""
    wish = wish_of(store, run, **parameters)
    found = page(store, run, k, wish, limit=500)
    assert found.total == len(found.rows)
    return found.rows["feature"].tolist()


def kept(store, k=LAST, **parameters):
    return sorted(listed(store, k, **parameters))


def by_hand(rows, rule):
    found = [row["feature"] for row in rows if rule(row)]
    assert 0 < len(found) < WIDTH, "a rule that tells nothing apart"
    return found


# --- order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["up", "down"])
@pytest.mark.parametrize("name", sorted(MEASURES))
def test_every_measure_orders_with_the_missing_last(store, name, order):
    k = 3
    values = number_columns(store, SEED0, k, (name,), (0, 64))[name]
    sign = 1 if order == "up" else -1
    expected = sorted(range(WIDTH), key=lambda f: (
        math.isnan(values[f]), 0 if math.isnan(values[f]) else sign * values[f], f))
    found = page(store, SEED0, k, wish_of(store, sort=name, order=order), limit=500)
    assert found.rows["feature"].tolist() == expected
    np.testing.assert_array_equal(found.rows["measure"], values[expected])
    assert found.order.measure.name == name


def test_unless_told_otherwise_the_largest_contribution_at_the_step_comes_first(store):
    for k in range(len(STEPS)):
        found = page(store, SEED0, k, Wish(), limit=500)
        values = found.rows["measure"].to_numpy()
        np.testing.assert_array_equal(values, found.rows["contribution_at"])
        assert (values[:-1] >= values[1:]).all()
    orders = {tuple(listed(store, k)) for k in range(len(STEPS))}
    assert len(orders) > 1, "the step control must rank anew"
    assert order_of(store, PRISM, Wish())[0].measure.name == "contribution"


def test_the_natural_end_comes_first(store):
    births = page(store, SEED0, LAST, wish_of(store, sort="birth_step"), limit=500).rows["measure"]
    assert births.dropna().is_monotonic_increasing
    norms = page(store, SEED0, LAST, wish_of(store, sort="norm_max"), limit=500).rows["measure"]
    assert norms.is_monotonic_decreasing


def test_without_contributions_at_snapshots_their_mean_stands_in(store, monkeypatch):
    monkeypatch.setattr("atlas.selections.course_of", lambda *_: False)
    order, notes = order_of(store, SEED0, Wish())
    assert (order.measure.name, notes) == ("contribution", ())
    order, notes = order_of(store, SEED0, Wish(sort="contribution_at"))
    assert order.measure.name == "contribution"
    assert "build" in notes[0]


def test_ranked_against_a_slow_twin():
    generator = np.random.default_rng(0)
    values = generator.choice(
        np.array([np.nan, -np.inf, np.inf, -0.0, 0.0, 1e-38, -1e-38, 3, -3, 7], np.float32), 400)
    features = np.arange(400, dtype=np.int32) * 3
    for descending in (True, False):
        found, ordered = ranked(features, values, descending)
        twin = sorted(range(400), key=lambda i: (
            np.isnan(values[i]), 0 if np.isnan(values[i]) else
            (-values[i] if descending else values[i]), i))
        assert found.tolist() == features[twin].tolist()
        np.testing.assert_array_equal(ordered, values[twin])


# --- filters ----------------------------------------------------------------------------------


def test_quick_filters_are_those_by_hand(store, rows):
    assert kept(store, alive="yes") == by_hand(rows, lambda r: r["alive"])
    assert kept(store, legible="yes") == by_hand(rows, lambda r: r["legible"])
    profile = rows[0]["profile"]
    assert kept(store, profile=profile) == by_hand(rows, lambda r: r["profile"] == profile)
    for asked, name in (("yes", "birth_floor_step"), ("no", "birth_step")):
        found = kept(store, birth="1-16", floor=asked)
        assert found == [
            r["feature"] for r in rows if r[name] is not None and 1 <= r[name] <= 16]


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_a_range_of_any_measure_is_that_by_hand(store, name):
    k = 2
    values = number_columns(store, SEED0, k, (name,), (0, 64))[name]
    known = np.sort(values[np.isfinite(values)])
    if not len(known):
        assert kept(store, k, where=f"{name}:..") == []
        return
    low, high = float(known[len(known) // 4]), float(known[3 * len(known) // 4])
    inside = np.flatnonzero((values >= np.float32(low)) & (values <= np.float32(high))).tolist()
    assert kept(store, k, where=f"{name}:{low!r}..{high!r}") == inside
    outside = sorted(set(range(WIDTH)) - set(inside))
    assert kept(store, k, where=f"!{name}:{low!r}..{high!r}") == outside
    assert kept(store, k, where=f"{name}:{low!r}..") == np.flatnonzero(values >= low).tolist()
    assert kept(store, k, where=f"{name}:..{low!r}") == np.flatnonzero(values <= low).tolist()
    assert kept(store, k, where=f"{name}:none") == np.flatnonzero(np.isnan(values)).tolist()
    assert kept(store, k, where=f"{name}:..") == np.flatnonzero(~np.isnan(values)).tolist()


def test_an_end_that_is_typed_as_it_is_shown_belongs_to_the_range(store):
    rates = number_columns(store, SEED0, 0, ("rate_final",), (0, 64))["rate_final"]
    shown = float(str(np.unique(rates)[3]))
    found = kept(store, where=f"rate_final:{shown}")
    assert found == np.flatnonzero(rates == np.float32(shown)).tolist()
    assert found


@pytest.mark.parametrize("name", ["profile", "kind", "script", "family", "supersense"])
def test_categories_are_those_by_hand(store, rows, name):
    present = [row[name] for row in rows]
    for value in {v for v in present if v is not None}:
        found = kept(store, where=f"{name}:{value.replace(' ', '%20')}")
        assert found == [f for f, v in enumerate(present) if v == value]
        others = kept(store, where=f"!{name}:{value.replace(' ', '%20')}")
        assert others == [f for f, v in enumerate(present) if v != value]
    assert kept(store, where=f"{name}:none") == [f for f, v in enumerate(present) if v is None]
    assert kept(store, where=f"!{name}:none") == [
        f for f, v in enumerate(present) if v is not None]
    counts = categories(store, SEED0)[name]
    assert dict(counts) == {v: present.count(v) for v in set(present) if v is not None}
    assert [n for _, n in counts] == sorted((n for _, n in counts), reverse=True)


def test_groups_are_or_and_conditions_in_them_and(store, rows):
    found = kept(store, where="legible:yes,norm_final:0.5..;alive:no;kind:none,!rate_max:0.1..")
    assert found == by_hand(rows, lambda r: (
        (r["legible"] and r["norm_final"] >= np.float32(0.5)) or not r["alive"]
        or (r["kind"] is None and not r["rate_max"] >= np.float32(0.1))))


def test_conditions_at_the_step_move_with_it(store):
    for k in range(len(STEPS)):
        rates = number_columns(store, SEED0, k, ("rate_at",), (0, 64))["rate_at"]
        assert kept(store, k, where="rate_at:0.05..") == np.flatnonzero(
            rates >= np.float32(0.05)).tolist()


def test_quick_filters_conditions_and_texts_hold_together(store, rows):
    found = kept(store, alive="yes", where="n_tokens:1..", q="#3")
    assert found == [3]
    assert kept(store, alive="yes", where="n_tokens:..-1", q="#3") == []


def test_like_this_one_lists_its_neighbours_by_cosine(store):
    for k in range(len(STEPS)):
        source = "neighbour_at WHERE k = $k AND" if k < LAST else "neighbour WHERE $k = $k AND"
        row = store.ask(
            SEED0, f"SELECT ids, cosines FROM {{run}}.{source} feature = 3", k=k).to_pylist()[0]
        found = page(store, SEED0, k, wish_of(store, like="3"), limit=500)
        np.testing.assert_array_equal(
            found.rows["measure"], np.float32(row["cosines"][:NEIGHBOURS_AT]))
        assert found.rows["feature"].tolist() == row["ids"][:NEIGHBOURS_AT]
        assert found.notes == ()
    assert listed(store, like="3", sort="feature") == sorted(listed(store, like="3"))
    narrower = kept(store, like="3", legible="yes")
    assert set(narrower) < set(kept(store, like="3"))


def test_equally_near_neighbours_stay_in_the_order_of_the_store(store, monkeypatch):
    asked = Store.ask
    row = asked(store, SEED0, "SELECT ids FROM {run}.neighbour WHERE feature = 7").to_pylist()[0]
    monkeypatch.setattr(Store, "ask", lambda self, run, sql, **v: asked(
        self, run, re.sub(r"unnest\(cosines[^)]*\)", "0.5::FLOAT", sql), **v))
    found = listed(store, like="7", floor="no")  # a wish that no other test keeps at hand
    assert found == row["ids"][:NEIGHBOURS_AT] != sorted(found)


def test_names_that_no_feature_has_are_said_with_those_that_are_near(store):
    known = categories(store, SEED0)["kind"][0][0]
    wish = wish_of(store, where=f"kind:{known.replace(' ', '%20')}x+none;script:Nowhere")
    found = page(store, SEED0, LAST, wish)
    assert len(found.notes) == 2
    assert f"No feature of this run has the kind “{known}x”; there are {known}" in found.notes[0]
    assert "the script “Nowhere”" in found.notes[1]
    wish = wish_of(store, where=f"kind:{known.replace(' ', '%20')}+none,!profile:persistent")
    assert page(store, SEED0, LAST, wish).notes == ()


def test_half_of_all_lives_are_nearer_a_shape_than_is_said(store):
    found = page(store, SEED0, LAST, wish_of(store, shape="0019"), limit=500).rows["measure"]
    assert usual_distance(store, SEED0, LAST, "0019") == pytest.approx(found.median())


def test_a_feature_that_never_fires_has_no_change(store, rows, monkeypatch):
    names = ["change_step", "change_low_step", "change_high_step", "change_p"]
    dead = [r["feature"] for r in rows if not r["alive"]]
    assert dead
    for name in names:
        said = store.ask(SEED0, f"SELECT {MEASURES[name].expression} AS x FROM (SELECT feature, "
                         f"alive, 5 AS {name} FROM {{run}}.feature) AS f ORDER BY feature")
        assert said["x"].to_pylist() == [None if f in dead else 5 for f in range(WIDTH)]
    seen = []
    asked = Store.ask
    monkeypatch.setattr(
        Store, "ask", lambda self, run, sql, **v: seen.append(sql) or asked(self, run, sql, **v))
    page(store, SEED0, LAST, Wish(), columns=tuple(names))
    assert any(MEASURES["change_p"].expression in sql for sql in seen)


def test_neighbours_at_the_last_step_stand_in_and_it_is_said(store, monkeypatch):
    asked = Store.ask
    monkeypatch.setattr(Store, "ask", lambda self, run, sql, **v: asked(
        self, run, sql.replace("neighbour_at LIMIT 1", "neighbour_at WHERE false LIMIT 1"), **v))
    wish = wish_of(store, like="5")
    found = page(store, SEED0, 1, wish, limit=500)
    assert found.rows["feature"].tolist() == listed(store, LAST, like="5")
    assert "at step 64" in found.notes[0]


# --- shapes and the map -------------------------------------------------------------------------


def test_the_nearest_lives_against_a_slow_twin(store):
    norms = store.norms_of_features(SEED0, range(WIDTH))
    for shape in ("0019", "9", "95", "0123456789", "f3", f"f{SILENT_AT_BIRTH}"):
        if shape == "9":
            continue
        if shape.startswith("f"):
            sought = norms[int(shape[1:])] / norms[int(shape[1:])].max()
        else:
            knots = np.array(list(shape), float)
            sought = np.interp(
                np.linspace(0, 1, len(STEPS)), np.linspace(0, 1, len(knots)), knots / knots.max())
        twin = [math.sqrt(sum((n / max(life) - s) ** 2 for n, s in zip(life, sought, strict=True))
                          / len(STEPS)) for life in norms.tolist()]
        found = page(store, SEED0, 0, wish_of(store, shape=shape), limit=500)
        assert found.order.measure.name == "distance"
        np.testing.assert_allclose(found.rows["measure"], sorted(twin), atol=2e-3)
        np.testing.assert_allclose(
            found.rows["measure"], np.array(twin)[found.rows["feature"]], atol=2e-3)
    assert listed(store, 0, shape="f3")[0] == 3
    assert listed(store, 0, shape="0019", sort="feature") == list(range(WIDTH))


def test_a_shape_is_scaled_and_read_at_every_snapshot():
    np.testing.assert_allclose(shapes.course("05", 3), [0, 0.5, 1])
    np.testing.assert_allclose(shapes.course("09", 3), [0, 0.5, 1])
    np.testing.assert_allclose(shapes.course("090", 5), [0, 0.5, 1, 0.5, 0])
    assert shapes.scaled([0, 0]).tolist() == [0, 0]
    assert shapes.scaled([2, 2]).tolist() == [1, 1]
    assert shapes.digits([0, 1, 2]) == "059" or shapes.digits([0, 1, 2]) == "049"
    assert len(shapes.digits(np.arange(200))) == shapes.MOST
    assert shapes.read_shape("f7", 8) == "f7"
    for wrong in ("f8", "1", "0" * 10, "1" * 65, "12x", "", "f", "f-1", "٣٤"):
        assert shapes.read_shape(wrong, 8) is None


def test_a_lasso_against_a_slow_twin(store):
    place_of = number_columns(store, SEED0, 0, ("map_x", "map_y"), (0, 64))
    points = list(zip(place_of["map_x"].tolist(), place_of["map_y"].tolist(), strict=True))

    def inside(corners, x, y):
        """Crossing number, written out."""
        odd = False
        corners = [[-1e-6 if v == 0 else 1 + 1e-6 if v == 1 else v for v in c] for c in corners]
        for i, (x1, y1) in enumerate(corners):
            x2, y2 = corners[(i + 1) % len(corners)]
            if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
                odd = not odd
        return odd

    generator = np.random.default_rng(3)
    for n in (3, 4, 7, 40):
        corners = tuple(tuple(c) for c in generator.uniform(0, 1, (n, 2)).round(2).tolist())
        twin = [inside(corners, x, y) for x, y in points]
        text = ";".join(f"{x},{y}" for x, y in corners)
        assert kept(store, lasso=text) == [f for f, on in enumerate(twin) if on]
        cloud = generator.uniform(0, 1, (2, 500)).astype(np.float32)
        assert within(corners, *cloud).tolist() == [
            inside(corners, x, y) for x, y in cloud.T.tolist()]
    assert kept(store, lasso="0,0;1,0;1,1;0,1") == list(range(WIDTH))


# --- pages and places ---------------------------------------------------------------------------


def test_pages_do_not_overlap_and_leave_nothing_out(store):
    wish = wish_of(store, alive="yes")
    whole = page(store, SEED0, 1, wish, limit=500).rows["feature"].tolist()
    seen = []
    for offset in range(0, WIDTH, 7):
        found = page(store, SEED0, 1, wish, limit=7, offset=offset)
        assert found.total == len(whole)
        seen += found.rows["feature"].tolist()
    assert seen == whole
    assert page(store, SEED0, 1, wish, offset=10**9).rows.empty


@pytest.mark.parametrize("parameters", [
    {}, {"legible": "yes"}, {"sort": "birth_floor_step"}, {"where": "alive:no"}, {"shape": "0009"},
])
def test_the_place_of_a_feature_is_that_of_counting(store, parameters):
    wish = wish_of(store, **parameters)
    order = listed(store, 2, **parameters)
    for feature in range(WIDTH):
        found = place(store, SEED0, 2, wish, feature)
        assert found.total == len(order)
        if feature not in order:
            assert (found.position, found.before, found.after) == (None, None, None)
            continue
        at = order.index(feature)
        assert found.position == at + 1
        assert found.before == (order[at - 1] if at else None)
        assert found.after == (order[at + 1] if at + 1 < len(order) else None)


def test_a_random_feature_is_one_of_the_list(store):
    wish = wish_of(store, legible="yes")
    order = listed(store, legible="yes")
    drawn = [random_feature(store, SEED0, LAST, wish, seed) for seed in range(60)]
    assert set(drawn) <= set(order)
    assert len(set(drawn)) > 1
    assert drawn[0] == random_feature(store, SEED0, LAST, wish, 0)
    assert random_feature(store, SEED0, LAST, wish_of(store, where="n_tokens:..-1"), 1) is None


def test_a_row_has_what_was_asked_for(store):
    found = page(store, SEED0, 2, Wish(), columns=("norm", "kind", "rate_at", "seeds"))
    assert list(found.rows.columns) == [
        "feature", "label", "norm", "kind", "rate_at", "seeds", "measure"]
    lives = store.norms_of_features(SEED0, range(WIDTH))
    for row in found.rows.itertuples():
        np.testing.assert_array_equal(row.norm, lives[row.feature])
        assert row.label == store.feature(SEED0, row.feature).info.label
    for limit, offset in ((0, 0), (501, 0), (10, -1)):
        with pytest.raises(InvalidValue, match="1 to 500"):
            page(store, SEED0, 0, Wish(), limit, offset)
    with pytest.raises(InvalidValue, match="no column"):
        page(store, SEED0, 0, Wish(), columns=("feature; DROP TABLE feature",))


@pytest.mark.parametrize("run", RUNS)
def test_every_row_is_what_the_feature_itself_says(store, run):
    card = store.run(run)
    k = len(card.steps) - 1
    found = page(store, run, k, Wish(), limit=500)
    for row in found.rows.to_dict("records"):
        one = store.feature(run, row["feature"])
        for name, value in dataclasses.asdict(one.info).items():
            if value is None or value != value:
                assert row[name] is None or row[name] != row[name], name
            else:
                assert row[name] == (np.float32(value) if isinstance(value, float) else value), name
        if len(card.steps) > 1:
            assert row["contribution_at"] == one.contribution[k]
            assert row["norm_at"] == one.norm[k]


def test_the_whole_list_is_all_pages_with_every_measure(store):
    wish = wish_of(store, alive="yes", sort="kind_p")
    frame = all_rows(store, SEED0, 2, wish)
    assert frame["feature"].tolist() == listed(store, 2, alive="yes", sort="kind_p")
    assert set(frame.columns) == {*MEASURES, "label", "profile", "kind", "script", "family",
                                  "supersense", "alive", "legible", "measure"}
    assert len(all_rows(store, SEED0, 2, wish, most=3)) == 3
    offered = {m.name for m in measures_of(store.run(PRISM))}
    assert OF_TIME.isdisjoint(all_rows(store, PRISM, 0, Wish()).columns)
    assert offered <= set(all_rows(store, PRISM, 0, Wish()).columns)


def test_what_is_not_there_is_said(store):
    with pytest.raises(NotFound):
        page(store, "no/such/run", 0, Wish())
    with pytest.raises(InvalidValue, match="0 to 4"):
        page(store, SEED0, 5, Wish())
    with pytest.raises(InvalidValue, match="sort by one of"):
        page(store, SEED0, 0, Wish(sort="feature; DROP TABLE feature"))


def test_a_list_is_remembered_with_all_that_it_depends_on(store):
    wish = Wish()
    assert selection(store, SEED0, 1, wish) is selection(store, SEED0, 1, Wish())
    assert selection(store, SEED0, 1, wish) is not selection(store, SEED0, 2, wish)
    assert selection(store, EMBEDDING, 1, wish) is not selection(store, SEED0, 1, wish)
    with pytest.raises(ValueError, match="read-only"):
        selection(store, SEED0, 1, wish).features[0] = 5


def test_an_address_brings_back_the_same_list(store):
    card = store.run(SEED0)
    wish = wish_of(store, where="norm_final:0.3..", sort="rate_change", change="1-16", order="up")
    assert change_of(wish, card) == (1, 16)
    again = read_wish(parameters_of(wish, card), card)[0]
    assert page(store, SEED0, 0, again).rows.equals(page(store, SEED0, 0, wish).rows)


def test_another_page_or_filter_asks_the_store_as_little_as_it_can(store, monkeypatch):
    asked = []
    ask = Store.ask
    monkeypatch.setattr(
        Store, "ask", lambda self, run, sql, **v: asked.append(sql) or ask(self, run, sql, **v))
    columns = ("kind", "contribution_at", "norm")
    page(store, SEED0, 3, Wish(), 5, 0, columns)
    asked.clear()
    page(store, SEED0, 3, Wish(), 5, 5, columns)
    assert len(asked) == 1, "the next page is one question: its rows"
    asked.clear()
    assert place(store, SEED0, 3, Wish(), 7).position
    assert asked == [], "the list is at hand"
    page(store, SEED0, 3, wish_of(store, where="norm_final:0.123.."), 5, 0, columns)
    assert len(asked) == 2, "another filter is two: who passes, and the rows"
