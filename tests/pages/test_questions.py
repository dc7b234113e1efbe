"""Twenty questions, each a link: the page it opens against the stored tables, read another way.

Nothing here goes through the modules that the pages ask: an answer is worked out from raw tables,
weights and files with pandas and numpy.
"""

import json
import re
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from streamlit.testing.v1 import AppTest

from atlas.places import APP, DEMO, GALLERY, STORE_VARIABLE, run_path
from atlas.questions import Question, questions, questions_about
from atlas.store import Store
from pages import shared
from tests.pages.test_pages import FILES, asked, calm, text_of

QUESTIONS = questions()
LARGE = "demo/large/W_U/cross-snapshot-24/d512/seed0"
ROWS = 100
"""Rows on a page of the table."""


class Raw:
    """A run as it is stored."""

    def __init__(self, store: Store, run: str) -> None:
        self.store, self.run = store, run
        self.card = store.run(run)
        self.steps = list(self.card.steps)

    def table(self, name: str) -> pd.DataFrame:
        return self.store.ask(self.run, f"SELECT * FROM {{run}}.{name}").to_pandas()

    @cached_property
    def features(self) -> pd.DataFrame:
        """Its features, with what the catalog knows of their matches in other seeds."""
        found = self.table("feature").set_index("feature", drop=False).rename_axis(None)
        found["seeds"], found["match_cosine"] = np.nan, np.nan
        for feature, rows in self.matches.groupby("feature"):
            mutual = rows[rows["reciprocal"]]
            found.loc[feature, "seeds"] = (mutual["percentile"] >= 0.99).sum()
            if len(mutual):
                found.loc[feature, "match_cosine"] = mutual["cosine"].astype(float).mean()
        return found

    @cached_property
    def matches(self) -> pd.DataFrame:
        found = self.store.ask(self.run, "SELECT * FROM catalog.match").to_pandas()
        return found[found["run"] == self.run]

    def course(self, name: str) -> pd.DataFrame:
        """A measure through training: one row per feature, one column per step."""
        life = self.table("life")
        return pd.DataFrame(
            np.stack(life[name].to_list()).astype(float), index=life["feature"], columns=self.steps
        )

    @cached_property
    def tokens(self) -> pd.DataFrame:
        found = self.store.ask(self.run, "SELECT * FROM catalog.token").to_pandas()
        return found[found["model"] == self.card.model].set_index("token")

    @cached_property
    def promoted(self) -> pd.DataFrame:
        """feature, step, token, rank of every promoted token."""
        lists = self.table("promoted")[["feature", "k", "tokens"]].explode("tokens").dropna()
        lists["rank"] = lists.groupby(["feature", "k"]).cumcount()
        lists["step"] = [self.steps[k] for k in lists["k"]]
        return lists.rename(columns={"tokens": "token"})

    @cached_property
    def code(self) -> pd.DataFrame:
        """token, feature, p of every entry of the sparse code."""
        return self.table("code_by_token").explode(["features", "p"]).dropna().rename(
            columns={"features": "feature"})

    def adds(self, step: int) -> pd.Series:
        """What every entry of the code adds to its row at a step; 0 where it does not fire."""
        norm = self.course("norm")[step].reindex(self.code["feature"]).to_numpy()
        threshold = self.features["threshold"].reindex(self.code["feature"]).to_numpy()
        length = self.code["p"].to_numpy(float) * norm
        return pd.Series(np.where(length > threshold, length, 0.0), self.code.index)

    def directions(self, step: int) -> np.ndarray:
        """Unit decoder rows at a step, from the weights."""
        weights = load_file(run_path(DEMO, self.run) / "dictionary.safetensors")
        k = self.steps.index(step)
        rows = weights["W_D"][k].astype(float) * weights["W_D.scale"][k][:, None]
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


@lru_cache(maxsize=8)
def raw(run: str) -> Raw:
    return Raw(Store.open(DEMO), run)


