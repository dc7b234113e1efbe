"""The contrasts of a bank as one language model reads them, and their scores at a snapshot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.bank import Record, native_tokens
from atlas.baselines import Coded, n80, parts_of
from atlas.errors import AtlasError, InvalidValue
from atlas.language_model import LanguageModel, resolve_token

NAMED = "named"
"""Contrast that the bank names, beside the kinds of `atlas.bank.NATIVE`."""


@dataclass(frozen=True)
class Case:
    """One contrast."""

    record: Record
    contrast: str
    prompt: int
    """Number of the prompt among those that are read."""
    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    minus_mean: float
    """1 where the rival is the mean row."""


@dataclass(frozen=True, eq=False)
class Read:
    """The prompts of a bank as a model reads them."""

    ids: tuple[tuple[int, ...], ...]
    """Tokens of each prompt."""
    positions: tuple[int, ...]
    """Token of each after which the next is scored."""

    def states(self, model: LanguageModel) -> Tensor:
        """What the head of a model reads there, (S, d) float32."""
        found = [model.hidden_of(list(ids))[at]
                 for ids, at in zip(self.ids, self.positions, strict=True)]
        return torch.stack(found)


def read_prompts(
    records: Sequence[Record], model: LanguageModel
) -> tuple[Read, list[int], list[str]]:
    """The prompts that a model can read, the number of each record's prompt or -1, and why not."""
    ids: list[tuple[int, ...]] = []
    positions: list[int] = []
    numbers: dict[tuple[str, str | int], int] = {}
    found, problems = [], []
    for record in records:
        key = record.prompt, record.scored_position
        if key not in numbers:
            try:
                tokens, at = _read(record, model)
            except AtlasError as error:
                problems.append(f"{record.case_id}: {error}")
                numbers[key] = -1
            else:
                numbers[key] = len(ids)
                ids.append(tokens)
                positions.append(at)
        found.append(numbers[key])
    return Read(tuple(ids), tuple(positions)), found, problems


def _read(record: Record, model: LanguageModel) -> tuple[tuple[int, ...], int]:
    ids, _ = model.read(record.prompt)
    if record.scored_position == "last":
        return tuple(ids), len(ids) - 1
    at = int(record.scored_position) + len(model.opening)
    if at >= len(ids):
        raise InvalidValue(f"scored_position {record.scored_position} is past the prompt's end")
    return tuple(ids), at


def cases_of(
    records: Sequence[Record], prompts: Sequence[int], model: LanguageModel, logits: np.ndarray,
    norms: np.ndarray, known: np.ndarray,
) -> tuple[list[Case], list[str]]:
    """All contrasts, those of native prompts by the model's ranking; and those that cannot be.

    Args:
        prompts: number of the prompt of each record, -1 of one that cannot be read.
        logits: (S, V) of the prompts, true readout.
        norms: (V,) lengths of the centred rows. known: (V,) rows that are tokens.
    """
    cases: list[Case] = []
    problems: list[str] = []
    for record, number in zip(records, prompts, strict=True):
        if number < 0:
            continue
        if record.native:
            found = native_tokens(record.case_id, logits[number], norms, known)
            for kind, (one, other) in found.items():
                tokens = (one,) if other is None else (one, other)
                weights = (1.0,) if other is None else (1.0, -1.0)
                cases.append(Case(record, kind, number, tokens, weights, float(other is None)))
            continue
        try:
            tokens, weights = _sides(record, lambda text: resolve_token(model.tokenizer, text))
        except AtlasError as error:
            problems.append(f"{record.case_id}: {error}")
            continue
        cases.append(Case(record, NAMED, number, tokens, weights, 0.0))
    return cases, problems


def _sides(
    record: Record, token: Callable[[str], int]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Tokens and weights of a named contrast; members of a family that are no token are left out.

    A token on both sides nets out.
    """
    if record.target_a is not None and record.target_b is not None:
        one, other = token(record.target_a), token(record.target_b)
        if one == other:
            raise InvalidValue("target_a and target_b are the same token")
        return (one, other), (1.0, -1.0)
    weights: dict[int, float] = {}
    for side, members in ((1.0, record.target_a_family), (-1.0, record.target_b_family)):
        known: list[int] = []
        for member in members or ():
            try:
                known.append(token(member))
            except InvalidValue:
                continue
        known = sorted(set(known), key=known.index)
        if not known:
            raise InvalidValue("no member of a family is a single token")
        for one in known:
            weights[one] = weights.get(one, 0.0) + side / len(known)
    kept = {one: weight for one, weight in weights.items() if weight}
    if not kept:
        raise InvalidValue("both families hold the same tokens")
    return tuple(kept), tuple(kept.values())


@dataclass(frozen=True, eq=False)
class Scores:
    """All cases at one snapshot, (Q,) each."""

    exact: np.ndarray
    rebuilt: np.ndarray
    n80: np.ndarray


Coder = Callable[[Case], list[Coded]]
"""Components of the tokens of a case."""


def scores(
    cases: Sequence[Case], states: np.ndarray, rows_of: Callable[[np.ndarray], np.ndarray],
    shared: np.ndarray, mean: np.ndarray, coder: Coder, directions: np.ndarray,
) -> Scores:
    """Exact and rebuilt scores (prism-method §6.2); the residual is what lies between them.

    Args:
        states: (S, d) hidden states of the prompts. rows_of: raw rows (n, d) of some tokens.
        shared, mean: (d,) what rebuilt rows have in common, and the mean row.
        directions: (m, d) of the components.
    """
    tokens = np.unique([t for case in cases for t in case.tokens])
    rows = rows_of(tokens).astype(np.float64)
    place = {int(token): i for i, token in enumerate(tokens)}
    projections = states @ directions.T
    found = np.zeros((3, len(cases)))
    for q, case in enumerate(cases):
        h = states[case.prompt].astype(np.float64)
        weights = np.array(case.weights)
        exact = weights @ rows[[place[t] for t in case.tokens]] - case.minus_mean * mean
        base = weights.sum() * shared.astype(np.float64) - case.minus_mean * mean
        parts = parts_of(coder(case), case.weights, projections[case.prompt])
        found[:, q] = h @ exact, h @ base + parts.total, n80(parts.contributions)
    return Scores(*found)
