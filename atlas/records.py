"""What the store answers with: frozen records, arrays and frames, no connection behind them.

Everywhere: a float that is not available is nan, a step or name that is not available is None.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Window:
    """The half-decade of training in which a run reorganises most, beside its null (§9.4)."""

    from_step: int
    """First step, a snapshot."""
    to_step: float
    """Last step; as a rule between two snapshots."""
    score: float
    """Geometric mean of six measures of change, each scaled to 0…1 over the run's windows."""
    z: float
    """That score in standard deviations of the null: the six measures shifted in time, each on
    its own."""
    p: float
    """Share of the shifts that reach the score in this window, the true order counted among them.
    """
    p_any: float = math.nan
    """Share of the shifts in which any window stands out as far: corrected for the choice of this
    one among all. nan when not computed."""
    center: float = math.nan
    """Its middle in log time."""
    center_low: float = math.nan
    """5 % quantile of the centre over resampled features; nan when not computed."""
    center_high: float = math.nan
    """95 % quantile of it."""


@dataclass(frozen=True)
class RunCard:
    """One dictionary of the store."""

    run: str
    """Its id, e.g. `demo/large/W_U/cross-snapshot-24/d512/seed0`."""
    model: str
    """Short name of the language model, e.g. `demo-large`."""
    model_name: str
    """Full name, e.g. `readout-atlas/demo-large`."""
    matrix: str
    """`W_U` or `W_E`."""
    kind: str
    """`crosscoder`, `sae` or `prism`."""
    d_sae: int
    d_model: int
    seed: int
    steps: tuple[int, ...]
    """Pretraining step of every snapshot, rising."""
    explained_variance: float
    l0: float
    dead_rate: float
    legible_share: float
    """Share of live features whose firing tokens belong to one kind; nan if not tested."""
    legible_null: float
    """The same with shuffled token identities."""
    n_alive: int
    hash: str
    """Content digest of the run's file."""
    file: str
    """The run's file, relative to the store."""
    bytes: int
    sha256: str
    folder: str
    """The run folder, relative to the store."""
    config: dict[str, Any]
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    created: str
    statistics: dict[str, Any]
    """Statistics of the whole run by name, None where it has too few snapshots: `cusum_observed`
    with its permutation null `cusum_p`, `cusum_z` and `cusum_draws`, and `rate_rotation_r`;
    empty when they were not computed. Of `window` the numbers `window_…`. Of a code that was cut
    also `code_entries` and `code_entries_kept`, `code_activation_kept` (their share of the summed
    p), `code_row_limit` (most entries of a row) and `code_row_mean` (entries of a row before
    that)."""
    problem: str | None = None
    """Why its features cannot be read, with the mending command; None when they can."""

    @property
    def revision(self) -> str | None:
        """The revision of a finished model that has no pretraining step; None where it has."""
        return self.config.get("revision")

    @property
    def window(self) -> Window | None:
        """Where the run reorganises most; None where it was not computed or is too short."""
        return _window(self.statistics)

    @property
    def cut(self) -> str | None:
        """What is kept of a sparse code that was too large to keep; None where all of it is."""
        names = ("code_row_limit", "code_row_mean", "code_activation_kept")
        limit, mean, share = (self.statistics.get(name) for name in names)
        for value in (limit, mean, share):  # a shared store may say anything
            if not isinstance(value, int | float) or not 0 <= value < 1e9:
                return None
        # a mean below the limit: only some rows have more
        features = f"{limit:,} of {mean:,.0f}" if mean > limit else f"{limit:,}"
        return (
            f"the strongest {features} features a row are kept, {100 * share:.1f} % of the "
            "activation; the rest is in the residual"
        )


def _window(said: Mapping[str, Any]) -> Window | None:
    """The window that the statistics of a run speak of; None unless its numbers make sense."""
    values = {}
    for field in dataclasses.fields(Window):  # a shared store may say anything
        value = said.get(f"window_{field.name.removesuffix('_step')}")
        known = isinstance(value, int | float) and abs(value) < 1e9
        values[field.name] = float(value) if known else math.nan
    within = 0 <= values["from_step"] < values["to_step"] and 0 <= values["p"] <= 1  # no nan is
    if not within or math.isnan(values["score"] + values["z"]):
        return None
    return Window(**values | {"from_step": int(values["from_step"])})


@dataclass(frozen=True)
class TokenList:
    """Tokens with a number each, best first."""

    tokens: np.ndarray
    """(n,) int32 vocabulary entries."""
    values: np.ndarray
    """(n,) float32: cosines of promoted tokens, pre-activations of firing tokens."""
    texts: tuple[str, ...]
    """What is drawn for each."""


