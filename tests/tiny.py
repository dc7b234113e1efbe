"""A tiny but real store: two language models, five dictionaries, everything built for real.

320 tokens of a real byte-level BPE, 5 snapshots, width 8, 24 features. The weights are not
trained: rows and directions are planted, so that features have kinds, births and deaths.
"""

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from atlas import crosscoder, prism
from atlas.artifacts import (
    RunFolder,
    load_snapshot,
    load_snapshots,
    read_crosscoder,
    read_prism,
    snapshot_path,
    write_crosscoder,
    write_prism,
)
from atlas.crosscoder import Crosscoder
from atlas.places import model_path, run_path
from atlas.prism import Prism, normalise_rows
from atlas.tensor_files import read_json, save_rounded, save_tensors, sha256, write_json
from atlas.vocabulary import plain_text, vocabulary_bytes
from precompute.matching import all_pairs, match_runs
from precompute.publish import publish
from precompute.stages import precompute_run
from trainer.language_model import LanguageModelRecipe, build_model

STEPS = [0, 1, 4, 16, 64]
FULL = (0, 16, 64)
V, D, WIDTH = 320, 8, 24
"""Tokens, model width, features."""
DEAD, SILENT_AT_BIRTH = 23, 22
"""A feature that never fires, and one whose direction is zero at step 0."""

SEED0 = "tiny/large/W_U/cross-snapshot-5/d24/seed0"
SEED1 = "tiny/large/W_U/cross-snapshot-5/d24/seed1"
EMBEDDING = "tiny/large/W_E/cross-snapshot-5/d24/seed0"
SMALL = "tiny/small/W_U/cross-snapshot-5/d24/seed0"
PRISM = "tiny/large/prism/k3_3x"
RUNS = (SEED0, SEED1, EMBEDDING, SMALL, PRISM)
LARGE_MODEL, SMALL_MODEL = "tiny-large", "tiny-small"

TEXT = (
    "In the beginning the light was upon the water, and the water was upon the earth. "
    "The children of the earth shall sing to the light. def value(name): return name + 1\n"
    "    if value is None:\n        return 12, 34, 56\nClass Table: the name of the class. "
    "What is the time? Then said he unto them, go ye unto the water and return. 1990 2024 "
)

GROUPS: tuple[tuple[Callable[[str | None], bool], Sequence[float]], ...] = (
    (lambda t: t is not None and t.strip().isdigit(), (0.0, 0.1, 0.5, 1.0, 1.0)),
    (lambda t: t is not None and t.startswith(" ") and t.strip().isalpha(), (0, 0, 0.2, 0.8, 1.0)),
    (lambda t: t is not None and t.isupper() and len(t) == 1, (1.0, 1.0, 0.9, 1.0, 0.9)),
    (lambda t: t is None, (1.0, 1.0, 0.6, 0.2, 0.1)),
    (lambda t: t is not None and t.isascii() and t.isprintable() and bool(t.strip())
     and not any(c.isalnum() for c in t), (0.0, 0.0, 1.0, 0.1, 0.0)),
    (lambda t: t is not None and t.isalpha() and t.islower() and len(t) > 1, (0, 0, 0, 0.3, 1.0)),
)
"""Planted families of tokens and the strength of their direction at each step."""


def tiny_store(folder: Path, runs: Sequence[str] = RUNS, built: bool = True) -> Path:
    """Make a store in `folder` and return it.

    Args:
        folder: created if it is not there; a path with spaces will do.
        runs: which of `RUNS` to make run folders of; all snapshots and models are made anyway.
        built: also precompute and publish them; otherwise only the inputs are there.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for label, layers, seed in ((LARGE_MODEL, 2, 0), (SMALL_MODEL, 1, 1)):
            make_model(folder, label, layers, seed)
        for run in runs:
            make_run(folder, run)
            if built:
                precompute_run(folder, run)
        if built:
            match_runs(folder, all_pairs(folder, runs))
            publish(folder)
    finally:
        torch.set_num_threads(threads)
    return folder


def make_tokenizer() -> Tokenizer:
    """A byte-level BPE like the demo's, of 320 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=V, special_tokens=["<|endoftext|>", "<|padding|>"], min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    assert tokenizer.get_vocab_size() == V
    return tokenizer


