"""`decompose`: the live decomposition without a browser."""

import math
import re
from argparse import Namespace
from typing import Any

from atlas.asking import KINDS, RANK, RIVALS, Ask
from atlas.coverage import Coverage, coverage
from atlas.decomposition import RHO_LIMIT, Ledger
from atlas.device import choose_device
from atlas.errors import InvalidValue
from atlas.live import Explanation, Row, explain
from atlas.reading import read_prompt
from atlas.score_words import MEANINGS, formula
from atlas.standing import limits, margin_bin
from atlas.store import Store
from precompute.commands import decompose_more
from precompute.commands.output import print_json, store_for_run, table

SHOWN = 10
"""Features that the printed ledger lists one by one, unless asked otherwise."""
SHOWN_TEXT = 90
"""Characters of the prompt that are printed, the last ones."""


def run(args: Namespace) -> int:
    """Print one ledger per snapshot asked for, and what else of the prompt is."""
    decompose_more.check(args)
    device, ask = choose_device(args.device), _ask(args)
    store = Store.open(store_for_run(args, args.run))
    reading = read_prompt(store, args.run, args.prompt, args.position, device.name)
    explanation = explain(store, reading, ask, args.step, args.hidden)
    parts = decompose_more.found(store, reading, explanation, ask, args)
    if args.json:
        print_json(as_json(explanation, args.top) | decompose_more.as_json(parts))
    else:
        print(as_text(explanation, SHOWN if args.top is None else args.top))
        if parts:
            print(f"\n{decompose_more.as_text(parts)}")
    return 0


def _ask(args: Namespace) -> Ask:
    """What the command line asks of the prompt; raises InvalidValue for what it cannot."""
    if args.kind is not None and args.kind not in KINDS:
        raise InvalidValue(f"kind {args.kind[:40]!r} is no score; there are {', '.join(KINDS)}")
    for name, kind in (("rank", "rank"), ("rivals", "topk")):
        if getattr(args, name) is not None and args.kind != kind:
            raise InvalidValue(f"--{name} is for --kind {kind}")
    return Ask(
        args.kind, _token(args.target), _token(args.versus),
        RANK if args.rank is None else args.rank, RIVALS if args.rivals is None else args.rivals,
    )


def _token(text: str | None) -> str | int | None:
    """A token as typed: `#17` is the token with that id, anything else is text, as on the page."""
    return int(text[1:]) if text and re.fullmatch(r"#[0-9]{1,7}", text) else text


def as_json(explanation: Explanation, top: int | None = None) -> dict[str, Any]:
    """The JSON shape of DESIGN §6; `top` cuts the listed contributions, never the sums."""
    score = explanation.score
    return {
        "run": explanation.run,
        "prompt": explanation.prompt,
        "position": explanation.position,
        "note": explanation.note,
        "softcap": explanation.softcap,
        "tokens": [
            {"token": t, "text": x}
            for t, x in zip(explanation.tokens, explanation.texts, strict=True)
        ],
        "next": [
            {"token": c.token, "text": c.text, "probability": c.probability, "logit": c.logit,
             "model_logit": c.model_logit}
            for c in explanation.top
        ],
        "score": {
            "kind": score.kind,
            "target": explanation.target,
            "versus": explanation.versus,
            "target_token": score.target,
            "versus_token": score.versus,
            "tokens": [
                {"token": t, "text": x, "weight": w} for t, x, w in
                zip(score.tokens, explanation.drawn, score.weights, strict=True)
            ],
            "weights": list(score.weights),
            "entropy": explanation.entropy,
            "rank": explanation.rank,
        },
        "rows": [_row_json(row, top) for row in explanation.rows],
    }


def _row_json(row: Row, top: int | None) -> dict[str, Any]:
    ledger = row.ledger
    listed = zip(ledger.features[:top].tolist(), ledger.contributions[:top].tolist(), strict=True)
    return {
        "step": row.step,
        "hidden_step": row.hidden_step,
        "exact": ledger.exact,
        "base": ledger.base,
        "feature_sum": ledger.feature_sum,
        "residual": ledger.residual,
        "rho": ledger.rho,
        "rho_centred": ledger.rho_centred,
        "sign_agrees": ledger.sign_agrees,
        "gate": ledger.gate,
        "margin_bin": margin_bin(ledger.exact),
        "n_active": len(ledger.features),
        "coverage": _coverage_json(_spread(ledger)),
        "contributions": [{"feature": f, "value": v} for f, v in listed],
    }


def _spread(ledger: Ledger) -> Coverage:
    return coverage(ledger.features, ledger.contributions, ledger.reconstructed)


def _coverage_json(found: Coverage) -> dict[str, Any]:
    """Shares are null where nothing contributes."""
    shares = {
        name: value if math.isfinite(value) else None for name, value in (
            ("top5", found.top5), ("top10", found.top10), ("signed5", found.signed5),
            ("signed10", found.signed10),
        )
    }
    return {"size": found.size, "n80": found.n80, **shares, "highest": found.highest,
            "lowest": found.lowest}


