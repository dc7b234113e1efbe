"""How far to trust a dictionary: what the store keeps of its trials, ready to be drawn.

A number that is not there is nan; why a part is not there is a sentence of `Trust`.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from atlas import markup
from atlas.baselines import NEIGHBOURS
from atlas.decomposition import RHO_LIMIT
from atlas.errors import BrokenArtifact
from atlas.store import Store

TABLES = ("row_fidelity", "vocabulary_fidelity", "contrast_fidelity")
OWN, RIDGE, NULLS = "dictionary", "ridge", ("shuffled", "random")
NAMES = {OWN: "this dictionary", RIDGE: "nearest-row ridge", "shuffled": "shuffled codes",
         "random": "random support"}
"""What a page calls a method; `pca-R` is PCA, R axes."""
MARGINS = ("<0.5", "0.5-1", "1-2", ">=2")
"""Bins of |exact score| in logits, rising."""
EASY, NAMED = "top1 vs mean", "named"
CASES = ("all", NAMED, "top1 vs top2", "top1 vs rank 5", EASY, "top1 vs norm-matched",
         "top1 vs random")
"""Kinds of contrasts of the bank that a list may be narrowed to."""
_TOLD = "SELECT value FROM {run}.meta WHERE key = 'fidelity'"
_CASES = "SELECT * EXCLUDE (exact_at, rebuilt_at) FROM {run}.bank_case ORDER BY number"
_BY_KIND = """
SELECT contrast, count(*)::INTEGER AS n, avg(((exact > 0) = (rebuilt > 0))::INTEGER) AS sign,
  median(rho) AS rho, avg(gate::INTEGER) AS passing FROM {run}.bank_case GROUP BY contrast"""
_SETTLED = """
SELECT count(*)::INTEGER AS n, median(first) AS middle FROM (
  SELECT coalesce(list_max([k for k in generate_series(0, len(exact_at) - 1) if not (
    ((exact_at[k + 1] > 0) = (rebuilt_at[k + 1] > 0)) AND
    abs(exact_at[k + 1] - rebuilt_at[k + 1]) < $limit * abs(exact_at[k + 1])
  )]) + 1, 0) AS first FROM {run}.bank_case
  WHERE (exact > 0) = (rebuilt > 0) AND abs(exact - rebuilt) < $limit * abs(exact))"""


@dataclass(frozen=True, eq=False)
class Trust:
    """What a run was tried with, and what came of it."""

    rows: pd.DataFrame
    """The table `row_fidelity`, with the step beside k."""
    vocabulary: pd.DataFrame
    """The table `vocabulary_fidelity`, with the step."""
    contrasts: pd.DataFrame
    """The table `contrast_fidelity`, with the step."""
    reason: str | None
    """Why no model was asked; None if one was."""
    text: str | None
    """Where the text is from; None if none was read."""
    text_reason: str | None
    bank: str | None
    """Name of the bank's file; None if none was tried."""
    bank_reason: str | None
    left_out: str | None
    """What of the bank was left out, and why; None if nothing was."""
    expected_share: float
    """Share of the named contrasts whose exact score favours the side a task would; nan if none."""
    width: int
    """Width of the rows."""
    last: int
    """Number of the last snapshot."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, the dictionary first, nulls last."""
        names = list(dict.fromkeys(self.rows["method"]))
        pca = sorted((n for n in names if n.startswith("pca-")), key=lambda n: int(n[4:]))
        order = [OWN, RIDGE, *pca, *NULLS]
        return tuple(n for n in order if n in names)

    @property
    def ridge_spans(self) -> bool:
        """Whether the neighbours of a ridge are as many as the rows are wide."""
        return self.width <= NEIGHBOURS

    def whole(self, method: str = OWN) -> pd.Series | None:
        """The figures of a method over all cases at the last snapshot; None where there are none.
        """
        found = self.contrasts
        kept = found[(found["method"] == method) & (found["k"] == self.last)
                     & (found["hidden"] == "final") & (found["bank"] == "all")
                     & (found["margin"] == "all")]
        return None if kept.empty else kept.iloc[0]

    def kl_bits(self, method: str = OWN) -> float:
        """KL of a method over held-out text at the last snapshot, in bits; nan where not known."""
        found = self.vocabulary
        kept = found[(found["method"] == method) & (found["k"] == self.last)
                     & (found["hidden"] == "final")]["kl_bits"]
        return math.nan if kept.empty else float(kept.iloc[0])


