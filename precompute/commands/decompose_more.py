"""`decompose --show …` and `--edit …`: what the page's views draw, for a terminal or a program."""

import math
from argparse import Namespace
from typing import Any

import numpy as np
import pandas as pd

from atlas import inside_views
from atlas.alignment import ALIGNMENTS
from atlas.asking import Ask
from atlas.editing import Edited, edit_prompt
from atlas.edits import read_edit
from atlas.errors import InvalidValue
from atlas.live import Explanation
from atlas.reading import Reading
from atlas.rebuilt import OwnAnswer, own_answer
from atlas.store import Store
from atlas.swap import METRICS
from atlas.swap_grid import Grid, swap_grid
from precompute.commands.output import table

SHOWS = ("inside", "swap", "alone")
"""Values of `--show`."""


def check(args: Namespace) -> None:
    """Refuse what cannot be shown, before anything is read; raises InvalidValue."""
    for name in args.show:
        if name not in SHOWS:
            raise InvalidValue(f"--show {name[:40]!r} is nothing; there are {', '.join(SHOWS)}")
    if args.align not in ALIGNMENTS:
        raise InvalidValue(
            f"--align {args.align[:40]!r} is none; there are {', '.join(ALIGNMENTS)}")


def found(
    store: Store, reading: Reading, explanation: Explanation, ask: Ask, args: Namespace
) -> dict[str, Any]:
    """What was asked for beside the ledger, of the last of its rows."""
    row, out = explanation.rows[-1], {}
    if "inside" in args.show:
        positions = inside_views.window_of(len(reading.tokens), reading.position)
        passage = inside_views.passage_of(reading, row.hidden_step, positions)
        known = (store, reading, passage, explanation.score)
        out["components"] = inside_views.components_frame(inside_views.components_of(
            *known, row.hidden_step, row.step, reading.position))
        out["layers"] = inside_views.layers_frame(inside_views.layers_of(
            *known, row.step, reading.position))
    if "swap" in args.show:
        out["swap"] = swap_grid(reading, explanation.score.target, args.over, args.align)
    if "alone" in args.show:
        out["alone"] = own_answer(store, reading, row.step, row.hidden_step)
    if args.edit is not None:
        edit = read_edit(args.edit, reading.card.d_sae)
        out["edit"] = edit_prompt(
            store, reading, ask, edit, row.step, row.hidden_step, seed=args.seed)
    return out


# --- for a program -------------------------------------------------------------------------------


def as_json(parts: dict[str, Any]) -> dict[str, Any]:
    """The same as JSON; what is not known is null."""
    ways = {Grid: _grid_json, OwnAnswer: _answer_json, Edited: _edit_json}
    return {
        name: _records(part) if isinstance(part, pd.DataFrame) else ways[type(part)](part)
        for name, part in parts.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    missing = value is pd.NA or (isinstance(value, float) and not math.isfinite(value))
    return None if missing else value


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{name: _plain(value) for name, value in record.items()}
            for record in frame.to_dict("records")]


def _grid_json(grid: Grid) -> dict[str, Any]:
    def plane(values: np.ndarray) -> list[list[Any]]:
        return [[_plain(v) for v in row] for row in values]

    return {
        "over": grid.over, "align": grid.align, "hidden_steps": list(grid.hidden_steps),
        "readout_steps": list(grid.readout_steps), "positions": grid.positions,
        "targets": list(grid.targets), "unigram_nll": _plain(grid.unigram),
        "notes": list(grid.notes),
        "values": {name: plane(values) for name, values in grid.values.items()},
        "chance": {name: plane(values) for name, values in grid.chance.items()},
    }


def _answer_json(answer: OwnAnswer) -> dict[str, Any]:
    def listed(tokens: tuple) -> list[dict[str, Any]]:
        return [{"token": t.token, "text": t.text, "probability": t.probability,
                 "other_rank": t.other_rank} for t in tokens]

    return {"kl_bits": answer.kl_bits, "place": answer.place, "true": listed(answer.true),
            "alone": listed(answer.alone)}


def _edit_json(edited: Edited) -> dict[str, Any]:
    return {
        "edit": str(edited.edit), "step": edited.step, "hidden_step": edited.hidden_step,
        "before": edited.ledger.exact, "after": edited.after.exact, "change": edited.change,
        "predicted": edited.predicted, "kl_bits": edited.kl, "overlap": edited.overlap,
        "length": edited.length, "share": edited.share, "seed": edited.seed,
        "next": [{"token": m.token, "text": m.text, "before": m.before, "after": m.after,
                  "rank_before": m.rank_before, "rank_after": m.rank_after}
                 for m in edited.likely],
        "random": [{"features": list(map(int, d.features)), "change": d.change, "kl_bits": d.kl}
                   for d in edited.draws],
    }


# --- for a terminal ------------------------------------------------------------------------------


def as_text(parts: dict[str, Any]) -> str:
    """The same as tables."""
    ways = {Grid: _grid_text, OwnAnswer: _answer_text, Edited: _edit_text}
    return "\n\n".join(
        f"{name}\n{_frame_text(part) if isinstance(part, pd.DataFrame) else ways[type(part)](part)}"
        for name, part in parts.items()
    )


def _written(value: Any) -> str:
    value = _plain(value)
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _frame_text(frame: pd.DataFrame) -> str:
    """A frame without its columns by feature, of which a terminal has no room."""
    frame = frame[[name for name in frame if not str(name).startswith("feature ")]]
    rows = [[_written(v) for v in row] for row in frame.itertuples(index=False)]
    return table(list(map(str, frame.columns)), rows, left=[0])


def _grid_text(grid: Grid) -> str:
    """NLL of every hidden state (rows) through every readout (columns)."""
    header = ["state \\ readout", *map(str, grid.readout_steps)]
    rows = [[str(step), *map(_written, values)]
            for step, values in zip(grid.hidden_steps, grid.values["nll"], strict=True)]
    said = (f"NLL in nats over {grid.positions} prediction(s), aligned: {grid.align}; chance is "
            f"log V = {math.log(grid.n_rows):.2f}; --json has {', '.join(METRICS)}")
    return "\n".join([table(header, rows, left=[0]), said, *grid.notes])


def _answer_text(answer: OwnAnswer) -> str:
    rows = [[a.text, f"{a.probability:.1%}", b.text, f"{b.probability:.1%}"]
            for a, b in zip(answer.true, answer.alone, strict=True)]
    head = table(["true readout", "", "dictionary", ""], rows, left=[0, 2])
    return f"{head}\n{answer.kl_bits:.3f} bits apart; the winner is at place {answer.place}"


def _edit_text(edited: Edited) -> str:
    changes = [draw.change for draw in edited.draws]
    rows = [[m.text, f"{m.before:.2%}", f"{m.after:.2%}", f"{m.rank_before} to {m.rank_after}"]
            for m in edited.likely]
    lines = [
        table(["next", "before", "after", "rank"], rows, left=[0]),
        f"score {edited.ledger.exact:+.4f} to {edited.after.exact:+.4f} ({edited.change:+.4f}, "
        f"the ledger foretold {edited.predicted:+.4f}); {edited.kl:.3f} bits",
    ]
    if changes:
        lines.append(
            f"{len(changes)} draws of random features, as far a shift (seed {edited.seed}): "
            f"{min(changes):+.4f} to {max(changes):+.4f}"
        )
    return "\n".join(lines)
