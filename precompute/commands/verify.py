"""`verify`: recomputed figures beside the recorded ones."""

from argparse import Namespace

from atlas.errors import AtlasError, BrokenArtifact
from precompute.commands.output import located, number, print_json, table
from precompute.verify import FIGURES, TOLERANCE, Verification, verify


def run(args: Namespace) -> int:
    """Print the figures of a run; a figure out of tolerance or a changed file is a failure."""
    found = verify(located(args))
    if args.json:
        print_json({
            "run": found.run,
            "canonical": found.canonical,
            "training": found.training,
            "recorded": found.recorded,
            "within_tolerance": found.within_tolerance,
            "changed": list(found.changed),
        })
    else:
        print(as_text(found))
    if found.changed:
        raise BrokenArtifact(
            f"{found.changed[0]} is not the file that {found.run} was made from; "
            f"fetch or train it again"
        )
    if not found.within_tolerance:
        raise AtlasError(
            f"{found.run}: {', '.join(found.off)} not reproduced within {TOLERANCE:g}; the weights "
            f"or snapshots are not those of its metrics.json"
        )
    return 0


def as_text(found: Verification) -> str:
    """The three columns of figures and the verdict."""
    columns = (found.canonical, found.training, found.recorded)
    rows = [[name, *(number(column[name], 5) for column in columns)] for name in FIGURES]
    drawn = table(["figure", "canonical", "training", "recorded"], rows, left=[0])
    said = "reproduced" if found.within_tolerance else "NOT reproduced"
    return f"{found.run}\n\n{drawn}\n\n{said} within {TOLERANCE:g}"