def as_text(explanation: Explanation, top: int = SHOWN) -> str:
    """A ledger on paper: what was asked, the parts, their checked sum, the gate's verdict."""
    lines = [explanation.run, f"after   {explanation.context[-SHOWN_TEXT:]}"]
    if explanation.note:
        lines.append(f"note    {explanation.note}")
    following = "  ".join(f"{c.text} {c.probability:.1%}" for c in explanation.top[:5])
    lines += [f"next    {following}", f"score   {_score_text(explanation)}"]
    if len(explanation.rows) == 1:
        row = explanation.rows[0]
        return "\n".join([*lines, "", *_ledger_lines(row, top), *_limit_lines(explanation, row)])
    return "\n".join([*lines, "", _rows_table(explanation.rows)])


def _score_text(explanation: Explanation) -> str:
    score = explanation.score
    if score.kind == "token":
        return f"logit of {explanation.target_text}"
    if score.kind == "contrast":
        return f"logit of {explanation.target_text} minus logit of {explanation.versus_text}"
    name = formula(score.kind, explanation.drawn, score.weights, explanation.rank)
    entropy = explanation.entropy
    weights = "" if entropy is None else f", weights of entropy {entropy:.2f} nats"
    return f"{name}{weights}. {MEANINGS[score.kind].replace('’', chr(39))}"


def _limit_lines(explanation: Explanation, row: Row) -> list[str]:
    """What else limits the reading, beside the gate's own line."""
    spread = _spread(row.ledger)
    found = limits(row.ledger, spread, explanation.score.signed)
    lines = [f"note: {limit.said}; {limit.reading}" for limit in found
             if limit.reason in ("side", "diffuse", "tiny")]
    if spread.n80:
        lines.insert(0, f"mass: 5 features hold {spread.top5:.0%} of it, 10 hold "
                     f"{spread.top10:.0%}, 80 % takes {spread.n80:,}")
    return lines


def _signed(value: float) -> str:
    """Four decimals with a sign; what rounds to nothing is +0."""
    return f"{round(value, 4) + 0.0:+.4f}"


def _ledger_lines(row: Row, top: int) -> list[str]:
    ledger = row.ledger
    parts = [("base", ledger.base), *_feature_parts(ledger, top), ("residual", ledger.residual)]
    lines = [f"step {row.step}, hidden state of step {row.hidden_step}"]
    lines += [f"  {name:<26}{_signed(value):>12}" for name, value in parts]
    lines.append(f"  {'':<26}{'-' * 12}")
    lines.append(f"  {'sum':<26}{_signed(sum(value for _, value in parts)):>12}")
    lines.append(
        f"  {'exact h . row':<26}{_signed(ledger.exact):>12}   "
        f"the parts miss it by {ledger.identity_error:.0e}"
    )
    return [*lines, "", _verdict(ledger)]


def _feature_parts(ledger: Ledger, top: int) -> list[tuple[str, float]]:
    """The largest contributions and the rest; only their sum where the gate failed."""
    n = len(ledger.features)
    if not ledger.gate:
        return [(f"{n} features (withheld)", ledger.feature_sum)]
    shown = zip(ledger.features[:top].tolist(), ledger.contributions[:top].tolist(), strict=True)
    parts = [(f"feature {feature}", value) for feature, value in shown]
    if n > top:
        parts.append((f"{n - top} other features", float(ledger.contributions[top:].sum())))
    return parts


def _verdict(ledger: Ledger) -> str:
    sign = {True: ", the signs agree", False: ", the sign flips", None: ""}[ledger.sign_agrees]
    if not ledger.gate:
        return (
            f"gate: FAILED (rho {ledger.rho:.3f}{sign}); the features do not explain this score, "
            "read the exact value only"
        )
    if ledger.rho_centred >= RHO_LIMIT:
        return (
            f"gate: passed (rho {ledger.rho:.3f}{sign}), but only because of the base: without it "
            f"rho is {ledger.rho_centred:.3f}; compare two tokens with --versus"
        )
    return f"gate: passed (rho {ledger.rho:.3f}{sign})"


def _rows_table(rows: tuple[Row, ...]) -> str:
    header = ["step", "hidden", "exact", "base", "features", "residual", "rho", "gate", "leading"]
    body = []
    for row in rows:
        ledger = row.ledger
        numbers = (ledger.exact, ledger.base, ledger.feature_sum, ledger.residual)
        leading = ""
        if ledger.gate and len(ledger.features):
            leading = f"{ledger.features[0]} {ledger.contributions[0]:+.3f}"
        body.append([
            str(row.step), str(row.hidden_step), *map(_signed, numbers),
            f"{ledger.rho:.3f}", "passed" if ledger.gate else "FAILED", leading,
        ])
    worst = max(row.ledger.identity_error for row in rows)
    return (
        f"{table(header, body, left=[7, 8])}\n\n"
        f"base + features + residual = exact within {worst:.0e} at every snapshot; "
        "a leading feature is named where the gate passed"
    )
