"""Ten steps of llamascopium's crosscoder, written down: losses, gradients, weights.

Run by `make peer` in the environment of `llamascopium_release.py`, whose model settings, sparsity
term and optimiser groups it takes: `PEER/bin/python tests/peers/llamascopium_steps.py OUT`. The
state is one as a training reaches it: norms spread over the snapshots, encoder and biases of their
own. Nothing of ours is imported.
"""

import sys
from pathlib import Path

import llamascopium_release as release
import torch
from safetensors.torch import save_file

K, D_MODEL, D_SAE, ROWS, BATCH, STEPS = 4, 16, 64, 120, 48, 10
RATE, SPARSITY = 1e-2, 0.3


def main(out: Path) -> None:
    """Write `steps.safetensors`."""
    release.STEPS, release.D_MODEL, release.D_SAE = list(range(K)), D_MODEL, D_SAE
    torch.manual_seed(0)
    model = release.make_model()
    g = torch.Generator().manual_seed(1)
    parts = {"W_E": model.W_E, "b_E": model.b_E, "W_D": model.W_D, "b_D": model.b_D,
             "log_threshold": model.activation_function.log_jumprelu_threshold}
    with torch.no_grad():
        model.W_D.mul_(6 * torch.rand(K, D_SAE, 1, generator=g))
        model.W_E.add_(0.1 * torch.randn(model.W_E.shape, generator=g))
        model.b_E.add_(0.1 * torch.randn(model.b_E.shape, generator=g))
        model.b_D.add_(0.3 * torch.randn(model.b_D.shape, generator=g))
        parts["log_threshold"].add_(1 + 0.2 * torch.randn(D_SAE, generator=g))
    x = torch.randn(K, ROWS, D_MODEL, generator=g)
    batches = torch.stack([torch.randperm(ROWS, generator=g)[:BATCH] for _ in range(STEPS)])
    written = {f"first.{n}": p.detach().clone() for n, p in parts.items()}
    written |= {"x": x, "batches": batches}
    slow = [parts["log_threshold"]]
    fast = [p for n, p in parts.items() if n != "log_threshold"]
    optimizer = torch.optim.Adam(
        [{"params": fast, "lr": RATE}, {"params": slow, "lr": 0.1 * RATE}], foreach=False)
    losses = []
    for number, ids in enumerate(batches):
        batch = {name: x[k, ids] for k, name in enumerate(model.cfg.hook_points)} | {"tokens": ids}
        told = model.compute_loss(batch, sparsity_loss_type=None)
        loss = told["loss"] + SPARSITY * release.tanh_quad(model, told)
        optimizer.zero_grad()
        loss.backward()
        if number == 0:
            written |= {f"gradient.{n}": p.grad.clone() for n, p in parts.items()}
        optimizer.step()
        losses.append(loss.detach())
    written |= {f"last.{n}": p.detach().clone() for n, p in parts.items()}
    written["losses"] = torch.stack(losses)
    out.mkdir(parents=True, exist_ok=True)
    save_file({n: t.contiguous() for n, t in written.items()}, out / "steps.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
