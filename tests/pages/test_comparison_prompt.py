"""Seeds & scales, one prompt under every seed: lines, sums, the gate, links, what is refused."""

import re
import shutil
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from atlas import seed_ledger_store
from atlas.explanations import Ask
from atlas.live import decompose_prompt
from atlas.markup import signed
from atlas.places import STORE_VARIABLE
from atlas.seed_ledgers import agreements, align
from atlas.store import Store
from pages import comparison_prompt
from precompute.publish import publish
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import EMBEDDING, PRISM, SEED0, SEED1, SMALL

__all__ = ["open_page"]
PROMPT = "the water and"
SEEDS = (SEED0, SEED1)


def html_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


def table_of(app: AppTest, name: str) -> str:
    (found,) = re.findall(rf'<table class="{name}[^>]*>.*?</table>', html_of(app), flags=re.S)
    return found


def opened(open_page: Open, run: str = SEED0, **address: object) -> AppTest:
    return calm(open_page("comparison", run=run, view="prompt", **address))


def ledgers(store: Store, ask: Ask | None = None, **where: int) -> list:
    step = store.run(SEED0).steps[-1]
    return [decompose_prompt(store, run, PROMPT, ask=ask, step=step, **where).rows[0].ledger
            for run in SEEDS]


@pytest.fixture
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def test_both_seeds_stand_in_columns_with_the_sums_of_the_whole(
    open_page: Open, store: Store
) -> None:
    app = opened(open_page, prompt=PROMPT, withheld="show")
    table = unescape(re.sub(r"<[^>]+>", " ", table_of(app, "atl-sl")))
    found = ledgers(store)
    for ledger, name in zip(found, ("seed 0", "seed 1"), strict=True):
        assert name in table
        assert f"ρ = {ledger.rho:.2f}" in table
        for value in (ledger.exact, ledger.residual, ledger.base):
            assert signed(value) in table
    assert found[0].exact == found[1].exact
    assert "in every seed" in text_of(app)


def test_lines_are_the_groups_with_links_to_each_seed_s_feature(
    open_page: Open, store: Store
) -> None:
    app = opened(open_page, prompt=PROMPT, withheld="show", bars=64)
    found = ledgers(store)
    groups = seed_ledger_store.groups_of_features(
        store, SEEDS, [x.features for x in found], "trajectory")
    lines = align([(x.features, x.contributions) for x in found], groups)
    rows = re.findall(r"<tr.*?</tr>", table_of(app, "atl-sl"), flags=re.S)
    drawn = [re.findall(r'href="feature\?([^"]+)"', row) for row in rows]
    links = [[(q["run"][0], int(q["feature"][0])) for q in map(parse_qs, map(unescape, row))]
             for row in drawn if row]
    assert links == [
        [(run, f) for run, f in zip(SEEDS, features, strict=True) if f >= 0]
        for features in lines.features.tolist()
    ]
    assert any(len(row) == 2 for row in links)


def test_agreement_stands_beside_its_null(open_page: Open, store: Store) -> None:
    app = opened(open_page, prompt=PROMPT, withheld="show", way="tokens")
    found = ledgers(store)
    groups = seed_ledger_store.groups_of_features(
        store, SEEDS, [x.features for x in found], "tokens")
    (pair,) = agreements(align([(x.features, x.contributions) for x in found], groups))
    shown = text_of(app)
    if not pair.groups:
        assert "other ways of matching stand above" in shown
        return
    assert f"{pair.share.value:.0%} of what the features say" in shown
    assert f"{pair.share.low:.0%} to {pair.share.high:.0%}" in shown
    assert f"p = {pair.share.p:.3f}" in table_of(app, "atl-agree")


