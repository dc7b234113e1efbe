"""From the answers of queries to the records that pages show."""

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.records import (
    ActivationHistogram,
    FeatureCard,
    FeatureInfo,
    NeighbourList,
    PromotedNull,
    RunCard,
    TokenCard,
    TokenList,
)

CodeRow = tuple[np.ndarray, np.ndarray]
"""Features (n,) int32 and pre-activations (n,) float32 of one token."""


def run_card(row: dict[str, Any]) -> RunCard:
    """A row of the catalog's run table."""
    for name in ("config", "metrics", "provenance"):
        row[name] = json.loads(row[name])
    row["statistics"] = json.loads(row["statistics"] or "{}")
    row["steps"] = tuple(row["steps"])
    for name in ("explained_variance", "l0", "dead_rate", "legible_share", "legible_null"):
        row[name] = math.nan if row[name] is None else row[name]
    return RunCard(**row)


def promoted_null(card: RunCard, snapshots: pa.Table) -> PromotedNull | None:
    """What random directions promote at every snapshot; None when it was not computed."""
    columns = [snapshots[f"null_{name}"].combine_chunks() for name in ("q05", "q50", "q95")]
    if columns[0].null_count:
        return None
    ranks = [column.flatten().to_numpy().reshape(len(card.steps), -1) for column in columns]
    overlap = snapshots["null_overlap"].to_numpy().astype(np.float32)
    return PromotedNull(card.steps, np.stack(ranks, axis=-1), overlap)


def standardization(snapshots: pa.Table) -> tuple[np.ndarray, np.ndarray] | None:
    """Means (K, d) float32 and scales (K,) float64 of the rows; None when they are not kept."""
    if snapshots["mean"].null_count or snapshots["scale"].null_count:
        return None
    means = snapshots["mean"].combine_chunks()
    return (
        means.flatten().to_numpy().reshape(len(means), -1),
        snapshots["scale"].to_numpy(),
    )


def token_text(texts: Sequence[str], token: int) -> str:
    """What is drawn for a token; rows past the vocabulary have a number only."""
    return texts[token] if token < len(texts) else f"⟨row {token}⟩"


def label_text(label: Iterable[int] | None, texts: Sequence[str]) -> str:
    """The strongest firing tokens in one line; '' when there are none."""
    count = len(texts)  # written out: thousands of labels are drawn for one map
    return "" if label is None else " ".join(
        [texts[t] if t < count else token_text(texts, t) for t in label]
    )


def with_labels(frame: pd.DataFrame, texts: Sequence[str]) -> pd.DataFrame:
    """The frame with its `label` column of token ids turned into what is drawn."""
    return frame.assign(label=[label_text(label, texts) for label in frame["label"]])


def floats(values: pa.ChunkedArray, size: int) -> np.ndarray:
    """The list in the first row as float32 with nan for NULL; all nan when there is no list."""
    first = values[0].as_py() if len(values) else None
    if first is None:
        return np.full(size, np.nan, dtype=np.float32)
    return np.array([math.nan if v is None else v for v in first], dtype=np.float32)


def token_list(
    tokens: list[int] | None, values: list[Any] | None, texts: Sequence[str]
) -> TokenList:
    """Tokens with their numbers and what is drawn for them."""
    tokens, values = tokens or [], values or []
    return TokenList(
        np.array(tokens, dtype=np.int32),
        np.array([math.nan if v is None else v for v in values], dtype=np.float32),
        tuple(token_text(texts, t) for t in tokens),
    )


def feature_card(
    card: RunCard,
    texts: Sequence[str],
    feature: pa.Table,
    life: pa.Table,
    promoted: pa.Table,
    firing: pa.Table,
    neighbours: Sequence[tuple[int, float]],
    names: pa.Table,
) -> FeatureCard:
    """Everything about one feature from the answers of its queries."""
    count = len(card.steps)
    ranked = promoted.sort_by("k").to_pylist()
    fired = (firing.to_pylist() or [{}])[0]
    return FeatureCard(
        run=card.run,
        info=_info(feature.to_pylist()[0], texts),
        steps=card.steps,
        norm=floats(life["norm"], count),
        rate=floats(life["rate"], count),
        rotation=floats(life["rotation"], count - 1),
        to_terminal=floats(life["to_terminal"], count),
        contribution=floats(life["contribution"], count),
        promoted=tuple(token_list(r["tokens"], r["cosines"], texts) for r in ranked),
        suppressed=tuple(
            token_list(r["suppressed"], r["suppressed_cosines"], texts) for r in ranked
        ),
        firing=token_list(fired.get("tokens"), fired.get("p"), texts),
        activations=_activations(fired),
        neighbours=neighbour_list(neighbours, names, texts),
    )


