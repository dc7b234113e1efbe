"""Decompose: every kind of score, better questions, and the view through training."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from atlas.asking import KINDS
from atlas.gallery import listed
from atlas.live import decompose_prompt
from atlas.places import STORE_VARIABLE, store_from_environment
from atlas.store import Store
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import PRISM, SEED0, STEPS, V

__all__ = ["open_page"]
PROMPT = "the water and"


def numbers(shown: str) -> tuple[float, ...]:
    found = re.findall(
        r"exact (\S+) = base (\S+) \+ features (\S+) \+ residual (\S+)", shown
    )
    assert found, "no checked sum"
    return tuple(float(x.replace("−", "-")) for x in found[0])


def drawn(app: AppTest) -> str:
    """Everything that was written, with its tags."""
    return " ".join(e.proto.body for e in app.get("html"))


def failing(open_page: Open, **more: object) -> AppTest:
    for prompt in (PROMPT, "light was upon", "1990", "return name", "Class Table"):
        for step in STEPS:
            app = calm(open_page("decompose", run=SEED0, prompt=prompt, step=step, **more))
            if "The gate fails" in text_of(app):
                return app
    pytest.fail("no gate of the tiny store fails, so nothing was tested")


# --- kinds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [SEED0, PRISM])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_and_its_sum_checked(
    open_page: Open, kind: str, run: str
) -> None:
    app = calm(open_page("decompose", run=run, prompt=PROMPT, kind=kind, step=STEPS[-1]))
    shown = text_of(app)
    exact, base, features, residual = numbers(shown)
    assert exact == pytest.approx(base + features + residual, abs=2e-3)
    assert asked(app, "kind") == kind
    assert app.selectbox(key="decompose_kind").value == kind
    assert "How many features explain how much." in shown


def test_rank_and_rivals_are_read_and_written(open_page: Open, tiny_store: Path) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, kind="rank", rank=7))
    assert "(rank 7)" in text_of(app)
    app.number_input(key="decompose_rank").set_value(3).run()
    assert asked(calm(app), "rank") == "3"
    assert "(rank 3)" in text_of(app)
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, kind="topk", rivals=2))
    found = decompose_prompt(Store.open(tiny_store), SEED0, PROMPT)
    assert re.search(r"entropy 0\.\d\d nats", text_of(app))  # of two, at most ln 2
    assert found.target_text in text_of(app)
    app.number_input(key="decompose_rivals").set_value(5).run()
    assert asked(calm(app), "rivals") == "5"


def test_another_kind_keeps_what_it_can_read(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, target="#40", versus="#41"))
    app.selectbox(key="decompose_kind").set_value("centred").run()
    assert (asked(calm(app), "kind"), asked(app, "target")) == ("centred", "#40")
    assert "versus" not in app.query_params
    app.selectbox(key="decompose_kind").set_value("family").run()
    assert "#40" in asked(calm(app), "target")
    app.selectbox(key="decompose_kind").set_value("topk").run()
    assert "target" not in calm(app).query_params


def test_tokens_and_families_are_typed(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, kind="token"))
    app.text_input(key="decompose_target").set_value("light").run()
    assert asked(calm(app), "target") == "light"
    assert "␣light" in text_of(app)
    app.text_input(key="decompose_versus").set_value(" earth").run()
    assert "␣light − ␣earth" in text_of(calm(app))
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, kind="family"))
    app.text_input(key="decompose_target").set_value("water, light, xyzzy").run()
    assert "mean(␣water, ␣light) −" in text_of(calm(app))
    assert "xyzzy" in text_of(app)


# --- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ({"kind": "sum"}, "is no kind of score"),
        ({"kind": "rank", "rank": "1"}, "the winner itself"),
        ({"kind": "rank", "rank": "999"}, "There is no rank 999"),
        ({"kind": "rank", "rank": "many"}, "is no number"),
        ({"kind": "topk", "rivals": "0"}, "1 to 100"),
        ({"kind": "topk", "rivals": "-1"}, "1 to 100"),
        ({"kind": "topk", "target": " the"}, "reads no target"),
        ({"kind": "family", "target": "xyzzy"}, "No word of the target family"),
        ({"kind": "family", "target": "a", "versus": "a"}, "are the same"),
        ({"kind": "family", "target": ", ".join("ab" * 40)}, "at most 64"),
        ({"target": f"#{V}"}, f"no token {V}"),
        ({"target": "<|endoftext|>"}, "special token of the tokenizer"),
        ({"target": "٣"}, "Target"),
        ({"target": "#٣"}, "Target"),
        ({"bars": "all"}, "Bars cannot be"),
    ],
    ids=str,
)
def test_bad_questions_get_a_calm_line(
    open_page: Open, address: dict[str, str], reason: str
) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, **address))
    assert reason in text_of(app)
    assert "Likeliest next tokens" in text_of(app)


def test_a_word_of_several_tokens_comes_with_better_questions(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, target="WATER"))
    shown = text_of(app)
    assert "ask instead" in shown
    assert "its first piece" in shown
    assert "the same word as one token" in shown
    assert "The ledger." not in shown
    app.button(key="decompose_reset").click().run()
    assert "The ledger." in text_of(calm(app))


def test_links_to_better_questions_carry_the_prompt(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt="the <b> & water", kind="token"))
    shown = drawn(app)
    links = re.findall(r'href="(decompose\?[^"]+)"', shown)
    own = "prompt=the+%3Cb%3E+%26+water"
    kept = [entry.prompt for entry in listed(Store.open(store_from_environment()), SEED0)]
    links = [link for link in links if own in link
             or parse_qs(urlsplit(unescape(link)).query)["prompt"][0] not in kept]
    assert links
    assert all(own in link for link in links)
    assert any("kind=family" in link or "versus=%23" in link for link in links)
    assert "<b> &" not in shown


# --- a failed gate --------------------------------------------------------------------------------


def test_the_opt_in_to_withheld_bars_stands_in_the_address(open_page: Open) -> None:
    app = failing(open_page)
    assert "features, withheld" in text_of(app)
    app.toggle(key="decompose_anyway").set_value(True).run()
    assert asked(calm(app), "bars") == "show"
    assert "features, withheld" not in text_of(app)
    assert "only because they were asked for" in text_of(app)
    app.toggle(key="decompose_anyway").set_value(False).run()
    assert "bars" not in calm(app).query_params
    assert "features, withheld" in text_of(app)
    assert "features, withheld" not in text_of(failing(open_page, bars="show"))


def test_a_failed_gate_says_what_may_still_be_read(open_page: Open) -> None:
    shown = text_of(failing(open_page))
    assert "read the exact score only" in shown or "gives the direction" in shown
    assert "raises it most" not in shown
    assert "lowers it most" not in shown


# --- through training -----------------------------------------------------------------------------


def test_through_training_draws_every_step(open_page: Open, tiny_store: Path) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, view="training", charts="tables"))
    shown = text_of(app)
    found = decompose_prompt(Store.open(tiny_store), SEED0, PROMPT, step="all")
    passed = sum(row.ledger.gate for row in found.rows)
    assert f"passes at {passed} of {len(STEPS)} steps" in shown
    assert f"among all {V:,} rows" in shown
    assert f"rank of {found.target_text}" in shown
    assert "the exact score" in shown
    assert "the residual" in shown


def test_the_map_links_to_features_and_says_when_they_begin(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, view="training", bars="show"))
    shown = drawn(app)
    assert re.search(r'class="name" href="feature\?[^"]*feature=\d+"', shown)
    assert "from the first" in shown or re.search(r"from \d", shown)
    assert "200 random states" in shown


def test_columns_whose_gate_fails_are_hatched(open_page: Open) -> None:
    app = failing(open_page, view="training")
    assert '<i class="w">' in drawn(app) or "fails at every step" in text_of(app)
    address = {name: app.query_params[name] for name in ("run", "prompt", "step")}
    address = {k: v[0] if isinstance(v, list) else v for k, v in address.items()}
    again = calm(open_page("decompose", **address, view="training", bars="show"))
    assert '<i class="w">' not in drawn(again)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_through_training(open_page: Open, kind: str) -> None:
    app = calm(open_page(
        "decompose", run=SEED0, prompt=PROMPT, view="training", kind=kind, hidden="own",
        charts="tables",
    ))
    assert "probability of" in text_of(app)


def test_a_dictionary_of_one_snapshot_says_why_not(open_page: Open) -> None:
    app = calm(open_page("decompose", run=PRISM, prompt=PROMPT, view="training"))
    assert "fitted to one snapshot alone" in text_of(app)


def test_the_vocabulary_is_read_once(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas.odds import Odds

    read: list[int] = []
    plain = Odds.read
    monkeypatch.setattr(Odds, "read", lambda self, step: read.append(step) or plain(self, step))
    app = calm(open_page("decompose", run=SEED0, prompt="the earth and", view="training"))
    assert read == STEPS
    app.text_input(key="decompose_target").set_value("light").run()
    assert "␣light" in text_of(calm(app))
    assert read == STEPS


def test_the_code_of_the_page_is_offered(
    open_page: Open, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    for view in ("why", "training"):
        app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, view=view, kind="rank"))
        code = next(c.value for c in app.code if "decompose_prompt" in c.value)
        assert "kind='rank'" in code
        compile(code, "page", "exec")
