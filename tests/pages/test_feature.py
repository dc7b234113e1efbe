"""The page of a feature: what it shows, what it says where something is missing, where it leads."""

import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from atlas.chance import chance_cosine
from atlas.records import (
    ActivationHistogram,
    FeatureCard,
    NeighbourList,
    TokenList,
    Window,
)
from atlas.store import Store
from pages import answers, feature_life, feature_tokens, trust
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import DEAD, PRISM, SEED0, SEED1, SMALL, STEPS, WIDTH, D

__all__ = ["open_page"]  # the fixture, found by its name


def html_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


def listed(app: AppTest) -> list[int]:
    """Features of the page's list of neighbours."""
    near = next(e.proto.body for e in app.get("html") if 'class="atl-near"' in e.proto.body)
    return [int(found.replace(",", "")) for found in re.findall(r">#([\d,]+)</a></b>", near)]


# --- its parts ----------------------------------------------------------------------------------


def test_a_feature_page_shows_its_parts(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=0, step=16))
    shown = text_of(app)
    for part in ("Life of the feature.", "Neighbours", "Its directions, snapshot by snapshot",
                 "Top tokens through training", "Firing tokens", "Promoted tokens",
                 "Suppressed tokens", "In other runs", "How far to trust this.", "its null",
                 "duplicates", "explained", "its data", "× its share of the vocabulary",
                 "correction for the number of scripts"):
        assert part in shown, part
    assert f"{chance_cosine(WIDTH - 1, D):.2f}" in shown
    code = " ".join(block.value for block in app.code)
    assert "feature=0" in code
    assert f"store.feature('{SEED0}', 0)" in code
    assert "ATTACH" in code


def test_it_draws_three_figures_at_most(open_page: Open) -> None:
    assert len(calm(open_page("feature", run=SEED0, feature=0)).get("plotly_chart")) == 3
    assert not calm(open_page("feature", run=PRISM, feature=0)).get("plotly_chart")


def test_labels_stand_under_the_name_with_their_p(open_page: Open, tiny_store: Path) -> None:
    info = Store.open(tiny_store).feature(SEED0, 0).info
    head = text_of(calm(open_page("feature", run=SEED0, feature=0))).split("previous")[0]
    assert info.kind in head
    assert f"{info.script_share:.0%}" in head
    assert "p = " in head


def test_tokens_through_training_as_strands_or_as_a_table(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=0))
    assert "tokens" not in app.query_params
    assert "<table class=\"atl-heat\"" not in html_of(app)
    app.segmented_control(key="feature_tokens").set_value("table").run()
    assert asked(calm(app), "tokens") == "table"
    assert "<table class=\"atl-heat\"" in html_of(app)
    assert "In the rows as they are it reaches" in text_of(app)
    app.segmented_control(key="feature_tokens").set_value("flow").run()
    assert "tokens" not in calm(app).query_params


def test_a_run_of_one_snapshot_has_no_life_and_says_so(open_page: Open) -> None:
    shown = text_of(calm(open_page("feature", run=PRISM, feature=0, over="1,2", tokens="table")))
    assert "one snapshot has no life to draw" in shown
    assert "Life of the feature." not in shown
    assert "Promoted tokens" in shown
    assert "Neighbours" in shown


# --- what is missing ----------------------------------------------------------------------------


