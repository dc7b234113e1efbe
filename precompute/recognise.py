"""What a released dictionary is: its path, its sidecar and its tensors must say the same.

Each of the three is read by a module of its own; here they are set beside each other. A
disagreement names both sides, and what only one of them says is taken from it. Nothing that
changes what a dictionary computes is guessed: k, the architecture, the steps.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.artifacts import GATE, THRESHOLD, crosscoder_shapes, prism_shapes
from atlas.errors import BrokenArtifact, InvalidValue
from atlas.inventory import find_released
from atlas.prism import ARCHITECTURES, COUNTED
from precompute import sidecars
from precompute.checkpoints import Opened, open_weights
from precompute.release import FINISHED, Named, read_path, schedule_name
from precompute.sidecars import count_of, figures_of, steps_of, table_of, text_of, training_of

DEFAULT_BATCH = 1024
"""Rows that share a batchtopk budget where the sidecar does not say (section 3.3)."""
MODEL_FIELDS = ("model_name", "model_id", "base_model")
LOOSE_FIELDS = (*MODEL_FIELDS, "model", "hf_id")
"""Where a model may be named; the last two are read only of a model that the path does not tell.
The `name` of a run config names the run."""
KIND = re.compile(
    r"(cross-snapshot|per-snapshot|final-snapshot|lambda-sweep|architecture-comparison|prism)"
    r"(?:-(\d+))?(?![A-Za-z0-9])"
)
"""What a sidecar's `kind` may begin with that is understood: a family, and its snapshots."""
JOINT = ("lambda-sweep", "architecture-comparison")
"""Families of cross-snapshot dictionaries that are not called so."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,95}", re.ASCII)


@dataclass(frozen=True)
class Recognised:
    """One released dictionary, all that is known of it without its snapshots."""

    run: str
    """Run id: the release path without its suffix."""
    kind: str
    """`crosscoder`, `sae` or `prism`."""
    act_fn: str
    """One of `atlas.crosscoder.ACTIVATIONS` or, of a prism, `atlas.prism.ARCHITECTURES`."""
    family: str
    """The inventory's directory of its kind."""
    model: str
    """Label of the model: the first part of the run id."""
    model_name: str
    """Id of the model on the hub."""
    matrix: str
    steps: tuple[int, ...]
    """Rising; `(0,)` for a finished model."""
    seed: int
    d_sae: int
    d_model: int
    n_snapshots: int
    quality: dict[str, float]
    """Recorded figures under our names; absent ones are absent."""
    training: dict[str, Any]
    """Recorded settings under our names."""
    revision: str | None
    """Set where a finished model is read, which has no pretraining step."""
    k: int | None = None
    """Features kept per row: of batchtopk, topk and matryoshka_topk."""
    rows: int | None = None
    """Vocabulary rows, where the sidecar or the checkpoint says."""
    wrapper: str = "safetensors"
    """What the weights came in, see `precompute.checkpoints.Opened`."""
    recorded_from: str | None = None
    """Where `quality` comes from: `sidecar`, `checkpoint` or `inventory`."""
    notes: tuple[str, ...] = ()
    """What had to be inferred, one sentence each."""


def recognise(run: str, weights: Path, sidecar: Path | None) -> Recognised:
    """Read what a dictionary is from its path, its sidecar and its weights file; no snapshot.

    Args:
        run: release path, with or without its suffix.
        weights: the .safetensors or .pt file, wherever it lies.
        sidecar: its .config.json; required beside .safetensors weights.

    Raises:
        InvalidValue: the path is no release path, or a setting is not read here.
        NotFound, BrokenArtifact: a file is missing, damaged, or disagrees with another.
    """
    return recognise_opened(run, weights, sidecar)[0]


def recognise_opened(
    run: str, weights: Path, sidecar: Path | None
) -> tuple[Recognised, Opened]:
    """The same with the opened file, for who goes on to read the weights."""
    named = read_path(run)
    if named.kind != "prism" and weights.suffix == ".safetensors" and sidecar is None:
        raise BrokenArtifact(
            f"{weights} has no sidecar {weights.stem}.config.json; it holds the steps and the "
            f"activation of the dictionary, fetch it too"
        )
    opened = open_weights(weights, sidecar, named.kind == "prism")
    source = str(sidecar or weights)
    if named.kind == "prism":
        return _prism(named, opened, source), opened
    return _crosscoder(named, opened, source), opened


