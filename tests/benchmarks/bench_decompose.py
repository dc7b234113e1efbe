"""What a live decomposition costs: forward pass, ledgers, the whole readout, ten people at once.

    python -m tests.benchmarks.bench_decompose [--store build/full-shape] [--repeats N]

Over the made-up run of full shape (`full_shape`), to which a GPT-NeoX body of the 160M shape with
random weights is added: what is slow there is slow in the real one. The plain way beside it, in the
same process: the encoder's product for the two tokens, then whole decoders read snapshot by
snapshot. Writes `decompose.md` beside this file.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from atlas.artifacts import snapshot_path
from atlas.asking import Ask
from atlas.decomposition import token_logit
from atlas.device import choose_device
from atlas.hidden_states import language_model
from atlas.language_model import EMBEDDINGS, full_steps
from atlas.live import Parts, explain
from atlas.places import model_path
from atlas.reading import read_prompt
from atlas.rebuilt import rebuilt_logits
from atlas.records import RunCard
from atlas.store import Store
from atlas.tensor_files import TensorFile, read_json, save_tensors
from tests.benchmarks.bench_precompute import machine
from tests.benchmarks.full_shape import MODEL, NAME, SIZES, Size, make
from tests.benchmarks.pages_crowd import Session
from tests.benchmarks.pages_painted import memory_of
from tests.browser.visits import serve

HERE = Path(__file__).parent
PEOPLE = 10
PROMPT = "In the beginning the water of the river was upon the face of the"
"""Some fifteen words; the made-up tokenizer is a real one's, grown."""
WORDS = ("light", "fire", "water", "earth", "stone", "river")
LONG = " ".join([PROMPT] * 12)
BUDGET = 0.150
"""Seconds for a score at all 32 snapshots after the forward pass (DESIGN section 9)."""
ROWS = 256
"""Rows of the slice from which the plain way's whole readout is extrapolated."""


@dataclass(frozen=True)
class Timed:
    """One line of the table."""

    what: str
    seconds: float
    """Median."""
    low: float
    high: float
    target: str = ""
    note: str = ""


def made_up_body(store: Path, size: Size, seed: int = 0) -> None:
    """A body with random weights and an embedding, at the last step of the made-up run."""
    folder, step = model_path(store, MODEL), size.steps[-1]
    if step in full_steps(folder):
        return
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = read_json(folder / "config.json")
    torch.manual_seed(seed)
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**{k: v for k, v in config.items() if k in (
        "hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size",
    )}, tie_word_embeddings=False))
    weights = dict(model.named_parameters())
    save_tensors(snapshot_path(store, NAME, step, "W_E"),
                 {"W_E": weights["gpt_neox.embed_in.weight"].detach()})
    save_tensors(folder / f"step{step}.safetensors",
                 {n: w.detach() for n, w in weights.items() if n not in EMBEDDINGS})


def timed(
    what: str, do: Callable[[], object], repeats: int, target: str = "", note: str = ""
) -> Timed:
    """Median and range of some calls; the first, which warms up, is not counted."""
    do()
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        do()
        taken.append(time.perf_counter() - begun)
    return Timed(what, statistics.median(taken), min(taken), max(taken), target, note)


def once(what: str, do: Callable[[], object], note: str = "") -> Timed:
    """One call."""
    begun = time.perf_counter()
    do()
    taken = time.perf_counter() - begun
    return Timed(what, taken, taken, taken, "", note)


def measure(folder: Path, run: str, repeats: int, device: str) -> list[Timed]:
    """All lines but those of many people."""
    store = Store.open(folder)
    card = store.run(run)
    step = card.steps[-1]
    found = [once("load the language model, once per process",
                  lambda: language_model(folder, card, step, device))]
    model = language_model(folder, card, step, device)
    short, long = (model.read(text)[0] for text in (PROMPT, LONG))
    found += [
        timed(f"forward pass, {len(ids)} tokens", lambda ids=ids: model.hidden_of(ids), repeats)
        for ids in (short, long)
    ]
    several = [[*short[:-1], 20 + n] for n in range(PEOPLE)]
    found += [
        timed(f"{PEOPLE} prompts of {len(short)} tokens in one pass",
              lambda: model.hidden_of_many(several), repeats),
        timed(f"{PEOPLE} prompts one after another",
              lambda: [model.hidden_of(ids) for ids in several], repeats),
    ]
    reading = read_prompt(store, run, PROMPT, device=device)
    found.append(timed("the likeliest next tokens: all rows of the last readout",
                       lambda: read_prompt(store, run, PROMPT, device=device), repeats))
    pairs = [Ask(target=reading.top[0].token, versus=t.token) for t in reading.top[1:]]
    turn = iter(range(10**6))

    def ledgers(steps: str | int) -> object:
        return explain(store, reading, pairs[next(turn) % len(pairs)], steps)

    found += [
        timed("a contrast at one snapshot", lambda: ledgers("last"), repeats),
        timed(f"a contrast at all {len(card.steps)} snapshots, another each time",
              lambda: ledgers("all"), repeats, f"{BUDGET:.2f}"),
        once("the plain way: encode both tokens, read whole decoders",
             lambda: plain_contrast(folder, card, reading.h, short[-2:])),
    ]
    parts = Parts.of(store, folder, card, token_logit(reading.top[0].token))
    found += [
        timed("full-vocabulary reconstruction at one snapshot",
              lambda: rebuilt_logits(store, parts, step, reading.h), min(repeats, 3)),
        plain_rebuilt(folder, card, reading.h, len(reading.logits)),
    ]
    return found