def test_a_feature_without_firing_tokens_says_why(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = text_of(calm(open_page("feature", run=SEED0, feature=DEAD)))
    assert "None: the feature is dead." in dead
    assert "dead: it fires on at most one in a million (row, snapshot) pairs" in dead
    real = answers.feature_card

    def unlisted(*asked: object) -> FeatureCard:
        none = TokenList(np.zeros(0, np.int32), np.zeros(0, np.float32), ())
        return replace(real(*asked), firing=none)

    monkeypatch.setattr(answers, "feature_card", unlisted)
    shown = text_of(calm(open_page("feature", run=SEED0, feature=0)))
    assert ("It fires only on rows without a token, or on tokens too rare to have been trained "
            "on.") in shown
    assert "dead" not in shown.split("Firing tokens")[1].split("Suppressed tokens")[0]


def test_each_missing_part_says_its_reason_in_place_and_in_the_panel(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = NeighbourList(np.zeros(0, np.int32), np.zeros(0, np.float32), (), ())
    monkeypatch.setattr(answers, "similarity", lambda *asked: None)
    monkeypatch.setattr(answers, "neighbours_at", lambda *asked: none)
    feature_card = answers.feature_card
    monkeypatch.setattr(
        answers, "feature_card", lambda *asked: replace(feature_card(*asked), activations=None)
    )
    app = calm(open_page("feature", run=SEED0, feature=0, step=16))
    shown = text_of(app)
    assert "Those of this step are not available: the store was built without them." in shown
    assert len(listed(app)) > 1  # those of the last snapshot stand in
    panel = shown.split("How far to trust this.")[1]
    for section in ("neighbours at the step", "directions", "the spread of its activations"):
        assert section in panel, section
    assert f"readout-atlas build {SEED0} --force" in panel


def test_nothing_missing_is_said_too(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.feature_examples.draw", lambda *asked: "")
    monkeypatch.setattr("pages.feature_near.draw_matches", lambda *asked: "")
    shown = text_of(calm(open_page("feature", run=SEED0, feature=0)))
    assert "every section of this page has its data" in shown


def test_a_spread_of_activations_is_drawn_with_the_bar_of_the_step(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, tiny_store: Path
) -> None:
    card = Store.open(tiny_store).feature(SEED0, 0)
    least = card.info.threshold / card.norm[STEPS.index(16)]
    edges = np.linspace(least / 2, 3 * least, 25)
    spread = ActivationHistogram(np.arange(24), edges)
    monkeypatch.setattr(answers, "feature_card", lambda *asked: replace(card, activations=spread))
    app = calm(open_page("feature", run=SEED0, feature=0, step=16))
    assert f"fires above {least:.2f}" in text_of(app)
    drawn = re.search(r'<div class="atl-spread">.*?</div>', html_of(app))
    assert drawn is not None
    below = int((edges[1:] <= least).sum())
    assert drawn.group().count('class="off"') == below > 0


# --- neighbours, other lives --------------------------------------------------------------------


def test_neighbours_are_those_of_the_step(open_page: Open, tiny_store: Path) -> None:
    from atlas.detail import neighbours_at

    store = Store.open(tiny_store)
    found = neighbours_at(store, SEED0, 0, STEPS.index(4)).features.tolist()
    assert found
    app = calm(open_page("feature", run=SEED0, feature=0, step=4))
    assert listed(app) == found[:10]
    assert "at step 4, by cosine" in text_of(app)


def test_other_lives_are_drawn_over_this_one(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=0, over="3,5"))
    spec = app.get("plotly_chart")[0].proto.spec
    assert '"#3"' in spec
    assert '"#5"' in spec
    app.text_input(key="feature_over").set_value("#7; 2").run()
    assert asked(calm(app), "over") == "7,2"
    app.button(key="feature_over_none").click().run()
    assert "over" not in calm(app).query_params


@pytest.mark.parametrize(
    ("over", "said"),
    [("3,x", "is no feature to draw beside this one"), ("99999", "is no feature to draw"),
     ("1,2,3,4,5,6", "Only 4 other features"), ("-1", "is no feature"), (",", "is no feature"),
     ("<b>", "is no feature"), ("1" * 300, "is no feature"),
     ("x,y,1", "and 1 more are no features"), ("0,3", "Feature 0 is the one shown"),
     ("1,2,3,4,5", "#1, #2, #3, #4, the first of the 5 asked for")],
)
def test_odd_other_lives_get_a_sentence(open_page: Open, over: str, said: str) -> None:
    app = calm(open_page("feature", run=SEED0, feature=0, over=over))
    assert said in text_of(app)
    assert len(app.get("plotly_chart")) == 3


def test_a_long_list_of_other_lives_is_read_whole(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=0, over=",".join(["3", "5"] * 80)))
    assert "no feature" not in text_of(app)
    spec = app.get("plotly_chart")[0].proto.spec
    assert '"#3"' in spec
    assert '"#5"' in spec


@pytest.mark.parametrize("feature", ["abc", "99999"])
def test_what_is_no_feature_offers_the_strongest(open_page: Open, feature: str) -> None:
    app = calm(open_page("feature", run=SEED0, feature=feature))
    app.button(key="feature_reset").click().run()
    assert "Life of the feature." in text_of(calm(app))


def test_names_keep_their_letters_at_the_head_of_a_sentence(open_page: Open) -> None:
    shown = text_of(calm(open_page("token", run=SEED0, token=10_000)))
    assert "tiny-large has no token" in shown
    assert "Tiny-large" not in shown
    shown = text_of(calm(open_page("feature", run=SEED0, feature=10_000)))
    assert "Run tiny/large" in shown


def test_the_columns_say_which_rows_they_count() -> None:
    run = SimpleNamespace(cut="")
    assert feature_tokens.counted(7, 7, run) == "The columns count all 7 rows."
    assert "count 5 of these rows: those" in feature_tokens.counted(5, 7, run)


def test_the_strongest_single_split_is_named_beside_the_changes(tiny_store: Path) -> None:
    card = Store.open(tiny_store).feature(SEED0, 0)
    card = replace(card, steps=tuple(range(12)), info=replace(
        card.info, change_step=512, change_low_step=256, change_high_step=1024, change_p=0.004
    ))
    said = feature_life.about_changes(card, 2)
    assert "2 changes of the norm's level" in said
    assert "strongest single split, the one that Browse lists, is at step 512 " in said
    assert "256 to 1,024, p = 0.004" in said
    unlisted = replace(card, info=replace(card.info, change_step=None))
    assert "single split is not available, because" in feature_life.about_changes(unlisted, 2)
    dead = replace(card, info=replace(card.info, alive=False))
    assert feature_life.about_changes(dead, 0) == ""


def test_the_window_has_its_end_and_the_interval_of_its_place() -> None:
    found = Window(512, 1621.3, 0.8, 3.2, 0.01, 0.04, 911.2, 700.4, 1200.0)
    said = feature_life.about_window(SimpleNamespace(window=found))
    assert "steps 512 to 1,621" in said
    assert "between 700 and 1,200" in said
    unknown = replace(found, center_low=math.nan)
    assert "not available" in feature_life.about_window(SimpleNamespace(window=unknown))


def test_a_label_that_is_missing_has_a_reason_of_its_own(tiny_store: Path) -> None:
    info = Store.open(tiny_store).feature(SEED0, 0).info
    none = replace(info, alive=True, script=None, script_coverage=0.0, supersense=None,
                   supersense_coverage=0.0)
    said = dict(trust._labels(none))
    assert "WordNet" in said["supersense"]
    assert "WordNet" not in said["script"]


def test_an_odd_way_to_show_tokens_gets_a_sentence(open_page: Open) -> None:
    shown = text_of(calm(open_page("feature", run=SEED0, feature=0, tokens="cloud")))
    assert "Tokens cannot be shown as “cloud”" in shown


# --- the list it is in --------------------------------------------------------------------------


def order_of(app: AppTest, upto: int = WIDTH) -> list[int]:
    """Features in the order that `next` goes through them, from the one shown."""
    found = [int(asked(app, "feature"))]
    for _ in range(upto - 1):
        if app.button(key="feature_after").disabled:
            break
        app.button(key="feature_after").click().run()
        found.append(int(asked(calm(app), "feature")))
    return found


def test_the_next_feature_is_the_next_of_browse(open_page: Open, tiny_store: Path) -> None:
    from atlas import browsing

    store = Store.open(tiny_store)
    wish, _ = browsing.read_wish({}, store.run(SEED0))
    rows = browsing.page(store, SEED0, len(STEPS) - 1, wish, 100, 0).rows
    order = rows["feature"].tolist()
    app = calm(open_page("feature", run=SEED0, feature=order[1]))
    assert f"2 of {WIDTH}, by contribution" in text_of(app)
    app.button(key="feature_after").click().run()
    assert asked(calm(app), "feature") == str(order[2])
    app.button(key="feature_before").click().run().button(key="feature_before").click().run()
    assert asked(calm(app), "feature") == str(order[0])
    assert app.button(key="feature_before").disabled


def test_next_stays_within_the_list_of_the_address(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=2, where="feature:2..5", sort="feature",
                         order="up"))
    assert "1 of 4 in this list" in text_of(app)
    assert order_of(app) == [2, 3, 4, 5]
    assert asked(app, "where") == "feature:2..5"
    assert app.button(key="feature_after").disabled
    app.button(key="feature_leave").click().run()
    assert "where" not in calm(app).query_params
    assert f"of {WIDTH}, by" in text_of(app)


