"""Browse through AppTest: every filter from the address, by clicks, by links, and nonsense."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from atlas import browsing
from atlas.measures import MEASURES
from atlas.store import Store
from pages import shared
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import PRISM, SEED0, STEPS, WIDTH

__all__ = ["open_page"]


@pytest.fixture
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def listed(app: AppTest) -> list[int]:
    """The features of the table, in its order."""
    return app.dataframe[0].value["feature"].tolist() if app.dataframe else []


def expected(store: Store, k: int = len(STEPS) - 1, run: str = SEED0, **address: str) -> list[int]:
    """What the core lists for an address."""
    wish, problems = browsing.read_wish(address, store.run(run))
    assert not problems
    return browsing.page(store, run, k, wish, 100, 0, ()).rows["feature"].tolist()


def fragments(app: AppTest) -> str:
    """All that was written, but for the styles."""
    html = " ".join(e.proto.body for e in app.get("html"))
    return re.sub(r"<style>.*?</style>", " ", html, flags=re.S)


def links(app: AppTest, within: str) -> list[dict[str, str]]:
    """Addresses of the links in the fragment that begins with a class."""
    body = next(e.proto.body for e in app.get("html") if f'class="{within}' in e.proto.body)
    found = [h.replace("&amp;", "&") for h in re.findall(r'href="([^"]+)"', body)]
    return [dict(parse_qsl(urlsplit(h).query)) for h in found]


ADDRESSES = [
    {"q": "#3"},
    {"token_text": "the", "match": "word", "by": "promotes"},
    {"token_text": "the", "match": "substring", "case": "no", "by": "fires", "at": "step"},
    {"where": "norm_final:0.5..,alive:yes"},
    {"where": "!profile:persistent"},
    {"where": "max_rotation:0.5..;birth_step:4..16"},
    {"profile": "persistent"},
    {"birth": "4-16", "floor": "no"},
    {"alive": "yes"},
    {"legible": "yes"},
    {"like": "3"},
    {"shape": "0123456789"},
    {"shape": "f5"},
    {"change": "1-16", "sort": "norm_change"},
    {"lasso": "0.00,0.00;1.00,0.00;1.00,0.60;0.00,0.60"},
    {"sort": "rate_final", "order": "up"},
]


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda a: ",".join(a))
def test_every_filter_is_read_from_the_address(
    open_page: Open, store: Store, address: dict[str, str]
) -> None:
    app = calm(open_page("browse", run=SEED0, **address))
    assert listed(app) == expected(store, **address)
    assert f"{len(listed(app))} of {WIDTH} features" in text_of(app)


def test_the_addresses_of_these_tests_filter_something(store: Store) -> None:
    whole = expected(store)
    assert sum(expected(store, **address) != whole for address in ADDRESSES) >= 13


def test_the_step_ranks_anew_and_names_its_columns(open_page: Open, store: Store) -> None:
    late, early = (calm(open_page("browse", run=SEED0, step=s)) for s in (64, 4))
    assert listed(late) == expected(store)
    assert listed(early) == expected(store, k=2) != listed(late)
    assert {"contribution_at", "rate_at", "norm_at"} <= set(early.dataframe[0].value)
    assert "contribution at 4" in text_of(early)


def test_what_is_sorted_by_is_always_a_column(open_page: Open) -> None:
    for name in ("cusum_norm", "script_p", "norm_change"):
        assert name in calm(open_page("browse", run=SEED0, sort=name)).dataframe[0].value
    own = calm(open_page("browse", run=SEED0, sort="drift", columns="kind,n_tokens"))
    assert list(own.dataframe[0].value) == ["feature", "label", "drift", "kind", "n_tokens"]


def test_seeds_have_a_column_where_others_were_matched(open_page: Open) -> None:
    assert "seeds" in calm(open_page("browse", run=SEED0)).dataframe[0].value
    assert "seeds" not in calm(open_page("browse", run=PRISM)).dataframe[0].value


# --- chips and histograms ---------------------------------------------------------------------


def test_each_chip_takes_its_own_condition_away(open_page: Open) -> None:
    address = {
        "q": "e", "alive": "yes", "where": "norm_final:0.1..,max_rotation:..1.9;norm_final:0.1..,"
        "lifetime:0.1..", "shape": "0123", "lasso": "0.00,0.00;1.00,0.00;1.00,1.00;0.00,1.00",
    }
    app = calm(open_page("browse", run=SEED0, **address))
    shown = text_of(app)
    for words in ("search “e”", "alive", "final norm ≥ 0.1", "largest rotation ≤ 1.9",
                  "lifetime ≥ 10 %", "life like", "inside the lasso", " or ", "clear all"):
        assert words in shown
    *chips, clear = links(app, "atl-chips")
    left = [{k: c.get(k) for k in address if c.get(k) != address[k]} for c in chips]
    assert {"q": None} in left
    assert {"alive": None} in left
    assert {"shape": None} in left
    assert {"lasso": None} in left
    assert {"where": "max_rotation:..1.9;lifetime:0.1.."} in left
    assert {"where": "norm_final:0.1..;norm_final:0.1..,lifetime:0.1.."} in left
    assert len(left) == 7
    assert set(clear) == {"run", "step"}


def test_a_bar_keeps_its_bin_the_next_widens_and_a_click_within_lets_go(
    open_page: Open, store: Store
) -> None:
    app = calm(open_page("browse", run=SEED0, strips="norm_at"))
    bars = links(app, "atl-hists")
    assert len(bars) >= 3
    total = 0
    for bar in bars:
        kept = calm(open_page("browse", **bar))
        assert f"{len(listed(kept))} of {WIDTH} features" in text_of(kept)
        assert len(listed(kept)) >= 1
        total += len(listed(kept))
    assert total >= WIDTH
    one = calm(open_page("browse", **bars[0]))
    let_go, *_ = links(one, "atl-hists")
    assert "where" not in let_go
    low, _ = bars[0]["where"].split("..")
    _, high = bars[-1]["where"].split("..")
    assert links(one, "atl-hists")[-1]["where"] == f"{low}..{high}"


def test_births_are_a_histogram_that_sets_their_range(open_page: Open) -> None:
    app = calm(open_page("browse", run=SEED0, strips="birth_floor_step"))
    assert "births by step, deaths below" in text_of(app)
    ranges = [link["birth"] for link in links(app, "atl-hists")]
    assert set(ranges) <= {f"{s}-{s}" for s in STEPS}
    kept = calm(open_page("browse", run=SEED0, birth="4-4", strips="birth_floor_step"))
    assert all(link.get("birth") != "4-4" for link in links(kept, "atl-hists"))
    assert any(link.get("birth") in ("1-4", "4-16", "0-4", "4-64")
               for link in links(kept, "atl-hists"))
    assert "born at 4" in text_of(kept)


def test_names_add_up_and_take_the_quick_profile_with_them(open_page: Open) -> None:
    app = calm(open_page("browse", run=SEED0, strips="profile", profile="persistent"))
    wanted = [link.get("where") for link in links(app, "atl-hists")]
    assert all("profile" not in link for link in links(app, "atl-hists"))
    assert None in wanted
    assert any(w and w.startswith("profile:persistent+") for w in wanted)


def test_histograms_are_those_that_were_chosen(open_page: Open) -> None:
    app = calm(open_page("browse", run=SEED0, strips="lifetime,script"))
    assert fragments(app).count('class="atl-hist"') == 2
    app.multiselect(key="browse_strips").set_value(["nearest"]).run()
    assert asked(calm(app), "strips") == "nearest"


# --- the popovers -----------------------------------------------------------------------------


def test_a_condition_is_built_by_clicks(open_page: Open, store: Store) -> None:
    app = calm(open_page("browse", run=SEED0))
    app.selectbox(key="browse_measure").set_value("rate_at").run()
    app.text_input(key="browse_low").set_value("1 %")
    app.button(key="browse_add").click().run()
    assert asked(calm(app), "where") == "rate_at:0.01.."
    assert listed(app) == expected(store, where="rate_at:0.01..")
    app.selectbox(key="browse_measure").set_value("profile").run()
    app.multiselect(key="browse_names_profile").set_value(["persistent"])
    app.toggle(key="browse_not").set_value(True)
    app.button(key="browse_add").click().run()
    assert asked(calm(app), "where") == "rate_at:0.01..,!profile:persistent"
    app.selectbox(key="browse_measure").set_value("feature").run()
    app.text_input(key="browse_high").set_value("2")
    app.segmented_control(key="browse_join").set_value("or")
    app.button(key="browse_add").click().run()
    assert asked(calm(app), "where") == "rate_at:0.01..,!profile:persistent;feature:..2"
    assert "rate at the step ≥ 1 %" in text_of(app)


@pytest.mark.parametrize(("typed", "said"), [("abc", "is no number"), ("", "Type one end")])
def test_a_condition_that_is_none_is_said(open_page: Open, typed: str, said: str) -> None:
    app = calm(open_page("browse", run=SEED0))
    app.text_input(key="browse_low").set_value(typed)
    app.button(key="browse_add").click().run()
    assert said in text_of(calm(app))
    assert "where" not in app.query_params


def test_a_token_is_asked_for_by_clicks(open_page: Open, store: Store) -> None:
    app = calm(open_page("browse", run=SEED0))
    app.text_input(key="browse_token").set_value("the").run()
    app.segmented_control(key="browse_match").set_value("word").run()
    app.segmented_control(key="browse_by").set_value("promotes").run()
    app.toggle(key="browse_at").set_value(True).run()
    address = {"token_text": "the", "match": "word", "by": "promotes", "at": "step"}
    assert {name: asked(calm(app), name) for name in address} == address
    assert listed(app) == expected(store, **address)
    assert "promotes the word “the” at step 64" in text_of(app)


def test_shapes_are_links_and_a_drawn_one_is_shown(open_page: Open, store: Store) -> None:
    app = calm(open_page("browse", run=SEED0, sort="feature"))
    presets = links(app, "atl-shapes")
    assert len(presets) == 6
    assert all("sort" not in link for link in presets)
    found = calm(open_page("browse", **presets[0]))
    assert found.dataframe[0].value["distance"].is_monotonic_increasing
    assert "atl-curve" in fragments(found)
    app.number_input(key="browse_life").set_value(5).run()
    assert asked(calm(app), "shape") == "f5"
    assert listed(app)[0] == 5
    assert "life like feature 5’s" in text_of(app)


def test_features_like_one_are_beside_their_null(open_page: Open, store: Store) -> None:
    app = calm(open_page("browse", run=SEED0, like=3))
    assert app.dataframe[0].value["likeness"].is_monotonic_decreasing
    assert "are nearest to feature 3" in text_of(app)
    assert "Its null: the best of 23 random directions" in text_of(app)


def test_the_two_steps_of_a_change_are_chosen(open_page: Open) -> None:
    app = calm(open_page("browse", run=SEED0))
    app.selectbox(key="browse_from").set_value(1).run()
    app.selectbox(key="browse_to").set_value(16).run()
    assert asked(calm(app), "change") == "1-16"
    assert "norm, 1 → 16" in text_of(app)


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Where clicks lead: a test cannot switch pages before the router has run."""
    found: list[dict] = []
    monkeypatch.setattr(shared, "go", lambda page, view, **more: found.append(
        {"page": page, **{k: v for k, v in more.items() if v is not None}}))
    return found


