"""The prompt of Decompose and its address, and what is offered where nothing can be read."""

import re
from pathlib import Path

import pytest

from atlas import gallery
from atlas.store import Store
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import EMBEDDING, SEED0

__all__ = ["open_page"]


@pytest.mark.parametrize(("word", "times", "held"), [
    ("word ", 390, True), ("word ", 900, False), ("слово ", 100, True), ("слово ", 300, False),
])
def test_a_prompt_too_long_for_a_link_is_kept_from_view_to_view(
    open_page: Open, word: str, times: int, held: bool
) -> None:
    prompt = f"Thus {word * times}".strip()
    app = calm(open_page("decompose", run=SEED0, prompt=prompt))
    assert ("prompt" in app.query_params) == held
    assert ("too long for a link" in text_of(app)) == (not held)
    app.segmented_control(key="decompose_view").set_value("swap").run()
    assert asked(calm(app), "view") == "swap"
    assert app.text_area(key="decompose_prompt").value == prompt


def test_a_dictionary_of_embeddings_offers_one_of_the_readout(open_page: Open) -> None:
    app = calm(open_page("decompose", run=EMBEDDING, prompt="the water and"))
    assert "which gives no logits" in text_of(app)
    assert app.segmented_control(key="decompose_view").value == "why"
    app.button(key="decompose_readout").click().run()
    assert asked(calm(app), "run") == SEED0
    assert asked(app, "prompt") == "the water and"
    assert "The ledger." in text_of(app)


def test_a_prompt_of_the_gallery_is_one_line(open_page: Open, tiny_store: Path) -> None:
    app = calm(open_page("decompose", run=SEED0))
    html = " ".join(e.proto.body for e in app.get("html"))
    kept = gallery.listed(Store.open(tiny_store), SEED0)
    prompts = {(entry.name, entry.prompt) for entry in kept}
    lines = re.findall(r"<li>(.*?)</li>", html)
    assert len(lines) == len(prompts) < len(kept)
    assert sum(line.count("<a ") for line in lines) == len(kept)
