"""A prompt in the queue: what is said, who leaves, and that the page goes on by itself."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from atlas import hidden_states
from atlas.forward import Desk
from atlas.language_model import LanguageModel
from atlas.store import Store
from pages import waiting
from tests.pages.test_pages import Open, calm, open_page, text_of
from tests.tiny import SEED0

__all__ = ["open_page"]
PROMPT = "the water and"


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk at which nothing has been read."""
    found = Desk()
    monkeypatch.setattr(hidden_states, "_DESK", found)
    return found


class Slow:
    """Holds every pass up until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.passes = threading.Event(), 0
        plain = LanguageModel.hidden_of_many

        def read(model: LanguageModel, prompts: list) -> list[torch.Tensor]:
            self.passes += 1
            assert self.go.wait(20)
            return plain(model, prompts)

        monkeypatch.setattr(LanguageModel, "hidden_of_many", read)


def until(true, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_lines_say_where_a_prompt_stands_and_who_leaves_is_gone(
    tiny_store: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch)
    view = SimpleNamespace(store=Store.open(tiny_store), run=SEED0)

    def hand_in(word: str) -> waiting.Waiting:
        return waiting.Waiting(view, f"{PROMPT} {word}", "cpu")  # type: ignore

    first = hand_in("one")
    until(lambda: slow.passes == 1)
    second = hand_in("two")
    until(lambda: desk.waiting() == 2)
    third = hand_in("three")
    until(lambda: desk.waiting() == 3)
    assert [w.line(2.4) for w in (first, second, third)] == [
        "The language model is reading the prompt … 2 s",
        "One other prompt is read before this one … 2 s",
        "2 other prompts are read before this one … 2 s",
    ]
    assert not first.done(0.05)
    second.leave()
    assert second.done(5)
    assert desk.waiting() == 2
    assert third.line(3.1).startswith("One other prompt")
    slow.go.set()
    assert first.done(5)
    assert third.done(5)
    assert slow.passes == 2


def test_the_page_waits_says_so_and_goes_on(
    open_page: Open, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, said = Slow(monkeypatch), []
    plain = waiting.Waiting.line
    monkeypatch.setattr(waiting, "PATIENCE", 0.0)
    monkeypatch.setattr(waiting.Waiting, "line",
                        lambda self, s: said.append(plain(self, s)) or said[-1])
    threading.Timer(1.0, slow.go.set).start()
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT))
    assert "The ledger." in text_of(app)
    assert said[-1].startswith("The language model is reading the prompt")
    assert not [b for b in app.button if b.key == "prompt_stop"]


def test_a_stopped_prompt_is_read_when_asked_again(open_page: Open, desk: Desk) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT))
    digest, run, prompt = app.session_state["prompt_read"]
    app.session_state["prompt_stopped"] = (digest, run, "the fire")
    app.query_params["prompt"] = "the fire"
    calm(app.run())
    assert "Stopped" in text_of(app)
    assert "The ledger." not in text_of(app)
    calm(app.button(key="prompt_again").click().run())
    assert "The ledger." in text_of(app)
