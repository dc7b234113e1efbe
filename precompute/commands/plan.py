"""How a plan is printed: for people, and as JSON."""

import dataclasses
from typing import Any

from atlas.schedules import SCHEDULES
from precompute.commands.output import size, table
from precompute.plan import Plan
from precompute.plan_training import TrainingPlan, precision_of
from trainer.cost import H200, H200_BYTES, NUMBER
from trainer.crosscoder_recipe import PRECISIONS
from trainer.recipe_files import said_path
from trainer.recipes import Recipe


def as_json(p: Plan) -> dict[str, Any]:
    """A plan for programs; that of a training has one more object."""
    said = {
        "run": p.run,
        "store": str(p.store),
        "fetch": [{"name": i.name, "bytes": i.bytes, "here": i.here, "where": i.where}
                  for i in p.items],
        "stages": [
            {"name": s.name, "done": s.done, "flops": s.flops, "seconds": s.seconds}
            for s in p.stages
        ],
        "fetch_bytes": p.fetch_bytes,
        "disk_bytes": p.disk_bytes,
        "memory_bytes": p.memory_bytes,
        "minutes": p.minutes,
        "note": p.note,
    }
    return said | {"training": _training_json(p)} if isinstance(p, TrainingPlan) else said


def as_text(p: Plan) -> str:
    """A plan for people."""
    lines = [f"{p.run}\nstore    {p.store}"]
    if isinstance(p, TrainingPlan):
        lines += _recipe_lines(p)
    missing = [i for i in p.items if not i.here]
    here = sum(i.bytes or 0 for i in p.items if i.here)
    if any(i.where for i in p.items):
        lines += [f"here     {i.name}{f': {size(i.bytes)}' if i.bytes else ''} ({i.where})"
                  for i in p.items if i.where]
    elif here:
        lines.append(f"inputs   {sum(i.here for i in p.items)} files here, {size(here)}")
    lines += [
        f"fetch    {i.name}: {'size not known' if i.bytes is None else size(i.bytes)}"
        for i in missing
    ]
    for stage in p.stages:
        time_left = f"{stage.seconds / 60:.1f} min ({stage.flops:.1e} operations)"
        lines.append(f"stage    {stage.name:<10} {'done' if stage.done else time_left}")
    lines.append(f"disk     {size(p.disk_bytes)}\nmemory   {size(p.memory_bytes)}")
    lines.append(f"minutes  {p.minutes:.1f}" if p.stages else "minutes  see the note")
    if p.note:
        lines.append(f"note     {p.note}")
    if isinstance(p, TrainingPlan) and p.cost is not None:
        lines += ["", *_training_lines(p)]
    return "\n".join(lines)


def _recipe_lines(p: TrainingPlan) -> list[str]:
    recipe = p.recipe
    lines = [f"recipe   {said_path(recipe.file)}"] if recipe.file else []
    if recipe.preprocessing is None:
        return lines
    matrix = getattr(recipe.dials, "matrix", "W_U")
    count = "" if p.cost.snapshots == 1 else f"{p.cost.snapshots} snapshots of "
    lines.append(f"reads    {count}{matrix} of {recipe.model_name}, {_schedule(recipe)}, "
                 f"{recipe.preprocessing}")
    return lines + [f"chosen   {names}: {reason}" for names, reason in _chosen(recipe).items()]


def _schedule(recipe: Recipe) -> str:
    if recipe.schedule is None:
        return "the finished model" if recipe.kind == "prism" else "every step that was kept"
    named = [name for name, steps in SCHEDULES.items() if steps == recipe.schedule]
    if named:
        return named[0]
    steps = recipe.schedule
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"


def _chosen(recipe: Recipe) -> dict[str, str]:
    """Dials with their values -> why they were chosen, those of one reason together."""
    lines: dict[str, list[str]] = {}
    for name, reason in recipe.chosen.items():
        value = getattr(recipe.dials, name, None)
        lines.setdefault(reason, []).append(name if value is None else f"{name} {value}")
    return {", ".join(names): reason for reason, names in lines.items()}


def _training_lines(p: TrainingPlan) -> list[str]:
    cost, precision = p.cost, precision_of(p.recipe)
    lists = f" (lists of what fires leave {p.here.share:.0%} of the operations)"
    lists = lists if p.here.share < 1 else ""
    return [
        f"training of {cost.parameters:,} weights in {cost.steps:,} steps of "
        f"{min(cost.batch, cost.rows):,} rows",
        f"operations {cost.step_flops:.3g} a step, {cost.total_flops:.3g} in all",
        f"weights {size(cost.weight_bytes)}, moments {size(cost.moment_bytes)}, gradients "
        f"{size(cost.gradient_bytes)} at once, rows {size(cost.row_bytes)}, checkpoint "
        f"{size(cost.checkpoint_bytes / 2)}",
        f"on {p.here.name} in {precision}: {_minutes(cost.seconds(p.here, precision))}{lists}",
        "",
        table(["processes", "rows held", "rows streamed", *(f"min {name}" for name in PRECISIONS)],
              [_world_row(p, world) for world in cost.worlds], left=[]),
        f"memory of each process on an accelerator of its own (one H200 has {size(H200_BYTES)}); "
        "minutes on H200s are paper arithmetic, nothing was measured",
    ]


def _world_row(p: TrainingPlan, world: int) -> list[str]:
    cost = p.cost
    paper = (cost.seconds(H200, name, world) / 60 for name in PRECISIONS)
    streamed = size(cost.memory(world, row_size=0)) if cost.streamable else "–"
    return [str(world), size(cost.memory(world)), streamed,
            *(f"{minutes:.1f}" for minutes in paper)]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.1f} min" if seconds < 600 * 60 else f"{seconds / 3600:,.0f} h"


def _training_json(p: TrainingPlan) -> dict[str, Any] | None:
    recipe, cost = p.recipe, p.cost
    said = {"recipe": said_path(recipe.file) if recipe.file else None, "kind": recipe.kind,
            "dials": dataclasses.asdict(recipe.dials)}
    if cost is None:
        return said
    precision = precision_of(recipe)
    return said | {
        "model_name": recipe.model_name, "preprocessing": recipe.preprocessing,
        "schedule": recipe.schedule,
        "chosen": {name: {"value": getattr(recipe.dials, name, None), "reason": reason}
                   for name, reason in recipe.chosen.items()},
        "snapshots": cost.snapshots, "rows": cost.rows, "d_model": cost.d_model,
        "steps": cost.steps, "parameters": cost.parameters, "step_flops": cost.step_flops,
        "total_flops": cost.total_flops, "weight_bytes": cost.weight_bytes,
        "moment_bytes": cost.moment_bytes, "gradient_bytes": cost.gradient_bytes,
        "row_bytes": cost.row_bytes, "checkpoint_bytes": cost.checkpoint_bytes // 2,
        "device": p.device, "precision": precision,
        "minutes": cost.seconds(p.here, precision) / 60,
        "processes": [
            {"processes": world, "memory_bytes_rows_held": cost.memory(world, NUMBER),
             "memory_bytes_rows_streamed": cost.memory(world, 0) if cost.streamable else None,
             "paper_minutes": {name: cost.seconds(H200, name, world) / 60 for name in PRECISIONS}}
            for world in cost.worlds
        ],
    }
