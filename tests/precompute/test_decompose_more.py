"""`decompose --show` and `--edit`: the numbers of the page's views, in both forms."""

import math
from pathlib import Path

import numpy as np
import pytest

from atlas.asking import Ask
from atlas.editing import edit_prompt
from atlas.edits import read_edit
from atlas.live import explain
from atlas.reading import read_prompt
from atlas.rebuilt import own_answer
from atlas.store import Store
from atlas.swap import METRICS
from atlas.swap_grid import swap_grid
from tests.precompute.test_cli import Call, answer, call, refused
from tests.tiny import FULL, PRISM, SEED0, STEPS

__all__ = ["call", "refused"]
PROMPT = "In the beginning the light was upon the"


def asked(store: Path, *more: object, run: str = SEED0) -> tuple[object, ...]:
    return ("decompose", "--run", run, "--prompt", PROMPT, "--store", store, *more)


def test_nothing_more_is_there_unless_asked_for(call: Call, tiny_store: Path) -> None:
    found = answer(call(*asked(tiny_store, "--json")))
    assert not {"components", "layers", "swap", "alone", "edit"} & set(found)


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_components_add_up_and_layers_end_at_the_score(
    call: Call, tiny_store: Path, run: str
) -> None:
    found = answer(call(*asked(tiny_store, "--show", "inside", "--json", run=run)))
    row = found["rows"][-1]
    assert sum(c["total"] for c in found["components"]) == pytest.approx(row["exact"], abs=1e-5)
    assert found["components"][0]["component"] == "embedding"
    assert found["components"][0]["block"] is None
    assert found["layers"][-1]["exact"] == pytest.approx(row["exact"], abs=1e-5)
    assert found["layers"][-1]["gate"] is row["gate"]


def test_the_grid_is_that_of_the_function(call: Call, tiny_store: Path) -> None:
    found = answer(call(*asked(
        tiny_store, "--show", "swap", "--over", "prompt", "--align", "mean", "--json")))["swap"]
    reading = read_prompt(Store.open(tiny_store), SEED0, PROMPT)
    grid = swap_grid(reading, reading.top[0].token, "prompt", "mean")
    assert (found["hidden_steps"], found["readout_steps"]) == (list(FULL), list(STEPS))
    assert set(found["values"]) == set(METRICS)
    for name in METRICS:
        told = np.array(found["values"][name], dtype=float)
        np.testing.assert_allclose(told, grid.values[name], rtol=1e-6, err_msg=name)


def test_the_own_answer_and_the_edit_are_those_of_the_functions(
    call: Call, tiny_store: Path
) -> None:
    found = answer(call(*asked(
        tiny_store, "--show", "alone", "--edit", "ablate:1,2", "--seed", 3, "--json")))
    store = Store.open(tiny_store)
    reading = read_prompt(store, SEED0, PROMPT)
    own = own_answer(store, reading, STEPS[-1], reading.step)
    assert found["alone"]["kl_bits"] == pytest.approx(own.kl_bits)
    assert [t["token"] for t in found["alone"]["alone"]] == [t.token for t in own.alone]
    edit = edit_prompt(store, reading, Ask(), read_edit("ablate:1,2", 24), STEPS[-1],
                       reading.step, seed=3)
    told = found["edit"]
    assert told["change"] == pytest.approx(edit.change)
    assert told["after"] - told["before"] == pytest.approx(told["change"])
    assert told["kl_bits"] == pytest.approx(edit.kl)
    assert [d["change"] for d in told["random"]] == pytest.approx([d.change for d in edit.draws])


def test_a_step_and_its_own_state_are_kept_to(call: Call, tiny_store: Path) -> None:
    step = FULL[0]
    found = answer(call(*asked(
        tiny_store, "--step", step, "--hidden", "own", "--show", "inside", "--edit", "ablate:1",
        "--json")))
    store = Store.open(tiny_store)
    row = explain(store, read_prompt(store, SEED0, PROMPT), Ask(), step, "own").rows[0]
    assert (found["edit"]["step"], found["edit"]["hidden_step"]) == (step, step)
    assert found["edit"]["before"] == pytest.approx(row.ledger.exact)
    assert found["layers"][-1]["exact"] == pytest.approx(row.ledger.exact, abs=1e-5)


def test_in_words(call: Call, tiny_store: Path) -> None:
    status, out, _ = call(*asked(
        tiny_store, "--show", "inside", "--show", "swap", "--show", "alone", "--edit", "add:1@2"))
    assert status == 0
    for said in ("components", "layers", "NLL in nats over 1 prediction", "bits apart",
                 f"log V = {math.log(320):.2f}", "draws of random features", "the ledger foretold"):
        assert said in out
    assert "feature 1 " not in out.split("components")[1].split("layers")[0]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--show", "everything"), "is nothing; there are inside, swap, alone"),
        (("--show", "swap", "--align", "left"), "is none; there are none, mean"),
        (("--edit", "nonsense:3"), "is no edit"),
        (("--edit", "ablate:99999"), "99999"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    refused, tiny_store: Path, more: tuple[str, ...], reason: str
) -> None:
    assert reason in refused(2, *asked(tiny_store, *more))
