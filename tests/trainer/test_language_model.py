"""Pretraining: data order, schedule, resuming, and what a store keeps of a model."""

import dataclasses

import numpy as np
import pytest
import torch

from atlas.errors import InvalidValue
from atlas.tensor_files import load_tensors, read_json, round_rows
from trainer.export import export_model, hidden_states, kept_model, save_token_counts
from trainer.language_model import (
    LanguageModelRecipe,
    batch_rows,
    held_out_rows,
    learning_rate,
    pretrain,
    sequences,
    validation_loss,
)

TINY = LanguageModelRecipe(
    hidden_size=8, layers=1, heads=2, steps=6, snapshots=(0, 1, 2, 4, 6), full_models=(0, 6),
    vocabulary=32, context=8, batch=4, warmup=2,
)


@pytest.fixture(scope="module")
def stream():
    return np.tile(np.arange(2, 32, dtype=np.uint16), 40)


def test_sequences_share_only_their_border():
    rows = sequences(np.arange(20), 5)
    assert rows.shape == (3, 6)
    assert rows[0, -1] == rows[1, 0] == 5


def test_every_epoch_is_a_permutation():
    recipe = dataclasses.replace(TINY, batch=5)
    seen = np.concatenate([batch_rows(recipe, 10, s) for s in range(4)])
    assert sorted(seen[:10]) == list(range(10)) == sorted(seen[10:])
    assert list(seen[:10]) != list(seen[10:])


def test_learning_rate_rises_fast_and_ends_at_a_tenth():
    recipe = dataclasses.replace(TINY, steps=1000, warmup=4)
    assert learning_rate(recipe, 0) == pytest.approx(recipe.learning_rate / 4)
    assert learning_rate(recipe, 4) == pytest.approx(recipe.learning_rate, rel=1e-3)
    assert learning_rate(recipe, 1000) == pytest.approx(recipe.learning_rate / 10)


def test_a_killed_run_ends_where_an_unbroken_one_does(tmp_path, stream):
    class Killed(Exception):
        pass

    def kill_at_four(line):
        if '"step": 4' in line:
            raise Killed

    torch.use_deterministic_algorithms(True)
    try:
        pretrain(TINY, stream, stream, tmp_path / "whole", lambda line: None, resume_every=2)
        with pytest.raises(Killed):
            pretrain(TINY, stream, stream, tmp_path / "cut", kill_at_four, resume_every=2)
        pretrain(TINY, stream, stream, tmp_path / "cut", lambda line: None, resume_every=2)
    finally:
        torch.use_deterministic_algorithms(False)
    whole = load_tensors(tmp_path / "whole" / "step6.safetensors")
    cut = load_tensors(tmp_path / "cut" / "step6.safetensors")
    assert all(torch.equal(whole[n], cut[n]) for n in whole)
    steps = [entry["step"] for entry in read_json(tmp_path / "cut" / "history.json")]
    assert steps == list(TINY.snapshots)
    with pytest.raises(InvalidValue, match="another recipe"):
        pretrain(dataclasses.replace(TINY, seed=1), stream, stream, tmp_path / "cut")


def test_what_a_store_keeps_is_the_model(tmp_path, stream):
    work, store = tmp_path / "work", tmp_path / "store"
    pretrain(TINY, stream, stream, work, lambda line: None)
    export_model(work, store, "tiny", TINY, stream)
    kept = kept_model(store, "tiny", TINY, 6)
    held_out = held_out_rows(stream, TINY.context)
    history = read_json(store / "models" / "tiny" / "history.json")["history"]
    assert history[-1]["validation_loss_kept"] == pytest.approx(validation_loss(kept, held_out))
    assert history[-1]["validation_loss_kept"] == pytest.approx(
        history[-1]["validation_loss"], abs=0.02
    )
    assert len(list((store / "snapshots").iterdir())) == 2 * len(TINY.snapshots)
    states = hidden_states(kept, stream, TINY.context, 50, seed=0)
    assert states.shape == (50, 8)
    logits = kept(input_ids=torch.tensor([[3, 4, 5]])).logits[0]
    h = kept.gpt_neox(input_ids=torch.tensor([[3, 4, 5]])).last_hidden_state[0]
    assert torch.allclose(h @ kept.get_output_embeddings().weight.T, logits, atol=1e-5)


def test_rounding_stays_within_half_a_step():
    matrix = torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    values, scale = round_rows(matrix)
    error = (values * scale.unsqueeze(1) - matrix).abs()
    assert values.dtype == torch.int8
    assert bool((error <= scale.unsqueeze(1) / 2 + 1e-6).all())


def test_token_counts_keep_their_integers(tmp_path):
    save_token_counts(tmp_path / "c.safetensors", {"prose": np.array([3, 0, 2])})
    assert load_tensors(tmp_path / "c.safetensors")["prose"].tolist() == [3, 0, 2]
