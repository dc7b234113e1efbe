"""The desk: prompts read together, each once, nobody kept waiting for another's model or fault."""

import threading
from concurrent.futures import CancelledError

import pytest
import torch

from atlas.errors import OutOfMemory
from atlas.forward import MOST_PROMPTS, Desk, Lane, Read
from atlas.hidden_states import read_together

SOON = 5.0


class Model:
    """Reads a prompt as its tokens; notes the passes, and waits where it is told to."""

    def __init__(self) -> None:
        self.passes: list[list[tuple[int, ...]]] = []
        self.go, self.begun = threading.Event(), threading.Event()
        self.go.set()

    def read(self, prompts: list[tuple[int, ...]]) -> list[Read]:
        self.passes.append(prompts)
        self.begun.set()
        assert self.go.wait(SOON)
        if any(99 in prompt for prompt in prompts):
            raise ValueError("unlucky")
        return [Read(torch.tensor(prompt, dtype=torch.float32)) for prompt in prompts]

    def hold(self) -> None:
        """Have the next pass wait."""
        self.go.clear()
        self.begun.clear()


def values(read: Read) -> list[int]:
    return read.states.int().tolist()


class TestLane:
    def test_those_that_wait_are_read_in_one_pass(self) -> None:
        model = Model()
        lane = Lane(model.read)
        model.hold()
        first = lane.ask((1,))
        assert model.begun.wait(SOON)
        later = [lane.ask((n, n)) for n in (2, 3, 4)]
        assert [ticket.before for ticket in (first, *later)] == [0, 1, 2, 3]
        assert lane.length == 4
        assert not later[0].done(0.01)
        model.go.set()
        assert [values(ticket.result()) for ticket in later] == [[2, 2], [3, 3], [4, 4]]
        assert model.passes == [[(1,)], [(2, 2), (3, 3), (4, 4)]]
        assert later[0].before == 0

    def test_a_pass_has_its_bounds(self) -> None:
        model = Model()
        lane = Lane(model.read)
        model.hold()
        lane.ask((0,))
        assert model.begun.wait(SOON)
        few = [lane.ask((n,)) for n in range(1, MOST_PROMPTS + 3)]
        long = [lane.ask((n,) * 3000) for n in (50, 51)]
        model.go.set()
        for ticket in (*few, *long):
            ticket.result()
        assert [len(p) for p in model.passes] == [1, MOST_PROMPTS, 2, 1, 1]

    def test_the_same_prompt_is_read_once(self) -> None:
        model = Model()
        lane = Lane(model.read)
        model.hold()
        one, two = lane.ask((1,)), lane.ask((1,))
        model.go.set()
        assert one.result() is two.result()
        assert model.passes == [[(1,)]]

    def test_who_leaves_is_not_read_and_others_are(self) -> None:
        model = Model()
        lane = Lane(model.read)
        model.hold()
        lane.ask((1,))
        assert model.begun.wait(SOON)
        gone, shared, kept, last = (lane.ask(p) for p in ((2,), (3,), (3,), (4,)))
        for ticket in (gone, gone, shared):
            ticket.give_up()
        assert last.before == 2
        model.go.set()
        assert values(kept.result()) == [3]
        assert values(last.result()) == [4]
        assert model.passes == [[(1,)], [(3,), (4,)]]
        assert gone.done(SOON)
        with pytest.raises(CancelledError):
            gone.result()

    def test_a_bad_prompt_harms_only_itself(self) -> None:
        model = Model()
        lane = Lane(model.read)
        model.hold()
        lane.ask((1,))
        assert model.begun.wait(SOON)
        good, bad, also = (lane.ask(p) for p in ((2,), (99,), (3,)))
        model.go.set()
        assert values(good.result()) == [2]
        assert values(also.result()) == [3]
        with pytest.raises(ValueError, match="unlucky"):
            bad.result()
        assert values(lane.ask((5,)).result()) == [5]


class TestDesk:
    def test_a_slow_model_keeps_nobody_of_another_waiting(self) -> None:
        slow, quick, desk = Model(), Model(), Desk()
        slow.hold()
        waits = desk.ask("slow", (1,), slow.read)
        assert values(desk.ask("quick", (2,), quick.read).result()) == [2]
        assert not waits.done()
        assert desk.waiting() == 1
        slow.go.set()
        assert values(waits.result()) == [1]

    def test_answers_are_kept_as_long_as_there_is_room(self) -> None:
        model, desk = Model(), Desk(kept_bytes=2 * 4 * 100)
        for n in (1, 2, 1, 3, 1, 2):
            desk.ask("m", (n,) * 100, model.read).result()
        assert [prompts[0][0] for prompts in model.passes] == [1, 2, 3, 2]
        assert desk.ask("m", (2,) * 100, model.read).done()
        desk.ask("other", (2,) * 100, model.read).result()
        assert len(model.passes) == 5

    def test_a_failure_is_not_kept(self) -> None:
        model, desk = Model(), Desk()
        for _ in range(2):
            with pytest.raises(ValueError):
                desk.ask("m", (99,), model.read).result()
        assert len(model.passes) == 2


class Small:
    """A language model on a device with room for so many tokens."""

    def __init__(self, room: int) -> None:
        self.room, self.passes = room, 0

    def hidden_of_many(self, prompts: list[tuple[int, ...]]) -> list[torch.Tensor]:
        self.passes += 1
        if sum(map(len, prompts)) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return [torch.tensor(prompt).float() for prompt in prompts]


class TestTooLittleMemory:
    def test_each_alone_and_then_on_the_cpu(self) -> None:
        models = {"cuda": Small(3), "cpu": Small(100)}
        found = read_together(models.__getitem__, "cuda", [(1, 2), (1,) * 5, (3,)])  # type: ignore
        assert [values(read)[-1] for read in found] == [2, 1, 3]
        assert [read.note for read in found] == [
            None, "cuda ran out of memory, so this prompt was read on the CPU", None]
        assert models["cpu"].passes == 1

    def test_the_device_is_asked_again_next_time(self) -> None:
        models = {"cuda": Small(3), "cpu": Small(100)}
        read_together(models.__getitem__, "cuda", [(1,) * 5])  # type: ignore
        assert read_together(models.__getitem__, "cuda", [(1,)])[0].note is None  # type: ignore
        assert models["cuda"].passes == 2

    def test_a_model_that_does_not_fit_at_all(self) -> None:
        def load(device: str) -> Small:
            if device == "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 40 GiB.")
            return Small(100)

        assert read_together(load, "cuda", [(1,)])[0].note  # type: ignore

    def test_no_memory_anywhere_is_said(self) -> None:
        with pytest.raises(OutOfMemory, match="reading 5 tokens takes more memory"):
            read_together(lambda device: Small(3), "cuda", [(1,) * 5])  # type: ignore
