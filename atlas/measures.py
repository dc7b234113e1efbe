"""The measures that features are sorted, filtered, coloured and counted by: one table of them.

A measure is a number per feature: a column of the store, a value at the chosen snapshot, a change
between two snapshots, or what other seeds say. Its SQL expression is written here and nowhere
else; a user's text only ever chooses a name of this table.
"""

from dataclasses import dataclass

from atlas.records import RunCard
from atlas.schema import RUN_TABLES, table
from atlas.store import Store

NUMBER, SHARE, STEP, COUNT, COSINE = "number", "share", "step", "count", "cosine"
"""Kinds of measures: how a value is written."""
RETURNED = 0.99
"""Percentile of a match from which a feature counts as returned in another run."""

COMMENTS = {c.name: c.comment for c in table(RUN_TABLES, "feature").columns}
"""Meaning of every column of the feature table."""
CATEGORIES = ("profile", "kind", "script", "family", "supersense")
"""Columns whose values are names."""
FLAGS = ("alive", "legible")
"""Columns that are yes or no."""
PROFILES = (
    "persistent", "transitional", "early-decaying", "late-emerging", "mixed", "inactive",
)
"""Every value of the column `profile`."""


@dataclass(frozen=True)
class Measure:
    """A number per feature."""

    name: str
    """What the address calls it."""
    words: str
    """What a page calls it."""
    expression: str
    """SQL over `f`, a row of the feature table, `l`, one of the life table, and `s`, what other
    seeds say; `{run}` is where the run's other tables are. `$k`, `$a` and `$b` are snapshots
    counted from 1: the chosen one, and the two that a change lies between."""
    kind: str
    """One of number, share, step, count, cosine."""
    meaning: str
    """What it is, with unit and source, in a sentence that a page can show."""
    column: str | None = None
    """The column of the feature table that it is; None for the others."""
    of_time: bool = False
    """A run of one snapshot does not have it."""
    rising: bool = False
    """Read from its small end: the first birth, the smallest p."""
    heavy: bool = False
    """Spread over orders of magnitude: drawn and binned by ratio."""

    @property
    def at_step(self) -> bool:
        """Whether it is a value at the chosen snapshot."""
        return "$k" in self.expression

    @property
    def of_change(self) -> bool:
        """Whether it is a change between two snapshots."""
        return "$a" in self.expression

    @property
    def tables(self) -> frozenset[str]:
        """Which of `f`, `l` and `s` it reads."""
        return frozenset(t for t in "fls" if f"{t}." in self.expression)


_TIME = {"of_time": True}
_EARLY = {"of_time": True, "rising": True}
_HEAVY = {"heavy": True}

