"""What a step of the trainer costs beside llamascopium and beside the plain way, and whether it is
the same function.

    make bench-train                      # in the environment of `make peer-environment`

All run in one process, interleaved, medians of the process's CPU seconds. The peer as it is
shipped returns every freed tensor to the system; so each shape is also timed with an allocator
that keeps them (`--tuned`), where half of a speed-up over the peer disappears and the rest is real
(performance.md section 0). Writes `train.md` beside this file.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.crosscoder import Crosscoder, quality
from tests.benchmarks.train_peer import AdapterPeer, Peer
from tests.trainer.planted import planted
from trainer import joint_step
from trainer.crosscoder import CrosscoderTraining
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.crosscoder_twin import TrainableCrosscoder, crosscoder_losses
from trainer.joint_step import Weights
from trainer.loop import Loop
from trainer.rows import ResidentRows

HERE = Path(__file__).parent
TUNED = {
    "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4294967296:"
    "glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=1073741824"
}
"""glibc keeps what is freed."""


@dataclass(frozen=True)
class Shape:
    """A problem to time."""

    snapshots: int
    rows: int
    d: int
    features: int
    batch: int
    rounds: int
    warm: int
    """Steps of training that lead to the sparse state."""

    @property
    def name(self) -> str:
        return f"K {self.snapshots}, d {self.d}, D {self.features:,}, B {self.batch:,}"


SHAPES = {
    "demo": Shape(24, 4096, 128, 512, 256, 9, 900),
    "toy": Shape(8, 4096, 128, 2048, 512, 7, 900),
    "slice": Shape(32, 2048, 768, 2048, 1024, 3, 60),
}
"""The bundle's own; the reduced one of performance.md section 2; and a twelfth of the features of
the full shape, in which every term is linear."""
START = CrosscoderRecipe(model="bench", matrix="W_U", d_sae=1, sparsity_warmup=0.0)
DENSE, SPARSE = "early", "late"


def rows_of(shape: Shape, seed: int = 0) -> Tensor:
    """(K, V, d) standardised."""
    return planted(shape.snapshots, shape.rows, shape.d, min(1024, 8 * shape.d), seed=seed).x


def recipe_of(shape: Shape, **dials: Any) -> CrosscoderRecipe:
    """The recipe of record at a shape."""
    return replace(START, **{"d_sae": shape.features, "batch": shape.batch, **dials})


# --- the ways -------------------------------------------------------------------------------------


class Ours:
    """The trainer, at a learning rate of 0 unless told: the state stands still while it is timed.
    """

    def __init__(self, x: Tensor, recipe: CrosscoderRecipe, lists: bool | None = None):
        self.training = CrosscoderTraining(ResidentRows(x), recipe)
        self.lists = lists

    def load(self, weights: Weights) -> None:
        for name, value in self.training.weights.tensors().items():
            value.copy_(weights.tensors()[name])

    def step(self, ids: Tensor) -> float:
        usual = joint_step.DENSE_ABOVE
        joint_step.DENSE_ABOVE = {True: 1.0, False: 0.0, None: usual}[self.lists]
        self.training.order.at = lambda done: ids  # type: ignore[method-assign]
        figures = self.training.step(0)
        figures.move()
        joint_step.DENSE_ABOVE = usual
        return float(figures.terms["loss"])

    def gradients(self, ids: Tensor) -> dict[str, Tensor]:
        """By the names of the released layout."""
        found = {n: torch.zeros_like(t) for n, t in self.training.weights.tensors().items()}
        usual = self.training.optimizer.take

        def take(name: str, part: slice, value: Tensor) -> None:
            found[name][part] = value

        self.training.optimizer.take = take  # type: ignore[method-assign]
        self.step(ids)
        self.training.optimizer.take = usual  # type: ignore[method-assign]
        return released(Weights(**found))


class Plain:
    """The formulas in eager PyTorch with autograd and the default Adam."""

    def __init__(self, x: Tensor, recipe: CrosscoderRecipe):
        self.x, self.recipe = x, recipe
        self.model = TrainableCrosscoder(
            len(x), x.shape[2], recipe.d_sae, recipe.initial_threshold, torch.Generator())
        slow = [self.model.log_threshold]
        fast = [p for n, p in self.model.named_parameters() if n != "log_threshold"]
        rate = recipe.learning_rate
        self.optimizer = torch.optim.Adam(
            [{"params": fast, "lr": rate}, {"params": slow, "lr": rate * recipe.threshold_rate}])

    def load(self, weights: Weights) -> None:
        with torch.no_grad():
            for name, value in released(weights).items():
                getattr(self.model, name).copy_(value)

    def step(self, ids: Tensor) -> float:
        losses = crosscoder_losses(self.model, self.x[:, ids], self.recipe, self.recipe.sparsity)
        self.optimizer.zero_grad()
        losses.total.backward()
        self.optimizer.step()
        return float(losses.total.detach())

    def gradients(self, ids: Tensor) -> dict[str, Tensor]:
        losses = crosscoder_losses(self.model, self.x[:, ids], self.recipe, self.recipe.sparsity)
        self.optimizer.zero_grad()
        losses.total.backward()
        return {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}


def released(weights: Weights) -> dict[str, Tensor]:
    """Tensors by the names and shapes of the released layout."""
    k, width, d = weights.W_D.shape
    return {
        "W_E": weights.encoder.view(width, k, d).permute(1, 2, 0), "b_E": weights.b_E,
        "W_D": weights.W_D, "b_D": weights.b_D, "log_threshold": weights.log_threshold,
    }


def ways(x: Tensor, recipe: CrosscoderRecipe) -> dict[str, Any]:
    """Every way by name."""
    return {
        "llamascopium": Peer(x, recipe), "plain": Plain(x, recipe),
        "ours, full matrices": Ours(x, recipe, lists=False), "ours": Ours(x, recipe, lists=None),
        "ours, bfloat16": Ours(x, replace(recipe, precision="bfloat16"), lists=None),
    }


# --- what is measured -----------------------------------------------------------------------------


@cache
def states(shape: Shape, x: Tensor) -> dict[str, Weights]:
    """The state at the start, and one in which few features fire."""
    recipe = recipe_of(shape, epochs=10**6, learning_rate=1e-3)
    training = CrosscoderTraining(ResidentRows(x), recipe)

    def copied() -> Weights:
        return Weights(**{n: t.clone() for n, t in training.weights.tensors().items()})

    early = copied()
    for done in range(shape.warm):
        training.step(done).move()
    late = copied()
    if shape.warm < 200:  # too short a run to thin out: the thresholds are lifted to where it would
        late.log_threshold += lifted(late, x, 0.0064 * shape.features)
    return {DENSE: early, SPARSE: late}


def lifted(weights: Weights, x: Tensor, wanted: float) -> float:
    """What to add to every log threshold so that `wanted` features fire per row and snapshot."""
    low, high = 0.0, 8.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if firing(weights, x, middle) > wanted else (low, middle)
    return high


def firing(weights: Weights, x: Tensor, more: float) -> float:
    """Features that fire per row and snapshot."""
    flat = x[:, :256].permute(1, 0, 2).reshape(min(256, x.shape[1]), -1)
    p = flat @ weights.encoder.T + weights.b_E.sum(0)
    theta = (weights.log_threshold + more).exp()
    return statistics.fmean(
        float((p * n > theta).sum(1).double().mean()) for n in weights.W_D.norm(dim=2))


def timed(fns: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each, taken in turns after one round that does not count."""
    seen: dict[str, list[float]] = {name: [] for name in fns}
    for number in range(rounds + 1):
        for name, fn in fns.items():
            began = time.process_time()
            fn()
            if number:
                seen[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in seen.items()}