def test_random_opens_one_of_the_list_and_keeps_it(open_page: Open, gone: list[dict]) -> None:
    app = calm(open_page("browse", run=SEED0, where="feature:2..5", sort="rate_final"))
    for _ in range(12):
        app.button(key="browse_random").click().run()
    calm(app)
    assert all(to["page"] == "feature" and to["where"] == "feature:2..5"
               and to["sort"] == "rate_final" for to in gone)
    assert 1 < len({to["feature"] for to in gone}) <= 4
    assert all(2 <= to["feature"] <= 5 for to in gone)


def test_the_list_can_be_taken_away(open_page: Open) -> None:
    app = calm(open_page("browse", run=SEED0, where="rate_final:0.01.."))
    code = " ".join(block.value for block in app.code)
    assert "browsing.all_rows" in code
    assert "rate_final >= 0.01" in code
    assert f"run={SEED0.replace('/', '%2F')}" in code


# --- the map ----------------------------------------------------------------------------------


def test_no_figure_is_drawn_until_the_map_is_opened(open_page: Open) -> None:
    app = calm(open_page("browse", run=SEED0))
    assert not app.get("plotly_chart")
    app.segmented_control(key="browse_view").set_value("map").run()
    assert asked(calm(app), "view") == "map"
    assert len(app.get("plotly_chart")) == 1
    assert f"All {WIDTH} features are drawn" in text_of(app)
    assert "only nearness means something" in text_of(app)