def test_the_list_is_one_click_away(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = calm(open_page("feature", run=SEED0, feature=2, where="feature:2..5", alive="yes"))
    gone = []
    monkeypatch.setattr("pages.shared.go", lambda page, view, **asked: gone.append((page, asked)))
    app = app.run()
    app.button(key="feature_list").click().run()
    ((page, found),) = gone
    assert page == "browse"
    assert {n: v for n, v in found.items() if v is not None} == {
        "where": "feature:2..5", "alive": "yes"
    }
    assert "sort" in found  # what the list did not ask for is taken away


def test_a_feature_outside_the_list_is_said_to_be(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=9, where="feature:2..5"))
    assert "not among the 4 of this list" in text_of(app)
    assert app.button(key="feature_after").disabled


def test_a_broken_list_is_told_and_the_page_stands(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=0, where="nonsense", sort="'; DROP"))
    assert "Life of the feature." in text_of(app)
    assert "nonsense" in text_of(app)


# --- matches ------------------------------------------------------------------------------------


def test_without_matches_the_command_is_named(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "matches", lambda *asked: ())
    monkeypatch.setattr(answers, "matched_runs", lambda *asked: [])
    shown = text_of(calm(open_page("feature", run=SMALL, feature=0)))
    assert "no other run of this store has been matched with it" in shown
    assert "readout-atlas match RUN RUN" in shown


