"""Entries of collections as HTML: a number, its tokens, a small curve, the note, the tags.

Everything here was written by someone else, so every text is escaped and set apart from the
direction of the line it stands in; a note is text, whatever it looks like.
"""

from collections.abc import Callable, Sequence

from atlas.axes import position
from atlas.collections import Difference, Entry
from atlas.kept import Known
from atlas.markup import escape, link, wrap
from atlas.theme import ink

CLASSES = """
.atl-shelf a{display:flex;justify-content:space-between;gap:12px;align-items:baseline;
 padding:4px 8px;border-left:2px solid var(--atl-rule)}
.atl-shelf a.open{border-left-color:var(--atl-accent);background:var(--atl-raised)}
.atl-shelf b{font-weight:400;font-family:var(--atl-serif);font-size:15.5px;unicode-bidi:isolate;
 overflow-wrap:anywhere}
.atl-shelf small,.atl-list small{color:var(--atl-muted);font-size:11.5px;white-space:nowrap}
.atl-list{max-width:62em}
.atl-list .name{font-family:var(--atl-serif);font-size:34px;line-height:1.1;unicode-bidi:isolate;
 letter-spacing:-.01em;overflow-wrap:anywhere}
.atl-list p,.atl-entries p,.atl-table.notes p{margin:0;unicode-bidi:plaintext;
 overflow-wrap:anywhere}
.atl-list .about{font-size:14px;line-height:1.5;margin-top:6px}
.atl-list .caveat{font-family:var(--atl-serif);font-style:italic;font-size:15px;line-height:1.4;
 color:var(--atl-muted);margin-top:10px;padding-left:12px;border-left:2px solid var(--atl-accent)}
.atl-list .caveat:before{content:"Mind";font-style:normal;font-weight:600;
 color:var(--atl-accent);float:left;margin-right:7px;line-height:1.2}
.atl-entries{display:grid;grid-template-columns:minmax(132px,max-content) 132px minmax(0,1fr);
 column-gap:22px}
.atl-entries>div{padding:12px 0;border-top:1px solid var(--atl-grid)}
.atl-entries .what{font-family:var(--atl-serif);font-size:24px;line-height:1;max-width:210px}
.atl-entries .what i{font-size:14px;color:var(--atl-muted);margin-right:6px}
.atl-entries .what .tok{font-size:17px}
.atl-entries .what small{display:block;font:400 11px/1.35 var(--atl-sans);color:var(--atl-muted);
 margin-top:5px;overflow-wrap:anywhere}
.atl-entries .said{max-width:68em}
.atl-entries .said .tok{font-size:12.5px;white-space:pre;overflow:hidden;text-overflow:ellipsis}
.atl-entries .said p{font-size:14px;line-height:1.5;margin-top:3px;max-width:58em}
.atl .tag{display:inline-block;font-size:11.5px;color:var(--atl-counter);margin:4px 8px 0 0;
 padding:0 6px;border:1px solid var(--atl-rule);border-radius:2px;unicode-bidi:isolate}
.atl-entries .odd{font-family:var(--atl-serif);font-style:italic;color:var(--atl-muted);
 margin-top:3px}
.atl-spark{position:relative;height:38px;border-bottom:1px solid var(--atl-rule)}
.atl-spark i{position:absolute;inset:0}
.atl-table.notes{margin-bottom:18px}
.atl-table.notes td:first-child{white-space:nowrap}
.atl-held b{font-weight:400;unicode-bidi:isolate}
.atl-heat td.foot{background:none;color:var(--atl-muted);font-size:11px;padding-top:4px}
@media (max-width:760px){.atl-entries{grid-template-columns:1fr}
 .atl-entries>div{border:0;padding:2px 0}.atl-entries>.what{padding-top:14px}
 .atl-spark{width:160px}}
"""
SHOWN = 400
"""Characters of tokens that are drawn."""


def sparkline(steps: Sequence[int], values: Sequence[float], title: str) -> str:
    """A curve from 0 to its own maximum over the log step axis, as boxes; '' without values."""
    if len(values) < 2 or len(values) != len(steps):
        return ""
    low, high = position(min(steps)), position(max(steps))
    most = max(values) or 1.0
    points = [
        (100 * (position(s) - low) / (high - low), 96 - 92 * max(v, 0.0) / most)
        for s, v in zip(steps, values, strict=True)
    ]
    edge = ",".join(f"{a:.1f}% {b:.1f}%" for a, b in points)
    back = ",".join(f"{a:.1f}% calc({b:.1f}% + 2px)" for a, b in reversed(points))
    return (
        f'<div class="atl-spark" title="{escape(title)}">'
        f'<i style="background:{ink("accent")};opacity:.14;'
        f'clip-path:polygon({edge},100% 100%,0 100%)"></i>'
        f'<i style="background:{ink("accent")};clip-path:polygon({edge},{back})"></i></div>'
    )