def agree(what: str, *sides: tuple[str, Any]) -> Any:
    """The one value that all sides which know it give; BrokenArtifact names two that differ."""
    known = [(source, value) for source, value in sides if value is not None]
    for source, value in known[1:]:
        if value != known[0][1]:
            raise BrokenArtifact(
                f"{what}: {known[0][0]} says {known[0][1]}, but {source} says {value}"
            )
    return known[0][1] if known else None


def _path_of(named: Named) -> str:
    return f"the path {named.run}"


# --- crosscoders and SAEs ----------------------------------------------------------------------


def _crosscoder(named: Named, opened: Opened, source: str) -> Recognised:
    fields, tensors = opened.fields, str(opened.path)
    config = table_of(fields.get("config"), source, "config")
    training = training_of(fields.get("training"), source)
    quality = table_of(fields.get("quality"), source, "quality")
    K, d, D = _sizes(opened)
    path = _path_of(named)
    notes = list(opened.notes)
    _check_kind(named, fields, source, notes)
    act_fn = _activation(named, opened, config, source)
    hooks = config.get("hook_points")
    agree(
        "K", (path, named.snapshots), (f"W_E of {tensors}", K),
        *_counts(source, {"config.n_snapshots": config.get("n_snapshots"),
                          "quality.n_snapshots": quality.get("n_snapshots")}),
        (f"{source}: config.hook_points", len(hooks) if isinstance(hooks, list) else None),
    )
    agree(
        "d_sae", (path, named.d_sae), (f"W_E of {tensors}", D),
        *_counts(source, {"config.d_sae": config.get("d_sae"),
                          "training.d_sae": training.get("d_sae"),
                          "quality.d_sae": quality.get("d_sae")}),
    )
    agree("d_model", (f"W_E of {tensors}", d),
          *_counts(source, {"config.d_model": config.get("d_model")}))
    preprocess = _preprocess(fields, training, source, notes)
    training["input_preprocess"] = preprocess
    seed = agree("seed", (path, named.seed), (source, count_of(fields.get("seed"), source, "seed",
                                                               least=0)))
    recorded = training.get("sparsity")
    if named.sparsity is not None and isinstance(recorded, int | float) and (
        abs(recorded - named.sparsity) > 0.005
    ):
        agree("lambda", (path, named.sparsity), (f"{source}: training.l1_coefficient", recorded))
    figures = figures_of(fields.get("quality"), sidecars.QUALITY, source, "quality", notes)
    k = count_of(config.get("batchtopk_k"), source, "config.batchtopk_k")
    if act_fn == "batchtopk":
        if k is None:
            raise BrokenArtifact(
                f"{source} has no config.batchtopk_k; the budget is part of a batchtopk dictionary "
                f"and is not guessed"
            )
        if "batch" not in training:
            training["batch"] = DEFAULT_BATCH
            notes.append(f"batch {DEFAULT_BATCH} assumed, the sidecar has none")
    model_name = _model_name(named, [fields], source, notes)
    steps = _steps(named, opened, K, source, notes)
    return Recognised(
        run=named.run, kind=named.kind, act_fn=act_fn, family=named.family, model=named.model,
        model_name=model_name, matrix=_matrix(named, fields, source), steps=steps,
        seed=seed or 0, d_sae=D, d_model=d, n_snapshots=K, training=training, revision=None,
        k=k if act_fn == "batchtopk" else None,
        rows=count_of(quality.get("n_rows"), source, "quality.n_rows"),
        wrapper=opened.wrapper, notes=tuple(notes),
        **_recorded(named, figures,
                    "sidecar" if opened.wrapper == "safetensors" else "checkpoint"),
    )


def _sizes(opened: Opened) -> tuple[int, int, int]:
    """K, d and D from W_E, the other tensors checked against them."""
    shape = opened.shapes["W_E"]
    K, d, D = shape if len(shape) == 3 else (1, *shape) if len(shape) == 2 else (0, 0, 0)
    if not K * d * D:
        raise BrokenArtifact(f"{opened.path}: W_E is {shape}, expected (K, d, D), none of them 0")
    own = [a for a, n in (("jumprelu", THRESHOLD), ("gated", GATE[0])) if n in opened.shapes]
    expected = crosscoder_shapes(own[0] if own else "batchtopk", K, d, D)
    for name, want in expected.items():
        found = opened.shapes.get(name)
        flat = K == 1 and found == want[1:] and name[:2] in ("W_", "b_")
        if found != want and not flat:
            raise BrokenArtifact(
                f"{opened.path}: {name} is {found}, but W_E {shape} asks for {want}"
            )
    return K, d, D


