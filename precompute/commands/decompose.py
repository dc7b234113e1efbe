"""`decompose`: the live decomposition without a browser."""

import re
from argparse import Namespace
from typing import Any

from atlas.decomposition import RHO_LIMIT, Ledger
from atlas.device import choose_device
from atlas.live import Explanation, Row, decompose_prompt
from atlas.store import Store
from precompute.commands.output import print_json, store_for_run, table

SHOWN = 10
"""Features that the printed ledger lists one by one, unless asked otherwise."""
SHOWN_TEXT = 90
"""Characters of the prompt that are printed, the last ones."""


def run(args: Namespace) -> int:
    """Print one ledger per snapshot asked for."""
    device = choose_device(args.device)
    explanation = decompose_prompt(
        Store.open(store_for_run(args, args.run)),
        args.run,
        args.prompt,
        target=_token(args.target),
        versus=_token(args.versus),
        step=args.step,
        position=args.position,
        hidden=args.hidden,
        device=device.name,
    )
    if args.json:
        print_json(as_json(explanation, args.top))
    else:
        print(as_text(explanation, SHOWN if args.top is None else args.top))
    return 0


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
        "n_active": len(ledger.features),
        "contributions": [{"feature": f, "value": v} for f, v in listed],
    }


def as_text(explanation: Explanation, top: int = SHOWN) -> str:
    """A ledger on paper: what was asked, the parts, their checked sum, the gate's verdict."""
    lines = [explanation.run, f"after   {explanation.context[-SHOWN_TEXT:]}"]
    if explanation.note:
        lines.append(f"note    {explanation.note}")
    following = "  ".join(f"{c.text} {c.probability:.1%}" for c in explanation.top[:5])
    lines += [f"next    {following}", f"score   {_score_text(explanation)}"]
    if len(explanation.rows) == 1:
        return "\n".join([*lines, "", *_ledger_lines(explanation.rows[0], top)])
    return "\n".join([*lines, "", _rows_table(explanation.rows)])


def _score_text(explanation: Explanation) -> str:
    if explanation.versus_text is None:
        return f"logit of {explanation.target_text}"
    return f"logit of {explanation.target_text} minus logit of {explanation.versus_text}"


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
