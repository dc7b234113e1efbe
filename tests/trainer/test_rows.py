"""Rows held and rows streamed are the same rows; what can be told of other devices without one."""

from pathlib import Path

import pytest
import torch

from atlas.crosscoder import standardize
from atlas.errors import InvalidValue
from atlas.places import snapshot_path
from atlas.tensor_files import save_tensors
from precompute import cli
from trainer import snapshots as module
from trainer.joint_step import JointStep, Penalty, Weights
from trainer.rows import ResidentRows, StreamedRows
from trainer.snapshots import Snapshots, rows_of

STEPS = (0, 1, 8)


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    generator = torch.Generator().manual_seed(0)
    for step in STEPS:
        rows = torch.randn(40, 6, generator=generator) * (1 + step) + step
        save_tensors(snapshot_path(tmp_path, "owner/model", step, "W_U"), {"W_U": rows})
    return Snapshots(tmp_path, "model", "owner/model", "W_U", STEPS)


def end_to_end(x: torch.Tensor) -> torch.Tensor:
    return x.permute(1, 0, 2).reshape(x.shape[1], -1)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("some", [True, False])
def test_rows_are_the_standardised_snapshots(
    snapshots: Snapshots, resident: bool, some: bool
) -> None:
    fitted = torch.arange(40) % 3 > 0 if some else None
    rows = rows_of(snapshots, slice(1, 3), torch.device("cpu"), fitted, resident)
    assert isinstance(rows, ResidentRows if resident else StreamedRows)
    x = standardize(torch.stack([snapshots.load(step) for step in STEPS]))[1][1:]
    expected = end_to_end(x if fitted is None else x[:, fitted])
    assert len(rows) == len(expected)
    assert (rows.snapshots, rows.d_model) == (2, 6)
    ids = torch.tensor([5, 0, 17])
    assert torch.allclose(rows.take(ids), expected[ids], atol=1e-6)


def test_rows_that_do_not_fit_are_streamed(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    every, cpu = slice(0, 3), torch.device("cpu")
    size = 4 * 3 * 40 * 6
    monkeypatch.setattr(module, "free_bytes", lambda device: size / module.FREE_SHARE + 1)
    assert isinstance(rows_of(snapshots, every, cpu), ResidentRows)
    monkeypatch.setattr(module, "free_bytes", lambda device: size / module.FREE_SHARE - 1)
    assert isinstance(rows_of(snapshots, every, cpu), StreamedRows)


def test_free_memory_is_told() -> None:
    assert 1e6 < module.free_bytes(torch.device("cpu")) < 1e15


@pytest.mark.parametrize("half", [True, False])
def test_a_step_makes_nothing_on_another_device_and_waits_for_none(half: bool) -> None:
    """On torch's device without memory every value that is looked at, and every tensor of the CPU
    that is mixed in, is an error.
    """
    k, d, width, batch = 3, 4, 10, 6
    meta = torch.device("meta")
    weights = Weights(
        torch.zeros(width, k * d, device=meta), torch.zeros(k, width, device=meta),
        torch.zeros(k, width, d, device=meta), torch.zeros(k, d, device=meta),
        torch.zeros(width, device=meta),
    )
    step = JointStep(weights, torch.zeros(batch, k * d, device=meta), Penalty(0.3, 0.01, 1.0, 4.0),
                     half=half, micro=4)
    losses = step.losses()
    assert losses.total.device == meta
    found: dict[str, int] = {}

    def take(name: str, part: slice, value: torch.Tensor) -> None:
        assert value.device == meta
        assert value.shape == weights.tensors()[name][part].shape
        found[name] = found.get(name, 0) + len(value)

    step.gradients(take)
    assert found == {name: len(value) for name, value in weights.tensors().items()}


def test_a_device_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    status = cli.main(["train", "demo/small/W_U/cross-snapshot-24/d512/seed0", "--device", "cuda"])
    assert status == InvalidValue.status
    assert "cuda" in capsys.readouterr().err
