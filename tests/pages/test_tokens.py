"""Token: what builds a row, with the remainder, what lies near it, and how tokens are found."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from atlas.detail import row_course
from atlas.near_rows import SAMPLED, nearest_rows
from atlas.places import STORE_VARIABLE
from atlas.store import Store
from pages import answers
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import EMBEDDING, PRISM, SEED0, SMALL, STEPS, WIDTH, V

__all__ = ["open_page"]  # the fixture, found by its name

TOKEN = 270


def html_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


# --- the row ------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [SEED0, EMBEDDING, SMALL])
def test_what_builds_the_row_adds_up_to_what_the_store_says(
    open_page: Open, tiny_store: Path, run: str
) -> None:
    app = calm(open_page("token", run=run, token=TOKEN, step=16, charts="tables"))
    shown = text_of(app)
    assert "What builds this row." in shown
    course = row_course(Store.open(tiny_store), run, TOKEN)
    assert course is not None
    k = STEPS.index(16)
    parts = answers.row_parts(Store.open(tiny_store).digest, run, TOKEN)
    assert f"{parts.explained[k]:.1%}" in shown
    np.testing.assert_allclose(parts.explained, course.explained, atol=6e-3)
    for column in ("not explained", "all other features", "length of the row"):
        assert column in shown


def test_one_snapshot_has_an_account_instead_of_a_course(open_page: Open) -> None:
    app = calm(open_page("token", run=PRISM, token=TOKEN))
    shown = text_of(app)
    assert not app.get("plotly_chart")
    for part in ("the whole row", "+1.00", "not explained", "Nearest rows."):
        assert part in shown
    assert "turn to come" not in shown


def test_dear_shares_are_read_when_asked(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.row_parts.CHEAP", 0)
    app = calm(open_page("token", run=SEED0, token=TOKEN, charts="tables"))
    assert "not explained" not in text_of(app)
    assert "share of the row that is explained" in text_of(app)
    app.toggle(key="token_parts").set_value(True).run()
    assert "not explained" in text_of(calm(app))
    assert asked(app, "parts") == "yes"
    app.toggle(key="token_parts").set_value(False).run()
    assert "parts" not in calm(app).query_params
    linked = calm(open_page("token", run=SEED0, token=TOKEN, charts="tables", parts="yes"))
    assert "not explained" in text_of(linked)


def test_a_store_without_weights_says_what_is_missing(
    open_page: Open, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Path(shutil.copytree(
        tiny_store, tmp_path / "shared",
        ignore=shutil.ignore_patterns("snapshots", "dictionary.safetensors"),
    ))
    monkeypatch.setenv(STORE_VARIABLE, str(shared))
    for answer in (answers.row_parts, answers.nearest_rows):
        answer.clear()  # both stores have one digest, which is what answers are kept by
    app = calm(open_page("token", run=SEED0, token=TOKEN))
    shown = text_of(app)
    assert shown.count("shared without weights") == 2
    assert not re.search("available, because [A-Z]", shown)
    assert shown.count("vailable, because ") >= 2
    assert "Length that the strongest features add" in shown
    assert len(app.get("plotly_chart")) == 1


def test_a_token_on_which_nothing_fires_is_calm(open_page: Open, tiny_store: Path) -> None:
    store = Store.open(tiny_store)
    silent = [t for t in range(V) if store.token(SEED0, t).features.empty]
    for token in silent[:2]:
        assert "explained" in text_of(calm(open_page("token", run=SEED0, token=token)))


# --- nearest rows -------------------------------------------------------------------------------


def test_nearest_rows_stand_beside_what_is_usual(open_page: Open, tiny_store: Path) -> None:
    store = Store.open(tiny_store)
    drawn = html_of(calm(open_page("token", run=SEED0, token=TOKEN, step=4)))
    shown = text_of(calm(open_page("token", run=SEED0, token=TOKEN, step=4)))
    assert "Nearest rows through training." in shown
    assert f"of {SAMPLED} rows drawn at random half have one at least as near" in shown
    for k in range(len(STEPS)):
        near = nearest_rows(tiny_store, store.run(SEED0), k, TOKEN)
        assert f"usual {near.usual[1]:.2f}" in shown
        assert f"token={near.tokens[0]}&amp;" in drawn or f"token={near.tokens[0]}\"" in drawn


def test_many_rows_are_read_when_asked(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.near_rows.CHEAP", 0)
    app = calm(open_page("token", run=SEED0, token=TOKEN))
    assert "usual 0" not in text_of(app)
    app.toggle(key="token_near").set_value(True).run()
    assert "usual 0" in text_of(calm(app))
    assert asked(app, "near") == "yes"
    app.button(key="token_after").click().run()
    assert "usual 0" in text_of(calm(app))
    assert re.search(r'href="token\?[^"]*near=yes', html_of(app))
    assert "usual 0" in text_of(calm(open_page("token", run=SEED0, token=TOKEN, near="yes")))


@pytest.mark.parametrize("name", ["parts", "near"])
def test_odd_wishes_to_read_get_a_sentence(open_page: Open, name: str) -> None:
    app = calm(open_page("token", run=SEED0, token=TOKEN, **{name: "<b>1"}))
    assert f"{name}=yes reads them" in text_of(app)
    assert "What builds this row." in text_of(app)


def test_promoters_stand_beside_the_number_that_chance_gives(
    open_page: Open, tiny_store: Path
) -> None:
    store = Store.open(tiny_store)
    shown = text_of(calm(open_page("token", run=SEED0, token=TOKEN, step=16)))
    lists = [store.feature(SEED0, f).promoted[STEPS.index(16)].tokens for f in range(WIDTH)]
    counts = [sum(token in found for found in lists) for token in range(V)]
    now = counts[TOKEN]
    assert f"this one in {now} at step 16" in shown
    said = float(re.search(r"at random stands in ([\d.]+) of the lists", shown)[1])
    with_length = sum(bool(len(found)) for found in lists)
    assert said * with_length / WIDTH == pytest.approx(np.mean(counts), abs=6e-3)


# --- moving and finding -------------------------------------------------------------------------


def test_next_and_previous_go_by_id(open_page: Open) -> None:
    app = calm(open_page("token", run=SEED0, token=5))
    app.button(key="token_after").click().run()
    assert asked(calm(app), "token") == "6"
    app.button(key="token_before").click().run().button(key="token_before").click().run()
    assert asked(calm(app), "token") == "4"
    assert calm(open_page("token", run=SEED0, token=0)).button(key="token_before").disabled
    assert calm(open_page("token", run=SEED0, token=V - 1)).button(key="token_after").disabled


def test_search_minds_the_space_and_stands_in_the_address(open_page: Open) -> None:
    app = calm(open_page("token", run=SEED0))
    app.text_input(key="token_search").set_value(" the").run()
    assert asked(calm(app), "find") == " the"
    found = app.dataframe[0].value["text"].tolist()
    assert found[0].endswith("␣the")
    again = calm(open_page("token", run=SEED0, find=" the"))
    assert again.dataframe[0].value["text"].tolist() == found
    assert again.text_input(key="token_search").value == " the"
    app.text_input(key="token_search").set_value("zzzz").run()
    assert "No token of tiny-large holds" in text_of(calm(app))


def test_ways_to_match(open_page: Open) -> None:
    def found(text: str, match: str) -> set[str]:
        app = calm(open_page("token", run=SEED0, find=text, match=match))
        return set(app.dataframe[0].value["text"].str.removeprefix("\u200e")) if app.dataframe \
            else set()

    assert found(" the", "exact") == {"␣the"}
    assert {"␣the", "the"} & found("THE", "word") == found("the", "word") & {"␣the", "the"} != set()
    assert all(t.startswith("␣the") for t in found("␣the", "prefix"))
    assert found("the", "substring") >= found("the", "word")
    assert found("#17", "exact") == set(
        calm(open_page("token", run=SEED0, find="#17")).dataframe[0].value["text"].str[1:])
    assert "is no way to match" in text_of(
        calm(open_page("token", run=SEED0, find="a", match="regex")))


@pytest.mark.parametrize(
    "text", [".*", "%", "_", "'; DROP TABLE token", "\u202eab", "א", "\x00", "⟨E2⟩",
             "#99999999999999", "#", "␣␣␣", "<b>", "x" * 500])
def test_strange_searches_are_calm(open_page: Open, text: str) -> None:
    shown = text_of(calm(open_page("token", run=SEED0, find=text, token=TOKEN)))
    assert "What builds this row." in shown


@pytest.mark.parametrize("token", ["-1", "99999", "1e3", "<b>", "", "9" * 30])
def test_an_id_out_of_range_is_said_and_the_search_still_works(
    open_page: Open, token: str
) -> None:
    app = calm(open_page("token", run=SEED0, token=token, find=" the"))
    assert f"0 to {V - 1}" in text_of(app) or token == ""
    assert len(app.dataframe) >= 1


def test_the_table_and_the_code_can_be_taken(open_page: Open) -> None:
    app = calm(open_page("token", run=SEED0, token=TOKEN))
    code = " ".join(block.value for block in app.code)
    assert f"store.token('{SEED0}', {TOKEN})" in code
    assert f"token={TOKEN}" in code
    namespace: dict = {}
    exec(next(block.value for block in app.code if "import" in block.value), namespace)
    assert namespace["card"].token == TOKEN
