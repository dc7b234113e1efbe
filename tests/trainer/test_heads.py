"""Snapshots dealt out among processes: the losses and gradients of one, and its whole training."""

import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch

from atlas.errors import InvalidValue
from trainer.crosscoder import CrosscoderTraining
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.heads import Heads, join
from trainer.loop import Loop, Pace
from trainer.rows import ResidentRows

K, N, D_MODEL = 4, 120, 6
RECIPE = CrosscoderRecipe(
    model="m", matrix="W_U", d_sae=20, epochs=4, batch=50, learning_rate=5e-3, sparsity=0.05,
    precision="float32",
)


def rows() -> torch.Tensor:
    x = torch.randn(K, N, D_MODEL, generator=torch.Generator().manual_seed(5))
    return x - x.mean(1, keepdim=True)


def spread(training: CrosscoderTraining) -> None:
    """Weights that differ between snapshots, the same ones however they are dealt out."""
    generator = torch.Generator().manual_seed(6)
    own = training.heads.own(K)
    w = training.weights
    w.W_D.mul_(3 * torch.rand(K, RECIPE.d_sae, 1, generator=generator)[own])
    w.b_D.copy_(torch.randn(K, D_MODEL, generator=generator)[own])


def one_step(training: CrosscoderTraining) -> dict[str, torch.Tensor]:
    figures = training.step(0)
    found = {name: value.clone() for name, value in figures.terms.items()}
    grads = {name: torch.zeros_like(value) for name, value in training.weights.tensors().items()}

    def take(name: str, part: slice, value: torch.Tensor) -> None:
        grads[name][part] = value

    usual, training.optimizer.take = training.optimizer.take, take
    figures.move()
    training.optimizer.take = usual
    return found | {f"grad.{name}": value for name, value in grads.items()}


def work(rank: int, world: int, port: int, folder: str, dense_above: float) -> None:
    """A process: one step with its gradients, then a training with a checkpoint."""
    import trainer.joint_step

    trainer.joint_step.DENSE_ABOVE = dense_above
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port)}
    heads = join(torch.device("cpu"))
    own = rows()[heads.own(K)]
    first = CrosscoderTraining(ResidentRows(own), RECIPE, heads)
    spread(first)
    found = one_step(first)
    second = CrosscoderTraining(ResidentRows(own), RECIPE, heads)
    Loop(second, "shared", folder=Path(folder), facts={"a": 1},
         pace=Pace(2, 1e9, 5)).run()
    torch.save({"step": found, "end": second.weights.tensors()}, f"{folder}/{rank}.pt")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize("dense_above", [0.0, 1.0], ids=["dense", "lists"])
@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_give_the_losses_and_gradients_of_one(
    world, dense_above, tmp_path, monkeypatch
):
    monkeypatch.setattr("trainer.joint_step.DENSE_ABOVE", dense_above)
    context, port = multiprocessing.get_context("spawn"), free_port()
    processes = [
        context.Process(target=work, args=(rank, world, port, str(tmp_path), dense_above))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * world
    alone = CrosscoderTraining(ResidentRows(rows()), RECIPE)
    spread(alone)
    expected = one_step(alone)
    whole = CrosscoderTraining(ResidentRows(rows()), RECIPE)
    Loop(whole, "alone").run()
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(world)]
    for rank, part in enumerate(parts):
        for name, value in expected.items():
            mine = part["step"][name]
            if name.startswith("grad.") and "threshold" not in name:
                value = own_part(name.removeprefix("grad."), value, Heads(rank, world))
            assert float((mine - value).norm()) <= 1e-5 * float(value.norm()), name
        for name, value in whole.weights.tensors().items():
            if name != "log_threshold":
                value = own_part(name, value, Heads(rank, world))
            assert torch.allclose(part["end"][name], value, atol=2e-4), name
    assert len(list(tmp_path.glob(f"checkpoint-10-*-of-{world}.safetensors"))) == world


def own_part(name: str, value: torch.Tensor, heads: Heads) -> torch.Tensor:
    """What a process has of a tensor over all snapshots."""
    if name == "encoder":
        return value.view(len(value), K, -1)[:, heads.own(K)].reshape(len(value), -1)
    return value[heads.own(K)]


def test_snapshots_that_cannot_be_dealt_out_are_refused_with_what_can():
    with pytest.raises(InvalidValue, match="24 snapshots .* among 5 .* takes 1, 2, 3, 4, 6, 8, 12"):
        Heads(0, 5).own(24)
    assert Heads(1, 4).own(24) == slice(6, 12)