def _activations(fired: dict[str, Any]) -> ActivationHistogram | None:
    counts = fired.get("histogram")
    if counts is None:
        return None
    edges = np.linspace(fired["p_low"], fired["p_high"], len(counts) + 1)
    return ActivationHistogram(np.array(counts, dtype=np.int64), edges)


def pairs(found: pa.Table) -> list[tuple[int, float]]:
    """The ids and cosines of the first row, if there is one."""
    row = (found.to_pylist() or [{}])[0]
    cosines = (math.nan if v is None else v for v in row.get("cosines") or [])
    return list(zip(row.get("ids") or [], cosines, strict=True))


def neighbour_list(
    found: Sequence[tuple[int, float]], names: pa.Table, texts: Sequence[str]
) -> NeighbourList:
    """Neighbours in their order, with what the feature table says of each; unknown ones go."""
    said = {row["feature"]: row for row in names.to_pylist()}
    kept = [(feature, cosine) for feature, cosine in found if feature in said]
    return NeighbourList(
        np.array([feature for feature, _ in kept], dtype=np.int32),
        np.array([cosine for _, cosine in kept], dtype=np.float32),
        tuple(label_text(said[feature]["label"], texts) for feature, _ in kept),
        tuple(said[feature]["profile"] for feature, _ in kept),
    )


def _info(row: dict[str, Any], texts: Sequence[str]) -> FeatureInfo:
    values = {}
    for name in (f.name for f in dataclasses.fields(FeatureInfo)):
        value = row[name]
        if value is None and FeatureInfo.__annotations__[name] is float:
            value = math.nan
        values[name] = label_text(value, texts) if name == "label" else value
    return FeatureInfo(**values)


def token_card(
    card: RunCard,
    texts: Sequence[str],
    token: dict[str, Any],
    fired: pa.Table,
    promoted: pa.Table,
) -> TokenCard:
    """Everything about one token in one run."""
    raw = token["raw"]
    return TokenCard(
        run=card.run,
        token=token["token"],
        text=token["text"],
        plain=token["plain"],
        raw=None if raw is None else bytes(raw),
        script=token["script"],
        n_train=token["n_train"],
        steps=card.steps,
        features=_token_features(card, with_labels(fired.to_pandas(), texts)),
        promoted_by=_promoted_by(card, with_labels(promoted.to_pandas(), texts)),
    )


def _token_features(card: RunCard, frame: pd.DataFrame) -> pd.DataFrame:
    """Activation and contribution at every snapshot (crosscoder-method §3.2)."""
    p = frame["p"].to_numpy(np.float32)[:, None]
    if card.kind == "prism":
        activation, norm = p, np.ones_like(p)
        frame["norm"] = [None] * len(frame)
    else:
        norm = np.stack(frame["norm"].to_list()) if len(frame) else np.zeros((0, len(card.steps)))
        norm = norm.astype(np.float32)
        threshold = frame["threshold"].to_numpy(np.float32)[:, None]
        activation = np.where(p * norm > threshold, p, np.float32(0))
    contribution = activation * norm
    frame["activation"] = list(activation)
    frame["contribution"] = list(contribution)
    order = np.lexsort((frame["feature"], -contribution[:, -1] if len(frame) else []))
    columns = ["feature", "p", "label", "profile", "kind", "norm", "activation", "contribution"]
    return frame[columns].iloc[order].reset_index(drop=True)


def _promoted_by(card: RunCard, frame: pd.DataFrame) -> pd.DataFrame:
    steps = np.array(card.steps)
    bits = frame.pop("snapshots").to_numpy(np.uint64)[:, None]
    on = (bits >> np.arange(len(steps), dtype=np.uint64)) & np.uint64(1) == 1
    frame["best_step"] = steps[frame.pop("best_k").to_numpy(np.int64)]
    frame["steps"] = [steps[row].tolist() for row in on]
    return frame


def code_rows(wanted: Iterable[int], table: pa.Table) -> dict[int, CodeRow]:
    """The code of each wanted token; empty arrays where nothing fires on it."""
    found = {
        row["token"]: (np.array(row["features"], np.int32), np.array(row["p"], np.float32))
        for row in table.to_pylist()
    }
    nothing = (np.zeros(0, np.int32), np.zeros(0, np.float32))
    return {token: found.get(token, nothing) for token in wanted}


def norms(card: RunCard, table: pa.Table) -> np.ndarray:
    """Column `norm` of the life table, (n, K) float32."""
    flat = table.column("norm").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(table.num_rows, len(card.steps))