def make_model(store: Path, label: str, layers: int, seed: int) -> None:
    """Configuration, tokenizer, token counts, kept weights and snapshots of a language model."""
    out = model_path(store, label)
    out.mkdir(parents=True, exist_ok=True)
    recipe = LanguageModelRecipe(
        hidden_size=D, layers=layers, heads=2, steps=STEPS[-1],
        snapshots=tuple(STEPS), full_models=FULL, vocabulary=V, seed=seed,
    )
    tokenizer = make_tokenizer()
    tokenizer.save(str(out / "tokenizer.json"))
    prose, code = TEXT.split("def value")[0], TEXT.split("def value")[1]
    counts = {
        name: torch.bincount(torch.tensor(tokenizer.encode(text).ids), minlength=V).int()
        for name, text in (("prose", prose), ("code", code))
    }
    save_tensors(out / "token_counts.safetensors", counts)
    if label == LARGE_MODEL:  # the other one has none
        (out / "evaluation.txt").write_text(evaluation_text(), encoding="utf8")
    model = build_model(recipe)
    model.config.save_pretrained(out)
    name = f"readout-atlas/{label}"
    for place, matrix in enumerate(("W_U", "W_E")):
        rows = planted_rows(out, 10 * seed + place)
        for k, step in enumerate(STEPS):
            save_rounded(snapshot_path(store, name, step, matrix), {matrix: rows[k]})
    body = {n: p for n, p in model.state_dict().items() if "embed" not in n and "lm_head" not in n}
    for step in FULL:
        scale = 1 + step / 64
        save_rounded(out / f"step{step}.safetensors",
                     {n: p * scale if p.ndim > 1 else p for n, p in body.items()})
    write_json(out / "history.json", {
        "recipe": dataclasses.asdict(recipe),
        "history": [{"step": s, "validation_loss": 5.0 - i / 2, "train_loss": None, "seconds": i,
                     "tokens": s * 4096} for i, s in enumerate(STEPS)],
    })


def evaluation_text() -> str:
    """The words of the text in another order, some 1,100 tokens of them."""
    words = TEXT.split(" ")
    rng = random.Random(5)
    return " ".join(" ".join(rng.sample(words, len(words))) for _ in range(8))


