"""The step against llamascopium's own: losses, gradients and ten steps as it took them.

`tests/fixtures/llamascopium/steps.safetensors` was written by the library (`make peer`), which has
no place beside ours; `make bench-train` runs both side by side.
"""

import pytest
import torch

from atlas.places import ROOT
from atlas.tensor_files import load_tensors
from trainer.adam import Adam
from trainer.joint_step import JointStep, Penalty, Weights

STEPS = ROOT / "tests" / "fixtures" / "llamascopium" / "steps.safetensors"
PENALTY = Penalty(weight=0.3, frequency_scale=0.01, stretch=1.0, window=4.0)
NAMES = ("encoder", "b_E", "W_D", "b_D", "log_threshold")


def part(found: dict[str, torch.Tensor], prefix: str) -> Weights:
    """Weights, or their gradients, in the layout of training."""
    named = {name: found[f"{prefix}.{name}"].clone() for name in ("b_E", "W_D", "b_D",
                                                                  "log_threshold")}
    encoder = found[f"{prefix}.W_E"].permute(2, 0, 1).contiguous()
    return Weights(encoder.view(len(encoder), -1), **named)


@pytest.fixture(scope="module")
def peer() -> dict[str, torch.Tensor]:
    return load_tensors(STEPS)


def batch(peer: dict[str, torch.Tensor], number: int) -> torch.Tensor:
    x = peer["x"][:, peer["batches"][number]]
    return x.permute(1, 0, 2).reshape(x.shape[1], -1)


@pytest.mark.parametrize("lists", [True, False])
def test_loss_and_gradients_are_the_librarys(peer: dict[str, torch.Tensor], lists: bool) -> None:
    step = JointStep(part(peer, "first"), batch(peer, 0), PENALTY, lists=lists)
    losses = step.losses()
    assert float(losses.total) == pytest.approx(float(peer["losses"][0]), rel=1e-6)
    assert 0.02 < float(losses.l0) / 64 < 0.6, "a state in which some fire"
    expected = part(peer, "gradient").tensors()
    lengths = {name: float(value.norm()) for name, value in expected.items()}

    def take(name: str, where: slice, value: torch.Tensor) -> None:
        expected[name][where] -= value

    step.gradients(take)
    for name, left in expected.items():
        assert float(left.norm()) < 2e-6 * lengths[name], name


@pytest.mark.parametrize("lists", [True, False])
def test_ten_steps_end_where_the_librarys_do(peer: dict[str, torch.Tensor], lists: bool) -> None:
    weights = part(peer, "first")
    adam = Adam(weights.tensors(), ("log_threshold",), 0.1)
    for number, loss in enumerate(peer["losses"]):
        step = JointStep(weights, batch(peer, number), PENALTY, lists=lists)
        assert float(step.losses().total) == pytest.approx(float(loss), rel=1e-4)
        with adam.step(1e-2):
            step.gradients(adam.take)
    for name, value in part(peer, "last").tensors().items():
        moved = float((value - part(peer, "first").tensors()[name]).norm())
        assert float((weights.tensors()[name] - value).norm()) < 5e-3 * moved, name