def _counts(source: str, fields: dict[str, Any]) -> list[tuple[str, int | None]]:
    return [(f"{source}: {name}", count_of(value, source, name)) for name, value in fields.items()]


def _activation(named: Named, opened: Opened, config: dict[str, Any], source: str) -> str:
    held = (
        "jumprelu" if THRESHOLD in opened.shapes
        else "gated" if GATE[0] in opened.shapes else "batchtopk"
    )
    return agree(
        "activation", (_path_of(named), named.act_fn),
        (f"{source}: config.act_fn", text_of(config.get("act_fn"), source, "config.act_fn")),
        (f"{source}: config.arch", text_of(config.get("arch"), source, "config.arch")),
        (f"the tensors of {opened.path}", held),
    )


def _check_kind(
    named: Named, fields: dict[str, Any], source: str, notes: list[str]
) -> None:
    """The sidecar's `kind`, where it is understood, must not name another family (section 5.3)."""
    said = text_of(fields.get("kind"), source, "kind")
    if said is None or said == "wu-crosscoder":
        return
    word = KIND.match(said)
    if word is None:
        notes.append(f"kind {said[:80]!r} is not understood; the path and the tensors decide")
        return
    joint = word[1] == "cross-snapshot" and named.family in JOINT
    if not named.family.startswith(word[1]) and not joint:
        agree("kind", (_path_of(named), named.family), (source, said))
    if word[2]:
        agree("K", (_path_of(named), named.snapshots), (f"{source}: kind", int(word[2])))


def _preprocess(
    fields: dict[str, Any], training: dict[str, Any], source: str, notes: list[str]
) -> str:
    mode = agree(
        "preprocessing",
        (f"{source}: training.input_preprocess",
         text_of(training.get("input_preprocess"), source, "training.input_preprocess")),
        (f"{source}: preprocess_mode",
         text_of(fields.get("preprocess_mode"), source, "preprocess_mode")),
    )
    if mode is None:
        notes.append("center_scale assumed, as in all runs of record; the sidecar has no mode")
    elif mode != "center_scale":
        raise InvalidValue(
            f"{source}: training.input_preprocess is {mode!r}; only center_scale is read, which "
            f"all released dictionaries use"
        )
    return "center_scale"


def _steps(
    named: Named, opened: Opened, K: int, source: str, notes: list[str]
) -> tuple[int, ...]:
    said = steps_of(opened.fields.get("steps"), source)
    if said is not None and len(said) != K:
        raise BrokenArtifact(
            f"{source}: steps lists {len(said)}, but W_E of {opened.path} has {K} snapshots"
        )
    if named.step is not None:
        agree("step", (_path_of(named), named.step), (f"{source}: steps", said and said[0]))
        return (named.step,)
    schedule = named.schedule
    if said is None and named.kind == "sae" and schedule:
        notes.append(f"step {schedule[-1]} inferred: the last of the model's schedule")
        return schedule[-1:]
    if said is None and opened.wrapper in ("stripped", "bare") and schedule and len(schedule) == K:
        notes.append(f"steps taken from the schedule of record ({schedule_name(schedule)})")
        return schedule
    if said is None:
        raise BrokenArtifact(
            f"{source} has no steps, and they cannot be inferred for {K} snapshots of {named.run}"
        )
    if schedule_name(said) is None and K > 1:
        notes.append("steps are no schedule of record")
    return said


def _matrix(named: Named, fields: dict[str, Any], source: str) -> str:
    said = text_of(fields.get("matrix"), source, "matrix")
    known = {"WU": "W_U", "WE": "W_E"}
    return agree("matrix", (_path_of(named), named.matrix),
                 (source, known.get(said, said) if said else None))


def _model_name(
    named: Named, places: list[dict[str, Any]], source: str, notes: list[str]
) -> str:
    ids = [
        (f"{source}: {name}", place[name])
        for place in places for name in (MODEL_FIELDS if named.model_name else LOOSE_FIELDS)
        if isinstance(place.get(name), str) and HUB_ID.fullmatch(place[name])
    ]
    own = text_of(places[0].get("model_name"), source, "model_name")
    entry = find_released(named.run)
    if entry is not None:  # shapes and row norms tell the model
        said = next((place[name] for place in places for name in MODEL_FIELDS
                     if isinstance(place.get(name), str)), entry.model)
        if said not in (entry.model, entry.model_name):
            notes.append(f"the model is called {said[:80]!r}; read as {entry.model_name}, which "
                         "the inventory says")
        return entry.model_name
    if own and "/" not in own:  # a label
        agree("model", (_path_of(named), named.model), (f"{source}: model_name", own))
    found = agree("model", (_path_of(named), named.model_name), *ids[:1])
    if found is None:
        raise BrokenArtifact(
            f"{source} has no model_name, and {named.model} is no model of the inventory"
        )
    return found


