"""How far to trust a dictionary: the stage that tries it on rows, on text and on a query bank.

Rows need no model. Text and bank need the whole model of the last step; where models of other steps
of the run are kept too, their own hidden states are tried as well (prism-method §5, §7, §10).
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas import case_fidelity
from atlas.bank import read_bank
from atlas.baselines import Coded, permutation, row_ev, shuffled
from atlas.case_fidelity import MARGINS, MEASURES, Fidelity
from atlas.errors import AtlasError, BrokenArtifact
from atlas.hidden_states import open_model
from atlas.language_model import LanguageModel
from atlas.prism import logit_fidelity
from precompute.contrasts import Case, Coder, Read, Scores, cases_of, read_prompts, scores
from precompute.derive import Arrays
from precompute.evaluation import read_text, windows
from precompute.examples import read_states
from precompute.kept import Report, canonical
from precompute.readouts import Readouts
from precompute.rivals import NORM_FLOOR, Rival, Rows, rivals
from precompute.trial import Trial

SAMPLE = 4096
"""Rows that are rebuilt, evenly spread."""
STATES = 1024
"""Hidden states over which whole vocabularies are compared, evenly spread over the text."""
NUMBERS = 2**26
"""Logits that are held at once of each readout."""
PRODUCTS = 4e9
"""Entries of the code times hidden states that are summed up at a snapshot."""
FITTED_WORK = 2e11
"""Rows squared times width up to which a ridge is fitted to every row of the vocabulary."""
BANDS = 10
"""Bands of rows by length."""
COUNTS = (0, 1, 10, 100, 1_000, 10_000, 100_000)
"""Lower ends of the bands of tokens by count."""

Told = dict[str, Any]


def trust(
    trial: Trial, readouts: Readouts, k: float, counts: np.ndarray | None,
    explained: np.ndarray, report: Report,
) -> Arrays:
    """The rows of the tables of `atlas.schema_trust` but the gallery, as JSON, and what is told.

    Args:
        trial: the models and the bank. k: features of a row at the last snapshot.
        counts: (V,) occurrences of tokens, None where they are not known.
        explained: (V, K) share of every row that the dictionary explains.
    """
    rows = Rows(readouts)
    methods = rivals(rows, k)
    found: dict[str, list[Told]] = {
        "row_fidelity": [*_rows(rows, methods, counts, report), *_row_course(explained)],
        "vocabulary_fidelity": [], "contrast_fidelity": [], "bank_case": [],
    }
    told: Told = {"reason": trial.reason, "text": None, "text_reason": trial.reason,
                  "bank": None, "bank_reason": trial.reason, "n_left_out": 0, "left_out": None,
                  "n_states": 0, "expected_share": None}
    if trial.reason is None:
        try:
            _with_model(trial, rows, methods, found, told, report)
        except AtlasError as error:
            report(f"note: no fidelity ({error})")
            why = f"{trial.told} cannot be read"
            told |= {"reason": why, "text_reason": why, "bank_reason": why}
    return {"told": np.array(canonical(told)), **{n: packed(r) for n, r in found.items()}}


def packed(rows: Sequence[Told]) -> np.ndarray:
    """Rows of a table as the bytes of their JSON."""
    return np.frombuffer(json.dumps(rows, ensure_ascii=False).encode(), dtype=np.uint8)


# --- rows ----------------------------------------------------------------------------------------


def _rows(
    rows: Rows, methods: Sequence[Rival], counts: np.ndarray | None, report: Report
) -> Iterable[Told]:
    """rowEV of every method over a sample of rows, all and by band."""
    count = min(SAMPLE, rows.n_rows)
    chosen = np.linspace(0, rows.n_rows - 1, count).round().astype(np.int64)
    raw = rows.readouts.rows(rows.k, chosen) - rows.shared
    lengths = rows.about_mean[chosen]
    bands = list(_bands(lengths, None if counts is None else counts[chosen]))
    for method in methods:
        missed = np.concatenate([
            np.square(raw[at] - method.rebuilt(chosen[at]).numpy()).sum(axis=1, dtype=np.float64)
            for at in np.array_split(np.arange(count), -(-count // 512))
        ])
        for split, band, low, high, inside in bands:
            yield {"method": method.name, "split": split, "band": band, "k": rows.k,
                   "low": low, "high": high, "n_rows": int(inside.sum()),
                   "ev": number(row_ev(missed[inside], lengths[inside]))}
        report(f"fidelity: rows by {method.name}")


def _bands(
    lengths: np.ndarray, counts: np.ndarray | None
) -> Iterable[tuple[str, int, float, float, np.ndarray]]:
    """Split, number, ends and members (n,) of every band that has some."""
    def told(split: str, band: int, values: np.ndarray, inside: np.ndarray):
        return split, band, float(values[inside].min()), float(values[inside].max()), inside

    yield told("all", 0, lengths, np.ones(len(lengths), dtype=bool))
    tenth = np.empty(len(lengths), dtype=np.int64)
    tenth[np.argsort(lengths, kind="stable")] = np.arange(len(lengths)) * BANDS // len(lengths)
    for band in range(BANDS):
        if (tenth == band).any():
            yield told("norm", band, lengths, tenth == band)
    if counts is None:
        return
    place = np.searchsorted(COUNTS, counts, side="right") - 1
    for band in range(len(COUNTS)):
        if (place == band).any():
            yield told("count", band, counts.astype(np.float64), place == band)


def _row_course(explained: np.ndarray) -> Iterable[Told]:
    """rowEV of the dictionary over all rows at every snapshot but the last, which is tried."""
    for k in range(explained.shape[1] - 1):
        known = ~np.isnan(explained[:, k])
        if known.any():
            yield {"method": "dictionary", "split": "all", "band": 0, "k": k, "low": None,
                   "high": None, "n_rows": int(known.sum()),
                   "ev": number(float(explained[known, k].mean(dtype=np.float64)))}


# --- text and bank -------------------------------------------------------------------------------


def _with_model(
    trial: Trial, rows: Rows, methods: Sequence[Rival], found: dict[str, list[Told]], told: Told,
    report: Report,
) -> None:
    model = _open(trial, trial.last)
    parts = _text(trial, model, told)
    bank = _bank(trial, rows, model, told, report)
    states = None if bank is None else bank[0].states(model)
    text = None if parts is None else _spread(read_states(model, parts, report))
    if text is None and states is not None:
        told["text"], text = "the prompts of the bank", states
    cap = model.softcap
    del model
    work = _Work(trial, rows, methods, found, cap, report)
    work.cases = [] if bank is None else bank[1]
    told["n_states"] = 0 if text is None else len(work.few(text))
    work.at_last(text, states, told)
    work.through_training("final", lambda _: (text, states))
    if trial.own:
        def own(step: int) -> tuple[Tensor | None, Tensor | None]:
            model = _open(trial, step)
            return (None if parts is None else _spread(read_states(model, parts, report)),
                    None if bank is None else bank[0].states(model))

        work.through_training("own", own)


def _open(trial: Trial, step: int) -> LanguageModel:
    return open_model(trial.store, trial.model, trial.name, step, str(trial.device))


def _text(trial: Trial, model: LanguageModel, told: Told) -> list[np.ndarray] | None:
    """Windows of the evaluation text; None, and the reason, where there is none."""
    if trial.text_reason is not None:
        told["text_reason"] = trial.text_reason
        return None
    text = read_text(trial.store, trial.model)
    parts = windows(text, min(512, model.context - len(model.opening)), trial.most)
    if not parts:
        told["text_reason"] = f"the evaluation text of {trial.model} is too short"
        return None
    told["text"] = text.source
    return parts


def _spread(states: Sequence[Tensor]) -> Tensor:
    """Hidden states evenly spread over windows; the first of each was read without a text."""
    rows = torch.cat([state[1:] for state in states])
    chosen = np.linspace(0, len(rows) - 1, min(STATES, len(rows))).round().astype(np.int64)
    return rows[torch.from_numpy(chosen)]


def _bank(
    trial: Trial, rows: Rows, model: LanguageModel, told: Told, report: Report
) -> tuple[Read, list[Case]] | None:
    """The prompts and the cases of the bank; None, and the reason, where there is none."""
    if trial.bank is None:
        told["bank_reason"] = trial.bank_reason
        return None
    try:
        records = read_bank(trial.bank)
    except BrokenArtifact as error:
        report(f"note: {error}")
        told["bank_reason"] = str(error).replace(f"{trial.bank}", trial.bank.name)
        return None
    read, prompts, problems = read_prompts(records, model)
    states = read.states(model) if read.ids else torch.zeros(0, rows.width)
    logits = rows.readouts.logits(rows.k, states).numpy()
    known = np.zeros(rows.n_rows, dtype=bool)
    known[: trial.n_tokens] = True
    cases, more = cases_of(records, prompts, model, logits, rows.lengths, known)
    problems += more
    told |= {"bank": trial.bank.name, "n_left_out": len(problems),
             "left_out": problems[0][:300] if problems else None}
    for line in problems[:10]:
        report(f"note: bank {trial.bank.name}: left out {line}")
    if not cases:
        told["bank_reason"] = f"no case of {trial.bank.name} can be read by {trial.model}"
        return None
    return read, cases


class _Work:
    """The trials over states of text and of a bank, whoever's they are."""

    def __init__(
        self, trial: Trial, rows: Rows, methods: Sequence[Rival], found: dict[str, list[Told]],
        cap: float | None, report: Report,
    ) -> None:
        self.trial, self.rows, self.readouts, self.methods = trial, rows, rows.readouts, methods
        self.found, self.cap, self.report = found, cap, report
        self.cases: list[Case] = []
        self.course: list[Scores] = []

    def few(self, states: Tensor) -> Tensor:
        """As many of the states as may be compared over the whole vocabulary, evenly spread."""
        most = min(NUMBERS // self.rows.n_rows, int(PRODUCTS / max(len(self.readouts.code[1]), 1)))
        count = min(len(states), max(most, 64))
        return states[np.linspace(0, len(states) - 1, count).round().astype(np.int64)]

    def at_last(self, text: Tensor | None, states: Tensor | None, told: Told) -> None:
        """Every method at the last snapshot with the last model's states."""
        if text is not None:
            few = self.few(text)
            native = self.readouts.logits(self.rows.k, few)
            for method in self.methods[1:]:
                work = float(self.rows.n_rows) ** 2 * self.rows.width
                if method.fits and work > FITTED_WORK:
                    continue
                self._vocabulary(method.name, "final", self.rows.k, native,
                                 _logits(self.rows, method, few))
                self.report(f"fidelity: vocabulary by {method.name}")
        if states is None or not self.cases:
            return
        for method in self.methods:
            tried = self._scores(self.rows.k, states, method.directions, _coder(method))
            self._contrasts(method.name, "final", self.rows.k, tried, True)
            if method.name == "dictionary":
                told["expected_share"] = _expected(self.cases, tried.exact)
            self.report(f"fidelity: contrasts by {method.name}")

    def through_training(
        self, hidden: str, states_of: Callable[[int], tuple[Tensor | None, Tensor | None]]
    ) -> None:
        """The dictionary, and shuffled codes beside it, at every snapshot with such states."""
        steps = self.trial.own if hidden == "own" else self.trial.steps
        last = self.rows.k
        for step in steps:
            k = self.trial.steps.index(step)
            text, states = states_of(step)
            if text is not None:
                few = self.few(text)
                self._vocabulary("dictionary", hidden, k, self.readouts.logits(k, few),
                                 self.readouts.rebuilt_logits(k, few))
            if states is not None and self.cases:
                tried = self._scores(k, states, self.readouts.directions(k), self._at(k))
                if hidden == "final":
                    self.course.append(tried)
                if not (hidden == "final" and k == last):
                    self._contrasts("dictionary", hidden, k, tried, False)
                    null = self._scores(k, states, self.readouts.directions(k), self._null(k))
                    self._contrasts("shuffled", hidden, k, null, False)
            self.report(f"fidelity: {hidden} states at step {step:,}")
        if hidden == "final" and self.course:
            self.found["bank_case"] = list(self._cases())

    def _at(self, k: int) -> Coder:
        return lambda case: self.readouts.codes(k, case.tokens)

    def _null(self, k: int) -> Coder:
        """Codes of other rows, each for the own row's length at that snapshot."""
        lender, shared = permutation(self.rows.n_rows), self.readouts.shared(k)
        own = np.unique([token for case in self.cases for token in case.tokens])
        known = np.union1d(own, lender[own])
        length = np.linalg.norm(self.readouts.rows(k, known) - shared, axis=1)

        def coder(case: Case) -> list[Coded]:
            tokens = np.array(case.tokens)
            given = lender[tokens]
            lengths, others = (np.maximum(length[np.searchsorted(known, t)], NORM_FLOOR)
                               for t in (tokens, given))
            return shuffled(self.readouts.codes(k, given), lengths, others)

        return coder

    def _scores(self, k: int, states: Tensor, directions: np.ndarray, coder: Coder) -> Scores:
        return scores(self.cases, states.numpy(), lambda tokens: self.readouts.rows(k, tokens),
                      self.readouts.shared(k), self.readouts.mean(k), coder, directions)

    def _vocabulary(
        self, method: str, hidden: str, k: int, native: Tensor, rebuilt: Tensor
    ) -> None:
        told = logit_fidelity(native, rebuilt, self.cap)
        self.found["vocabulary_fidelity"].append({
            "method": method, "hidden": hidden, "k": k, "n_states": len(native),
            "kl_bits": number(told.kl_bits), "top1": number(told.top1_match),
            "top5": number(overlap(native, rebuilt)),
        })

    def _contrasts(self, method: str, hidden: str, k: int, tried: Scores, split: bool) -> None:
        """The figures over all cases; with `split` also by part of the bank and by margin."""
        banks = [case.record.bank for case in self.cases]
        bases = np.unique([case.record.base_case_id for case in self.cases], return_inverse=True)[1]
        margin = case_fidelity.margin_of(tried.exact)
        groups = [("all", "all", np.ones(len(banks), dtype=bool))]
        if split:
            groups += [("all", name, margin == i) for i, (_, _, name) in enumerate(MARGINS)]
            groups += [(bank, "all", np.array([b == bank for b in banks]))
                       for bank in sorted(set(banks)) if len(set(banks)) > 1]
        for bank, name, inside in groups:
            if inside.any():
                told = case_fidelity.fidelity(
                    tried.exact[inside], tried.rebuilt[inside], bases[inside]
                )
                self.found["contrast_fidelity"].append({
                    "method": method, "hidden": hidden, "k": k, "bank": bank, "margin": name,
                    **_figures(told), "n80": number(float(np.median(tried.n80[inside]))),
                })

    def _cases(self) -> Iterable[Told]:
        exact, rebuilt = (np.stack([getattr(s, name) for s in self.course])
                          for name in ("exact", "rebuilt"))
        rho = case_fidelity.rho(exact[-1], rebuilt[-1])
        gate = case_fidelity.signs_agree(exact[-1], rebuilt[-1]) & (rho < case_fidelity.RHO_LIMIT)
        for q, case in enumerate(self.cases):
            record = case.record
            at = record.scored_position
            yield {
                "number": q, "case_id": record.case_id, "base_case": record.base_case_id,
                "bank": record.bank, "family": record.family, "contrast": case.contrast,
                "prompt": record.prompt, "position": -1 if at == "last" else int(at),
                "tokens": list(case.tokens), "weights": list(case.weights),
                "expected": record.expected_side, "exact": number(exact[-1, q]),
                "rebuilt": number(rebuilt[-1, q]), "rho": number(rho[q]), "gate": bool(gate[q]),
                "n80": int(self.course[-1].n80[q]),
                "exact_at": [number(v, 4) for v in exact[:, q]],
                "rebuilt_at": [number(v, 4) for v in rebuilt[:, q]],
            }


def _coder(method: Rival) -> Coder:
    return lambda case: method.coded(np.array(case.tokens), case.tokens)


def _logits(rows: Rows, method: Rival, states: Tensor) -> Tensor:
    """Logits (n, V) of the rows that a method rebuilds."""
    base = states @ torch.from_numpy(rows.shared)
    found = torch.empty(len(states), rows.n_rows)
    for start in range(0, rows.n_rows, 1024):
        tokens = np.arange(start, min(start + 1024, rows.n_rows))
        found[:, tokens[0] : tokens[-1] + 1] = states @ method.rebuilt(tokens).T + base[:, None]
    return found


def overlap(native: Tensor, rebuilt: Tensor, n: int = 5) -> float:
    """Mean share of the n largest logits (B, V) that both readouts have among theirs (§5)."""
    one, other = (logits.topk(n, dim=1).indices for logits in (native, rebuilt))
    return float((one[:, :, None] == other[:, None]).any(dim=2).double().mean())


def _expected(cases: Sequence[Case], exact: np.ndarray) -> float | None:
    """Share of the cases with an expected side whose exact score favours it."""
    sides = [(case.record.expected_side, value) for case, value in zip(cases, exact, strict=True)
             if case.record.expected_side and case.contrast == "named"]
    right = [(side == "A") == (value > 0) for side, value in sides]
    return round(sum(right) / len(right), 4) if right else None


def _figures(told: Fidelity) -> Told:
    found: Told = {"n_cases": told.n_cases, "n_base": told.n_base}
    for name in MEASURES:
        for end, value in zip(("", "_low", "_high"), told.values[name], strict=True):
            found[f"{name}{end}"] = number(value)
    return found


def number(value: float, digits: int = 6) -> float | None:
    """A number for JSON, to so many significant digits; None for what is none."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None
