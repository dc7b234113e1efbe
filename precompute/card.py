"""The card of the demo bundle: what it is and how good, every figure read from the store."""

from pathlib import Path
from typing import Any

import numpy as np

from atlas.browsing import Wish, all_rows
from atlas.places import model_path
from atlas.records import RunCard
from atlas.store import Store
from atlas.tensor_files import load_tensors, read_json, write_json
from precompute.fidelity import RIVALS, gate_rate, held_out_prompts

ALPHA = 0.01
TIMES = "build.json"
"""Seconds of each call of `build demo --from-scratch` that led to a store."""


def add_time(store: Path, seconds: float, cores: int) -> None:
    """Remember how long a call took; a build that was killed and continued has several."""
    path = store / TIMES
    calls = read_json(path)["calls"] if path.is_file() else []
    write_json(path, {"calls": [*calls, {"seconds": round(seconds), "cores": cores}]})


def write_card(store: Path) -> Path:
    """Write `CARD.md` of a published demo store and return its path."""
    opened = Store.open(store)
    runs = opened.runs()
    labels = sorted({run.model for run in runs})
    text = "\n\n".join([
        "# The demo bundle",
        _what_it_is(),
        _corpus(store, labels[0]),
        *(_language_model(store, label) for label in labels),
        _dictionaries(store, opened, runs),
        _how_to_rebuild(store, runs, labels),
        _limits(),
    ])
    path = store / "CARD.md"
    path.write_text(text + "\n", encoding="utf8")
    return path


def _what_it_is() -> str:
    return (
        "Two small GPT-NeoX language models, really pretrained by `trainer/`, with 24 snapshots "
        "of their W_U and W_E, and the dictionaries trained over those snapshots. Nothing in it "
        "is synthetic. The models are far too small to write well; they are here so that a "
        "readout can be watched while it is born.\n\n"
        "**Its initialisation is not Pythia's.** W_U starts with a standard deviation of 0.002 "
        "(Hugging Face's default is 0.02) and the learning rate warms up in 4 steps, so that the "
        "first log-spaced snapshots differ and noise does not outlive the start. Matrices are "
        "rounded to 8 bits per row; dictionaries were trained on the rounded snapshots, and every "
        "figure below is of what is shipped."
    )


def _corpus(store: Path, label: str) -> str:
    counts = load_tensors(model_path(store, label) / "token_counts.safetensors")
    total = sum(int(c.sum()) for c in counts.values())
    rows = "\n".join(
        f"| {name} | {int(c.sum()):,} | {int(c.sum()) / total:.0%} |"
        for name, c in sorted(counts.items(), key=lambda item: -int(item[1].sum()))
    )
    return (
        f"## Text\n\n{total:,} training tokens of public-domain or permissive text "
        "(`NOTICES.md`), in prose, code, markup and several scripts; whole documents of every "
        f"source are held out for validation.\n\n| source | tokens | share |\n|---|---|---|\n{rows}"
    )


def _language_model(store: Path, label: str) -> str:
    content = read_json(model_path(store, label) / "history.json")
    recipe, history = content["recipe"], content["history"]
    kept = [e for e in history if "validation_loss_kept" in e]
    rows = "\n".join(
        f"| {e['step']} | {e['tokens']:,} | {e['validation_loss']:.3f} "
        f"| {e['validation_loss_kept']:.3f} |"
        for e in kept
    )
    last = history[-1]
    return (
        f"## {label}\n\nGPT-NeoX, width {recipe['hidden_size']}, {recipe['layers']} layers, "
        f"{recipe['heads']} heads, {recipe['vocabulary']} tokens of byte-level BPE, input and "
        f"output embeddings untied. {recipe['steps']} steps of "
        f"{recipe['batch'] * recipe['context']:,} tokens ({last['tokens'] / 1e6:.1f} M in all), "
        f"{last['seconds'] / 60:.0f} minutes on one core. Validation loss "
        f"**{last['validation_loss_kept']:.3f} nats per token** as shipped.\n\n"
        "| step | tokens | validation loss as trained | as shipped (8 bits) |\n|---|---|---|---|\n"
        f"{rows}"
    )