def _recorded(named: Named, figures: dict[str, float], source: str) -> dict[str, Any]:
    """Recorded figures and where they are from; the inventory's where the file has none."""
    if figures:
        return {"quality": figures, "recorded_from": source}
    entry = find_released(named.run)
    if entry is None:
        return {"quality": {}, "recorded_from": None}
    printed = {
        "explained_variance": entry.explained_variance,
        "l0": None if entry.kind == "prism" else entry.l0,  # of a prism the table has k there
        "top1_match": entry.top1_match, "kl_bits": entry.kl_bits,
    }
    known = {name: value for name, value in printed.items() if value is not None}
    return {"quality": known, "recorded_from": "inventory" if known else None}


# --- prisms ------------------------------------------------------------------------------------


def _prism(named: Named, opened: Opened, source: str) -> Recognised:
    fields, path = opened.fields, _path_of(named)
    config = table_of(fields.get("config"), source, "config")
    factorizer = table_of(fields.get("factorizer") or config, source, "factorizer")
    evaluation = table_of(fields.get("evaluation"), source, "evaluation")
    shape = opened.shapes["decoder"]
    D, d = shape if len(shape) == 2 else (0, 0)
    if not D * d:
        raise BrokenArtifact(f"{opened.path}: decoder is {shape}, expected (D, d), none of them 0")
    architecture = text_of(factorizer.get("architecture", factorizer.get("act_fn")), source,
                           "factorizer.architecture")
    if architecture not in ARCHITECTURES:
        raise BrokenArtifact(
            f"{source}: factorizer.architecture is {architecture!r}, expected one of "
            f"{', '.join(ARCHITECTURES)}; it is not guessed"
        )
    wanted = prism_shapes(architecture, d, D)
    del wanted["row_mean"]
    for name, want in wanted.items():
        if opened.shapes.get(name) != want:
            raise BrokenArtifact(
                f"{opened.path}: {name} is {opened.shapes.get(name)}, but a {architecture} prism "
                f"with decoder {shape} has {want}"
            )
    agree("d_features", (f"decoder of {opened.path}", D),
          (path, named.factor * d if named.factor else None),
          *_counts(source, {"factorizer.d_features": factorizer.get("d_features"),
                            "factorizer.d_sae": factorizer.get("d_sae")}))
    # the evaluation's k is that of the trained object (section 4.1)
    k = count_of(evaluation.get("k"), source, "evaluation.k")
    k = k or count_of(factorizer.get("k"), source, "factorizer.k", least=0)
    if architecture in COUNTED:
        agree("k", (path, named.k), (source, k))
        if not k or k > D:
            raise BrokenArtifact(
                f"{source}: k is {k}, expected 1 to {D} in evaluation.k or factorizer.k; it is "
                f"part of the trained object and is not guessed"
            )
    names = [fields, config] + [
        config[part] for part in ("model", "data", "run") if isinstance(config.get(part), dict)
    ]
    run = config.get("run")
    seed = count_of(run.get("seed") if isinstance(run, dict) else fields.get("seed"), source,
                    "seed", least=0)
    metrics, notes = fields.get("metrics") or evaluation or fields.get("quality"), [*opened.notes]
    figures = figures_of(metrics, sidecars.PRISM_QUALITY | sidecars.QUALITY, source, "metrics",
                         notes)
    model_name = _model_name(named, names, source, notes)
    rows = opened.rows.get("row_norms")
    partly = "row_token_ids" in opened.rows
    return Recognised(
        run=named.run, kind="prism", act_fn=architecture, family="prism", model=named.model,
        model_name=model_name, matrix="W_U", steps=(0,), seed=seed or 0,
        d_sae=D, d_model=d, n_snapshots=1,
        training=training_of(config.get("training") or fields.get("training"), source),
        revision=FINISHED, k=k if architecture in COUNTED else None,
        rows=None if rows is None or partly else len(rows), wrapper=opened.wrapper,
        notes=tuple(notes), **_recorded(named, figures, "checkpoint"),
    )
