"""The view of reading and writing: what it shows, what it says where it cannot."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from atlas import read_write
from atlas.errors import NotFound
from atlas.markup import signed
from atlas.places import STORE_VARIABLE
from atlas.read_write_store import Side
from atlas.store import Store
from pages import answers_read_write as answers
from tests.pages.test_feature import html_of
from tests.pages.test_pages import FILES, Open, asked, calm, open_page, text_of
from tests.tiny import EMBEDDING, PRISM, SEED0, SEED1, SMALL, STEPS

__all__ = ["open_page"]  # the fixture, found by its name


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "reorganisation", "reorganisation.py")


def opened(open_page: Open, **address: object):
    return calm(open_page("reorganisation", view="words", **address))


@pytest.mark.parametrize("run", [SEED0, EMBEDDING])
def test_both_matrices_lead_to_the_same_comparison(open_page: Open, run: str) -> None:
    app = opened(open_page, run=run)
    shown = text_of(app)
    for words in ("Which is first?", "Over all live features", "when features are dealt out",
                  "of the median feature moves by", "all live features", "latin alpha",
                  "shuffled family names give", "corrected for the number of families (Holm)",
                  "Through training, W_E upwards", "do not compare in scale",
                  "The matrices themselves", "with the rows shuffled"):
        assert words in shown, words
    assert len(app.get("plotly_chart")) == 2
    first = re.search(r"Which is first\?.*?Holm", shown, re.S)
    other = re.search(r"Which is first\?.*?Holm", text_of(opened(
        open_page, run=EMBEDDING if run == SEED0 else SEED0)), re.S)
    assert first is not None
    assert other is not None
    assert first.group() == other.group()


def test_a_dot_lists_its_features_in_browse(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_write, "LEAST", 1)
    answers.leads.clear()
    html = html_of(opened(open_page, run=SEED0, families="label")).replace("&amp;", "&")
    answers.leads.clear()
    rows = re.findall(
        r'<span>([^<]+)</span><div class="track">(.*?)>([\d,]+), ([\d,]+)</span></div>', html, re.S
    )
    assert rows[0][0] == "all live features"
    assert len(rows) > 1
    for name, drawn, n_write, n_read in rows:
        links = re.findall(r'href="([^"]+)"', drawn)
        assert len(links) == 2, name
        for link in links:
            address = {k: v[0] for k, v in parse_qs(urlsplit(link).query).items()}
            listed = calm(open_page("browse", **address)).dataframe[0].value
            assert len(listed) == int(n_write if address["run"] == SEED0 else n_read), name


def test_conventions_stand_in_the_address(open_page: Open) -> None:
    app = opened(open_page, run=SEED0)
    for name in ("partner", "peaks", "families"):
        assert name not in app.query_params
    app.segmented_control(key="read_write_peaks").set_value("norm").run()
    assert asked(calm(app), "peaks") == "norm"
    assert "largest norm by step" in text_of(app)
    app.segmented_control(key="read_write_families").set_value("label").run()
    assert asked(calm(app), "families") == "label"
    assert "Browse lists exactly these" in text_of(app)
    app.segmented_control(key="read_write_peaks").set_value("rate").run()
    assert "peaks" not in calm(app).query_params


def test_a_partner_is_chosen_among_seeds(open_page: Open) -> None:
    app = opened(open_page, run=EMBEDDING)
    assert app.selectbox(key="read_write_partner").value == SEED0
    app.selectbox(key="read_write_partner").set_value(SEED1).run()
    assert asked(calm(app), "partner") == SEED1
    assert "Which is first?" in text_of(app)


@pytest.mark.parametrize(("name", "words"), [
    ("partner", "no crosscoder of the other matrix called “<x”"),
    ("peaks", "Peaks are not counted by “<x”"), ("families", "into families by “<x”"),
])
def test_a_value_that_is_none_is_said_and_replaced(open_page: Open, name: str, words: str) -> None:
    app = opened(open_page, run=SEED0, **{name: "<x"})
    assert words.replace("<", "&lt;") in text_of(app)
    assert "Which is first?" in text_of(app)
    assert name not in app.query_params


def test_tables_take_the_place_of_figures(open_page: Open) -> None:
    app = opened(open_page, run=SEED0, charts="tables")
    assert not app.get("plotly_chart")
    html = html_of(app)
    for head in ("null, 95 %", "mean norm, W_E", "of shuffled rows"):
        assert head in html, head
    assert "atl-lead" not in re.sub(r"<style>.*?</style>", "", html, flags=re.S)


# --- what is missing -----------------------------------------------------------------------------


def test_one_snapshot_and_no_partner_say_what_would_be_needed(open_page: Open) -> None:
    shown = text_of(opened(open_page, run=PRISM))
    assert "a prism of one snapshot has no course" in shown
    assert SEED0 in shown
    shown = text_of(opened(open_page, run=SMALL))
    assert "no crosscoder of W_E of tiny-small" in shown
    assert f"readout-atlas train {SMALL} --set matrix=W_E" in shown


def test_a_released_run_names_its_released_partner(tiny_store: Path) -> None:
    from dataclasses import replace

    from atlas.read_write_store import released_partner

    card = replace(
        Store.open(tiny_store).run(SEED0), model_name="EleutherAI/pythia-160m", matrix="W_U",
        steps=tuple(range(32)), d_sae=8192, seed=0,
    )
    found = released_partner(card)
    assert found is not None
    assert (found.matrix, found.d_sae, found.seed, found.n_snapshots) == ("W_E", 8192, 0, 32)


def hollow(side: Side) -> Side:
    from dataclasses import replace

    empty = np.full(len(STEPS), np.nan)
    none = np.zeros_like(side.families)
    return replace(side, l0=empty, rate=empty, norm=empty, everyone=none[0], families=none,
                   controls=none, swing=float("nan"))


def test_a_run_without_rates_and_norms_leaves_the_rest(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = answers.side
    monkeypatch.setattr(answers, "side", lambda *found: hollow(real(*found)))
    answers.leads.clear()
    shown = text_of(opened(open_page, run=SEED0))
    answers.leads.clear()
    assert "too few features fire at the shared steps" in shown
    assert "Families are not available" in shown
    assert "the runs hold neither rates nor norms" not in shown or "Not available" in shown
    assert "The matrices themselves" in shown


def test_matrices_that_are_large_say_so(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas import read_write_store

    monkeypatch.setattr(read_write_store, "MOST_NUMBERS", 10)
    assert "more than the 0 million that are read" in text_of(opened(open_page, run=SEED0))


def test_gone_matrices_are_said(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*asked: object) -> None:
        raise NotFound("the matrices are not in this store")

    monkeypatch.setattr(answers, "aligned", gone)
    shown = text_of(opened(open_page, run=SEED0))
    assert "Not available, because the matrices are not in this store." in shown
    assert "Which is first?" in shown


def test_the_lines_of_python_give_the_numbers_of_the_view(
    open_page: Open, tiny_store: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = calm(open_page("reorganisation", run=SEED0, view="words"))
    lines = next(block.value for block in app.code if "lead_of_all" in block.value)
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    exec(lines, {})
    whole = capsys.readouterr().out.rsplit("Lead(", 1)[1]
    ends = [float(end) for end in re.findall(r"(?:low|high)=array\(\[ ?(-?[\d.]+)", whole)][:2]
    assert len(ends) == 2
    assert all(signed(end) in text_of(app) for end in ends), ends
