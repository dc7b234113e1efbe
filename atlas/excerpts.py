"""Examples as an HTML fragment: a concordance, the strongest places under each other.

Left of the line the text as far as the model has read it, right of the line what comes next, which
is what the readout says there. Ink is the score; texts are escaped and kept apart in direction.
"""

from collections.abc import Callable
from html import escape

from atlas import markup
from atlas.examples import Example, Examples

CLASSES = """
.atl-kwic{width:100%;margin-top:6px;table-layout:fixed;border-collapse:collapse;font-size:12.5px;direction:ltr}
.atl-kwic th{font-weight:400;font-size:11px;color:var(--atl-muted);text-align:left;border:0;
 border-bottom:1px solid var(--atl-rule);padding:0 6px 4px;white-space:nowrap;overflow:hidden;
 text-overflow:ellipsis}
.atl-kwic td{border:0;border-bottom:1px solid var(--atl-grid);padding:4px 6px;vertical-align:middle;
 color:var(--atl-ink)}
.atl-kwic .z{text-align:right;width:52px;color:var(--atl-muted);font-family:var(--atl-mono);
 font-size:11.5px;white-space:nowrap}
.atl-kwic .read{width:56%;border-right:1px solid var(--atl-muted);text-align:right}
.atl-kwic td>div{display:flex;overflow:hidden;white-space:pre;font-family:var(--atl-mono);
 line-height:1.5}
.atl-kwic .read>div{justify-content:flex-end}
.atl-kwic td span{flex:none;unicode-bidi:isolate;border-bottom:2px solid transparent;
 background:color-mix(in srgb,var(--atl-accent) var(--a,0%),transparent)}
.atl-kwic td i{font-style:normal;color:var(--atl-muted);opacity:.55}
.atl-kwic td .peak{border-bottom-color:var(--atl-accent)}
.atl-kwic td .next{border-bottom:2px dotted var(--atl-muted)}
.atl-kwic td .fires{border-bottom:2px solid var(--atl-counter);font-weight:600}
.atl-kwic .next i{opacity:.8}
"""

FAINTEST, SPAN = 1.5, 2.5
"""Score from which a token is inked, and by how much more it is inked fully (peers section 1.1)."""
STRONGEST = 44
"""Share of the accent in the ground of a token inked fully, in per cent: text stays legible."""


def excerpts(found: Examples, href: Callable[[int], str] | None = None) -> str:
    """The examples with what they show and their nulls, or a note with the reason.

    Args:
        href: from a token to the address of its page, for the tokens that come next.
    """
    if found.reason is not None:
        return markup.note(f"No examples: {found.reason}.")
    head = ('<tr><th class="z" scope="col" title="standard deviations from the mean over the whole '
            'text">z</th><th class="read" scope="col">read so far, the place itself last</th>'
            '<th scope="col">comes next</th></tr>')
    rows = "".join(_row(example, href) for example in found.found)
    return markup.wrap(f'{_caption(found)}<table class="atl-kwic">{head}{rows}</table>')


def _caption(found: Examples) -> str:
    count = len(found.found)
    return markup.caption(
        "Where the model's last state points most along this direction.",
        f"The token after the line is what the text says next: in {found.n_next} of {count} it is "
        f"one the feature fires on; of all tokens of the text {markup.share(found.share)} are. "
        f"The strongest place of a random direction has z {markup.number(found.chance, 1)}. "
        f"Text: {found.n_tokens:,} tokens from {found.source}.",
    )


def ink_of(z: float) -> float:
    """Ink of a token, 0 to 1, from its score."""
    return min(max((z - FAINTEST) / SPAN, 0.0), 1.0)


def _row(example: Example, href: Callable[[int], str] | None) -> str:
    cut = example.next_index
    tokens = [_token(example, i, href) for i in range(len(example.tokens))]
    peak = markup.signed(float(example.z[example.peak]), 1)
    return (f'<tr><td class="z">{peak}</td>'
            f'<td class="read"><div>{"".join(tokens[:cut])}</div></td>'
            f'<td><div>{"".join(tokens[cut:])}</div></td></tr>')


def _token(example: Example, i: int, href: Callable[[int], str] | None) -> str:
    text, z = example.tokens[i], float(example.z[i])
    shown = escape(text).replace("␣", "<i>␣</i>")
    classes, ink = [], 0 if z != z else round(STRONGEST * ink_of(z))
    if i == example.peak:
        classes, said = ["peak"], f"; next comes {example.tokens[i + 1]}"
    elif i == example.next_index:
        own = "one the feature fires on" if example.fires else "none the feature fires on"
        classes, said = ["next"] + ["fires"] * example.fires, f"; what comes next, {own}"
        if href is not None:
            shown = f'<a href="{escape(href(example.ids[i]))}" target="_self">{shown}</a>'
    else:
        said = ""
    score = "" if z != z else f", z {markup.signed(z, 1)}"
    kind = f' class="{" ".join(classes)}"' if classes else ""
    style = f' style="--a:{ink}%"' if ink else ""
    return f'<span{kind}{style} title="{escape(text + score + said)}">{shown}</span>'
