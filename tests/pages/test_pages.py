"""Every page through AppTest: with a store, without one, with bad addresses and bad prompts."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from atlas.places import APP, STORE_VARIABLE
from tests.tiny import EMBEDDING, PRISM, RUNS, SEED0, SMALL, STEPS, WIDTH, V

FILES = {
    "feature": "features.py",
    "token": "tokens.py",
    "reorganisation": "reorganisation.py",
    "comparison": "comparison.py",
    "decompose": "decompose.py",
    "collections": "lists.py",
    "runs": "runs.py",
    "method": "method.py",
}
PAGES = ("browse", *FILES)
Open = Callable[..., AppTest]


@pytest.fixture
def open_page(tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open a page at an address, as a new visitor would."""
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))

    def opened(page: str, /, **address: object) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60)
        if page != "browse":
            app.run()
            app.switch_page(FILES[page])
        for name in list(app.query_params):
            del app.query_params[name]
        for name, value in address.items():
            app.query_params[name] = str(value)
        return app.run()

    return opened


def text_of(app: AppTest) -> str:
    """Everything that was written, tags and styles taken off."""
    html = " ".join(e.proto.body for e in app.get("html"))
    html = re.sub(r"<style>.*?</style>", " ", html, flags=re.S)
    return re.sub(r"<[^>]+>", " ", html)


def calm(app: AppTest) -> AppTest:
    """Assert that the page ran through without an exception."""
    assert not app.exception, [e.message for e in app.exception]
    return app


def asked(app: AppTest, name: str) -> str:
    """One parameter of the address after the run."""
    found = app.query_params[name]
    return found[-1] if isinstance(found, list) else found


# --- with a store -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("run", RUNS)
def test_every_page_opens_on_every_run(open_page: Open, page: str, run: str) -> None:
    app = calm(open_page(page, run=run))
    assert app.session_state["run"] == run
    shown = text_of(app)
    assert "scale" in shown
    assert "seed" in shown
    if run == PRISM:
        assert "its only snapshot" in shown
    elif page != "decompose" or run != EMBEDDING:
        assert asked(app, "run") == run
        assert asked(app, "step") == str(STEPS[-1])


def test_the_first_page_lists_all_features_of_a_crosscoder(open_page: Open) -> None:
    app = calm(open_page("browse"))
    assert asked(app, "run") == SEED0
    assert len(app.dataframe[0].value) == WIDTH
    contributions = app.dataframe[0].value["contribution_at"].tolist()
    assert contributions == sorted(contributions, reverse=True)
    assert f"{WIDTH} of {WIDTH} features" in text_of(app)


def test_filters_are_read_from_the_address(open_page: Open) -> None:
    everything = calm(open_page("browse", run=SEED0)).dataframe[0].value
    profile = everything["profile"].dropna().iloc[0]
    kept = calm(open_page("browse", run=SEED0, profile=profile)).dataframe[0].value
    assert set(kept["profile"]) == {profile}
    late = calm(open_page("browse", run=SEED0, birth="4-16", floor="no"))
    assert set(late.dataframe[0].value["birth_step"]) <= {4, 16}
    alive = calm(open_page("browse", run=SEED0, alive="yes")).dataframe[0].value
    assert len(alive) == WIDTH - 1
    rising = calm(open_page("browse", run=SEED0, sort="feature")).dataframe[0].value
    assert rising["feature"].tolist() == list(range(WIDTH))
    one = calm(open_page("browse", run=SEED0, q="#17")).dataframe[0].value
    assert one["feature"].tolist() == [17]


def test_a_leading_space_asks_for_one_exact_token(open_page: Open) -> None:
    bare = calm(open_page("browse", run=SEED0, q='"the"'))
    spaced = calm(open_page("browse", run=SEED0, q=" the"))
    quoted = calm(open_page("browse", run=SEED0, q='" the"'))
    assert text_of(spaced).count("of 24 features") == 1

    def listed(app: AppTest) -> list[int]:
        return app.dataframe[0].value["feature"].tolist() if app.dataframe else []

    assert listed(spaced) == listed(quoted) != []
    assert listed(bare) != listed(spaced)


def test_a_filter_that_nothing_passes_says_so(open_page: Open) -> None:
    app = calm(open_page("browse", run=SEED0, q="no such label anywhere"))
    assert "No feature passes these filters" in text_of(app)
    assert f"0 of {WIDTH} features" in text_of(app)


def test_a_filter_writes_the_address(open_page: Open) -> None:
    app = calm(open_page("browse", run=SEED0))
    app.text_input(key="browse_q").set_value("#3").run()
    assert asked(calm(app), "q") == "#3"
    assert app.dataframe[0].value["feature"].tolist() == [3]
    app.selectbox(key="browse_sort").set_value("norm_final").run()
    assert asked(calm(app), "sort") == "norm_final"


