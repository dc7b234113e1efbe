"""Two palettes, three type families and the Plotly template drawn from them.

Light is ink on paper, dark is its own palette and not an inversion. One accent always means
"this one": the feature of the page, the target token, the chosen step's token that stays.
`.streamlit/config.toml` repeats six of these colours; a test compares them.
"""

from dataclasses import dataclass

SANS = "'Inter Tight', 'Helvetica Neue', Arial, sans-serif"
SERIF = "Newsreader, Georgia, serif"
MONO = "'JetBrains Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace"


@dataclass(frozen=True)
class Palette:
    """Every colour a figure or a fragment may use; text colours reach 4.5:1 on `paper`."""

    name: str
    """"light" or "dark"."""
    paper: str
    raised: str
    """Ground of table heads, tooltips and code."""
    ink: str
    muted: str
    """Axis labels, captions, second-rank text."""
    rule: str
    """Hairlines between blocks."""
    grid: str
    """Hairlines inside figures."""
    accent: str
    """The one thing looked at; the positive direction of a signed bar."""
    counter: str
    """The other side: the token compared against, the negative direction."""
    wide_band: str
    """Population, 5th to 95th percentile."""
    narrow_band: str
    """Population, quartiles; drawn over `wide_band`."""
    strands: tuple[str, ...]
    """Distinct colours for a handful of labelled lines: any two are told apart by readers without
    red, green or blue cones (tests/browser/test_colours.py has the distances)."""

    @property
    def is_dark(self) -> bool:
        """Whether the ground is dark."""
        return self.name == "dark"


LIGHT = Palette(
    name="light",
    paper="#fbf9f4",
    raised="#f2eee4",
    ink="#1b1f24",
    muted="#625f55",
    rule="#ddd6c6",
    grid="#ebe6da",
    accent="#a93a22",
    counter="#1d566d",
    wide_band="rgba(27, 31, 36, 0.06)",
    narrow_band="rgba(27, 31, 36, 0.09)",
    strands=("#a93a22", "#1d566d", "#66560a", "#5f4a86", "#356e35", "#6b675c"),
)

DARK = Palette(
    name="dark",
    paper="#13171b",
    raised="#1c2227",
    ink="#e6e3db",
    muted="#a3a69f",
    rule="#31383e",
    grid="#232a30",
    accent="#f0906d",
    counter="#7dbacd",
    wide_band="rgba(230, 227, 219, 0.06)",
    narrow_band="rgba(230, 227, 219, 0.09)",
    strands=("#f0906d", "#7dbacd", "#f2c95c", "#a884d2", "#b3dbb3", "#a3a69f"),
)


def palette(dark: bool) -> Palette:
    """The palette of the theme in use."""
    return DARK if dark else LIGHT


INKS = ("paper", "raised", "ink", "muted", "rule", "grid", "accent", "counter")
"""Colours that fragments may use, as `var(--atl-<name>)`."""


def variables() -> str:
    """Inks and typefaces as CSS variables; inks follow the theme without a new page run."""
    inks = "".join(
        f"--atl-{name}:light-dark({getattr(LIGHT, name)},{getattr(DARK, name)});" for name in INKS
    )
    return f"{inks}--atl-sans:{SANS};--atl-serif:{SERIF};--atl-mono:{MONO};"


def ink(name: str, strength: float = 1.0) -> str:
    """One of `INKS` for a style, mixed with the ground by `strength` in [0, 1]."""
    whole = f"var(--atl-{name})"
    if strength >= 1:
        return whole
    return f"color-mix(in srgb,{whole} {100 * strength:.1f}%,transparent)"


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" in [0, 1] (WCAG 2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two "#rrggbb" colours, 1 to 21 (WCAG 2)."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def axis(p: Palette) -> dict:
    """What every axis shares: small muted ticks, hairline grid, no box."""
    return {
        "showgrid": True,
        "gridcolor": p.grid,
        "gridwidth": 1,
        "zeroline": False,
        "showline": False,
        "ticks": "outside",
        "ticklen": 3,
        "tickcolor": p.rule,
        "tickfont": {"size": 11, "color": p.muted, "family": SANS},
        "title": {"font": {"size": 11.5, "color": p.muted, "family": SANS}, "standoff": 6},
        "fixedrange": True,
        "automargin": False,
    }


def template(p: Palette) -> dict:
    """Plotly template as a plain dict: `layout.template` of every figure of ours."""
    return {
        "layout": {
            "font": {"family": SANS, "size": 12, "color": p.ink},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 52, "r": 16, "t": 8, "b": 36},
            "xaxis": axis(p),
            "yaxis": axis(p),
            "showlegend": False,
            "colorway": list(p.strands),
            "dragmode": False,
            "hoverlabel": {
                "font": {"family": MONO, "size": 11.5, "color": p.ink},
                "bgcolor": p.raised,
                "bordercolor": p.rule,
            },
        }
    }