def planted_rows(model: Path, seed: int) -> Tensor:
    """Rows (K, V, d): noise that stays, and families that grow along directions of their own."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.3 * torch.randn(V, D, generator=generator)
    rows = noise.repeat(len(STEPS), 1, 1)
    for direction, (members, strengths) in zip(_axes(generator), family_masks(model), strict=True):
        rows += torch.tensor(strengths)[:, None, None] * members[:, None] * direction
    return rows


def family_masks(model: Path) -> list[tuple[Tensor, Sequence[float]]]:
    """For each planted family the bool (V,) of its tokens and its strengths."""
    plain = [plain_text(raw) for raw in vocabulary_bytes(read_json(model / "tokenizer.json"))]
    return [(torch.tensor([rule(t) for t in plain]), strengths) for rule, strengths in GROUPS]


def _axes(generator: torch.Generator) -> Tensor:
    basis = torch.linalg.qr(torch.randn(D, D, generator=generator))[0]
    return 2 * basis[: len(GROUPS)]


def make_run(store: Path, run: str) -> Path:
    """The run folder of one of `RUNS`, with measured figures."""
    label = SMALL_MODEL if "/small/" in run else LARGE_MODEL
    is_prism = run == PRISM
    config = {
        "run": run, "model": label, "model_name": f"readout-atlas/{label}",
        "matrix": "W_E" if "/W_E/" in run else "W_U",
        "kind": "prism" if is_prism else "crosscoder",
        "steps": STEPS[-1:] if is_prism else STEPS,
        "seed": 1 if run.endswith("seed1") else 0,
        "config": {"act_fn": "topk" if is_prism else "jumprelu", "d_sae": WIDTH, "d_model": D,
                   "k": 3 if is_prism else None},
        "training": {"model": label, "d_sae": WIDTH, "epochs": 0, "min_count": 0},
        "input_preprocess": "center_normalise" if is_prism else "center_scale",
    }
    folder = run_path(store, run)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    parts = RunFolder(folder, config, {}, {})
    measured = _make_prism(store, parts) if is_prism else _make_crosscoder(store, parts)
    metrics = {k: v.tolist() if isinstance(v, Tensor) else v
               for k, v in dataclasses.asdict(measured).items()}
    write_json(folder / "metrics.json", metrics | {"seconds": 0.0})
    inputs = [snapshot_path(store, config["model_name"], s, config["matrix"])
              for s in config["steps"]]
    write_json(folder / "provenance.json", {
        "inputs": {p.relative_to(store).as_posix(): sha256(p) for p in inputs},
        "weights": sha256(folder / "dictionary.safetensors"), "versions": {"torch": "tiny"},
        "seed": config["seed"], "seconds": 0.0, "threads": 1, "device": "cpu",
        "created": "2026-01-01T00:00:00Z",
    })
    return folder


def _make_crosscoder(store: Path, folder: RunFolder) -> crosscoder.Quality:
    config = folder.config
    rows = load_snapshots(store, config["model_name"], STEPS, config["matrix"])
    _, x = crosscoder.standardize(rows)
    families = family_masks(model_path(store, config["model"]))
    planted = planted_crosscoder(x, families, config["seed"])
    write_crosscoder(folder.weights, planted, rounded=True)
    return crosscoder.quality(read_crosscoder(folder), x)


def planted_crosscoder(
    x: Tensor, families: Sequence[tuple[Tensor, Sequence[float]]], seed: int
) -> Crosscoder:
    """A dictionary whose first features are the families' mean rows, in an order of the seed's.

    The others point anywhere and fire now and then; `DEAD` never does, and `SILENT_AT_BIRTH` has
    no direction at step 0.
    """
    generator = torch.Generator().manual_seed(100 + seed)
    count = len(STEPS)
    directions = 0.2 * torch.randn(WIDTH, D, generator=generator).repeat(count, 1, 1)
    directions += 0.07 * torch.randn(count, WIDTH, D, generator=generator)
    order = torch.randperm(len(families), generator=generator)
    for place, family in enumerate(order.tolist()):
        members, strengths = families[family]
        mean = x[:, members].mean(dim=1)
        directions[:, place] = mean * torch.tensor(strengths)[:, None].clamp(min=0.05)
    directions[0, SILENT_AT_BIRTH] = 0
    encoder = directions.transpose(1, 2) / directions.square().sum(dim=(0, 2))
    threshold = torch.full((WIDTH,), 1.2)
    threshold[: len(families)] = 0.5
    threshold[DEAD] = 1000.0
    return Crosscoder(encoder, torch.zeros(count, WIDTH), directions, torch.zeros(count, D),
                      threshold)


def _make_prism(store: Path, folder: RunFolder) -> prism.PrismQuality:
    config = folder.config
    rows = load_snapshot(store, config["model_name"], STEPS[-1], "W_U")
    x, mean, lengths = normalise_rows(rows)
    generator = torch.Generator().manual_seed(7)
    decoder = torch.randn(WIDTH, D, generator=generator)
    for place, (members, _) in enumerate(family_masks(model_path(store, config["model"]))):
        decoder[place] = x[members].mean(dim=0)
    decoder = decoder / decoder.norm(dim=1, keepdim=True)
    bias = torch.full((WIDTH,), -0.1)
    bias[DEAD] = -10.0
    written = Prism(decoder.clone(), bias, decoder, 3, mean, lengths)
    write_prism(folder.weights, written, rounded=True)
    stored = read_prism(folder)
    return prism.quality(stored, normalise_rows(rows, stored.row_mean)[0])