_COLUMNS: tuple[tuple[str, str, str, dict[str, bool]], ...] = (
    ("contribution", "contribution", NUMBER, _HEAVY),
    ("norm_final", "final norm", NUMBER, _TIME),
    ("norm_max", "largest norm", NUMBER, _TIME),
    ("rate_final", "final rate", SHARE, _HEAVY),
    ("rate_max", "largest rate", SHARE, _TIME | _HEAVY),
    ("n_tokens", "number of firing tokens", COUNT, _HEAVY),
    ("birth_floor_step", "birth, noise floor off", STEP, _EARLY),
    ("birth_step", "birth, plain rule", STEP, _EARLY),
    ("peak_step", "peak", STEP, _EARLY),
    ("death_step", "death", STEP, _EARLY),
    ("lifetime", "lifetime", SHARE, _TIME),
    ("first_active_step", "first activity", STEP, _EARLY),
    ("stabilized_step", "step from which it is stable", STEP, _EARLY),
    ("max_rotation", "largest rotation", NUMBER, _TIME),
    ("max_rotation_step", "step of the largest rotation", STEP, _EARLY),
    ("drift", "drift", NUMBER, _TIME),
    ("cusum_rate", "CUSUM of the rate", NUMBER, _TIME | _HEAVY),
    ("cusum_norm", "CUSUM of the norm", NUMBER, _TIME),
    ("cusum_rotation", "CUSUM of the rotation", NUMBER, _TIME),
    ("change_step", "strongest single split", STEP, _EARLY),
    ("change_low_step", "strongest single split, earliest", STEP, _EARLY),
    ("change_high_step", "strongest single split, latest", STEP, _EARLY),
    ("change_p", "p-value of the strongest split", NUMBER, _EARLY),
    ("rows_explained", "share of its rows explained", SHARE, {}),
    ("threshold", "threshold", NUMBER, {}),
    ("nearest", "cosine of the nearest feature", COSINE, {}),
    ("n_duplicates", "duplicates", COUNT, {}),
    ("duplicate_of", "duplicate of", COUNT, {"rising": True}),
    ("kind_share", "share of its kind", SHARE, {}),
    ("kind_enrichment", "enrichment of its kind", NUMBER, _HEAVY),
    ("kind_p", "p-value of its kind", NUMBER, {"rising": True, "heavy": True}),
    *(
        entry
        for scheme in ("script", "family", "supersense")
        for entry in (
            (f"{scheme}_share", f"share of its {scheme}", SHARE, {}),
            (f"{scheme}_enrichment", f"enrichment of its {scheme}", NUMBER, _HEAVY),
            (f"{scheme}_p", f"p-value of its {scheme}", NUMBER, {"rising": True, "heavy": True}),
            (f"{scheme}_coverage", f"share that has any {scheme}", SHARE, {}),
        )
    ),
    ("map_x", "place on the map, across", NUMBER, {}),
    ("map_y", "place on the map, upwards", NUMBER, {}),
    ("feature", "index", COUNT, {"rising": True}),
)

_AT_STEP = (
    ("contribution_at", "contribution at the step", "l.contribution[$k]", NUMBER, _HEAVY,
     "Mean length the feature adds to a row at the chosen snapshot, over all rows, in units of "
     "standardised rows: what Browse sorts by, so that the step control ranks anew."),
    ("norm_at", "norm at the step", "l.norm[$k]", NUMBER, {},
     "Decoder norm at the chosen snapshot."),
    ("rate_at", "rate at the step", "l.rate[$k]", SHARE, _HEAVY,
     "Share of rows on which the feature fires at the chosen snapshot."),
    ("rotation_at", "rotation into the step", "l.rotation[$k - 1]", NUMBER, {},
     "1 - cosine between the directions at the chosen snapshot and the one before it (§7.2). Not "
     "available at the first snapshot."),
    ("to_terminal_at", "turn to the last direction", "l.to_terminal[$k]", NUMBER, {},
     "1 - cosine between the direction at the chosen snapshot and at the last one."),
    ("contribution_change", "change of the contribution", "l.contribution[$b] - l.contribution[$a]",
     NUMBER, {},
     "Contribution at the later of the two chosen steps minus that at the earlier one."),
    ("norm_change", "change of the norm", "l.norm[$b] - l.norm[$a]", NUMBER, {},
     "Decoder norm at the later of the two chosen steps minus that at the earlier one."),
    ("rate_change", "change of the rate", "l.rate[$b] - l.rate[$a]", NUMBER, {},
     "Rate at the later of the two chosen steps minus that at the earlier one."),
)

_FIRST = (
    "(SELECT list(step ORDER BY k) FROM {{run}}.snapshot)"
    "[list_position([rate > {bar} AND NOT isnan(rate) FOR rate IN l.rate], true)]"
)
_RATES = (
    ("first_rate_step", "first rate above 0", _FIRST.format(bar=0),
     "First step at which the feature fires on any row (§8.3). Not available: it never does."),
    ("first_thousandth_step", "first rate above 0.001", _FIRST.format(bar=0.001),
     "First step at which the feature fires on more than one row in a thousand (§9.5). Not "
     "available: it never does."),
)