def ranked(found: pd.DataFrame, by: str, rising: bool = False) -> pd.DataFrame:
    """In order of a column, missing values last, equal ones by index."""
    return found.sort_values([by, "feature"], ascending=[rising, True], kind="stable")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[Question], AppTest]:
    """Open a question's link, as someone to whom it was sent."""
    monkeypatch.setenv(STORE_VARIABLE, str(DEMO))

    def follow(question: Question) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60)
        if question.page != "browse":
            app.run()
            app.switch_page(FILES[question.page])
        for name in list(app.query_params):
            del app.query_params[name]
        for name, value in question.parameters.items():
            app.query_params[name] = value
        return calm(app.run())

    return follow


def body_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


def links(fragment: str) -> list[tuple[str, dict[str, str]]]:
    """(page, parameters) of the links of a fragment."""
    found = [urlsplit(h.replace("&amp;", "&")) for h in re.findall(r'href="([^"]+)"', fragment)]
    return [(address.path or "browse", dict(parse_qsl(address.query))) for address in found]


def frame_with(app: AppTest, *columns: str) -> pd.DataFrame:
    """The table on the page that has some columns."""
    return next(t.value for t in app.dataframe if set(columns) <= set(t.value))


# --- questions that Browse answers ------------------------------------------------------------
# Each gives the features in order, all of them, with the columns to compare.


def code() -> pd.DataFrame:
    f = raw(LARGE).features
    kinds = ("adjectives of documentation", "database nouns", "HTML tags",
             "mostly in postgres-docs", "mostly in python-docs", "mostly in python-library")
    kept = f[f["kind"].isin(kinds) & (f["kind_p"] <= 0.01) & (f["max_rotation_step"] >= 64)
             & (f["seeds"] >= 2)]
    return ranked(kept, "max_rotation")[["max_rotation", "profile", "seeds"]]


def short_lives() -> pd.DataFrame:
    f = raw(LARGE).features
    kept = f[(f["birth_floor_step"] <= 16) & f["death_step"].notna()]
    return ranked(kept, "death_step", rising=True)[
        ["birth_floor_step", "death_step", "contribution"]]


def scripts() -> pd.DataFrame:
    f = raw(LARGE).features
    cyrillic = (f["script"] == "Cyrillic") & (f["script_p"] <= 1e-6)
    greek = (f["kind"] == "Greek letters") & (f["kind_p"] <= 1e-6)
    assert (cyrillic & ~greek).any()
    assert (greek & ~cyrillic).any()
    kept = ranked(f[cyrillic | greek], "birth_floor_step", rising=True)
    return kept[["script_p", "kind_p", "birth_floor_step"]]


def the() -> pd.DataFrame:
    run = raw(LARGE)
    spelt = [t for t, text in run.tokens["text"].items()
             if text.lower().removeprefix("␣") == "the"]
    assert len(spelt) > 1
    hits = run.promoted[(run.promoted["step"] == 64) & run.promoted["token"].isin(spelt)]
    return at_step(run, 64, hits["feature"])


def data() -> pd.DataFrame:
    run = raw(LARGE)
    begin = [t for t, text in run.tokens["text"].items() if text.lower().startswith("␣data")]
    assert len(begin) > 1
    hits = run.code[(run.adds(3072) > 0).to_numpy() & run.code["token"].isin(begin).to_numpy()]
    return at_step(run, 3072, hits["feature"])


def at_step(run: Raw, step: int, kept: pd.Series) -> pd.DataFrame:
    """Some features in the list's own order: by what they add to the rows at a step."""
    found = run.features.loc[kept.unique()].copy()
    found["contribution_at"] = run.course("contribution")[step]
    found["rate"] = 100 * run.course("rate")[step]
    shown = ranked(found, "contribution_at")[["contribution_at", "rate"]]
    return shown.rename(columns={"rate": "rate_final" if step == 3072 else "rate_at"})


def no_kind() -> pd.DataFrame:
    run = raw(LARGE)
    f = run.features
    held = [t for t, text in run.tokens["text"].items() if "__" in text]
    either = {*run.promoted.loc[run.promoted["token"].isin(held), "feature"],
              *run.code.loc[run.code["token"].isin(held), "feature"]}
    kept = f[f["feature"].isin(either) & ~f["legible"] & f["alive"]]
    return ranked(kept, "contribution")[["contribution"]]