def step_seconds(name: str) -> Iterator[dict[str, Any]]:
    """Seconds of a step of every way, in both states."""
    shape = SHAPES[name]
    x = rows_of(shape)
    ids = torch.randperm(shape.rows, generator=torch.Generator().manual_seed(1))[: shape.batch]
    for state, weights in states(shape, x).items():
        found = ways(x, recipe_of(shape, learning_rate=1e-30))
        for way in found.values():
            way.load(weights)
        seconds = timed({n: lambda w=w: w.step(ids) for n, w in found.items()}, shape.rounds)
        yield {"shape": name, "state": state, "l0": firing(weights, x, 0.0), "seconds": seconds}


def adapter_seconds(name: str) -> Iterator[dict[str, Any]]:
    """Seconds of a step of the library in the reference's own loop, of its own one, and of ours."""
    shape = SHAPES[name]
    x = rows_of(shape)
    ids = torch.randperm(shape.rows, generator=torch.Generator().manual_seed(1))[: shape.batch]
    weights = states(shape, x)[SPARSE]
    recipe = recipe_of(shape, learning_rate=1e-30)
    found = {"adapter": AdapterPeer(x, recipe), "llamascopium": Peer(x, recipe),
             "ours": Ours(x, recipe),
             "ours, bfloat16": Ours(x, replace(recipe, precision="bfloat16"))}
    for way in found.values():
        way.load(weights)
    seconds = timed({n: lambda w=w: w.step(ids) for n, w in found.items()}, shape.rounds)
    yield {"shape": name, "seconds": seconds}


