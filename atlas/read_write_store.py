"""What a store says of two dictionaries, of W_E and of W_U: their courses and the families' peaks.

Shapes: K snapshots that both runs share, D live features, F families, V tokens. A family's
features are those of crosscoder-method §11 with one difference: its tokens are the 50 on which a
feature fires most, in its own matrix, where the record takes the 50 rows of the last W_U with the
largest product with the last direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from atlas import read_write
from atlas.inventory import Released, released
from atlas.matrix_files import open_matrix, require
from atlas.places import snapshot_path
from atlas.records import RunCard
from atlas.store import Store
from atlas.vocabulary import FAMILY_RANGES, families

FAMILIES = ("latin alpha", "space-prefixed", "digit-bearing", "punctuation", *FAMILY_RANGES)
"""Families of §13.2, in the order of the record."""
RULES = ("share", "label")
"""How features are of a family: by the share of their tokens, where families overlap, or by the
one family that the store labels them with."""
N_TOP = 50
FEWEST_TOKENS = 5
"""Firing tokens below which a feature is of no family."""
OTHER = {"W_U": "W_E", "W_E": "W_U"}
MOST_NUMBERS = 30_000_000
"""Numbers of both matrices at all compared snapshots that are read while a page waits."""

_COURSES = """
    SELECT l.norm, l.rate, f.family, f.family_share FROM {run}.life AS l
    JOIN {run}.feature AS f ON f.feature = l.feature WHERE f.alive ORDER BY f.feature"""
_TOKENS = """
    SELECT c.tokens[:$n] AS tokens FROM {run}.feature AS f
    LEFT JOIN {run}.code_by_feature AS c ON c.feature = f.feature
    WHERE f.alive ORDER BY f.feature"""
_RAW = "SELECT raw FROM catalog.token WHERE model = $model ORDER BY token"


def partners(store: Store, card: RunCard) -> list[RunCard]:
    """Crosscoders of the other matrix of the same model with two shared steps, likest first."""
    def rank(other: RunCard) -> tuple:
        return (
            -len(shared_steps(card, other)), abs(np.log(other.d_sae / card.d_sae)),
            other.seed != card.seed, other.run,
        )

    found = [
        other for other in store.runs()
        if other.model_name == card.model_name and other.matrix == OTHER.get(card.matrix)
        and other.kind == card.kind == "crosscoder" and other.problem is None
        and len(shared_steps(card, other)) > 1
    ]
    return sorted(found, key=rank)


def shared_steps(one: RunCard, other: RunCard) -> tuple[int, ...]:
    """Steps of snapshots that both runs have, rising."""
    return tuple(step for step in one.steps if step in set(other.steps))


def released_partner(card: RunCard) -> Released | None:
    """The released dictionary of the other matrix that is likest to a run; None if there is none.
    """
    found = [
        entry for entry in released()
        if entry.model_name == card.model_name and entry.matrix == OTHER.get(card.matrix)
        and entry.kind == "crosscoder"
    ]
    return min(found, default=None, key=lambda entry: (
        abs(entry.n_snapshots - len(card.steps)), abs(np.log(entry.d_sae / card.d_sae)),
        entry.seed != card.seed, entry.run,
    ))


@dataclass(frozen=True, eq=False)
class TokenFamilies:
    """The families of a language model's tokens."""

    masks: np.ndarray
    """(F, V + 1) bool, in the order of `FAMILIES`; the last column, of no token, is empty."""
    length: np.ndarray
    """(V + 1,) characters of a token; 0 of no token."""


def token_families(store: Store, card: RunCard) -> TokenFamilies:
    """Families and lengths of all tokens; a padding row is of no family."""
    raw = store.ask(card.run, _RAW, model=card.model)["raw"].to_pylist()
    texts = [(r or b"").decode("utf8", "replace") for r in raw]
    masks = np.zeros((len(FAMILIES), len(texts) + 1), dtype=bool)
    known: dict[str, list[int]] = {}
    for token, text in enumerate(texts):
        for f in _families_of(text, known):
            masks[f, token] = True
    return TokenFamilies(masks, np.array([*map(len, texts), 0]))


def _kind(char: str) -> str:
    """A character that every family takes for this one of ASCII."""
    if char.isalpha():
        return "a"
    if char.isdigit():
        return "0"
    if char == " " or char.isspace():
        return " " if char == " " else "\n"
    return "!" if char.isprintable() else "\0"


_KINDS = str.maketrans({chr(code): _kind(chr(code)) for code in range(128)})


def _families_of(text: str, known: dict[str, list[int]]) -> list[int]:
    """Numbers of the families of a text, looked up by the kinds of its characters where it is
    ASCII: a vocabulary has few different ones."""
    key = text.translate(_KINDS) if text.isascii() else text
    if key not in known:
        known[key] = [f for f, name in enumerate(FAMILIES) if name in families(key)]
    return known[key]


@dataclass(frozen=True, eq=False)
class Side:
    """One dictionary over the shared snapshots."""

    run: str
    l0: np.ndarray
    """(K,) sum of the rates of live features: how many fire on a row; nan where not known."""
    rate: np.ndarray
    """(K,) mean rate over live features."""
    norm: np.ndarray
    """(K,) mean norm over live features; dictionaries differ in their unit."""
    everyone: np.ndarray
    """(K,) peaks of all live features."""
    families: np.ndarray
    """(F, K) peaks of each family's features."""
    controls: np.ndarray
    """(F, K) peaks of their matched controls; zeros where too few are eligible."""
    swing: float
    """How far the median feature's course moves: 1 - smallest / largest value; nan of none."""
    n_alive: int
    n_unknown: int
    """Live features left out of the peaks: a value is missing, or they never fire here."""


