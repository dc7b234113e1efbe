"""The badge of a feature: in how many other seeds it returns, as small dots with words."""

from collections.abc import Sequence

from atlas.markup import escape, wrap
from atlas.matches import SCORES
from atlas.stability import BY_CHANCE, Stability

CLASSES = """
.atl-seeds{font-size:11.5px;white-space:nowrap;color:var(--atl-muted)}
.atl-seeds b{font:500 11.5px var(--atl-mono);color:var(--atl-ink)}
.atl-dots{font-size:10.5px;letter-spacing:1.5px;color:var(--atl-accent);white-space:nowrap}
.atl-dots.few{font:11px var(--atl-mono);letter-spacing:0}
.atl-seeds i{font-style:normal;letter-spacing:2px;color:var(--atl-accent);margin:0 4px 0 6px}
"""
MOST_DOTS = 4
"""Other seeds that a line of a ledger has room for as dots."""
_WORDS = {"trajectory": "by direction", "terminal": "by last direction", "tokens": "by tokens",
          "life": "by life"}
ROUND = ("●", "○")
"""A seed in which the feature returned, and one in which it did not."""
SHOWN = ("trajectory", "tokens")
"""Ways that a badge tells; the others are in its title. Lives alone tell no feature from others."""


def words(found: Sequence[Stability]) -> str:
    """What other seeds say of a feature, in a sentence for each way, with what chance gives."""
    if not found:
        return "No other seed was matched with this run."
    told = []
    for one in found:
        mean = "" if one.score != one.score else f" ({SCORES[one.way]} {one.score:.2f})"
        told.append(f"{_WORDS[one.way]} in {one.returned} of {one.compared}{mean}")
    most = max(one.compared for one in found)
    return f"Returns {', '.join(told)} other seeds; by chance in {BY_CHANCE * most:.2f} at most."


def dots(found: Sequence[Stability]) -> str:
    """The badge for a line of a ledger: dots alone, by the first way that badges tell.

    From `MOST_DOTS` other seeds it is numbers. '' where no other seed was matched.
    """
    one = next((one for way in SHOWN for one in found if one.way == way), None)
    if one is None or not one.compared:
        return ""
    told = "; ".join(f"{other.returned} of {other.compared} other seeds {_WORDS[other.way]}"
                     for other in found if other.way in SHOWN)
    few = one.compared > MOST_DOTS
    text = (f"{one.returned}/{one.compared}" if few else
            ROUND[0] * one.returned + ROUND[1] * (one.compared - one.returned))
    return (f'<span class="atl-dots{" few" if few else ""}" title="returns in {told}">'
            f"{text}</span>")


def badge(found: Sequence[Stability], href: str = "") -> str:
    """A span for a line of a card, a table or a ledger; '' where no other seed was matched.

    Args:
        found: of `atlas.stability.stability_of`. href: where it leads; nowhere unless told.
    """
    shown = [one for one in found if one.way in SHOWN] or list(found[:1])
    if not shown:
        return ""
    parts = []
    for one in shown:
        dots = ROUND[0] * one.returned + ROUND[1] * (one.compared - one.returned)
        parts.append(f"<i>{dots}</i><b>{one.returned} of {one.compared}</b> {_WORDS[one.way]}")
    inner = f"other seeds {' '.join(parts)}"
    return (f'<span class="atl-seeds" title="{escape(words(found))}">'
            f"{_linked(inner, href)}</span>")


def _linked(inner: str, href: str) -> str:
    """Markup within a link; as it is without one."""
    return f'<a href="{escape(href)}" target="_self">{inner}</a>' if href else inner


def block(found: Sequence[Stability], href: str = "") -> str:
    """The badge by itself, for `st.html`; '' where no other seed was matched."""
    inner = badge(found, href)
    return wrap(inner) if inner else ""