_SEEDS = (
    ("seeds", "seeds it returns in", "s.seeds", COUNT,
     "Dictionaries of other seeds, alike in all else, in which the feature returned: its best "
     "partner there has it as its own best, and hardly any feature (1 in 100) of the same "
     "dictionary turned at random, its rows' common axes kept, finds one as close. Not available: "
     "no other seed was matched."),
    ("match_cosine", "cosine to its matches", "s.match_cosine", COSINE,
     "Mean cosine, over the dictionaries of other seeds, to the feature's partner where each is "
     "the other's best. Not available: no such partner."),
    ("seed_group", "seeds in its group", "s.seed_group", COUNT,
     "Seeds, its own included, with a feature in the group that their returned features make, one "
     "of each seed at most; 1 without a group. Not available: no other seed was matched."),
    ("seeds_terminal", "seeds with its last direction", "s.seeds_terminal", COUNT,
     "The same as the seeds it returns in, by the direction at the last snapshot alone."),
    ("seeds_tokens", "seeds with its tokens", "s.seeds_tokens", COUNT,
     "Dictionaries of other seeds in which it returned by its firing tokens: each is the other's "
     "best by weighted Jaccard, and hardly any feature (1 in 100) finds tokens as similar where "
     "tokens are exchanged with others on which as many features fire. Not available: no other "
     "seed was matched."),
    ("match_tokens", "tokens shared with its matches", "s.match_tokens", SHARE,
     "Mean weighted Jaccard, over the dictionaries of other seeds, of its firing tokens and those "
     "of the partner where each is the other's best. Not available: no such partner."),
)


def _expression(column: str) -> str:
    """The SQL of a column; a feature that never fires has no change worth a place in a list."""
    return f"CASE WHEN f.alive THEN f.{column} END" if column.startswith("change_") else (
        f"f.{column}")


MEASURES: dict[str, Measure] = {
    m.name: m
    for m in (
        *(Measure(name, words, _expression(name), kind, COMMENTS[name], name, **more)
          for name, words, kind, more in _COLUMNS),
        *(Measure(name, words, expression, kind, meaning, of_time=True, **more)
          for name, words, expression, kind, more, meaning in _AT_STEP),
        *(Measure(name, words, expression, STEP, meaning, **_EARLY)
          for name, words, expression, meaning in _RATES),
        *(Measure(name, words, expression, kind, meaning)
          for name, words, expression, kind, meaning in _SEEDS),
    )
}
"""All measures by name."""

LIKENESS = Measure(
    "likeness", "cosine to the feature", "n.cosine", COSINE,
    "Cosine of the two directions at the chosen snapshot, or at the last one where the store "
    "keeps no others.",
)
"""What "features like this one" are ordered by."""
DISTANCE = Measure(
    "distance", "distance from the shape",
    "sqrt(greatest(0, list_dot_product(l.norm, l.norm) / (f.norm_max * f.norm_max) "
    "- 2 * list_dot_product(l.norm, $shape::FLOAT[]) / f.norm_max + $length::DOUBLE) "
    "/ len(l.norm))::FLOAT",
    NUMBER,
    "Root mean square difference, over all snapshots, between the decoder norm scaled by its "
    "maximum and the shape, 0 to 1. Not available: the norm is 0 everywhere.",
    of_time=True, rising=True,
)
"""What nearest lives are ordered by."""

OF_TIME = frozenset({"profile", *(m.name for m in MEASURES.values() if m.of_time)})
"""Names that a run of one snapshot does not have."""


def measures_of(card: RunCard) -> list[Measure]:
    """The measures that a run has, in the order in which a page offers them."""
    return [m for m in MEASURES.values() if len(card.steps) > 1 or not m.of_time]


def has_course(store: Store, run: str) -> bool:
    """Whether the run's file has contributions at every snapshot, not only their mean."""
    found = store.ask(run, "SELECT count(contribution) AS n FROM {run}.life")
    return found["n"][0].as_py() > 0


def seeds_of(store: Store, run: str) -> list[str]:
    """The dictionaries of the store that differ from a run in their seed only."""
    card = store.run(run)

    def nature(c: RunCard) -> tuple:
        return (c.model, c.matrix, c.kind, c.d_sae, c.steps, c.run.rsplit("/", 1)[0])

    return [c.run for c in store.runs() if c.run != run and nature(c) == nature(card)]
