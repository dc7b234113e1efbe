"""The view of the population: what it shows, where it leads, what it says of what is missing."""

import html
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from atlas import population_store
from atlas.browsing import read_wish
from atlas.store import Store
from pages import answers_population, exporting
from tests.pages.test_pages import FILES, Open, asked, calm, open_page, text_of
from tests.tiny import PRISM, SEED0, STEPS

__all__ = ["open_page"]  # the fixture, found by its name
PAGE = "reorganisation"
FIGURES = ("births", "lives", "profiles", "standing")


@pytest.fixture(autouse=True)
def _has_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, PAGE, "reorganisation.py")


def html_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


def links_of(app: AppTest) -> list[dict[str, str]]:
    """Parameters of every link of the figures."""
    figures = " ".join(re.findall(r'<div class="atl-fig".*', html_of(app)))
    return [dict(parse_qsl(html.unescape(found).removeprefix("./?")))
            for found in re.findall(r'href="(\./\?[^"]*)"', figures)]


def test_it_shows_every_part_with_its_null(open_page: Open) -> None:
    app = calm(open_page(PAGE, run=SEED0))
    shown = " ".join(text_of(app).split())
    for part in ("Births, peaks and deaths by step.", "births survive", "never stand above the "
                 "floor", "All lives.", "Profiles", "snapshots shuffled", "Standing", "Survival:",
                 "Kaplan-Meier", "Greenwood", "Rates by rank", "if all fired alike",
                 "Norm and rate of live features:", "Rotation spectrum.", "two random directions",
                 "Mean cosine of the directions"):
        assert part in shown, part
    assert shown.count("null") >= 7
    assert len(app.get("plotly_chart")) == 5
    code = " ".join(block.value for block in app.code)
    assert "population.population_table(store, run)" in code


def test_the_numbers_of_the_caption_are_those_of_the_store(
    open_page: Open, tiny_store: Path
) -> None:
    found = population_store.corrected(Store.open(tiny_store), SEED0)
    shown = text_of(calm(open_page(PAGE, run=SEED0)))
    assert f"{found.born} features that fire are born, {found.first} of them" in shown
    assert f"{found.surviving} births survive, {found.kept} at the same step" in shown
    assert (f"{found.first_kept} stay there, {found.first_later} come later and "
            f"{found.first_never} never stand above the floor") in shown


@pytest.mark.parametrize("births", ["norms", "floor", "rates", "any", "thousandth"])
@pytest.mark.parametrize("lives", ["birth", "peak", "change"])
def test_every_link_is_a_list_that_browse_understands(
    open_page: Open, tiny_store: Path, births: str, lives: str
) -> None:
    app = calm(open_page(PAGE, run=SEED0, births=births, lives=lives))
    card = Store.open(tiny_store).run(SEED0)
    links = links_of(app)
    assert len(links) > 10
    for link in links:
        assert link["run"] == SEED0
        assert link["alive"] == "yes"
        wish, problems = read_wish(link, card)
        assert not problems, link
        assert wish.where or wish.profile or wish.sort == "norm_change"


def test_a_bar_opens_browse_with_its_condition(open_page: Open) -> None:
    link = next(x for x in links_of(calm(open_page(PAGE, run=SEED0)))
                if x.get("where", "").startswith("birth_step"))
    app = calm(open_page("browse", **link))
    assert asked(app, "where") == link["where"]
    assert re.search(r"born|birth", text_of(app))


def test_controls_write_the_address_in_one_run(open_page: Open) -> None:
    app = calm(open_page(PAGE, run=SEED0))
    app.segmented_control(key="population_births").set_value("rates").run()
    assert asked(calm(app), "births") == "rates"
    app.segmented_control(key="population_lives").set_value("change").run()
    assert asked(calm(app), "lives") == "change"
    assert "largest rise on top" in text_of(app)
    app.select_slider(key="population_change").set_value((STEPS[1], STEPS[3])).run()
    assert asked(calm(app), "change") == f"{STEPS[1]}-{STEPS[3]}"
    app.segmented_control(key="population_lives").set_value("birth").run()
    app.segmented_control(key="population_births").set_value("norms").run()
    calm(app)
    assert "lives" not in app.query_params
    assert "births" not in app.query_params


def test_figures_of_links_are_the_same_at_every_step(open_page: Open) -> None:
    first, last = (
        [e.proto.body for e in calm(open_page(PAGE, run=SEED0, step=step)).get("html")
         if "atl-fig" in e.proto.body and "<style>:root{--atl-paper" not in e.proto.body]
        for step in (STEPS[1], STEPS[-1]))
    assert first == last
    assert len(first) == len(FIGURES)


@pytest.mark.parametrize(("name", "value", "said"), [
    ("births", "moon", "Births cannot be read by “moon”"),
    ("lives", "<b>", "Lives cannot be sorted by “"),
    ("change", "3-9", "is no pair of steps to compare"),
    ("figures", "gif", "Figures cannot be taken as “gif”"),
])
def test_what_is_not_valid_is_said_and_replaced(
    open_page: Open, name: str, value: str, said: str
) -> None:
    app = calm(open_page(PAGE, run=SEED0, **{name: value}))
    assert said in text_of(app)
    assert "births survive" in text_of(app)


