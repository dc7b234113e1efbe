"""Continuations under an edit: greedy, in step, edited at every step, within the context."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.artifacts import load_snapshot
from atlas.continuation import MOST, Continuation, continue_prompt, greedy
from atlas.edits import read_edit, rescaled, shift, units
from atlas.errors import InvalidValue
from atlas.hidden_states import language_model
from atlas.reading import Reading, read_prompt
from atlas.slices import open_decoder
from atlas.store import Store
from tests.tiny import SEED0, STEPS, WIDTH

PROMPT = "In the beginning the light"


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> "Store":
    return Store.open(tiny_store)


@pytest.fixture(scope="module")
def reading(store: "Store") -> Reading:
    return read_prompt(store, SEED0, PROMPT)


def last(reading: Reading, text: str, **more: object) -> Continuation:
    *_, found = continue_prompt(reading, read_edit(text, WIDTH), **more)  # type: ignore
    return found


def plainly(
    reading: Reading, text: str, step: int, hidden_step: int, most: int, other: tuple = ()
) -> tuple[tuple[int, ...], ...]:
    """Slow twin: one sequence after the other, each state from the model itself."""
    edit = read_edit(text, WIDTH)
    rows = load_snapshot(reading.root, reading.card.model_name, step, "W_U")
    decoder, k = open_decoder(reading.root, reading.card), STEPS.index(step)
    unit = units(decoder.directions(k, np.asarray(edit.features)))
    model = language_model(reading.root, reading.card, hidden_step, "cpu")
    out = []
    for kind in ("before", "after", "random"):
        tokens = list(reading.tokens[: reading.position + 1])
        for _ in range(most):
            h = model.hidden_of(tokens)[-1].double().numpy()
            v = np.zeros_like(h)
            if kind == "after":
                v = shift(h, unit, edit)
            elif kind == "random" and other:
                length = np.linalg.norm(shift(h, unit, edit))
                u = units(decoder.directions(k, np.asarray(other)))
                v = rescaled(shift(h, u, edit)[None], float(length))[0]
            tokens.append(int((rows.double().numpy() @ (h + v)).argmax()))
        out.append(tuple(tokens[reading.position + 1 :]))
    return tuple(out)


@pytest.mark.parametrize(("step", "hidden_step"), [(64, 64), (4, 64), (16, 16), (1, 16)])
@pytest.mark.parametrize("text", ["ablate:0,1", "add:2@6"])
def test_it_writes_what_the_plain_way_writes(
    reading: Reading, text: str, step: int, hidden_step: int
) -> None:
    found = last(reading, text, random_features=(5, 6), step=step, hidden_step=hidden_step, most=6)
    wanted = plainly(reading, text, step, hidden_step, 6, (5, 6))
    ends = [w.index(0) + 1 if 0 in w else len(w) for w in wanted]  # the text may end
    for written, whole, end in zip((found.before, found.after, found.random), wanted, ends,
                                   strict=True):
        assert written == whole[:end]


def test_nothing_edited_changes_nothing(reading: Reading) -> None:
    found = last(reading, "scale:1@1", most=5)
    assert found.before == found.after == found.random


def test_it_goes_on_from_the_position(store: "Store") -> None:
    early = read_prompt(store, SEED0, PROMPT, 2)
    assert last(early, "ablate:1", most=3).before == plainly(early, "ablate:1", 64, 64, 3)[0]


def test_it_comes_token_by_token_and_stops_when_nobody_asks(reading: Reading) -> None:
    found = continue_prompt(reading, read_edit("ablate:1", WIDTH), most=4)
    assert next(found).done == 1
    assert next(found).done == 2
    found.close()


def test_texts_are_drawn(reading: Reading) -> None:
    found = last(reading, "ablate:1", most=3)
    assert [len(t) for t in found.texts] == [len(found.before), len(found.after), len(found.random)]
    assert all(text.isprintable() for texts in found.texts for text in texts)


def test_more_than_the_context_is_read_from_its_end(store: "Store") -> None:
    long = read_prompt(store, SEED0, "the light " * 200)
    assert len(long.tokens) == language_model(long.root, long.card, 64, "cpu").context
    assert last(long, "ablate:1", most=2).done == 2


def test_an_end_of_the_text_ends_it() -> None:
    seen = []

    def state(tokens: tuple[int, ...]) -> np.ndarray:
        seen.append(tokens)
        return np.eye(4)[len(tokens) % 4]

    def nothing(h: np.ndarray) -> np.ndarray:
        return np.zeros_like(h)

    found = list(greedy(state, lambda h: h @ torch.eye(4), [nothing, nothing], (9,), 8,
                        frozenset({3})))
    assert found[-1] == ((1, 2, 3), (1, 2, 3))
    assert len(seen) == 3  # both continue alike, so each state is asked for once


@pytest.mark.parametrize("most", [0, MOST + 1])
def test_too_many_tokens_are_refused(reading: Reading, most: int) -> None:
    with pytest.raises(InvalidValue, match="tokens cannot be written"):
        last(reading, "ablate:1", most=most)
