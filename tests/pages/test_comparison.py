"""Seeds & scales: the runs of the address, the scales beside each other, concepts, bad input."""

import html
import re
import shutil
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from streamlit.testing.v1 import AppTest

from atlas import comparing, crystallise_store
from atlas.places import STORE_VARIABLE
from atlas.store import Store
from pages import answers_comparison
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import EMBEDDING, PRISM, RUNS, SEED0, SEED1, SMALL, STEPS, tiny_store

__all__ = ["open_page"]  # the fixture, found by its name


def scales(open_page: Open, **address: object) -> AppTest:
    return calm(open_page("comparison", view="scales", run=SEED0, **address))


def charts(app: AppTest) -> int:
    return len(app.get("plotly_chart"))


@pytest.mark.parametrize("view", ["seeds", "scales", "instruments"])
@pytest.mark.parametrize("run", RUNS)
def test_every_view_opens_on_every_run(open_page: Open, view: str, run: str) -> None:
    app = calm(open_page("comparison", view=view, run=run))
    assert asked(app, "run") == run
    assert app.segmented_control(key="comparison_view").value == view


def test_the_first_view_is_of_seeds_and_an_unknown_one_is_said(open_page: Open) -> None:
    app = calm(open_page("comparison", run=SEED0))
    assert "How well features are found again." in text_of(app)
    assert "view" not in app.query_params
    assert "“moon” is no view of this page" in text_of(
        calm(open_page("comparison", run=SEED0, view="moon")))


def test_sizes_stand_side_by_side_with_their_nulls(open_page: Open) -> None:
    app = scales(open_page)
    shown = " ".join(text_of(app).split())
    assert app.multiselect(key="comparison_runs").value == [SEED0, SMALL]
    for part in ("Births, and when each run reorganises.", "Dotted, the null", "200 circular "
                 "shifts", "The runs over each other.", "0 is the mean row", "Profiles.",
                 "the null: the same features with their snapshots shuffled", "What features are "
                 "of.", "the label’s share of the vocabulary", "When does a concept crystallise?",
                 "tiny-small against tiny-large", "null, features dealt out among the two"):
        assert part in shown, part
    assert charts(app) == 4
    code = " ".join(block.value for block in app.code)
    assert f"[store.run(run) for run in ['{SEED0}', '{SMALL}']]" in code


def test_the_choice_of_runs_writes_the_address(open_page: Open) -> None:
    app = scales(open_page)
    app.multiselect(key="comparison_runs").set_value([SEED0, SEED1, EMBEDDING]).run()
    assert asked(calm(app), "runs") == f"{SEED0},{SEED1},{EMBEDDING}"
    shown = text_of(app)
    assert "W_E explain other rows" in shown
    assert "tiny-large · seed 1 against tiny-large · seed 0" in shown
    app.multiselect(key="comparison_runs").set_value([SEED0, SMALL]).run()
    assert "runs" not in calm(app).query_params
    app.segmented_control(key="comparison_axis").set_value("tau").run()
    assert asked(calm(app), "axis") == "tau"
    app.segmented_control(key="scales_births").set_value("floor").run()
    assert asked(calm(app), "births") == "floor"
    assert "with the noise floor off no null is drawn, because" in text_of(app).lower()
    app.segmented_control(key="scales_labels").set_value("script").run()
    assert asked(calm(app), "labels") == "script"


@pytest.mark.parametrize(("name", "value", "said"), [
    ("runs", f"{SEED0},nowhere", "There is no run “nowhere” in this store"),
    ("runs", "nowhere", "There is no run “nowhere”"),
    ("runs", f"{SEED0},{SEED0}", "A run beside itself"),
    ("runs", "<b>x</b>", "There is no run “"),
    ("axis", "moon", "“moon” is no axis of training"),
    ("births", "moon", "Births cannot be read by “moon”"),
    ("labels", "moon", "Features have no labels by “moon”"),
    ("figures", "gif", "Figures cannot be taken as “gif”"),
    ("concept", "moon", "names no set of tokens"),
    ("concept", "script:Klingon", "no token of tiny-large is of script Klingon"),
    ("words", "zzzz, qqqq", "a set has 2 at least"),
])
def test_what_is_not_valid_is_said(open_page: Open, name: str, value: str, said: str) -> None:
    app = scales(open_page, **{name: value})
    assert said.lower() in html.unescape(text_of(app)).lower()
    assert charts(app) >= 4


def test_one_run_alone(open_page: Open) -> None:
    app = scales(open_page, runs=SEED0)
    assert "One run alone is drawn" in text_of(app)
    assert "against" not in text_of(app).split("What features are of")[0].split("Profiles")[0]
    assert charts(app) == 4


def test_a_run_of_one_snapshot_says_what_it_has_not(open_page: Open) -> None:
    app = scales(open_page, runs=f"{SEED0},{PRISM}")
    assert "EV and L0 are not drawn, because a prism explains unit rows" in " ".join(
        text_of(app).split())
    figure = app.get("plotly_chart")[0].proto.spec
    assert "not available, because it has one snapshot, of a prism" in figure
    alone = scales(open_page, runs=PRISM)
    assert "Profiles." not in text_of(alone)
    assert charts(alone) == 3


