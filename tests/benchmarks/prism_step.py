"""A prism's step on lists against the plain dense step, in one process, taking turns.

    python -m tests.benchmarks.prism_step [--rows V] [--width d] [--features D] [--k k]
        [--batch B] [--rounds N] [--architecture A] [--threads N]

The plain step is `trainer.prism_twin`'s loss under autograd, then the same clipping, AdamW (fused)
and renormalisation. Both begin with the same weights and draw the same rows. Prints the median
CPU milliseconds of each and their ratio, of a step without and of one with the prism penalty.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from atlas.prism import normalise_rows
from trainer.prism import PrismTraining, top_targets
from trainer.prism_codes import DENSE_ABOVE, initial_averages, initial_weights
from trainer.prism_recipe import PrismRecipe
from trainer.prism_twin import plain_logit_loss, plain_row_loss


def planted(rows: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows that are sparse sums of twice as many directions, and 2,048 hidden states."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(2 * width, width, generator=generator)
    code = torch.rand(rows, 2 * width, generator=generator)
    W = (code * (torch.rand(code.shape, generator=generator) < 0.05)) @ directions
    hidden = W[torch.randint(rows, (2048,), generator=generator)]
    return W, hidden + torch.randn(hidden.shape, generator=generator)


def plain_step(W: Tensor, hidden: Tensor, recipe: PrismRecipe) -> Callable[[], None]:
    """A function that takes one step the plain way."""
    generator = torch.Generator().manual_seed(recipe.seed)
    x = normalise_rows(W)[0]
    weights = {name: value.requires_grad_()
               for name, value in initial_weights(recipe, x, generator).items()}
    averages = initial_averages(recipe.architecture, x)
    optimizer = torch.optim.AdamW(list(weights.values()), lr=recipe.learning_rate,
                                  weight_decay=recipe.weight_decay, fused=True)
    tokens = top_targets(hidden, W)[:, 0]

    def step() -> None:
        rows = torch.randint(len(x), (recipe.batch,), generator=generator)
        loss = plain_row_loss(weights, x[rows], recipe, recipe.sparsity, averages)
        if recipe.prism_penalty:
            few = torch.randint(len(hidden), (min(recipe.batch, len(hidden)),),
                                generator=generator)
            loss = loss + recipe.prism_penalty * plain_logit_loss(
                weights, hidden[few], W, tokens[few], recipe, averages)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), recipe.gradient_clip)
        optimizer.step()
        with torch.no_grad():
            decoder = weights["decoder"]
            decoder /= decoder.norm(dim=1, keepdim=True).clamp_min(1e-8)

    return step


def own_step(W: Tensor, hidden: Tensor, recipe: PrismRecipe,
             lists: bool) -> Callable[[], None]:
    """A function that takes one step of `trainer.prism`."""
    training, done = PrismTraining(W, hidden, recipe), 0
    training.lists = lists

    def step() -> None:
        nonlocal done
        training.step(done).move()
        done += 1

    return step


def milliseconds(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each, taking turns, after two rounds that do not count."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + 2):
        for name, step in steps.items():
            began = time.process_time()
            step()
            if round_ >= 2:
                taken[name].append(1e3 * (time.process_time() - began))
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, usual in (("rows", 8192), ("width", 256), ("features", 4096), ("k", 32),
                        ("batch", 1024), ("rounds", 9), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--architecture", default="topk")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    W, hidden = planted(args.rows, args.width)
    print(f"V {args.rows}, d {args.width}, D {args.features}, k {args.k}, B {args.batch}, "
          f"{args.architecture}, {args.threads} threads; lists up to k = {DENSE_ABOVE:g} D")
    for penalty in (0.0, 1e-3):
        recipe = PrismRecipe(
            "m", args.features, args.k, batch=args.batch, architecture=args.architecture,
            prism_penalty=penalty, penalty_schedule="constant", row_sampling="uniform",
            rate_schedule="constant", learning_rate=1e-4)
        found = milliseconds({
            "plain": plain_step(W, hidden, recipe),
            "dense": own_step(W, hidden, recipe, False),
            "lists": own_step(W, hidden, recipe, True),
        }, args.rounds)
        line = ", ".join(f"{name} {value:.0f} ms" for name, value in found.items())
        print(f"penalty {penalty:g}: {line}; plain/lists {found['plain'] / found['lists']:.2f}, "
              f"dense/lists {found['dense'] / found['lists']:.2f}")


if __name__ == "__main__":
    main()