def test_a_run_of_one_snapshot_says_what_it_has_not(open_page: Open) -> None:
    app = calm(open_page(PAGE, run=PRISM))
    shown = text_of(app)
    assert "not available, because this run has one snapshot" in shown
    assert "Rates by rank" in shown
    assert len(app.get("plotly_chart")) == 1


def test_all_figures_as_tables(open_page: Open) -> None:
    app = calm(open_page(PAGE, run=SEED0, charts="tables"))
    shown = html_of(app)
    assert "atl-fig\" role" not in shown
    assert not app.get("plotly_chart")
    assert shown.count('class="atl atl-instead"') >= 8
    assert all("charts" in link for link in links_of(app))


# --- what is missing ----------------------------------------------------------------------------


def test_without_rates_the_norms_stand(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = population_store.course_columns
    monkeypatch.setattr(
        population_store, "course_columns",
        lambda store, run, column: None if column == "rate" else whole(store, run, column))
    monkeypatch.setattr(population_store, "_LIVES", population_store.Recent(1))
    for cached in ("table", "ranks", "lives", "survival", "profiles", "correction"):
        getattr(answers_population, cached).clear()
    shown = text_of(calm(open_page(PAGE, run=SEED0, births="thousandth")))
    assert "this store has no rates of the run; births are read by the norm" in shown
    assert "births survive" in shown
    assert "Rates by rank" in shown
    assert "Not available, because this store has no rates of the run" in shown
    for cached in ("table", "ranks", "lives", "survival", "profiles", "correction"):
        getattr(answers_population, cached).clear()


def test_lives_that_never_change_are_calm(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = population_store.course_columns

    def flat(store: Store, run: str, column: str) -> np.ndarray | None:
        found = whole(store, run, column)
        return None if found is None else np.ones_like(found)

    monkeypatch.setattr(population_store, "course_columns", flat)
    monkeypatch.setattr(population_store, "_LIVES", population_store.Recent(1))
    names = ("table", "ranks", "lives", "survival", "profiles", "correction")
    for name in names:
        getattr(answers_population, name).clear()
    shown = text_of(calm(open_page(PAGE, run=SEED0, births="rates")))
    for part in ("Births, peaks and deaths by step.", "All lives.", "Survival", "Rates by rank"):
        assert part in shown, part
    for name in names:
        getattr(answers_population, name).clear()


# --- figures to take away -------------------------------------------------------------------------


def test_figures_are_taken_with_run_hash_and_version(open_page: Open) -> None:
    app = calm(open_page(PAGE, run=SEED0, figures="svg"))
    said = "".join(str(e.proto.SerializeToString()) for e in app.get("plotly_chart"))
    assert said.count("Readout Atlas") == len(app.get("plotly_chart"))
    assert said.count("toImage") >= len(app.get("plotly_chart"))
    names = [e.proto.label for e in app.get("download_button")]
    assert names.count("This figure as SVG") == len(FIGURES)
    assert "births" in names
    assert "turns" in names
    quiet = calm(open_page(PAGE, run=SEED0))
    assert "This figure as SVG" not in [e.proto.label for e in quiet.get("download_button")]


def test_the_line_under_a_figure(tiny_store: Path) -> None:
    card = Store.open(tiny_store).run(SEED0)
    view = SimpleNamespace(run=SEED0, card=card)
    line = exporting.made_from(view, "seed 0")
    assert line.startswith(f"{SEED0} · {card.hash[:12]} · Readout Atlas ")
    assert line.endswith(" · seed 0")
    assert exporting.file_name(view, "births") == f"{SEED0.replace('/', '_')}-births"


def test_one_feature_without_a_norm_is_left_out(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = population_store.norm_columns

    def holed(store: Store, run: str) -> np.ndarray:
        found = whole(store, run).copy()
        found[2, 1] = np.nan
        return found

    from pages import answers_population

    monkeypatch.setattr(population_store, "norm_columns", holed)
    answers_population.lives.clear()
    calm(open_page(PAGE, run=SEED0))
    answers_population.lives.clear()


def test_a_run_whose_features_are_all_dead(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = population_store.lives_of

    def dead(store: Store, run: str) -> population_store.Lives:
        found = whole(store, run)
        return replace(found, alive=np.zeros_like(found.alive))

    from pages import answers_population

    cached = ("table", "lives", "survival", "profiles", "correction", "spectrum")
    for name in cached:
        getattr(answers_population, name).clear()
    monkeypatch.setattr(population_store, "lives_of", dead)
    shown = text_of(calm(open_page(PAGE, run=SEED0)))
    for name in cached:
        getattr(answers_population, name).clear()
    assert "No feature that fires is born" in shown
    assert "because no feature that fires has a norm at every snapshot" in shown
    assert "because no feature that fires has a profile" in shown
    assert "because no feature is born by this rule" in shown
