"""The figures of `bench_train` as a page."""

import statistics
import time
from typing import Any

WAYS = ("llamascopium", "plain", "ours, full matrices", "ours", "ours, bfloat16")
TENSORS = ("W_E", "b_E", "W_D", "b_D", "log_threshold")
Lines = dict[str, list[dict[str, Any]]]


def written(lines: Lines, machine: str) -> str:
    """The whole page."""
    from tests.benchmarks.bench_train import EPOCHS, SHAPES, WHOLE

    out = [
        "# Training a crosscoder", "",
        f"`make bench-train`, {time.strftime('%Y-%m-%d')}, {machine}. llamascopium 2.0.0b34 with "
        "the loop of crosscoder-method section 3.4 around it and Adam as the adapter sets it; "
        "plain is the same formulas in eager PyTorch with autograd. All in one process, in turns; "
        "medians of CPU seconds.", "",
        "`ours` is float32 throughout; `ours, full matrices` the same without lists of the pairs "
        "that fire, which is what an accelerator runs. In `ours, bfloat16` the two large products "
        "take rounded inputs; which features fire is decided in float32 all the same, and what "
        "remains is an approximation of the threshold's gradient.", "",
        "## A step", "",
        "Early: at the first step. Late: once few features fire (the slice's thresholds are "
        "lifted to that share, its training is too short). As shipped, and with an allocator that "
        "keeps freed memory, which speeds up the others by up to half.", "",
        "| shape | state | features that fire | allocator | " + " | ".join(
            f"{way}, ms" for way in WAYS) + " | ours against llamascopium | against plain | "
        "bfloat16 against llamascopium |",
        "|" + "---|" * (7 + len(WAYS)),
    ]
    for key, allocator in (("steps", "as shipped"), ("steps tuned", "keeps memory")):
        for line in lines.get(key, []):
            s = line["seconds"]
            out.append("| " + " | ".join([
                SHAPES[line["shape"]].name, line["state"],
                f"{line['l0']:.0f} ({line['l0'] / SHAPES[line['shape']].features:.1%})", allocator,
                *(f"{1000 * s[way]:,.0f}" for way in WAYS),
                *(f"{s[other] / s[way]:.1f}x" for way, other in (
                    ("ours", "llamascopium"), ("ours", "plain"),
                    ("ours, bfloat16", "llamascopium"))),
            ]) + " |")
    out += adapter(lines)
    out += ["", "## The same function", "",
            "Gradients against llamascopium's autograd, norm of the difference over the norm.", "",
            "| shape | state | way | " + " | ".join(TENSORS) + " |", "|" + "---|" * 8]
    for line in lines.get("errors", []):
        out.append("| " + " | ".join([
            SHAPES[line["shape"]].name, line["state"], line["way"],
            *(f"{line['errors'][name]:.1e}" for name in TENSORS)]) + " |")
    out += ["", "Largest relative difference of the loss from llamascopium's over 60 steps from "
            "the same weights with the same batches. That of `plain`, the same function with its "
            "sums in another order, is what rounding alone gives.", "",
            "| shape | from | learning rate | way | difference |", "|---|---|---|---|---|"]
    for line in lines.get("curves", []):
        out.append(f"| {SHAPES[line['shape']].name} | {line['state']} | {line['rate']:g} | "
                   f"{line['way']} | {line['difference']:.1e} |")
    out += ["", "## Whole trainings", "",
            f"{WHOLE.name}, {EPOCHS} epochs of {WHOLE.rows:,} rows, learning rate 1e-3; the same "
            "first weights and order of rows for all ways of a seed.", "",
            "| seed | way | EV | L0 | dead | CPU s |", "|---|---|---|---|---|---|"]
    runs = lines.get("whole", [])
    ways = ("llamascopium", "plain", "ours", "ours, bfloat16")
    for line in runs:
        for way in ways:
            e = line[way]
            out.append(f"| {line['seed']} | {way} | {e['ev']:.5f} | {e['l0']:.3f} | "
                       f"{e['dead']:.2%} | {e['seconds']:.0f} |")
    if runs:
        mean = {way: {key: statistics.fmean(line[way][key] for line in runs)
                      for key in ("ev", "l0", "seconds")} for way in ways}
        peer = mean["llamascopium"]
        spread = [max(line["llamascopium"][key] for line in runs)
                  - min(line["llamascopium"][key] for line in runs) for key in ("ev", "l0")]
        told = "; ".join(
            f"{way} EV {mean[way]['ev'] - peer['ev']:+.5f}, L0 "
            f"{100 * (mean[way]['l0'] / peer['l0'] - 1):+.2f} %, "
            f"{peer['seconds'] / mean[way]['seconds']:.1f} times as fast" for way in ways[1:])
        out += ["", f"Means against llamascopium's: {told}. Over seeds llamascopium's own EV "
                f"spreads by {spread[0]:.5f} and its L0 by {spread[1]:.3f}."]
    return "\n".join([*out, ""])


def adapter(lines: Lines) -> list[str]:
    """The library in the loop that the reference trains with."""
    from tests.benchmarks.bench_train import SHAPES

    out = ["", "The reference trains with a loop of its own around the library. It costs what the "
           "library's own loss does; late, in one process:", "",
           "| shape | allocator | the reference's loop, ms | llamascopium, ms | ours, ms | "
           "ours, bfloat16, ms | ours against the reference's loop | bfloat16 |", "|" + "---|" * 8]
    for key, allocator in (("adapter", "as shipped"), ("adapter tuned", "keeps memory")):
        for line in lines.get(key, []):
            s = line["seconds"]
            out.append("| " + " | ".join([
                SHAPES[line["shape"]].name, allocator,
                *(f"{1000 * s[way]:,.0f}" for way in ("adapter", "llamascopium", "ours",
                                                      "ours, bfloat16")),
                f"{s['adapter'] / s['ours']:.1f}x",
                f"{s['adapter'] / s['ours, bfloat16']:.1f}x"]) + " |")
    return out
