"""The name of a score: a formula of drawn tokens, and what kind of score it is in words."""

from collections.abc import Sequence

from atlas.decomposition import Kind

SHOWN = 3
"""Members of a side that a formula names."""
NAMES: dict[Kind, str] = {
    "contrast": "one token against another",
    "token": "the logit of one token",
    "centred": "one token against the mean row",
    "vocabulary": "one token against the average row",
    "family": "one family against another",
    "topk": "the winner against those after it",
    "rank": "the winner against one rank",
}
"""Kinds as a reader chooses them, in that order."""
WORDS: dict[Kind, str] = {
    "contrast": "logit contrast",
    "token": "logit",
    "centred": "logit less the mean row’s",
    "vocabulary": "logit less the average row’s",
    "family": "family contrast",
    "topk": "winner against its rivals",
    "rank": "winner against one rank",
}
"""The same as what stands beside a formula."""
MEANINGS: dict[Kind, str] = {
    "contrast": "The logit of the target less that of the other; what all rows share cancels.",
    "token": "The logit as it is: much of it may be what all rows share.",
    "centred": "The logit less that of the mean row, by the features of the token alone.",
    "vocabulary": "The same number, with the mean activation of every feature of the dictionary "
                  "taken off.",
    "family": "The mean logit of some tokens less that of others.",
    "topk": "The winner’s logit less those of the next tokens, weighted by their softmax.",
    "rank": "The winner’s logit less that of the token of some rank.",
}
"""What each of them is (prism-method §6.2)."""


def formula(kind: Kind, drawn: Sequence[str], weights: Sequence[float], rank: int | None) -> str:
    """The score as a formula of tokens; `drawn` is how each token of it is drawn."""
    if kind == "token":
        return drawn[0]
    if kind == "centred":
        return f"{drawn[0]} − mean row"
    if kind == "vocabulary":
        return f"{drawn[0]} − average row"
    if kind == "topk":
        return f"{drawn[0]} − π·({_listed(drawn[1:])})"
    if kind == "rank":
        return f"{drawn[0]} − {drawn[1]}" + (f" (rank {rank})" if rank else "")
    pairs = list(zip(drawn, weights, strict=True))
    sides = [[text for text, w in pairs if w > 0], [text for text, w in pairs if w < 0]]
    return " − ".join(
        side[0] if len(side) == 1 else f"mean({_listed(side)})" for side in sides
    )


def _listed(texts: Sequence[str]) -> str:
    """Some texts, the rest as their number."""
    more = len(texts) - SHOWN
    if more <= 0:
        return ", ".join(texts)
    return f"{', '.join(texts[: SHOWN - 1])}, … {more + 1} more"
