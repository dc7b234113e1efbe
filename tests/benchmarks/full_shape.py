"""A seeded, made-up run of full shape: dictionary, snapshots, tokenizer, configuration.

    python -m tests.benchmarks.full_shape build/full-shape [--shape small]

Nothing in it was trained. Rows are sums of planted features whose directions turn and whose
lengths live and die over the Pythia schedule (crosscoder-method section 1.3), on a low-rank and a
random ground; encoders read the same directions, and thresholds are set so that about 450
features of a row fire at some snapshot, some 290 at each. So the sizes, the densities and the
shapes of the lives are those of `pythia-160m/W_U/cross-snapshot-32/d24576/seed0`, and what is
slow there is slow here. Files are written slice by slice; memory stays under 3 GB.
"""

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from atlas.artifacts import THRESHOLD, snapshot_path
from atlas.places import DEMO, model_path, run_path
from atlas.tensor_files import TensorFile, read_json, save_tensors, sha256, write_json
from precompute.safety import settle, staged_name

PYTHIA = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 3000, 4000, 5000, 6000, 7000,
          8000, 9000, 14000, 21000, 27000, 34000, 47000, 61000, 75000, 89000, 102000, 116000,
          130000, 143000)
"""Steps of the Pythia schedule."""
MODEL = "full-shape"
"""Label of the made-up language model."""
NAME = f"readout-atlas/{MODEL}"
"""Its name in file names of snapshots."""
CLASSES = 60
"""Classes of tokens; a feature prefers the tokens of one."""
SILENT = 0.02
"""Length of a feature that is not born yet or is gone, over its full length."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How large the made-up run is."""

    rows: int
    tokens: int
    """Entries of the tokenizer; the rows after them are padding."""
    width: int
    features: int
    steps: tuple[int, ...]
    held: int
    """Features planted in a row."""
    union: float
    """Features that fire on a row at one snapshot or more, aimed at."""
    sample: int
    """Rows that thresholds are set from."""

    @property
    def run(self) -> str:
        """Run id."""
        return f"{MODEL}/W_U/cross-snapshot-{len(self.steps)}/d{self.features}/seed0"


FULL = Size(50_304, 50_254, 768, 24_576, PYTHIA, 160, 450.0, 2048)
SMALL = Size(5_120, 5_100, 64, 768, PYTHIA[::4], 12, 30.0, 1024)
SIZES = {"full": FULL, "small": SMALL}


def make(store: Path, size: Size = FULL, seed: int = 0, report=print) -> str:
    """Write the inputs of the run into `store` and return its id; what is there is kept."""
    folder = run_path(store, size.run)
    if (folder / "provenance.json").is_file():
        return size.run
    began = time.monotonic()
    planted = Planted(size, seed)
    write_tokenizer(store, size, seed)
    classes = token_classes(store, size)
    scales = write_snapshots(store, planted, classes, report)
    l0 = write_dictionary(folder / "dictionary.safetensors", store, planted, scales, report)
    write_run(store, folder, size, seed, l0)
    report(f"made {size.run} in {time.monotonic() - began:.0f} s")
    return size.run