@pytest.mark.parametrize("colour", ["profile", "norm_change", "rate_at", "alive", "seeds"])
def test_the_map_takes_any_colour(open_page: Open, colour: str) -> None:
    app = calm(open_page("browse", run=SEED0, view="map", colour=colour))
    assert len(app.get("plotly_chart")) == 1
    assert "atl-scale" in fragments(app)


def test_the_map_is_a_table_for_those_who_ask(open_page: Open) -> None:
    app = calm(open_page("browse", run=SEED0, view="map", charts="tables"))
    assert not app.get("plotly_chart")
    assert "strongest firing tokens" in text_of(app)


def test_the_lasso_narrows_table_and_histograms(open_page: Open, store: Store) -> None:
    lasso = "0.00,0.00;1.00,0.00;1.00,0.55;0.00,0.55"
    app = calm(open_page("browse", run=SEED0, view="map", lasso=lasso))
    kept = listed(app)
    assert 0 < len(kept) < WIDTH
    assert kept == expected(store, lasso=lasso)
    assert "atl-hists all" not in fragments(app)
    assert any("lasso" not in link for link in links(app, "atl-chips"))


# --- bad addresses, one snapshot, nothing there ------------------------------------------------


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({"view": "globe"}, "There is no view “globe”"),
        ({"view": "map", "colour": "beauty"}, "There is no “beauty” to colour the map by"),
        ({"columns": "label,beauty"}, "There is no column “label”"),
        ({"strips": "beauty"}, "There is no histogram “beauty”"),
        ({"where": "beauty:1.."}, "no measure"),
        ({"where": "norm_final:high.."}, "is no number"),
        ({"lasso": "1,2;3"}, "is no lasso"),
        ({"shape": "up"}, "is no shape"),
        ({"like": "999"}, "is no feature to find others like"),
        ({"change": "5-6"}, "is no pair of steps"),
        ({"match": "fuzzy"}, "There is no “match=fuzzy”"),
        ({"page": "99"}, "24 of 24"),
    ],
    ids=str,
)
def test_what_is_not_valid_is_said_and_the_list_still_stands(
    open_page: Open, address: dict[str, str], said: str
) -> None:
    app = calm(open_page("browse", run=SEED0, **address))
    assert said in text_of(app)
    assert len(listed(app)) == WIDTH


