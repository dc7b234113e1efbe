"""The badge of a feature: in how many other seeds it returns, as small dots with words."""

from collections.abc import Sequence

from atlas.markup import escape, wrap
from atlas.matches import SCORES
from atlas.stability import BY_CHANCE, Stability

CLASSES = """
.atl-seeds{display:inline-flex;gap:7px;align-items:baseline;font-size:11.5px;white-space:nowrap;
 color:var(--atl-muted)}
.atl-seeds b{font-weight:500;color:var(--atl-ink)}
.atl-seeds i{display:inline-block;width:7px;height:7px;border-radius:50%;
 border:1px solid var(--atl-accent);margin-right:3px}
.atl-seeds i.on{background:var(--atl-accent)}
.atl-seeds .num{font-family:var(--atl-mono)}
"""
_WORDS = {"trajectory": "by direction", "terminal": "by last direction", "tokens": "by tokens",
          "life": "by life"}
SHOWN = ("trajectory", "tokens")
"""Ways that a badge tells; the others are in its title. Lives alone tell no feature from others."""


def words(found: Sequence[Stability]) -> str:
    """What other seeds say of a feature, in a sentence for each way, with what chance gives."""
    if not found:
        return "No other seed was matched with this run."
    told = []
    for one in found:
        mean = "" if one.score != one.score else (
            f", mean {SCORES[one.way]} {one.score:.2f} where each is the other’s best")
        told.append(
            f"{_WORDS[one.way]}: returns in {one.returned} of {one.compared} other seeds{mean}")
    most = max(one.compared for one in found)
    sentence = "; ".join(told)
    return (f"{sentence[0].upper()}{sentence[1:]}. By chance it would in "
            f"{BY_CHANCE * most:.2f} of {most} at most.")


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
        dots = "".join(f'<i class="{"on" if n < one.returned else ""}"></i>'
                       for n in range(one.compared))
        said = f"{one.returned} of {one.compared}"
        parts.append(f'<span aria-hidden="true">{dots}</span><b class="num">{said}</b>'
                     f"<span>{escape(_WORDS[one.way])}</span>")
    inner = f"<span>other seeds</span>{''.join(parts)}"
    return (f'<span class="atl-seeds" title="{escape(words(found))}">'
            f"{_linked(inner, href)}</span>")


def _linked(inner: str, href: str) -> str:
    """Markup within a link; as it is without one."""
    return f'<a href="{escape(href)}" target="_self">{inner}</a>' if href else inner


def block(found: Sequence[Stability], href: str = "") -> str:
    """The badge by itself, for `st.html`; '' where no other seed was matched."""
    inner = badge(found, href)
    return wrap(inner) if inner else ""
