"""Decompose without a language model, and what the dictionary alone would answer."""

import re
import shutil
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from atlas import gallery
from atlas.explanations import RANK, RIVALS
from atlas.live import decompose_prompt
from atlas.places import STORE_VARIABLE
from atlas.reading import read_prompt
from atlas.rebuilt import own_answer
from atlas.store import Store
from pages import decompose_alone
from pages.decompose_ask import token
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import PRISM, SEED0, STEPS

__all__ = ["open_page"]
PROMPT = "the water and"


@pytest.fixture
def without_models(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that was shared without its language models' bodies."""
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    for body in store.glob("models/*/step*.safetensors"):
        body.unlink()
    monkeypatch.setenv(STORE_VARIABLE, str(store))
    return store


@pytest.fixture
def kept(tiny_store: Path) -> list[gallery.Entry]:
    found = list(gallery.listed(Store.open(tiny_store), SEED0))
    assert found, "the tiny store has no gallery"
    return found


def test_a_kept_prompt_is_answered_without_a_model(
    open_page: Open, kept: list[gallery.Entry], tiny_store: Path, without_models: Path
) -> None:
    entry = next(e for e in kept if e.is_last and e.ask == gallery.Ask() and e.hidden == "final")
    live = decompose_prompt(Store.open(tiny_store), SEED0, entry.prompt).rows[-1].ledger
    app = open_page("decompose", run=SEED0, prompt=entry.prompt)
    shown = text_of(calm(app))
    assert "holds no language model" in shown
    assert "taken apart when the run was built" in shown
    assert "The ledger." in shown
    exact = re.search(r"exact (\S+) = base", shown)
    assert exact is not None
    assert float(exact[1].replace("−", "-")) == pytest.approx(live.exact, abs=6e-4)
    assert not [b for b in app.selectbox if b.key == "decompose_kind"]


def test_other_prompts_are_refused_with_those_that_can_be_had(
    open_page: Open, kept: list[gallery.Entry], without_models: Path
) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt="no such prompt was kept"))
    shown = " ".join(e.proto.body for e in app.get("html"))
    assert "holds no language model" in text_of(app)
    assert "The ledger." not in text_of(app)
    for entry in kept:
        assert entry.name in unescape(shown)
    link = re.search(r'href="decompose\?([^"]+)"', shown)
    assert link is not None


@pytest.mark.parametrize("view", ["training", "inside", "swap", "edit"])
def test_views_that_need_the_model_say_so(
    open_page: Open, kept: list[gallery.Entry], without_models: Path, view: str
) -> None:
    app = open_page("decompose", run=SEED0, prompt=kept[0].prompt, view=view)
    assert "needs the language model" in text_of(calm(app))


def test_every_link_of_the_gallery_asks_what_it_answers(
    open_page: Open, kept: list[gallery.Entry], tiny_store: Path
) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT))
    drawn = [e.proto.body for e in app.get("html")]
    (listed,) = (body for body in drawn if '<ul class="atl-asked">' in body)
    links = [parse_qs(unescape(x)) for x in re.findall(r'href="decompose\?([^"]+)"', listed)]
    assert len(links) == len(kept)
    store = Store.open(tiny_store)
    for link, entry in zip(links, kept, strict=True):
        said = {name: values[0] for name, values in link.items()}
        ask = gallery.Ask(
            said.get("kind"), token(said.get("target")), token(said.get("versus")),  # type: ignore
            int(said.get("rank", RANK)), int(said.get("rivals", RIVALS)),
        )
        found = gallery.stored(
            store, SEED0, said["prompt"], int(said.get("position", -1)), ask,
            said.get("hidden", "final"),
        )
        assert found is not None
        assert found.score == entry.score


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_the_dictionary_s_own_answer_stands_beside_the_true_one(
    open_page: Open, tiny_store: Path, run: str
) -> None:
    shown = text_of(calm(open_page("decompose", run=run, prompt=PROMPT)))
    store = Store.open(tiny_store)
    reading = read_prompt(store, run, PROMPT)
    found = own_answer(store, reading, reading.card.steps[-1], reading.step)
    assert "The dictionary’s own answer." in shown
    assert f"{found.kl_bits:.2f} bits from the true readout" in shown
    wanted = "stays the likeliest" if found.place == 1 else f"falls to place {found.place:,}"
    assert wanted in shown


def test_of_a_large_dictionary_it_is_asked_for(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompose_alone, "ENTRIES", 0)
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, step=STEPS[1]))
    assert "own answer" not in text_of(app)
    app.button(key="decompose_alone").click().run()
    assert "The dictionary’s own answer." in text_of(calm(app))
    assert asked(app, "alone") == "show"
    assert "is no choice" in text_of(calm(open_page("decompose", run=SEED0, alone="maybe")))