def test_the_step_control_moves_the_view_and_the_address(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=0))
    app.select_slider(key="step").set_value(16).run()
    assert asked(calm(app), "step") == "16"
    assert "at step 16" in text_of(app)
    app.switch_page(FILES["token"]).run()
    assert asked(calm(app), "step") == "16"
    assert "step 16" in text_of(app)


def test_another_run_keeps_the_page_and_drops_the_feature(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=7))
    app.selectbox(key="run").set_value(SMALL).run()
    assert asked(calm(app), "run") == SMALL
    assert "means nothing in another run" in text_of(app)


def test_back_from_a_feature_finds_the_filters_again(open_page: Open) -> None:
    app = calm(open_page("browse", run=SEED0, q="#3"))
    for name in list(app.query_params):
        del app.query_params[name]
    for name, value in {"run": SEED0, "step": "64", "feature": "3"}.items():
        app.query_params[name] = value
    assert asked(calm(app.run()), "q") == "#3"
    assert "feature" not in app.query_params


def test_runs_show_quality_beside_its_null(open_page: Open) -> None:
    app = calm(open_page("runs", run=SEED0))
    frame = app.dataframe[0].value
    assert frame["run"].tolist() == sorted(RUNS)
    assert {"explained_variance", "l0", "legible_share", "legible_null"} <= set(frame.columns)
    assert "All files can be read" in text_of(app)
    assert "Provenance" in text_of(app)


def test_the_method_page_uses_the_words_of_the_store(open_page: Open) -> None:
    shown = text_of(calm(open_page("method")))
    assert "Mean length the feature adds to a row" in shown
    assert "exact = base" in shown


# --- decompose ----------------------------------------------------------------------------------


def test_a_prompt_is_decomposed_and_the_sum_checked(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt="the water and", step=16))
    shown = text_of(app)
    for part in ("The ledger.", "Through training.", "residual", "difference", "The gate"):
        assert part in shown
    exact, base, features, residual = (
        float(x.replace("−", "-")) for x in re.findall(
            r"exact (\S+) = base (\S+) \+ features (\S+) \+ residual (\S+)", shown
        )[0]
    )
    assert exact == pytest.approx(base + features + residual, abs=2e-3)
    assert asked(app, "prompt") == "the water and"


def test_a_failed_gate_withholds_the_bars_until_asked(open_page: Open) -> None:
    for prompt in ("the water and", "light was upon", "1990", "return name", "Class Table"):
        for step in STEPS:
            app = calm(open_page("decompose", run=SEED0, prompt=prompt, step=step))
            if "The gate fails" in text_of(app):
                assert "withheld" in text_of(app)
                app.toggle(key="decompose_anyway").set_value(True).run()
                assert "features, withheld" not in text_of(calm(app))
                assert "The gate fails" in text_of(app)
                return
    pytest.fail("no gate of the tiny store fails, so nothing was tested")


def test_a_failed_gate_offers_the_prism_with_the_same_prompt(open_page: Open) -> None:
    for prompt in ("the water and", "light was upon", "1990", "return name", "Class Table"):
        app = calm(open_page("decompose", run=SEED0, prompt=prompt))
        if "The gate fails" in text_of(app):
            app.button(key="decompose_prism").click().run()
            calm(app)
            assert asked(app, "run") == PRISM
            assert asked(app, "prompt") == prompt
            return
    pytest.fail("no gate of the tiny store fails, so nothing was tested")


@pytest.mark.parametrize("prompt", ["שלום עולם", "🙂🙂🙂", "a\u202eb\x00c", "x" * 15_000])
def test_strange_prompts_are_answered_or_refused_in_words(open_page: Open, prompt: str) -> None:
    app = calm(open_page("decompose", run=SEED0))
    app.text_area(key="decompose_prompt").set_value(prompt)
    app.button(key="decompose_go").click().run()
    calm(app)
    shown = text_of(app)
    assert "The ledger." in shown or "prompt" in shown


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [("", "is empty or only white space"), (" \t\n ", "is empty or only white space"),
     ("y" * 100_000, "100,000 characters")],
    ids=["empty", "white", "very long"],
)
def test_bad_prompts_get_a_calm_line(open_page: Open, prompt: str, reason: str) -> None:
    app = calm(open_page("decompose", run=SEED0))
    app.text_area(key="decompose_prompt").set_value(prompt)
    app.button(key="decompose_go").click().run()
    assert reason in text_of(calm(app))
    app.text_area(key="decompose_prompt").set_value("the light")
    app.button(key="decompose_go").click().run()
    assert "The ledger." in text_of(calm(app))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ({"target": "several tokens here"}, "tokens"),
        ({"target": "#999999"}, "no token 999999"),
        ({"target": " the", "versus": " the"}, "same token"),
        ({"position": "500"}, "outside the prompt"),
        ({"position": "first"}, "is no position"),
        ({"hidden": "mine"}, "is no hidden state"),
    ],
    ids=str,
)
def test_bad_questions_get_a_calm_line(
    open_page: Open, address: dict[str, str], reason: str
) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt="the water and", **address))
    assert reason in text_of(app)