def king_james() -> pd.DataFrame:
    run = raw(LARGE)
    f = run.features
    assert not any("king-james" in text.lower() for text in run.tokens["text"])
    named = f[["kind", "script", "family", "supersense"]].apply(
        lambda column: column.fillna("").str.lower().str.contains("king-james")).any(axis=1)
    kept = f[named & f["legible"] & f["alive"] & f["birth_step"].between(0, 64)]
    assert len(kept) < (named & f["legible"]).sum()
    return ranked(kept, "birth_step", rising=True)[["birth_step"]]


def like_greek() -> pd.DataFrame:
    run = raw(LARGE)
    unit = run.directions(128)
    cosines = unit @ unit[230]
    cosines[230] = -1
    cosines[~run.features["alive"].to_numpy()] = -1
    near = np.argsort(-cosines, kind="stable")[:10]  # before they are rounded to be kept
    return pd.DataFrame({"likeness": cosines[near].round(3)}, index=near)


def distances(shape: np.ndarray) -> pd.DataFrame:
    """Features by how far their norm, scaled by its largest value, is from a shape."""
    run = raw(LARGE)
    norm = run.course("norm")
    scaled = norm.div(norm.max(axis=1), axis=0)
    found = run.features.copy()
    found["distance"] = np.sqrt(((scaled - shape) ** 2).mean(axis=1))
    return ranked(found, "distance", rising=True)


def lives_like() -> pd.DataFrame:
    norm = raw(LARGE).course("norm").loc[417]
    return distances((norm / norm.max()).to_numpy())[["distance"]]