NAMES = ("q", "token_text", "match", "case", "by", "at", "where", "like", "shape", "change",
         "lasso", "view", "colour", "columns", "strips", "page", "sort", "order")


@pytest.mark.parametrize(
    "value",
    ["'; DROP TABLE run; --", "<img src=x onerror=alert(1)>", "\u202e\x00\x07", "%{x}{}$k",
     "9" * 400, "=HYPERLINK(1)", "NaN..inf", ";;,,!:+", "(.*)+$"],
    ids=ascii,
)
def test_nonsense_everywhere_is_calm(open_page: Open, value: str) -> None:
    for view in ("table", "map"):
        app = calm(open_page("browse", run=SEED0, **dict.fromkeys(NAMES, value) | {"view": view}))
        body = fragments(app)
        assert "<img" not in body
        assert "Traceback" not in text_of(app)
        assert f"of {WIDTH} features" in text_of(app)


def test_a_run_of_one_snapshot_has_no_time(open_page: Open) -> None:
    app = calm(open_page("browse", run=PRISM))
    columns = set(app.dataframe[0].value)
    assert not columns & {"birth_floor_step", "profile", "norm", "max_rotation", "contribution_at"}
    assert "births by step" not in text_of(app)
    assert links(app, "atl-hists")
    assert "atl-shapes" not in fragments(app)
    said = text_of(calm(open_page("browse", run=PRISM, shape="0123", sort="norm_change")))
    assert "A shape needs several snapshots" in said
    assert "one snapshot" in said
    assert len(calm(open_page("browse", run=PRISM, view="map")).get("plotly_chart")) == 1