def plain_contrast(folder: Path, card: RunCard, h: np.ndarray, tokens: list[int]) -> float:
    """One contrast without a code: 2 K d D multiplications per token, then every decoder whole."""
    file, steps = TensorFile(folder / card.folder / "dictionary.safetensors"), card.steps
    p = torch.zeros(2, card.d_sae)
    rows = []
    for k, step in enumerate(steps):
        matrix = TensorFile(snapshot_path(folder, card.model_name, step, "W_U")).read("W_U")
        rows.append(matrix[tokens])
        x = (rows[k] - matrix.mean(dim=0)) / (matrix.std() + 1e-8)
        p += x @ _slice(file, "W_E", k)
    total = 0.0
    for k in range(len(steps)):
        directions = _slice(file, "W_D", k)
        along = directions @ torch.from_numpy(h)
        active = p * (p * directions.norm(dim=1) > 0.1)
        total += float(((active[0] - active[1]) * along).sum())
    return total


def plain_rebuilt(folder: Path, card: RunCard, h: np.ndarray, rows: int) -> Timed:
    """All rows rebuilt by a dense product and read by h, from a slice of them."""
    file = TensorFile(folder / card.folder / "dictionary.safetensors")
    directions = _slice(file, "W_D", len(card.steps) - 1)
    dense = torch.rand(ROWS, len(directions))
    line = timed("", lambda: (dense @ directions) @ torch.from_numpy(h), 3)
    whole = line.seconds * rows / ROWS
    return Timed("the plain way: rebuild every row, then read it", whole, whole, whole,
                 note=f"extrapolated from {ROWS} rows")


def _slice(file: TensorFile, name: str, k: int) -> torch.Tensor:
    _, rows, _ = file.shape(name)
    return file.gather(name, np.arange(k * rows, (k + 1) * rows))


def crowd(folder: Path, run: str) -> list[Timed]:
    """One person and ten at once, each with a prompt of their own, over the websocket."""
    served = serve(folder)

    async def person(number: int, at_once: int) -> float:
        session = await Session.open(served.address)
        await session.ask("browse", run=run)
        await asyncio.sleep(0.5)
        prompt = f"{PROMPT} {WORDS[number % len(WORDS)]} {number}"
        taken = await session.ask("decompose", run=run, prompt=f"{prompt} {at_once}")
        await session.link.close()
        return taken

    async def people(count: int) -> list[float]:
        return list(await asyncio.gather(*(person(n, count) for n in range(count))))

    try:
        asyncio.run(people(1))  # loads torch, the model, the store
        loaded = memory_of(served.process.pid)
        alone = [asyncio.run(_one(served.address, run, n)) for n in range(3)]
        together = asyncio.run(people(PEOPLE))
        weight = memory_of(served.process.pid)
    finally:
        served.end()
    return [
        Timed("one person asks a new prompt, whole page", statistics.median(alone), min(alone),
              max(alone), note=f"server {loaded:.0f} MB with the model"),
        Timed(f"{PEOPLE} people ask {PEOPLE} new prompts at once, whole page",
              statistics.median(together), min(together), max(together),
              note=f"server {weight:.0f} MB after it"),
    ]


async def _one(address: str, run: str, number: int) -> float:
    session = await Session.open(address)
    await session.ask("browse", run=run)
    taken = await session.ask("decompose", run=run, prompt=f"{PROMPT} alone {number} of the sea")
    await session.link.close()
    return taken


def written(lines: list[Timed], size: Size, device: str) -> str:
    """The table."""
    rows = [
        "# Live decomposition at full shape", "",
        f"{machine()}; device {device}.", "",
        f"{size.features:,} features, {len(size.steps)} snapshots, {size.rows:,} rows, a 12-layer "
        f"body of width {size.width} with random weights; `make bench-decompose`. Seconds; warm, "
        "median and range of repeated calls.", "",
        "| what | seconds | range | target | |", "|---|---|---|---|---|",
    ]
    for line in lines:
        rows.append(f"| {line.what} | {line.seconds:.3f} | {line.low:.3f} – {line.high:.3f} | "
                    f"{line.target} | {line.note} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Make what is missing, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, default=Path("build/full-shape"))
    parser.add_argument("--shape", choices=SIZES, default="full")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=HERE / "decompose.md")
    args = parser.parse_args()
    size = SIZES[args.shape]
    run = make(args.store, size)
    made_up_body(args.store, size)
    device = choose_device().name
    lines = [*measure(args.store.resolve(), run, args.repeats, device), *crowd(args.store, run)]
    args.out.write_text(written(lines, size, device))
    print(args.out.read_text())


if __name__ == "__main__":
    main()