def trust(store: Store, run: str) -> Trust:
    """The trials of a run.

    Raises:
        NotFound: no such run. BrokenArtifact: it cannot be read.
    """
    card = store.run(run)
    frames = []
    for name in TABLES:
        table = store.ask(run, f"SELECT * FROM {{run}}.{name} ORDER BY k")
        frame = table.to_pandas()
        frame.insert(0, "step", [card.steps[k] for k in frame["k"]])
        frames.append(frame)
    said = _told(store, run)
    left = said.get("n_left_out")
    why = "the run was built before dictionaries were tried; build it again"
    reason = said.get("reason") if said else why
    share = said.get("expected_share")
    return Trust(
        *frames,
        reason=reason, text=said.get("text"), text_reason=said.get("text_reason") or reason,
        bank=said.get("bank"), bank_reason=said.get("bank_reason") or reason,
        left_out=f"{left:,} left out, the first: {said.get('left_out')}" if left else None,
        expected_share=math.nan if share is None else float(share),
        width=card.d_model, last=len(card.steps) - 1,
    )


def _told(store: Store, run: str) -> dict[str, Any]:
    text = store.ask(run, _TOLD)["value"].to_pylist()
    try:
        found = json.loads(text[0]) if text else {}
    except ValueError as error:
        raise BrokenArtifact(f"run {run} says nothing readable of its trials; build it again"
                             ) from error
    return found if isinstance(found, dict) else {}


def name_of(method: str) -> str:
    """What a page calls a method."""
    return NAMES.get(method) or f"PCA, {method.removeprefix('pca-')} axes"


def cases(store: Store, run: str) -> pd.DataFrame:
    """The contrasts of the bank in its order, without their courses."""
    return store.ask(run, _CASES).to_pandas()


def kinds(store: Store, run: str) -> pd.DataFrame:
    """contrast, n, sign, rho (median), passing of every kind of contrast, in the order of `CASES`.
    """
    found = store.ask(run, _BY_KIND).to_pandas().set_index("contrast")
    return found.loc[[kind for kind in CASES if kind in found.index]].reset_index()


def settled(store: Store, run: str) -> tuple[int, float]:
    """Of the cases that pass at the end: how many, and the median k from which they pass for good.

    Read by the last model's hidden states and without a floor: at first all scores are so small
    that the half logit under rho would pass nearly anything. nan of none.
    """
    (row,) = store.ask(run, _SETTLED, limit=RHO_LIMIT).to_pylist()
    return row["n"], math.nan if row["middle"] is None else float(row["middle"])


def verdict(found: Trust, when: str) -> str:
    """The trial in one sentence, with its null and its intervals."""
    own, null = found.whole(), found.whole("shuffled")
    parts = []
    if own is not None:
        against = "" if null is None else f"; with shuffled codes {_percent(null, 'passing')}"
        parts.append(
            f"At {when} {_percent(own, 'passing')} of {own['n_cases']:,.0f} contrasts pass the gate"
            f"{against}. {_percent(own, 'sign')} keep their sign, and the median ρ is "
            f"{markup.number(own['rho'], 2)} ({markup.number(own['rho_low'], 2)}–"
            f"{markup.number(own['rho_high'], 2)})."
        )
    vocabulary = found.vocabulary
    at = vocabulary[(vocabulary["method"] == OWN) & (vocabulary["k"] == found.last)
                    & (vocabulary["hidden"] == "final")]
    if len(at):
        row = at.iloc[0]
        parts.append(
            f"Over {row['n_states']:,.0f} hidden states the rebuilt matrix keeps the likeliest "
            f"token in {markup.share(row['top1'], 0)} and is {markup.number(row['kl_bits'], 2)} "
            "bits away."
        )
    ev = row_ev(found)
    if math.isfinite(ev):
        parts.append(f"rowEV is {markup.number(ev, 2)}"
                     + (", which certifies none of this." if parts else "."))
    better = _better(found, own)
    return " ".join([*parts, better] if better else parts)