@dataclass(frozen=True)
class NeighbourList:
    """Features with a similar direction at the last snapshot, most similar first."""

    features: np.ndarray
    """(n,) int32."""
    cosines: np.ndarray
    """(n,) float32."""
    labels: tuple[str, ...]
    profiles: tuple[str | None, ...]


@dataclass(frozen=True)
class FeatureInfo:
    """The numbers of one feature; `Store.column_comments` explains each."""

    feature: int
    alive: bool
    threshold: float
    contribution: float
    profile: str | None
    birth_step: int | None
    birth_floor_step: int | None
    peak_step: int | None
    death_step: int | None
    lifetime: float
    first_active_step: int | None
    stabilized_step: int | None
    norm_max: float
    norm_final: float
    rate_max: float
    rate_final: float
    n_tokens: int
    max_rotation: float
    max_rotation_step: int | None
    drift: float
    cusum_rate: float
    cusum_norm: float
    cusum_rotation: float
    change_step: int | None
    change_low_step: int | None
    change_high_step: int | None
    change_p: float
    rows_explained: float
    nearest: float
    n_duplicates: int | None
    duplicate_of: int | None
    map_x: float
    map_y: float
    kind: str | None
    kind_share: float
    kind_enrichment: float
    kind_p: float
    legible: bool
    script: str | None
    script_share: float
    script_enrichment: float
    script_p: float
    script_coverage: float
    family: str | None
    family_share: float
    family_enrichment: float
    family_p: float
    family_coverage: float
    supersense: str | None
    supersense_share: float
    supersense_enrichment: float
    supersense_p: float
    supersense_coverage: float
    label: str
    """The strongest firing tokens as they are drawn, separated by spaces; '' if none."""


@dataclass(frozen=True, eq=False)
class ActivationHistogram:
    """How the pre-activations of a feature are spread over all tokens on which it fires.

    Among the tokens the dictionary was fitted to; of a code that was cut, those that are kept.
    """

    counts: np.ndarray
    """(24,) int64 tokens in each bin; a bin has its lower edge, the last has both."""
    edges: np.ndarray
    """(25,) float64, evenly from the smallest pre-activation to the largest; all equal where
    every token has the same."""

    @property
    def total(self) -> int:
        """All tokens that are counted."""
        return int(self.counts.sum())


@dataclass(frozen=True)
class FeatureCard:
    """All that the page of one feature shows."""

    run: str
    info: FeatureInfo
    steps: tuple[int, ...]
    norm: np.ndarray
    """(K,) decoder norms; all nan for a prism."""
    rate: np.ndarray
    """(K,) shares of rows on which it fires."""
    rotation: np.ndarray
    """(K-1,) turns between neighbouring snapshots; nan where a norm is 0."""
    to_terminal: np.ndarray
    """(K,) turn to the direction of the last snapshot; nan where a norm is 0."""
    contribution: np.ndarray
    """(K,) mean length it adds to a row at every snapshot; all nan if not derived."""
    promoted: tuple[TokenList, ...]
    """K lists of tokens whose centred row points along the direction."""
    suppressed: tuple[TokenList, ...]
    """K lists of tokens whose centred row points against it."""
    firing: TokenList
    """Tokens on which it fires at one snapshot or more, at most 200;
    `info.n_tokens` says of how many."""
    activations: ActivationHistogram | None
    """How its pre-activations are spread; None where it fires on no fitted token."""
    neighbours: NeighbourList


@dataclass(frozen=True)
class PromotedNull:
    """What random directions promote in a run's rows, beside which promoted tokens are read."""

    steps: tuple[int, ...]
    quantiles: np.ndarray
    """(K, n, 3) float32: cosine at each rank that 5, 50 and 95 % of random directions stay
    below."""
    overlap: np.ndarray
    """(K,) float32: share of the tokens of a random direction that it promoted at the snapshot
    before too; nan at the first."""


@dataclass(frozen=True)
class TokenCard:
    """All that the page of one token shows in one run."""

    run: str
    token: int
    text: str
    """What is drawn."""
    plain: str | None
    """The bytes as text; None when they are not UTF-8."""
    raw: bytes | None
    """The bytes; None for a row that the tokenizer never uses."""
    script: str | None
    n_train: int | None
    """Occurrences in the training text; None when not counted."""
    steps: tuple[int, ...]
    features: pd.DataFrame
    """Features that fire on the token: feature, p, label, profile, kind, norm (list of K),
    activation (list of K, 0 where it does not fire) and contribution (list of K: activation
    times norm, the length it adds to the standardised row), largest final contribution first."""
    promoted_by: pd.DataFrame
    """Features that promote the token: feature, label, profile, kind, best_rank (from 0),
    best_step, steps (list of the steps at which they do)."""