def errors(name: str) -> Iterator[dict[str, Any]]:
    """|difference| / |gradient| of every tensor against llamascopium's autograd."""
    shape = SHAPES[name]
    x = rows_of(shape)
    ids = torch.randperm(shape.rows, generator=torch.Generator().manual_seed(2))[: shape.batch]
    for state, weights in states(shape, x).items():
        found = ways(x, recipe_of(shape, learning_rate=1e-30))
        for way in found.values():
            way.load(weights)
        expected = found.pop("llamascopium").gradients(ids)
        for way, one in found.items():
            got = one.gradients(ids)
            yield {"shape": name, "state": state, "way": way, "errors": {
                n: float((got[n] - value).norm() / value.norm().clamp_min(1e-30))
                for n, value in expected.items()}}


def curves(name: str, steps: int = 60) -> Iterator[dict[str, Any]]:
    """Largest relative difference of the loss over some steps, the same batches for all."""
    shape = SHAPES[name]
    x = rows_of(shape)
    for state, rate in ((DENSE, 5e-5), (SPARSE, 5e-5), (DENSE, 1e-3)):
        weights = states(shape, x)[state]
        losses = {}
        for way, one in ways(x, recipe_of(shape, learning_rate=rate)).items():
            one.load(weights)
            g = torch.Generator().manual_seed(3)
            losses[way] = [one.step(torch.randint(shape.rows, (shape.batch,), generator=g))
                           for _ in range(steps)]
        expected = losses.pop("llamascopium")
        for way, found in losses.items():
            yield {"shape": name, "state": state, "rate": rate, "way": way, "difference": max(
                abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))}


WHOLE = Shape(4, 2048, 64, 512, 256, 1, 0)
EPOCHS = 100


def whole(seed: int) -> dict[str, Any]:
    """A whole training by each way: the same first weights and the same order of rows."""
    x = rows_of(WHOLE)
    recipe = recipe_of(WHOLE, learning_rate=1e-3, epochs=EPOCHS, seed=seed, sparsity_warmup=0.1)
    found: dict[str, Any] = {"seed": seed}
    for way, precision in (("ours", "float32"), ("ours, bfloat16", "bfloat16")):
        training = CrosscoderTraining(ResidentRows(x), replace(recipe, precision=precision))
        first = Weights(**{n: t.clone() for n, t in training.weights.tensors().items()})
        began = time.process_time()
        Loop(training, way).run()
        found[way] = ended(training.trained(), x, time.process_time() - began)
    for way, kind in (("llamascopium", Peer), ("plain", Plain)):
        one = kind(x, recipe)
        one.load(first)
        began = time.process_time()
        order = CrosscoderTraining(ResidentRows(x), recipe).order
        total = recipe.epochs * order.steps
        for done in range(total):
            share = min(1.0, done / int(recipe.sparsity_warmup * total))
            one.recipe = replace(recipe, sparsity=max(recipe.sparsity * share, 0.0))
            one.step(order.at(done))
        found[way] = ended(one.trained() if way == "llamascopium" else one.model.snapshot(), x,
                           time.process_time() - began)
    return found


def ended(trained: Crosscoder, x: Tensor, seconds: float) -> dict[str, float]:
    """Where a training ended."""
    measured = quality(trained, x)
    return {"ev": measured.explained_variance, "l0": measured.l0, "dead": measured.dead_rate,
            "seconds": seconds}


# --- the page -------------------------------------------------------------------------------------


def machine() -> str:
    """What this ran on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")),
               platform.machine())
    return f"{cpu}, one thread, Python {platform.python_version()}, torch {torch.__version__}"


def main() -> None:
    """Measure and write the page, or one part in a process of its own."""
    from tests.benchmarks.train_page import written

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", help="steps:SHAPE, errors:SHAPE, curves:SHAPE or whole:SEED")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--out", type=Path, default=HERE / "train.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.part:
        what, of = args.part.split(":")
        parts = {"steps": step_seconds, "adapter": adapter_seconds, "errors": errors,
                 "curves": curves}
        for line in [whole(int(of))] if what == "whole" else parts[what](of):
            print("LINE " + json.dumps(line), flush=True)
        return
    lines: dict[str, list[dict[str, Any]]] = {}
    wanted = [(f"steps:{s}", tuned) for s in args.shapes.split(",") for tuned in (False, True)]
    wanted += [("adapter:toy", False), ("adapter:toy", True)]
    wanted += [("errors:demo", False), ("errors:toy", False), ("curves:toy", False)]
    wanted += [(f"whole:{seed}", False) for seed in range(3)]
    for part, tuned in wanted:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.bench_train", "--part", part], check=True,
            stdout=subprocess.PIPE, text=True, env=os.environ | (TUNED if tuned else {}))
        found = [json.loads(t[5:]) for t in done.stdout.splitlines() if t.startswith("LINE ")]
        lines.setdefault(part.split(":")[0] + (" tuned" if tuned else ""), []).extend(found)
        print(f"{part}{' tuned' if tuned else ''}: {len(found)} lines", flush=True)
    args.out.write_text(written(lines, machine()), encoding="utf8")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