def _shares(store: Store, run: RunCard) -> tuple[float, float]:
    """Legible share of the strongest quarter, and share of live features with any kind enriched."""
    wish = Wish(alive=True, sort="contribution")
    features = all_rows(store, run.run, len(run.steps) - 1, wish)
    strongest = features.head(max(1, len(features) // 4))
    return float(strongest["legible"].mean()), float((features["kind_p"] < ALPHA).mean())


def _dictionaries(folder: Path, store: Store, runs: list[RunCard]) -> str:
    lines = []
    prompts = held_out_prompts(folder / "corpus.jsonl.xz")
    for r in runs:
        strongest, enriched = _shares(store, r)
        readable = "W_E has no logits"
        if r.matrix == "W_U":
            readable = f"{gate_rate(store, r.run, prompts)[0]:.0%}"
        lines.append(
            f"| `{r.run}` | {r.explained_variance:.3f} | {r.l0:.1f} | {r.dead_rate:.3f} "
            f"| {r.legible_share:.1%} | {strongest:.1%} | {r.legible_null:.1%} | {enriched:.1%} "
            f"| {readable} | {_seconds(r):.0f} s |"
        )
    rows = "\n".join(lines)
    return (
        "## Dictionaries\n\n| run | EV | L0 | dead | legible | of the strongest quarter | null "
        "| p < 0.01 | gate | training |\n"
        f"|---|---|---|---|---|---|---|---|---|---|\n{rows}\n\n"
        "EV, L0 and dead share follow crosscoder-method section 6.2 over all rows and snapshots "
        "(a prism: unit rows). **Legible** is the share of live features of whose strongest "
        "firing tokens (10, 20 or 50 of them) at least half belong to one kind, at least twice as "
        "many as the vocabulary would give, with a hypergeometric tail below 0.01 after Bonferroni "
        "over all kinds and depths. Kinds that hold more than a tenth of the vocabulary, such as "
        "lower-case words, are not tried. **Null** is the same share with the tokens' identities "
        "permuted. A kind is a surface property, a word list (`atlas/words.py`) or a source of the "
        "corpus, so a feature that groups words by meaning alone is counted as not legible. "
        "**Of the strongest quarter** is the same share among the quarter of the features with "
        "the largest contribution, the ones that Browse shows first. **p < 0.01** asks only that "
        "some kind is enriched beyond chance, not that it holds half of the tokens. "
        f"**Gate** is the share of contrasts that may be read (right sign, rho below 0.5): the "
        f"likeliest next token against each of the next {RIVALS} at the last step, after "
        f"{len(prompts)} prompts from held-out documents (`precompute/fidelity.py`)."
    )


def _seconds(run: RunCard) -> float:
    return float(run.provenance.get("seconds", np.nan))


def _how_to_rebuild(store: Path, runs: list[RunCard], labels: list[str]) -> str:
    pretraining = sum(
        read_json(model_path(store, label) / "history.json")["history"][-1]["seconds"]
        for label in labels
    )
    minutes = (pretraining + sum(_seconds(r) for r in runs)) / 60
    calls: list[dict[str, Any]] = (
        read_json(store / TIMES)["calls"] if (store / TIMES).is_file() else []
    )
    took = " and ".join(f"{c['seconds'] / 60:.0f} minutes on {c['cores']} cores" for c in calls)
    return (
        "## Rebuilding it\n\n`readout-atlas build demo --from-scratch --store DIR` trains "
        f"everything again from the shipped corpus. The trainings took {minutes:.0f} minutes of "
        f"one core in all{', the command ' + took if took else ''}. A rebuild gives the same "
        "shapes; figures agree within the noise of a seed."
    )


def _limits() -> str:
    return (
        "## What it cannot show\n\nThe text repeats its registers (Bible, plays, reference "
        "manuals, Python), and so do the features. Scripts other than Latin, Cyrillic and Greek "
        "appear mostly as UTF-8 bytes. At step 0 a decoder norm is what noise rows would give; the "
        "atlas shows the floor-corrected birth beside the plain one. Three seeds share one "
        "language model: they say how stable a dictionary is, not how stable a readout is."
    )
