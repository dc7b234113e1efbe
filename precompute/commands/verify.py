"""`verify`: recomputed figures beside the recorded ones, with a verdict for each."""

import dataclasses
from argparse import Namespace
from typing import Any

from atlas.errors import AtlasError, BrokenArtifact
from precompute.commands.output import located, number, print_json, table
from precompute.verify import RATES_TOLERANCE, Verification, verify

EXTRA = {"cosine": 5, "rare_rate": 5, "training_rare_rate": 5, "reconstruction_mse": 7, "rows": 0,
         "batch": 0, "recorded_top1_match": 5, "recorded_kl_bits": 5, "recorded_rare_rate": 5}
"""Unjudged figures that the text shows, with their digits; the others are in the JSON."""


def run(args: Namespace) -> int:
    """Print the figures of a run; a figure out of tolerance or a changed file is a failure."""
    found = verify(located(args))
    if args.json:
        print_json(as_json(found))
    else:
        print(as_text(found))
    if found.changed:
        raise BrokenArtifact(
            f"{found.changed[0]} is not the file that {found.run} was made from; "
            f"fetch or train it again"
        )
    if not found.within_tolerance:
        raise AtlasError(
            f"{found.run}: {', '.join(found.off)} not reproduced; the weights or snapshots are not "
            f"those that were measured"
        )
    return 0


def as_json(found: Verification) -> dict[str, Any]:
    """The figures as DESIGN section 6 names them, and more."""
    return {
        "run": found.run,
        "canonical": found.canonical,
        "training": found.training,
        "recorded": found.recorded,
        "within_tolerance": found.within_tolerance,
        "changed": list(found.changed),
        "verdicts": {v.figure: {"said": v.said, "tolerance": v.tolerance, "met_by": v.met_by}
                     for v in found.verdicts},
        "more": found.more,
        "readout": None if found.readout is None else dataclasses.asdict(found.readout),
        "companions": found.companions,
    }


def as_text(found: Verification) -> str:
    """The columns of figures with their verdicts, then what is shown and not judged."""
    rows = [
        [v.figure, *(number(value, 5) for value in (v.canonical, v.training, v.recorded)),
         number(v.tolerance if v.recorded is not None else None, 5), v.said]
        for v in found.verdicts
    ]
    head = ["figure", "canonical", "training", "recorded", "tolerance", "verdict"]
    parts = [found.run, table(head, rows, left=[0, 5])]
    shown = [[name.replace("_", " "), number(float(found.more[name]), digits)]
             for name, digits in EXTRA.items() if name in found.more]
    if found.readout is not None:
        r = found.readout
        shown += [
            [f"top-1 match, {r.n_states} states", number(r.top1_match, 5)],
            ["KL (bits)", number(r.kl_bits, 5)],
            ["top-1 match over the first rows", number(r.training_top1_match, 5)],
            ["KL (bits) over the first rows", number(r.training_kl_bits, 5)],
        ]
    if shown:
        parts.append(table(["shown, not judged", "value"], shown, left=[0]))
    if found.readout is not None:
        told = "; those recorded are of other text" if "recorded_kl_bits" in found.more else ""
        parts.append(f"top-1 and KL are of {found.readout.text}{told}")
    if found.companions:
        told = [[name, number(far, 6), "agrees" if far <= RATES_TOLERANCE else "DIFFERS"]
                for name, far in found.companions.items()]
        parts.append(table(["fetched beside it", "largest difference", "verdict"], told,
                           left=[0, 2]))
    if not found.recorded:
        parts.append("no figure is recorded, so none is judged")
    else:
        said = "reproduced" if found.within_tolerance else "NOT reproduced"
        within = ", ".join(f"{v.figure} within {number(v.tolerance, 5)}"
                           for v in found.verdicts if v.recorded is not None)
        parts.append(f"{said}: {within}")
    return "\n\n".join(parts)