def test_nothing_that_passes_says_what_to_do(open_page: Open) -> None:
    for view in ("table", "map"):
        app = calm(open_page("browse", run=SEED0, q="no such label", view=view))
        assert "No feature passes these filters" in text_of(app)
        assert "clear all" in text_of(app)
        assert not app.dataframe


def test_pages_of_the_table(open_page: Open, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    from pages import browse_table

    monkeypatch.setattr(browse_table, "ROWS", 10)
    whole = expected(store, sort="feature")
    app = calm(open_page("browse", run=SEED0, sort="feature", page=2))
    shown = listed(app)
    assert shown == whole[10:20]
    assert listed(calm(open_page("browse", run=SEED0, sort="feature", page=9))) == whole[:10]


@pytest.mark.parametrize("number", ["abc", "-1", "0", "99", "1_0", "٢"])
def test_a_page_that_there_is_not_is_said_and_leaves_the_address(
    open_page: Open, number: str
) -> None:
    app = calm(open_page("browse", run=SEED0, page=number))
    assert f"There is no page “{number}”: this list has one page" in text_of(app)
    assert "page" not in app.query_params


def test_the_first_page_may_be_named(open_page: Open) -> None:
    assert "There is no page" not in text_of(calm(open_page("browse", run=SEED0, page="1")))


def test_what_is_cut_is_said(open_page: Open, store: Store) -> None:
    names = [m for m in MEASURES if m != "feature"]
    app = calm(open_page("browse", run=SEED0, strips=",".join(names[:9]),
                         columns=",".join(names[:40])))
    assert "More than 8 histograms; the first 8 are shown." in text_of(app)
    assert "More than 30 columns; the first 30 are shown." in text_of(app)
    far = ",".join(["nothing"] * 200) + ",drift"
    assert "drift" in calm(open_page("browse", run=SEED0, columns=far)).dataframe[0].value
    said = text_of(calm(open_page("browse", run=SEED0, where="kind:doesnotexist")))
    assert "No feature of this run has the kind “doesnotexist”; there are" in said


def test_a_bar_counts_what_its_click_lists(open_page: Open, store: Store) -> None:
    app = calm(open_page("browse", run=SEED0, strips="kind_share"))
    body = next(e.proto.body for e in app.get("html") if 'class="atl-hists' in e.proto.body)
    counts = [int(n) for n in re.findall(r'<a[^>]* title="[^"]*: (\d+)"', body)]
    bars = links(app, "atl-hists")
    assert len(counts) == len(bars) > 2
    for count, bar in zip(counts, bars, strict=True):
        assert len(expected(store, where=bar["where"])) == count


def test_neighbours_keep_their_null_in_any_order(open_page: Open) -> None:
    said = text_of(calm(open_page("browse", run=SEED0, like=3, sort="drift")))
    assert "are nearest to feature 3. Its null: the best of 23 random directions" in said


def test_a_shape_says_how_near_half_of_all_lives_are(open_page: Open, store: Store) -> None:
    half = browsing.usual_distance(store, SEED0, len(STEPS) - 1, "0019")
    said = text_of(calm(open_page("browse", run=SEED0, shape="0019", where="feature:..3")))
    assert f"half of all 24 features are within {half:.3f}" in said
    assert "half of all" not in text_of(calm(open_page("browse", run=SEED0)))


@pytest.mark.parametrize(("address", "column"), [
    ({"columns": "nearest"}, "nearest"), ({"columns": "match_cosine"}, "match_cosine"),
    ({"like": "3"}, "likeness"),
])
def test_columns_of_cosines_say_what_chance_gives(
    open_page: Open, address: dict[str, str], column: str
) -> None:
    app = calm(open_page("browse", run=SEED0, **address))
    told = json.loads(app.dataframe[0].proto.columns)[column]["help"]
    assert re.search(r"By chance: the best of 2[34] random directions .*a cosine of 0\.\d\d", told)


def test_dead_features_have_no_change_in_the_table(open_page: Open) -> None:
    app = calm(open_page("browse", run=SEED0, columns="change_step,change_p,alive"))
    shown = app.dataframe[0].value
    assert not shown["alive"].all()
    assert shown.loc[~shown["alive"], ["change_step", "change_p"]].isna().all(axis=None)