def _better(found: Trust, own: pd.Series | None) -> str:
    """Which plain way to rebuild a row passes more often, in words; '' if none does."""
    rivals = [name for name in found.methods if name.startswith("pca-")]
    if own is None or not rivals:
        return ""
    name, row = max(((name, found.whole(name)) for name in rivals),
                    key=lambda one: -1.0 if one[1] is None else one[1]["passing"])
    if row is None or row["passing"] <= own["passing"]:
        return ""
    surely = row["passing_low"] > own["passing_high"]
    return (f"A PCA of {name[4:]} axes, which names nothing, passes "
            f"{'more' if surely else 'about as'} often: {_percent(row, 'passing')}.")


def _percent(row: pd.Series, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{markup.share(row[name], 0)} ({markup.share(low, 0)}–{markup.share(high, 0)})"


def row_ev(found: Trust, method: str = OWN) -> float:
    """rowEV of a method at the last snapshot; nan where there is none."""
    rows = found.rows
    at = rows[(rows["method"] == method) & (rows["split"] == "all") & (rows["k"] == found.last)]
    return float(at["ev"].iloc[0]) if len(at) else math.nan


def method_table(found: Trust) -> pd.DataFrame:
    """One row per method at the last snapshot: rowEV, contrasts with intervals, vocabulary."""
    vocabulary = found.vocabulary
    vocabulary = vocabulary[(vocabulary["k"] == found.last) & (vocabulary["hidden"] == "final")]
    vocabulary = vocabulary.set_index("method")
    lines = []
    for method in found.methods:
        whole = found.whole(method)
        line: dict[str, Any] = {"method": name_of(method), "ev": row_ev(found, method)}
        for name in ("kl_bits", "top1", "top5"):
            known = method in vocabulary.index
            line[name] = float(vocabulary.loc[method, name]) if known else math.nan
        for name in ("sign", "passing", "rho", "rho_unfloored", "passing_unfloored"):
            for end in ("", "_low", "_high"):
                line[f"{name}{end}"] = math.nan if whole is None else float(whole[f"{name}{end}"])
        line["n80"] = math.nan if whole is None else float(whole["n80"])
        lines.append(line)
    return pd.DataFrame(lines)


def margin_table(found: Trust) -> pd.DataFrame:
    """method, margin, n_cases and the measures with intervals at the last snapshot, by bin."""
    table = found.contrasts
    table = table[(table["k"] == found.last) & (table["hidden"] == "final")
                  & (table["bank"] == "all") & table["margin"].isin(MARGINS)]
    place = {margin: i for i, margin in enumerate(MARGINS)}
    order = sorted(range(len(table)), key=lambda i: (
        found.methods.index(table["method"].iloc[i]), place[table["margin"].iloc[i]]))
    return table.iloc[order].drop(columns=["step", "k", "hidden", "bank"]).reset_index(drop=True)


def course_table(found: Trust) -> pd.DataFrame:
    """step, method, hidden, passing and rho with intervals, sign, kl_bits, top1, ev; by snapshot.

    A number that was not tried there is nan.
    """
    keys = ["step", "method", "hidden"]
    whole = found.contrasts
    whole = whole[(whole["bank"] == "all") & (whole["margin"] == "all")]
    columns = [*keys, "n_cases", "sign", "sign_low", "sign_high", "passing", "passing_low",
               "passing_high", "passing_unfloored", "passing_unfloored_low",
               "passing_unfloored_high", "rho", "rho_low", "rho_high"]
    rows = found.rows[found.rows["split"] == "all"].assign(hidden="final")[[*keys, "ev"]]
    vocabulary = found.vocabulary[[*keys, "kl_bits", "top1", "top5"]]
    table = whole[columns].merge(vocabulary, on=keys, how="outer").merge(rows, on=keys, how="outer")
    return table[table["method"].isin((OWN, "shuffled"))].sort_values(keys).reset_index(drop=True)


def band_table(found: Trust, split: str) -> pd.DataFrame:
    """method, band, low, high, n_rows, ev of the bands of rows by `norm` or `count`."""
    rows = found.rows
    rows = rows[(rows["split"] == split) & (rows["k"] == found.last)]
    return rows[["method", "band", "low", "high", "n_rows", "ev"]].reset_index(drop=True)