class Planted:
    """Directions and lives of the planted features, a snapshot at a time."""

    def __init__(self, size: Size, seed: int) -> None:
        self.size = size
        self.generator = torch.Generator().manual_seed(seed)
        steps = torch.tensor(size.steps, dtype=torch.float64)
        tau = (steps + 1).log10()
        self.tau = ((tau - tau[0]) / (tau[-1] - tau[0])).float()
        self.start = self._unit()
        self.end = self._unit()
        self.turn = 1.2 * self._uniform().square()
        self.lives = self._lives()

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape or (self.size.features,), generator=self.generator)

    def _unit(self) -> Tensor:
        shape = (self.size.features, self.size.width)
        return torch.nn.functional.normalize(torch.randn(shape, generator=self.generator))

    def _lives(self) -> Tensor:
        """Lengths (K, D): three in five live all along, the others are born, die, or do both."""
        kind = self._uniform()
        birth = torch.where(kind > 0.75, 0.2 + 0.7 * self._uniform(), torch.tensor(-1.0))
        gone = (kind > 0.6) & ((kind < 0.75) | (kind > 0.95))
        death = torch.where(gone, birth.clamp(0) + 0.25 + 0.5 * self._uniform(), torch.tensor(2.0))
        tau = self.tau[:, None]
        alive = torch.sigmoid((tau - birth) * 25) * torch.sigmoid((death - tau) * 25)
        drift = 1 + 0.04 * torch.sin(6 * tau + 6.3 * self._uniform())
        return (SILENT + (1 - SILENT) * alive) * drift

    def directions(self, k: int) -> Tensor:
        """Directions (D, d) at snapshot k with their lengths."""
        angle = self.turn * self.tau[k]
        found = angle.cos()[:, None] * self.start
        found.addcmul_(angle.sin()[:, None].expand_as(self.end), self.end)
        found = torch.nn.functional.normalize(found)
        return found.mul_(self.lives[k][:, None])

    def holdings(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Features (V, held) of every row and their strengths; half come from the row's class."""
        size = self.size
        shape = (size.rows, size.held)
        anywhere = torch.randint(size.features, shape, generator=self.generator)
        own = classes[:, None] + CLASSES * torch.randint(
            max(size.features // CLASSES, 1), shape, generator=self.generator
        )
        half = torch.arange(size.held) < size.held // 2
        features = torch.where(half, own.clamp(max=size.features - 1), anywhere)
        return features, (0.5 * torch.randn(shape, generator=self.generator)).exp()


# --- tokenizer ---------------------------------------------------------------------------------


def write_tokenizer(store: Path, size: Size, seed: int) -> None:
    """A whole byte-level BPE: the demo's, grown by merges of its own pieces."""
    tokenizer = read_json(model_path(DEMO, "demo-large") / "tokenizer.json")
    vocabulary, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    random = np.random.default_rng(seed)
    words = [t for t in vocabulary if t.removeprefix("Ġ").isalpha() and t.isascii()
             or t.startswith("Ġ") and t[1:].isascii() and t[1:].isalpha() and len(t) > 2]
    endings = [t for t in vocabulary if t.isascii() and t.isalpha() and 1 < len(t) < 6]
    while len(vocabulary) < size.tokens:
        first, last = words[random.integers(len(words))], endings[random.integers(len(endings))]
        if first + last not in vocabulary and len(first + last) <= 14:
            vocabulary[first + last] = len(vocabulary)
            merges.append([first, last])
    write_json(model_path(store, MODEL) / "tokenizer.json", tokenizer)
    write_json(model_path(store, MODEL) / "config.json", {
        "model_type": "gpt_neox", "hidden_size": size.width, "vocab_size": size.rows,
        "num_hidden_layers": 12, "num_attention_heads": size.width // 64,
        "intermediate_size": 4 * size.width, "tie_word_embeddings": False,
    })


def token_classes(store: Path, size: Size) -> Tensor:
    """Class (V,) of every row, from the token's leading space and first letter."""
    vocabulary = read_json(model_path(store, MODEL) / "tokenizer.json")["model"]["vocab"]
    classes = torch.zeros(size.rows, dtype=torch.int64)
    for text, index in vocabulary.items():
        letter = text.lstrip("Ġ")[:1].lower()
        place = 1 + ascii_lowercase.index(letter) if letter in set(ascii_lowercase) else 0
        classes[index] = 2 * place + text.startswith("Ġ")
    return classes


# --- tensors -----------------------------------------------------------------------------------


def write_snapshots(store: Path, planted: Planted, classes: Tensor, report) -> Tensor:
    """Write rows (V, d) of every step; returns their scales (K,)."""
    size, generator = planted.size, planted.generator
    features, strengths = planted.holdings(classes)
    ground = torch.randn(size.rows, size.width, generator=generator)
    shared = torch.randn(size.rows, 64, generator=generator) / 8
    axes = torch.randn(64, size.width, generator=generator)
    mean = torch.randn(size.width, generator=generator)
    late = torch.randn(size.rows, size.width, generator=generator)
    unit = math.sqrt(size.width / size.held)
    scales = torch.zeros(len(size.steps))
    for k, step in enumerate(size.steps):
        tau = float(planted.tau[k])
        rows = embedding_bag(features, planted.directions(k), per_sample_weights=strengths,
                             mode="sum").mul_(unit)
        rows.add_(ground, alpha=0.8 - 0.5 * tau).add_(late, alpha=0.4 * tau)
        rows.addmm_(shared, axes, alpha=0.3 * tau)
        rows.add_(mean).mul_(0.02 * (1 + 2 * tau))
        scales[k] = (rows - rows.mean(dim=0)).square().mean().sqrt()
        save_tensors(snapshot_path(store, NAME, step, "W_U"), {"W_U": rows})
        report(f"snapshot {k + 1} of {len(size.steps)}")
    return scales


def write_dictionary(path: Path, store: Path, planted: Planted, scales: Tensor, report) -> float:
    """Write the dictionary slice by slice; returns the mean L0 of the sampled rows."""
    size = planted.size
    count, width, features = len(size.steps), size.width, size.features
    energy = planted.lives.square().sum(dim=0)
    sample = torch.linspace(0, size.rows - 1, size.sample).long()
    p = torch.zeros(size.sample, features)
    with _Tensors(path, {"W_E": (count, width, features), "W_D": (count, features, width),
                         "b_E": (count, features), "b_D": (count, width),
                         THRESHOLD: (features,)}) as out:
        for k in range(count):
            encoder = (planted.directions(k) / energy[:, None]).T.contiguous()
            out.append("W_E", encoder)
            p.addmm_(_sampled(store, size, k, sample, scales), encoder)
            report(f"encoder {k + 1} of {count}")
        bars = _bars(p, size, planted.generator)
        gain, l0 = _gain(store, planted, p, bars, sample, scales)
        for k in range(count):
            out.append("W_D", planted.directions(k).mul_(gain))
            report(f"decoder {k + 1} of {count}")
        out.append("b_E", torch.zeros(count, features))
        out.append("b_D", torch.zeros(count, width))
        out.append(THRESHOLD, (bars * planted.lives.amax(dim=0) * gain).log())
    return l0


def _sampled(store: Path, size: Size, k: int, sample: Tensor, scales: Tensor) -> Tensor:
    """Standardised rows of the sample at snapshot k."""
    rows = TensorFile(snapshot_path(store, NAME, size.steps[k], "W_U")).read("W_U")
    return (rows[sample] - rows.mean(dim=0)) / scales[k]


def _bars(p: Tensor, size: Size, generator: torch.Generator) -> Tensor:
    """p (D,) from which a feature fires, so that a row's union is as aimed at on average."""
    share = torch.exp(0.4 * torch.randn(p.shape[1], generator=generator))
    share = (share / share.mean() * size.union / size.features).clamp(4 / len(p), 0.5)
    bars = torch.empty(p.shape[1])
    for start in range(0, p.shape[1], 2048):
        column = p[:, start : start + 2048].sort(dim=0, descending=True).values
        place = (share[start : start + 2048] * len(p)).long()
        bars[start : start + 2048] = column.gather(0, place[None])[0]
    return bars.clamp(min=1e-3)


def _gain(
    store: Path, planted: Planted, p: Tensor, bars: Tensor, sample: Tensor, scales: Tensor
) -> tuple[float, float]:
    """The one length of all directions that rebuilds the sample best, and the sample's L0."""
    longest = planted.lives.amax(dim=0)
    along = energy = fired = 0.0
    visits = range(0, len(planted.size.steps), 4)
    for k in visits:
        on = p * (planted.lives[k] / longest) > bars
        rebuilt = (p * on) @ planted.directions(k)
        along += float((rebuilt * _sampled(store, planted.size, k, sample, scales)).sum())
        energy += float(rebuilt.square().sum())
        fired += float(on.sum())
    return along / energy, fired / (len(visits) * len(p))


class _Tensors:
    """A safetensors file that is written in order, slice after slice, and settled at the end."""

    def __init__(self, path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
        self.path, self.staged = path, staged_name(path)
        header, start = {}, 0
        for name, shape in shapes.items():
            stop = start + 4 * math.prod(shape)
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, stop]}
            start = stop
        self.order: Iterator[str] = iter(shapes)
        self.header, self.written, self.name = header, 0, ""

    def __enter__(self) -> "_Tensors":
        text = json.dumps(self.header).encode()
        text += b" " * (-len(text) % 8)
        self.staged.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.staged, "wb")  # noqa: SIM115
        self.file.write(len(text).to_bytes(8, "little") + text)
        return self

    def append(self, name: str, part: Tensor) -> None:
        """Write the next values of a tensor; tensors come in the order they were named."""
        if name != self.name:
            self.name = next(self.order)
        start, stop = self.header[name]["data_offsets"]
        assert name == self.name
        assert start <= self.written < stop
        self.file.write(memoryview(part.contiguous().numpy()).cast("B"))
        self.written += 4 * part.numel()

    def __exit__(self, kind, error, trace) -> None:
        self.file.close()
        if error is None:
            settle(self.staged, self.path)
        self.staged.unlink(missing_ok=True)


def write_run(store: Path, folder: Path, size: Size, seed: int, l0: float) -> None:
    """Configuration, figures and, last, the provenance that says that all is there."""
    write_json(folder / "config.json", {
        "run": size.run, "model": MODEL, "model_name": NAME, "matrix": "W_U",
        "kind": "crosscoder", "steps": list(size.steps), "seed": seed,
        "config": {"act_fn": "jumprelu", "d_sae": size.features, "d_model": size.width, "k": None},
        "training": {"made": "by tests/benchmarks/full_shape.py, not trained"},
        "input_preprocess": "center_scale",
    })
    write_json(folder / "metrics.json", {"l0": l0})
    write_json(folder / "provenance.json", {
        "weights": sha256(folder / "dictionary.safetensors"), "seed": seed,
        "made": "planted by tests/benchmarks/full_shape.py, not trained",
        "created": "2026-01-01T00:00:00Z",
    })


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--shape", choices=SIZES, default="full")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    make(chosen.store, SIZES[chosen.shape], chosen.seed)