def side(
    store: Store, card: RunCard, steps: Sequence[int], found: TokenFamilies, peak: str, rule: str
) -> Side:
    """Courses and peaks of a run's live features at some of its steps.

    Args:
        peak: one of `read_write.PEAKS`.
        rule: one of `RULES`.
    """
    table = store.ask(card.run, _COURSES)
    at = [card.steps.index(step) for step in steps]
    count = len(card.steps)
    norms, rates = (_matrix(table[name], count)[:, at] for name in ("norm", "rate"))
    peaks = read_write.peaks(norms if peak == "norm" else rates, peak)
    top = _top(store.ask(card.run, _TOKENS, n=N_TOP)["tokens"], found.masks.shape[1] - 1)
    shares, places, enough = describe(top, found)
    if rule == "label":
        names = np.array([name or "" for name in table["family"].to_pylist()])
        share = _numbers(table["family_share"])
        member = (names[:, None] == np.array(FAMILIES)) & (
            share >= read_write.FAMILY_SHARE
        )[:, None]
    else:
        member = read_write.members(shares, enough & (peaks >= 0))
    controls = [
        np.bincount(peaks[read_write.matched_controls(
            places, member[:, f] & (peaks >= 0),
            enough & (peaks >= 0) & (shares[:, f] < read_write.CONTROL_SHARE),
        )], minlength=len(at)) if member[:, f].any() else np.zeros(len(at), dtype=np.int64)
        for f in range(len(FAMILIES))
    ]
    known = peaks >= 0
    return Side(
        card.run, _sum(rates), _mean(rates), _mean(norms),
        np.bincount(peaks[known], minlength=len(at)),
        read_write.counts_of(peaks, member, len(at)), np.stack(controls),
        read_write.swing(norms if peak == "norm" else rates), len(peaks), int((~known).sum()),
    )


def describe(top: np.ndarray, found: TokenFamilies) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of features whose strongest tokens are top (D, n), V where there is none.

    Returns:
        shares (D, F) of each family; places (D, 2), median token id over V and median token
        length over its 95th percentile, at most `LENGTH_CAP`; enough (D,) bool, at least
        `FEWEST_TOKENS` tokens. The figures of a feature with none are 0.
    """
    size = found.masks.shape[1] - 1
    n = (top < size).sum(axis=1)
    shares = np.stack([mask[top].sum(axis=1) for mask in found.masks], axis=1)
    lengths = np.where(top < size, found.length[top], size)
    id_middle, length_middle = _row_medians(top, n), _row_medians(lengths, n)
    scale = np.percentile(length_middle[n > 0], 95) if (n > 0).any() else 1.0
    places = np.stack([
        id_middle / max(size, 1),
        np.minimum(length_middle / max(scale, 1e-12), read_write.LENGTH_CAP),
    ], axis=1)
    return shares / np.maximum(n, 1)[:, None], places, n >= FEWEST_TOKENS


def _row_medians(values: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Median of the n smallest values of each row; 0 of none."""
    ranked = np.sort(values, axis=1)
    rows = np.arange(len(values))
    last = np.maximum(n, 1)
    middle = (ranked[rows, (last - 1) // 2] + ranked[rows, last // 2 * (last > 1)]) / 2
    return np.where(n > 0, middle, 0.0)


def _top(column: pa.ChunkedArray, none: int) -> np.ndarray:
    """Lists of tokens as an array (D, n), `none` where they end."""
    lists = column.combine_chunks()
    sizes = np.nan_to_num(lists.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    found = np.full((len(sizes), N_TOP), none, dtype=np.int64)
    row = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    found[row, place] = lists.flatten().to_numpy(zero_copy_only=False)
    return found


def _matrix(column: pa.ChunkedArray, count: int) -> np.ndarray:
    """Lists of `count` numbers as (D, count) float64, nan where a list or number is missing."""
    lists = column.combine_chunks()
    sizes = np.nan_to_num(lists.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    found = np.full((len(sizes), count), np.nan)
    found[sizes == count] = _numbers(lists.flatten()).reshape(-1, count) if (
        sizes[sizes > 0] == count
    ).all() else np.nan
    return found


def _numbers(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64) \
        if isinstance(column, pa.Array) else np.asarray(column.to_numpy(), dtype=np.float64)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over rows without a missing value, (K,); nan of none."""
    whole = values[np.isfinite(values).all(axis=1)]
    return whole.mean(axis=0) if len(whole) else np.full(values.shape[1], np.nan)


def _sum(values: np.ndarray) -> np.ndarray:
    whole = values[np.isfinite(values).all(axis=1)]
    return whole.sum(axis=0) if len(whole) else np.full(values.shape[1], np.nan)


# --- the matrices themselves ---------------------------------------------------------------------


def numbers_to_read(card: RunCard, n_rows: int, count: int) -> int:
    """Numbers that both matrices hold at so many snapshots."""
    return 2 * n_rows * card.d_model * count


def aligned(
    store: Store, card: RunCard, step: int
) -> tuple[read_write.Alignment, read_write.Alignment]:
    """How well the centred W_E turns into the centred W_U at a step, and shuffled rows do.

    The second is the null: any two clouds of points turn towards each other a little.

    Raises:
        NotFound: a matrix is not in the store. BrokenArtifact: it is damaged.
    """
    parts = []
    for matrix in ("W_E", "W_U"):
        path = snapshot_path(store.folder, card.model_name, step, matrix)
        require([path], "the comparison of the matrices")
        file = open_matrix(path, matrix)
        rows = np.concatenate([block.copy() for _, block in file.blocks(matrix)])
        parts.append(rows - rows.mean(axis=0))
    read, write = parts
    order = np.random.default_rng(read_write.SEED).permutation(len(read))
    return read_write.procrustes(read, write), read_write.procrustes(read[order], write)