def test_bars_of_a_failed_gate_are_withheld_and_the_whole_is_not(
    open_page: Open, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas import decomposition

    monkeypatch.setattr(decomposition, "RHO_LIMIT", 0.0)
    app = opened(open_page, prompt="the light and the water")
    shown, table = text_of(app), table_of(app, "atl-sl")
    assert "are withheld" in shown
    assert "fewer than two seeds explain this score" in shown
    assert 'href="feature?' not in table
    assert table.count(": withheld") == 2
    assert "exact, their sum" in table
    app.toggle(key="seeds_withheld").set_value(True).run()
    assert asked(calm(app), "withheld") == "show"
    assert 'href="feature?' in table_of(app, "atl-sl")
    assert "only because they were asked for" in text_of(app)


def test_the_same_question_opens_in_decompose(open_page: Open, store: Store) -> None:
    app = opened(open_page, prompt=PROMPT, target="#40", versus="#50", position=1)
    links = [parse_qs(unescape(q)) for q in
             re.findall(r'href="decompose\?([^"]+)"', table_of(app, "atl-sl"))]
    assert [link["run"][0] for link in links] == list(SEEDS)
    for link in links:
        assert (link["prompt"], link["target"], link["versus"], link["position"]) == (
            [PROMPT], ["#40"], ["#50"], ["1"])
    exact = ledgers(store, Ask(target=40, versus=50), position=1)[0].exact
    assert signed(exact) in table_of(app, "atl-sl")
    there = calm(open_page("decompose", run=SEED1, **{k: v[0] for k, v in links[1].items()
                                                      if k != "run"}))
    assert signed(exact) in text_of(there)


def test_the_default_is_a_kept_prompt_whose_gate_passes_in_most(
    open_page: Open, store: Store
) -> None:
    kept = seed_ledger_store.kept_prompts(store, SEEDS, store.run(SEED0).steps[-1])
    wanted = next(one.entry.prompt for one in kept
                  if one.entry.ask == Ask() and one.entry.is_last)
    app = opened(open_page)
    assert app.text_area(key="seeds_prompt").value == wanted
    assert f"passes in {kept[0].passes} of 2" in text_of(app)


def test_typed_prompts_tokens_and_the_way_go_into_the_address(open_page: Open) -> None:
    app = opened(open_page, prompt=PROMPT, target="#40", position=0)
    app.text_area(key="seeds_prompt").set_value("the light")
    app.button(key="seeds_prompt_go").click().run()
    assert asked(calm(app), "prompt") == "the light"
    assert "target" not in app.query_params
    assert "position" not in app.query_params
    app.text_input(key="seeds_versus").set_value("#50").run()
    assert asked(calm(app), "versus") == "#50"
    assert asked(app, "target").startswith("#")
    app.segmented_control(key="seeds_prompt_way").set_value("tokens").run()
    assert asked(calm(app), "way") == "tokens"


@pytest.mark.parametrize("kind", ["token", "centred", "vocabulary", "family", "topk", "rank"])
def test_every_kind_of_score_is_compared(open_page: Open, kind: str) -> None:
    app = opened(open_page, prompt=PROMPT, kind=kind, withheld="show")
    assert table_of(app, "atl-sl").count("open in Decompose") == 2


def test_figures_as_tables(open_page: Open) -> None:
    app = opened(open_page, prompt=PROMPT, charts="tables", withheld="show")
    shown = html_of(app)
    assert '<table class="atl-sl' not in shown
    assert shown.count("<caption>") >= 2


def test_a_step_of_the_view_is_the_step_of_the_ledgers(open_page: Open, store: Store) -> None:
    step = store.run(SEED0).steps[2]
    found = decompose_prompt(store, SEED1, PROMPT, step=step).rows[0].ledger
    app = opened(open_page, prompt=PROMPT, step=step)
    assert f"ρ = {found.rho:.2f}" in table_of(app, "atl-sl")


def test_a_prompt_too_long_for_a_link_is_kept_by_the_session(open_page: Open) -> None:
    prompt = f"Thus {'word ' * 900}".strip()
    app = opened(open_page, prompt=prompt)
    assert "prompt" not in app.query_params
    assert "too long for a link" in text_of(app)
    links = re.findall(r'href="decompose\?([^"]+)"', table_of(app, "atl-sl"))
    assert links
    assert max(map(len, links)) < 500
    app.segmented_control(key="seeds_prompt_way").set_value("tokens").run()
    assert calm(app).text_area(key="seeds_prompt").value == prompt


def test_an_empty_box_is_refused_and_not_answered_for_another_prompt(open_page: Open) -> None:
    app = opened(open_page, prompt=PROMPT)
    app.text_area(key="seeds_prompt").set_value("")
    app.button(key="seeds_prompt_go").click().run()
    assert "the prompt is empty" in text_of(calm(app)).lower()


# --- what cannot be answered ----------------------------------------------------------------------


@pytest.mark.parametrize(("address", "words"), [
    ({"prompt": ""}, "the prompt is empty"),
    ({"prompt": "  "}, "the prompt is empty"),
    ({"prompt": "x" * 30_000}, "30,000 characters"),
    ({"prompt": PROMPT, "target": "#99999"}, "there is no token 99999"),
    ({"prompt": PROMPT, "target": "wholly unknown words"}, "token"),
    ({"prompt": PROMPT, "target": "#40", "versus": "#40"}, "are the same token"),
    ({"prompt": PROMPT, "position": 99}, "outside the prompt"),
    ({"prompt": PROMPT, "position": "here"}, "is no position"),
    ({"prompt": PROMPT, "kind": "magic"}, "is no kind of score"),
    ({"prompt": PROMPT, "way": "magic"}, "is no way to match these seeds"),
    ({"prompt": PROMPT, "bars": "many"}, "is no number of lines"),
    ({"prompt": PROMPT, "bars": 0}, "is no number of lines"),
    ({"prompt": PROMPT, "bars": 1000}, "is no number of lines"),
    ({"prompt": PROMPT, "withheld": "maybe"}, "withheld=show"),
    ({"prompt": PROMPT, "figures": "gif"}, "figures=svg"),
    ({"prompt": "<b>\u202e😀 the"}, "How far do they agree?"),
])
def test_what_cannot_be_asked_is_said(open_page: Open, address: dict, words: str) -> None:
    shown = text_of(opened(open_page, **address))
    assert words.lower() in unescape(shown).lower()


@pytest.mark.parametrize("run", [PRISM, SMALL])
def test_a_run_without_seeds_names_the_command(open_page: Open, run: str) -> None:
    app = opened(open_page, run=run, prompt=PROMPT)
    assert f"readout-atlas match {run} OTHER" in text_of(app)
    assert "atl-agree" not in re.sub(r"<style>.*?</style>", "", html_of(app), flags=re.S)


def test_embeddings_give_no_logits_and_lead_to_the_readout(open_page: Open) -> None:
    app = opened(open_page, run=EMBEDDING, prompt=PROMPT)
    assert "which gives no logits" in text_of(app)
    app.button(key="decompose_readout").click().run()
    assert asked(calm(app), "run") == SEED0
    assert "The same ledger, seed by seed." in text_of(app)


def test_seeds_that_were_not_matched_name_the_command(
    open_page: Open, tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "store"
    shutil.copytree(tiny_store, copy)
    shutil.rmtree(copy / "matches")
    publish(copy)
    monkeypatch.setenv(STORE_VARIABLE, str(copy))
    shown = text_of(opened(open_page, prompt=PROMPT))
    assert f"readout-atlas match {SEED0} {SEED1}" in shown
    assert "no other seed of this run was matched" in shown


def test_without_a_language_model_kept_prompts_are_compared(
    open_page: Open, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "store"
    shutil.copytree(tiny_store, copy)
    for body in copy.glob("models/*/step*.safetensors"):
        body.unlink()
    monkeypatch.setenv(STORE_VARIABLE, str(copy))
    st.cache_resource.clear()  # the same prompt may have been read by a test before
    app = opened(open_page)
    assert "holds no language model" in text_of(app)
    assert "taken apart when the runs were built" in text_of(app)
    assert table_of(app, "atl-sl").count("open in Decompose") == 2
    shown = text_of(opened(open_page, prompt="nobody kept this"))
    assert "kept nothing of this prompt" in shown


def test_a_seed_that_fails_is_left_out_with_the_reason(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas.errors import BrokenArtifact
    from pages import answers_prompt

    real = answers_prompt.explanation

    def failing(digest: str, run: str, *question: object):
        if run == SEED1:
            raise BrokenArtifact("its weights are damaged")
        return real(digest, run, *question)

    monkeypatch.setattr(comparison_prompt.answers_prompt, "explanation", failing)
    shown = text_of(opened(open_page, prompt=PROMPT))
    assert f"{SEED1} is left out, because its weights are damaged" in shown
    assert "no other seed answers this prompt" in shown


def test_the_fragment_stays_small(open_page: Open) -> None:
    app = opened(open_page, prompt=PROMPT, withheld="show", bars=64)
    assert len(table_of(app, "atl-sl")) < 64 * 1000