def late_rise() -> pd.DataFrame:
    knots = np.array([0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) / 9
    where = np.arange(24) * 12 / 23
    found = distances(np.interp(where, np.arange(13), knots))
    return found.loc[found["norm_final"] >= 0.7, ["distance"]]


def late_growth() -> pd.DataFrame:
    run = raw(LARGE)
    norm = run.course("norm")
    found = run.features[run.features["profile"] == "late-emerging"].copy()
    found["norm_change"] = norm[1024] - norm[256]
    return ranked(found, "norm_change")[["norm_change"]]


def window() -> pd.DataFrame:
    run = raw(LARGE)
    said = run.store.ask(
        LARGE, "SELECT statistics FROM catalog.run WHERE run = $name", name=LARGE)
    found = json.loads(said["statistics"][0].as_py())
    # the question names the snapshots that hold the window
    assert max(s for s in run.steps if s <= found["window_from"]) == 16
    assert min(s for s in run.steps if s >= found["window_to"]) == 64
    course = run.course("contribution")
    kept = run.features[run.features["max_rotation_step"].between(16, 64)].copy()
    kept["contribution_change"] = course[64] - course[16]
    return ranked(kept, "contribution_change")[
        ["max_rotation_step", "max_rotation", "contribution_change"]]


def change_points() -> pd.DataFrame:
    f = raw(LARGE).features
    kept = f[f["alive"] & (f["change_low_step"] >= 512) & (f["change_high_step"] <= 1024)]
    assert len(kept) < f["change_step"].between(512, 1024).sum()
    return ranked(kept, "change_step")[
        ["change_step", "change_low_step", "change_high_step", "change_p"]]


def corner() -> pd.DataFrame:
    run = raw(LARGE)
    f = run.features
    x, y = f["map_x"], f["map_y"]
    inside = f["alive"] & (y >= 0.6) & (x <= 0.45 - 0.25 * (y - 0.6))
    return at_step(run, 3072, f.loc[inside, "feature"])[["contribution_at"]]


def doubles() -> pd.DataFrame:
    run = raw("demo/large/prism/k16_8x")
    f = run.features
    kept = f[f["n_duplicates"] > 0]
    assert (kept["nearest"] >= 0.9).all()
    assert kept["alive"].all()
    return ranked(kept, "nearest")[["nearest", "n_duplicates", "duplicate_of"]]


def embedding() -> pd.DataFrame:
    run = raw("demo/large/W_E/cross-snapshot-24/d512/seed0")
    found = run.features.copy()
    found["rate_at"] = 100 * run.course("rate")[32]
    return ranked(found, "rate_at")[["rate_at"]]


LISTS: dict[str, Callable[[], pd.DataFrame]] = {
    "code": code, "short-lives": short_lives, "scripts": scripts, "the": the, "data": data,
    "no-kind": no_kind, "king-james": king_james, "like-greek": like_greek,
    "lives-like": lives_like, "late-rise": late_rise, "late-growth": late_growth,
    "window": window, "change-points": change_points, "corner": corner, "doubles": doubles,
    "embedding": embedding,
}


@pytest.mark.parametrize(
    "question", [q for q in QUESTIONS if q.page == "browse"], ids=lambda q: q.id
)
def test_a_list_holds_the_rows_that_answer_its_question(
    opened: Callable[[Question], AppTest], question: Question
) -> None:
    wanted = LISTS[question.id]()
    whole = len(raw(question.parameters["run"]).features)
    app = opened(question)
    assert f"{len(wanted):,} of {whole:,} features" in text_of(app)
    assert len(wanted) < whole or question.parameters.keys() & {"shape", "page"}
    assert "atl-note bad" not in body_of(app)
    first = ROWS * (int(question.parameters.get("page", 1)) - 1)
    wanted = wanted.iloc[first : first + ROWS]
    shown = app.dataframe[0].value
    assert len(shown) == len(wanted) > 0
    assert shown["feature"].tolist() == wanted.index.tolist()
    for name in wanted.columns.intersection(shown.columns):
        same_values(shown[name], wanted[name])
    assert set(wanted) <= set(shown)
    assert len(app.get("plotly_chart")) == ("view" in question.parameters)


def same_values(shown: pd.Series, wanted: pd.Series) -> None:
    if pd.api.types.is_numeric_dtype(wanted.dtype):
        np.testing.assert_allclose(
            shown.astype(float), wanted.astype(float), rtol=1e-4, atol=6e-4, err_msg=shown.name)
    else:
        assert shown.tolist() == wanted.tolist()


# --- questions that the other pages answer ----------------------------------------------------


def next_one(app: AppTest, question: Question) -> None:
    """The one after a feature in a list that is narrowed by a token and by other seeds."""
    run = raw(LARGE)
    f = run.features
    token = run.tokens.index[run.tokens["text"] == "␣them"][0]
    either = {*run.promoted.loc[run.promoted["token"] == token, "feature"],
              *run.code.loc[run.code["token"] == token, "feature"]}
    kept = f[f["feature"].isin(either) & (f["seeds"] >= 1)]
    order = ranked(kept, "match_cosine")["feature"].tolist()
    at = order.index(364)
    assert f"{at + 1} of {len(order)} in this list" in text_of(app)
    app.button(key="feature_after").click().run()
    assert asked(calm(app), "feature") == str(order[at + 1])
    assert f"{at + 2} of {len(order)} in this list" in text_of(app)


def counterparts(app: AppTest, question: Question) -> None:
    """The partners of a feature in other seeds, with the null beside each."""
    rows = raw(LARGE).matches
    rows = rows[rows["feature"] == 494].sort_values("other")
    assert len(rows) == 2
    body = body_of(app)
    drawn = re.findall(r'<div class="atl-match">.*?</div></div>', body, flags=re.S)
    assert len(drawn) == len(rows)
    for fragment, row in zip(drawn, rows.itertuples(), strict=True):
        assert {(page, p["run"], p["feature"], p["step"]) for page, p in links(fragment)} == {
            ("feature", row.other, str(row.partner), "3072")}
        assert f"cosine {row.cosine:.2f}, {row.margin:.2f} above its second" in fragment
        assert ("none reaches it" if row.percentile >= 1 else "stay below") in fragment
        assert ("each is the other’s best" in fragment) == row.reciprocal


def king(app: AppTest, question: Question) -> None:
    """Tokens that hold a text; what builds a row at a step; what ever promoted it."""
    run = raw(LARGE)
    holds = run.tokens[run.tokens["plain"].fillna("").str.lower().str.contains("king")]
    found = frame_with(app, "text", "token", "n_train")
    assert set(found["token"]) == set(holds.index)
    assert found["token"].iloc[0] == 1066
    assert found["n_train"].tolist() == holds["n_train"].reindex(found["token"]).tolist()

    adds = run.adds(256)[(run.code["token"] == 1066).to_numpy()]
    firing = run.code.loc[run.code["token"] == 1066, ["feature"]].assign(contribution=adds)
    firing = ranked(firing[firing["contribution"] > 0], "contribution")
    built = frame_with(app, "feature", "contribution")
    assert f"{len(firing)} fire now" in text_of(app)
    built = built[built["contribution"] > 0]
    assert built["feature"].tolist() == firing["feature"].tolist() != []
    same_values(built["contribution"], firing["contribution"])

    hits = run.promoted[run.promoted["token"] == 1066].sort_values(["feature", "rank", "k"])
    first = hits.groupby("feature").first()
    first["snapshots"] = hits.groupby("feature").size()
    first = first.reset_index().sort_values(["rank", "feature"])
    promoting = frame_with(app, "rank", "snapshots")
    assert promoting["feature"].tolist() == first["feature"].tolist()[:40] != []
    assert promoting["rank"].tolist() == (first["rank"] + 1).tolist()[:40]
    assert promoting["step"].tolist() == first["step"].tolist()[:40]
    assert promoting["snapshots"].tolist() == first["snapshots"].tolist()[:40]


def elsewhere(app: AppTest, question: Question) -> None:
    """What two collections have in common, and what only one of them has."""
    families, other = (
        {(e["run"], e["feature"]): e for e in json.loads(
            (GALLERY / f"{name}.json").read_text("utf8"))["entries"]}
        for name in ("families", "elsewhere")
    )
    added, removed = other.keys() - families.keys(), families.keys() - other.keys()
    both = [k for k in families.keys() & other.keys() if any(
        families[k].get(name) != other[k].get(name) for name in ("hash", "step", "tags", "note"))]
    assert added
    assert removed
    assert both
    shown = text_of(app)
    assert f"{len(added)} only in “The same family elsewhere”" in shown
    assert f"{len(removed)} only in “Families of tokens”" in shown
    assert f"{len(both)} in both, with differences" in shown
    body = next(e.proto.body for e in app.get("html") if "only in" in e.proto.body)
    opens = {(p["run"], int(p["feature"])) for _, p in links(body)}
    assert opens == {*added, *removed, *both}
    assert all(families[key]["note"][:30] in shown for key in both)


OTHERS: dict[str, Callable[[AppTest, Question], Any]] = {
    "next": next_one, "counterparts": counterparts, "king": king, "elsewhere": elsewhere,
}


@pytest.mark.parametrize(
    "question", [q for q in QUESTIONS if q.page != "browse"], ids=lambda q: q.id
)
def test_a_page_holds_what_answers_its_question(
    opened: Callable[[Question], AppTest], question: Question
) -> None:
    app = opened(question)
    assert "atl-note bad" not in body_of(app)
    OTHERS[question.id](app, question)


# --- the questions themselves -----------------------------------------------------------------


def test_there_are_twenty_and_each_has_its_answer() -> None:
    assert len(QUESTIONS) == 20
    assert [q.id for q in QUESTIONS] == [*LISTS, *OTHERS]
    assert len({q.text for q in QUESTIONS}) == 20
    for q in QUESTIONS:
        assert {"run", "step"} <= set(q.parameters) <= {
            *shared.OWN[q.page], *shared.EVERYWHERE}, q.id


def test_they_use_every_way_to_narrow_and_to_order_a_list() -> None:
    used = {name for q in QUESTIONS for name in q.parameters}
    assert set(shared.LIST) <= used


def test_the_method_page_lists_them_as_links(opened: Callable[[Question], AppTest]) -> None:
    app = opened(Question("", "", "method", {"run": LARGE, "step": "64"}))
    body = next(e.proto.body for e in app.get("html") if "atl-asked" in e.proto.body)
    assert links(body) == [(q.page, q.parameters) for q in QUESTIONS]


def test_a_store_without_the_runs_lists_none_of_them() -> None:
    assert questions_about(["tiny/one"]) == ()
    assert {q.id for q in questions_about([LARGE])} == {
        q.id for q in QUESTIONS} - {"doubles", "embedding"}
