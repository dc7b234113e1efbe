"""The gate's share over prompts, and where the prompts come from."""

from pathlib import Path

import pytest

from atlas.live import decompose_prompt
from atlas.places import DEMO
from atlas.store import Store
from precompute.fidelity import RIVALS, gate_rate, held_out_prompts
from tests.tiny import SEED0


def test_every_contrast_is_counted_once(tiny_store: Path) -> None:
    store = Store.open(tiny_store)
    prompts = ["the light", "name of"]
    rate, n = gate_rate(store, SEED0, prompts)
    assert n == 2 * RIVALS
    by_hand = 0
    for prompt in prompts:
        top = decompose_prompt(store, SEED0, prompt).top
        for rival in top[1 : RIVALS + 1]:
            row = decompose_prompt(
                store, SEED0, prompt, target=top[0].token, versus=rival.token
            ).rows[-1].ledger
            by_hand += row.rho < 0.5 and (row.exact > 0) == (row.base + row.feature_sum > 0)
    assert rate == pytest.approx(by_hand / n)


def test_prompts_are_held_out_and_repeat() -> None:
    prompts = held_out_prompts(DEMO / "corpus.jsonl.xz", 5)
    assert prompts == held_out_prompts(DEMO / "corpus.jsonl.xz", 5)
    assert len(set(prompts)) == 5
    assert all(0 < len(p) <= 150 for p in prompts)
