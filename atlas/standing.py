"""What the numbers of a ledger still allow to be said, gate passed or not (prism-method §7)."""

from dataclasses import dataclass
from typing import Literal

from atlas.coverage import Coverage
from atlas.decomposition import RHO_LIMIT, Ledger

MarginBin = Literal["<0.5", "0.5-1", "1-2", ">=2"]
BINS: tuple[tuple[float, MarginBin], ...] = ((0.5, "<0.5"), (1.0, "0.5-1"), (2.0, "1-2"))
Reason = Literal["residual", "sign", "side", "diffuse", "form", "base", "tiny"]
"""Why less is allowed: the residual dominates; the sign flips; the exact score does not favour
the target; too many features share it; the tokens are forms of one word, marks or pieces; a base
that all rows share hides the residual; the margin is tiny."""


@dataclass(frozen=True)
class Limit:
    """One thing that limits how a score may be read."""

    reason: Reason
    said: str
    """What is the case."""
    reading: str
    """What may be read all the same, or what to ask instead."""


def margin_bin(exact: float) -> MarginBin:
    """The bin of |exact| (§7.3); errors and flips concentrate in the small ones."""
    return next((name for bound, name in BINS if abs(exact) < bound), ">=2")


def limits(
    ledger: Ledger, spread: Coverage, signed: bool, form: str | None = None
) -> tuple[Limit, ...]:
    """What limits the reading of a ledger, the heaviest first; empty where nothing does.

    Args:
        signed: whether the sign of the score says something.
        form: what is the matter with the tokens themselves, None if nothing is.
    """
    found = []
    if ledger.rho >= RHO_LIMIT:
        found.append(Limit(
            "residual",
            f"the dictionary leaves out {abs(ledger.residual):.2f} of a score of size "
            f"{abs(ledger.exact):.2f}",
            "read the exact score only",
        ))
    if ledger.sign_agrees is False:
        found.append(Limit(
            "sign", "base and features together have the other sign",
            "the exact score still gives the direction, the features do not",
        ))
    if signed and ledger.exact < 0:
        found.append(Limit(
            "side", "the exact score does not favour the target at this step",
            "read it the other way round, or choose another score",
        ))
    if spread.diffuse:
        found.append(Limit(
            "diffuse",
            f"the ten largest features hold {spread.top10:.0%} of the mass, and 80 % takes "
            f"{spread.n80:,}",
            "read sums over many features, not single ones",
        ))
    if not signed and ledger.gate and ledger.rho_centred >= RHO_LIMIT:
        found.append(Limit(
            "base",
            f"the gate passes only because of the base: without it rho is {ledger.rho_centred:.2f}",
            "ask for the centred score or for a contrast, in which the base cancels",
        ))
    if abs(ledger.exact) < BINS[0][0]:
        found.append(Limit(
            "tiny", f"the margin is tiny, |exact| = {abs(ledger.exact):.2f} logit",
            "small errors turn its sign",
        ))
    if form:
        found.append(Limit("form", form, "compare families of tokens"))
    return tuple(found)