def test_matches_are_those_of_the_store(open_page: Open, tiny_store: Path) -> None:
    from atlas.matches import matches_of

    (match,) = matches_of(Store.open(tiny_store), SEED0, 0)
    app = calm(open_page("feature", run=SEED0, feature=0))
    row = text_of(app).split("In other runs")[-1]
    assert f"#{match.partner}" in row
    assert f"{match.score:.2f}" in row
    assert f"run={SEED1.replace('/', '%2F')}" in html_of(app)


def test_another_scale_is_matched_by_tokens(open_page: Open, tiny_store: Path) -> None:
    from atlas.matches import matches_of

    found = matches_of(Store.open(tiny_store), SMALL, 0, ("tokens",))
    match = next(m for m in found if m.other == SEED0)
    row = text_of(calm(open_page("feature", run=SMALL, feature=0))).split("In other runs")[-1]
    assert f"weighted Jaccard {match.score:.2f}" in row
    assert "tokens exchanged at random" in row


def test_the_badge_of_the_seeds_stands_on_top(open_page: Open) -> None:
    html = html_of(calm(open_page("feature", run=SEED0, feature=0)))
    assert 'class="atl-seeds"' in html
    assert "1 of 1" in html
    shown = html_of(calm(open_page("feature", run=SMALL, feature=0)))
    assert 'class="atl-seeds"' not in shown


def test_matches_lead_to_the_other_run(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from atlas.matches import MatchInfo

    match = MatchInfo(SEED1, 7, 0.93, 0.4, True, 1.0, "<b>x</b>")
    monkeypatch.setattr(answers, "matches", lambda *asked: (match,))
    app = calm(open_page("feature", run=SEED0, feature=0, step=16))
    html = html_of(app)
    assert f"run={SEED1.replace('/', '%2F')}&amp;step=16&amp;feature=7" in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert "none reaches it" in text_of(app)
    assert "each is the other" in text_of(app)