def test_different_snapshots_are_compared_only_where_it_means_something(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "one_schedule", lambda cards: False)
    monkeypatch.setattr(answers_comparison.scales, "lead", lambda *of: None)
    answers_comparison.leads.clear()
    shown = text_of(scales(open_page))
    answers_comparison.leads.clear()
    assert "no p is given" in shown
    assert ("Whether features of tiny-small are born later than those of tiny-large is not said, "
            "because their snapshots differ") in " ".join(shown.split())


def test_other_vocabularies_are_refused_with_the_reason(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "vocabulary_of", lambda store, card: card.model)
    answers_comparison.other_vocabularies.clear()
    app = scales(open_page, concept="family:digit-bearing")
    shown = " ".join(text_of(app).split())
    assert "Shares per label are not compared, because the runs are over 2 vocabularies" in shown
    assert "have the same bytes in all of them and are asked for" in shown
    monkeypatch.setattr(
        crystallise_store, "common_tokens",
        lambda store, cards, concept: (
            {card.run: crystallise_store.ids(()) for card in cards}, 9))
    answers_comparison.common_tokens.clear()
    shown = " ".join(text_of(scales(open_page, concept="family:digit-bearing")).split())
    answers_comparison.common_tokens.clear()
    answers_comparison.other_vocabularies.clear()
    assert "cannot be asked of these runs, because the runs are over 2 vocabularies" in shown


def test_a_concept_is_asked_of_every_run(open_page: Open, tiny_store: Path) -> None:
    app = scales(open_page, concept="family:space-prefixed")
    assert charts(app) == 5
    shown = " ".join(text_of(app).split())
    assert "Family space-prefixed." in shown
    assert "199 random sets of as many tokens" in shown
    store = Store.open(tiny_store)
    concept = crystallise_store.read_concept(None, "family:space-prefixed")
    cards = [store.run(SEED0), store.run(SMALL)]
    tokens, _ = crystallise_store.common_tokens(store, cards, concept)
    body = html.unescape(" ".join(e.proto.body for e in app.get("html")))
    links = [dict(parse_qsl(found)) for found in re.findall(r'href="feature\?([^"]*)"', body)]
    for card in cards:
        found = crystallise_store.crystal(store, card, tokens[card.run]).found.features
        wanted = [str(f) for f in found[:crystallise_store.SHOWN].tolist()]
        assert [x["feature"] for x in links if x["run"] == card.run] == wanted
    assert all(int(link["step"]) == STEPS[-1] for link in links)
    code = " ".join(block.value for block in app.code)
    assert "read_concept(None, 'family:space-prefixed')" in code


def test_typed_words_and_sets_write_the_address(open_page: Open) -> None:
    app = scales(open_page, concept="family:digit-bearing")
    app.text_input(key="concept_words").set_value("the, and, water").run()
    assert asked(calm(app), "words") == "the, and, water"
    assert "concept" not in app.query_params
    assert "“the”, “and”, “water”." in text_of(app)
    app.selectbox(key="concept_named").set_value("script:ASCII").run()
    assert asked(calm(app), "concept") == "script:ASCII"
    assert "words" not in app.query_params


def test_words_are_never_markup(open_page: Open) -> None:
    app = scales(open_page, words="<b>the</b>, <script>")
    assert "<script>" not in " ".join(e.proto.body for e in app.get("html"))


def test_reading_and_writing_are_linked(open_page: Open) -> None:
    body = html.unescape(" ".join(
        e.proto.body for e in scales(open_page).get("html")))
    links = [dict(parse_qsl(found)) for found in re.findall(r'href="(?:comparison|reorganisation)'
                                                            r'\?([^"]*)"', body)]
    assert {"runs": f"{SEED0},{EMBEDDING}"}.items() <= next(
        x for x in links if "runs" in x).items()
    words = next(x for x in links if x.get("view") == "words")
    assert words["partner"] == EMBEDDING
    assert "This page does not read" not in text_of(calm(open_page("reorganisation", **words)))


def test_figures_as_tables_and_as_files(open_page: Open) -> None:
    app = scales(open_page, charts="tables", concept="family:space-prefixed")
    assert charts(app) == 0
    body = " ".join(e.proto.body for e in app.get("html"))
    assert body.count('class="atl atl-instead"') == 6
    app = scales(open_page, figures="svg")
    said = "".join(str(e.proto.SerializeToString()) for e in app.get("plotly_chart"))
    assert said.count("toImage") >= charts(app) == 4
    hashes = {card.run: card.hash[:12] for card in app_store().runs()}
    for run in (SEED0, SMALL):
        assert hashes[run] in said
    labels = [e.proto.label for e in app.get("download_button")]
    assert labels == ["births and quality", "windows", "profiles", "labels"]


def app_store() -> Store:
    from pages.shared import store

    return store()


def test_a_store_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from atlas.places import APP

    folder = tiny_store(tmp_path / "one", runs=(SEED0,))
    monkeypatch.setenv(STORE_VARIABLE, str(folder))
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    app.switch_page("comparison.py")
    for name in list(app.query_params):
        del app.query_params[name]
    app.query_params["view"] = "scales"
    calm(app.run())
    assert "because the store holds no other run" in text_of(app)
    assert charts(app) == 4
    shutil.rmtree(folder)