def note_text(text: str) -> str:
    """A note as paragraphs, every character as it is."""
    return "".join(f"<p>{escape(line)}</p>" for line in text.splitlines() if line.strip())


def entries(found: Sequence[Known], address: Callable[[Known], str], runs: bool) -> str:
    """A list of entries; `address` gives the link of one that can be opened.

    With `runs` each says its run: they are of several.
    """
    body = "".join(_entry(known, address, runs) for known in found)
    return wrap(f'<div class="atl-entries">{body}</div>')


def _entry(found: Known, address: Callable[[Known], str], runs: bool) -> str:
    entry = found.entry
    where = address(found) if found.opens else ""
    if entry.kind == "feature":
        number = f"<i>feature</i>{link(f'{entry.number:,}', where)}"
        measure = "norm of its direction"
    else:
        name = link(found.text or f"{entry.number:,}", where)
        number = f'<i>token</i><span class="tok">{name}</span>'
        measure = "length of its row"
    tokens = found.text if entry.kind == "feature" else ""
    top = max(found.course, default=0.0)
    curve = sparkline(found.steps, found.course, f"{measure} through training, {top:.2f} at most")
    where_from = [entry.run] if runs else []
    where_from += [f"step {entry.step:,}"] if entry.step is not None else []
    tags = "".join(f'<span class="tag">{escape(tag)}</span>' for tag in entry.tags)
    odd = f'<div class="odd">{escape(found.odd)}</div>' if found.odd else ""
    return (
        f'<div class="what">{number}<small title="{escape(entry.run)}">'
        f'{escape(", ".join(where_from))}</small></div><div>{curve}</div>'
        f'<div class="said"><div class="tok">{link(tokens[:SHOWN], where)}</div>'
        f"{note_text(entry.note)}<div>{tags}</div>{odd}</div>"
    )


def shelf(found: Sequence[tuple[str, str, str, bool]]) -> str:
    """Names of collections with what they hold, as links: (name, words, address, open)."""
    rows = "".join(
        f'<a class="{"open" if is_open else ""}" href="{escape(where)}" target="_self">'
        f"<b>{escape(name)}</b><small>{escape(words)}</small></a>"
        for name, words, where, is_open in found
    )
    return wrap(f'<div class="atl-shelf">{rows}</div>')


def title(name: str, about: str, caveat: str, words: str) -> str:
    """The head of an open collection; the caveat stands beside what it gathers."""
    more = f'<div class="about">{note_text(about)}</div>' if about else ""
    warning = f'<div class="caveat">{note_text(caveat)}</div>' if caveat else ""
    return wrap(
        f'<div class="atl-list"><div class="name">{escape(name)}</div>'
        f'<small>{escape(words)}</small>{more}{warning}</div>'
    )


def compared(found: Difference, before: str, after: str, name: Callable[[Entry], str]) -> str:
    """What one collection has that another has not; `name` gives an entry as a link or text."""
    blocks = []
    for head, some in ((f"only in “{after}”", found.added), (f"only in “{before}”", found.removed)):
        rows = "".join(
            f"<tr><td>{name(e)}</td><td>{escape(', '.join(e.tags))}</td>"
            f"<td>{note_text(e.note)}</td></tr>"
            for e in some
        )
        blocks.append(_block(f"{len(some):,} {head}", ("entry", "tags", "note"), rows))
    rows = "".join(
        f"<tr><td>{name(b)}</td><td>{escape(field)}</td><td>{_value(a, field)}</td>"
        f"<td>{_value(b, field)}</td></tr>"
        for a, b, names in found.changed for field in names
    )
    blocks.append(_block(
        f"{len(found.changed):,} in both, with differences",
        ("entry", "what", f"in “{before}”", f"in “{after}”"), rows,
    ))
    return wrap("".join(blocks))


def _value(entry: Entry, field: str) -> str:
    value = getattr(entry, field)
    if field == "note":
        return note_text(value) or "—"
    shown = ", ".join(value) if field == "tags" else "" if value is None else str(value)
    return escape(shown) or "—"


def _block(head: str, columns: Sequence[str], rows: str) -> str:
    heads = "".join(f'<th scope="col">{escape(c)}</th>' for c in columns)
    table = f'<table class="atl-table notes"><tr>{heads}</tr>{rows}</table>' if rows else ""
    return f'<div class="atl-cap"><b>{escape(head)}</b></div>{table}'