def test_each_snapshot_may_read_its_own_state(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt="the water", hidden="own", step=4))
    assert "No whole model is kept at step 4" in text_of(app)


def test_an_embedding_run_says_why_it_has_no_logits(open_page: Open) -> None:
    app = calm(open_page("decompose", run=EMBEDDING, prompt="the water"))
    assert "gives no logits" in text_of(app)


# --- bad addresses ------------------------------------------------------------------------------

NONSENSE = ("'; DROP TABLE run; --", "../../etc/passwd", "x" * 300, "<script>1</script>", "\x00",
            "-1", "1e9", "NaN", "١٢")


@pytest.mark.parametrize("page", PAGES)
def test_nonsense_in_the_address_is_answered_in_words(open_page: Open, page: str) -> None:
    names = ("run", "step", "feature", "token", "profile", "birth", "sort", "page", "q")
    app = calm(open_page(page))
    for value in NONSENSE:
        for name in list(app.query_params):
            del app.query_params[name]
        for name in names:
            app.query_params[name] = value
        shown = text_of(calm(app.run()))
        assert "There is no run" in shown, value
        assert "There is no snapshot" in shown, value
        assert "Traceback" not in shown, value


@pytest.mark.parametrize(
    ("page", "address", "reason"),
    [
        ("feature", {"feature": 10_000}, f"it has 0 to {WIDTH - 1}"),
        ("feature", {"feature": "last"}, "is no feature"),
        ("token", {"token": 10_000}, f"0 to {V - 1}"),
        ("token", {"token": "the"}, "is no token id"),
        ("browse", {"profile": "eternal"}, "There is no profile"),
        ("browse", {"sort": "beauty"}, "cannot be sorted by"),
        ("browse", {"birth": "3-5"}, "no range of birth steps"),
        ("runs", {"flavour": "blue"}, "does not read “flavour”"),
        ("method", {"step": 3}, "This run has 0, 1, 4, 16, 64"),
        ("browse", {"run": "tiny/none"}, SEED0),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    open_page: Open, page: str, address: dict[str, object], reason: str
) -> None:
    assert reason in text_of(calm(open_page(page, **({"run": SEED0} | address))))


# --- without a store ----------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_page_without_a_store_says_what_to_run(
    open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "nothing"))
    shown = text_of(calm(open_page(page)))
    assert "There is no atlas to show yet" in shown
    assert "readout-atlas demo" in shown


@pytest.mark.parametrize("fault", ["other schema", "no pointer", "half a catalog"])
def test_a_broken_store_is_told_apart(
    open_page: Open, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    copied = tmp_path / "store"
    shutil.copytree(tiny_store, copied)
    pointer = copied / "CURRENT.json"
    if fault == "other schema":
        pointer.write_text(pointer.read_text().replace('"schema": ', '"schema": 9'))
    elif fault == "no pointer":
        pointer.write_text("{")
    else:
        catalog = next(copied.glob("catalog-*.duckdb"))
        catalog.write_bytes(catalog.read_bytes()[:5000])
    monkeypatch.setenv(STORE_VARIABLE, str(copied))
    shown = text_of(calm(open_page("browse")))
    assert "There is no atlas to show yet" in shown
    assert "readout-atlas" in shown


def test_a_broken_run_does_not_take_the_others_with_it(
    open_page: Open, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "store"
    shutil.copytree(tiny_store, copied)
    broken = next((copied / "runs" / SEED0).glob("atlas-*.duckdb"))
    broken.write_bytes(broken.read_bytes()[:1000])
    monkeypatch.setenv(STORE_VARIABLE, str(copied))
    assert "This run cannot be read" in text_of(calm(open_page("browse", run=SEED0)))
    assert "cannot be read" in text_of(calm(open_page("runs", run=SEED0)))
    assert len(calm(open_page("browse", run=SMALL)).dataframe) == 1


def test_a_session_remembers_little(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=3))
    for name in ("token", "runs", "method"):
        app.switch_page(FILES[name]).run()
    kept = app.session_state._state.filtered_state
    assert kept
    assert len(repr(kept)) < 10_000
