"""The figures of `bench_pages` as a page: what, target, seen, and whether it is met."""

from pathlib import Path
from typing import Any

BUDGETS = {
    "filter": 0.3, "sort": 0.3, "page": 0.3, "row to feature": 0.7,
    "neighbour to next feature": 0.6, "next with n": 0.6, "cold landing": 2.0,
    "cold deep link": 3.5, "population page": 1.5, "another window": 0.3,
}
"""Seconds from the act to the painted page."""
WORDS = {
    "filter": "filter Browse by a text",
    "sort": "sort Browse by another measure",
    "page": "next page of Browse",
    "step of Browse": "another step, Browse ranked anew",
    "row to feature": "row of Browse to its feature",
    "next with n": "next feature of the list, by its key",
    "neighbour to next feature": "neighbour to next feature",
    "step of Feature": "another step of a feature",
    "token search": "search a token on Token",
    "map opening": "open the map of Browse",
    "population page": "from Browse to the population through training",
    "order of the lives": "all lives in another order",
    "another window": "another reorganisation window, typed",
    "cold landing": "cold landing page",
    "cold deep link": "cold deep link to a feature",
    "cold landing, tour shown": "cold landing page, first visit (the tour is shown)",
    "empty page": "cold: Streamlit itself with one line of text",
}
BYTES, CPU, RUNS = 100_000, 90.0, 1
CROWD = {"browse": 0.8, "feature": 2.0}
MEMORY, SESSION = 350.0, 1.0
PAGES = {"one": 15.0, "many": 25.0}
TOKEN = {"one": 10.0, "many": 50.0}


def verdict(seen: float, target: float) -> str:
    """Whether a target is met, and by how much it is missed."""
    return "met" if seen <= target else f"**{seen / target:.1f} × the target**"


def written(figures: dict[str, Any]) -> str:
    """All tables that there are figures for."""
    lines = [
        "# The pages at full shape",
        "",
        f"`make bench-pages` wrote this on {figures['measured']}; {figures['machine']}.",
        "",
        f"{figures['shape']}, run `{figures['run']}`, made up by "
        "`tests/benchmarks/full_shape.py`. Load of the machine before and after each part: "
        + "; ".join(f"{name} {before:.1f}, {after:.1f}"
                    for name, (before, after) in figures["load"].items())
        + ". Above 1 others were using it too, and seconds are longer than they would be.",
    ]
    for name, part in (("browser", _browser), ("queries", _queries), ("crowd", _crowd),
                       ("memory", _memory), ("peer", _peer)):
        if name in figures:
            lines += ["", *part(figures)]
    return "\n".join(lines) + "\n"


def _browser(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## From the click to the painted page",
        "",
        "In a headless Chromium without a GPU, by its own clock: from the press to the second "
        "animation frame after the last change of the document or of a canvas; the wait that makes "
        "sure that nothing follows is not counted. Cold: a browser with nothing kept, from the "
        "start of the navigation, on a server that has served before. Server time is the "
        "processor time of the whole server process. Budget of every act besides the seconds: "
        f"{BYTES // 1000} kB, {RUNS} run of the script; the bytes of an opening are besides, they "
        "bring style and script.",
        "",
        "| what | target, s | median, s | least to most | | kB | runs | server, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in figures["browser"].items():
        target = BUDGETS.get(name)
        said = "" if target is None else verdict(row["median"], target)
        opening = name.startswith(("cold", "empty"))  # brings the style and the script once
        extra = "" if opening or row["bytes"] <= BYTES else " **over**"
        lines.append(
            f"| {WORDS[name]} | {'' if target is None else target} | **{row['median']:.2f}** | "
            f"{row['least']:.2f} to {row['most']:.2f} | {said} | {row['bytes'] / 1000:.0f}{extra} "
            f"| {row['runs']:.0f} | {row['cpu']:.0f} |"
        )
    feature = figures["browser"].get("next with n")
    if feature:
        lines += ["", f"Server time of one feature rerun: {feature['cpu']:.0f} ms, target "
                  f"{CPU:.0f}: {verdict(feature['cpu'], CPU)}."]
    return lines


def _queries(figures: dict[str, Any]) -> list[str]:
    found = figures["queries"]
    lines = [
        "## Questions to the store",
        "",
        "Processor milliseconds of what DuckDB is asked by a page, all threads; beside them what "
        "is computed from the answers and what keeping them costs. `next`: another feature, token "
        "or list of a run that was looked at before. `nothing kept`: every cache of answers "
        f"emptied before. {found['runs']} runs: the one file under as many names (hard links), a "
        "catalog of as many rows.",
        "",
        f"| page | target, 1 run | next, DuckDB | | all | queries | nothing kept, all | queries | "
        f"target, {found['runs']} runs | next, DuckDB | | all | nothing kept, all |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found["one"].items():
        if "cold" not in one:
            continue
        many = found["many"][name]
        lines.append(
            f"| {name} | {PAGES['one']:.0f} | **{one['next_duckdb']:.1f}** | "
            f"{verdict(one['next_duckdb'], PAGES['one'])} | {one['next']:.1f} | "
            f"{one['next_queries']:.0f} | {one['cold']:.1f} | {one['cold_queries']:.0f} | "
            f"{PAGES['many']:.0f} | **{many['next_duckdb']:.1f}** | "
            f"{verdict(many['next_duckdb'], PAGES['many'])} | {many['next']:.1f} | "
            f"{many['cold']:.1f} |"
        )
    lines += ["", "Token search, all of it: the tokens that a text means and the features that "
              "promote them or fire on them.", "", "| what | target, ms | ms | |",
              "|---|---|---|---|"]
    every = found["many"]["token in every run"]["next"]
    for what, target, seen in (
        ("one token, one run", TOKEN["one"], found["one"]["features of a token"]["next"]),
        ("a part of up to 200 tokens, one run", TOKEN["one"],
         found["one"]["features of a part"]["next"]),
        (f"one token, {found['runs']} runs one after another: what promotes it", TOKEN["many"],
         every),
    ):
        lines.append(f"| {what} | {target:.0f} | **{seen:.1f}** | {verdict(seen, target)} |")
    return lines


def _crowd(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## Twenty readers at once",
        "",
        "Protocol clients that think 0 to 5 s between requests; the time is from the request to "
        "the end of the script's run, all messages read. Clients and server share the machine.",
        "",
        "| page | one reader, median s | twenty, median s | target p95, s | p95, s | | requests | "
        "server, ms each |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for page, row in figures["crowd"].items():
        lines.append(
            f"| {page.capitalize()} | {row['alone']:.2f} | {row['p50']:.2f} | {CROWD[page]} | "
            f"**{row['p95']:.2f}** | {verdict(row['p95'], CROWD[page])} | {row['runs']} | "
            f"{row['cpu']:.0f} |"
        )
    return lines


def _memory(figures: dict[str, Any]) -> list[str]:
    row = figures["memory"]
    return [
        "## Memory of the server",
        "",
        "Resident megabytes, mapped pages of the files included. The runs are hard links to one "
        "file, each opened and asked on its own.",
        "",
        "| what | target | seen | |",
        "|---|---|---|---|",
        f"| started, one session, nothing asked | | {row['started']:.0f} | |",
        f"| {row['runs']} runs, Browse and Feature of each | {MEMORY:.0f} | "
        f"**{row['visited']:.0f}** | {verdict(row['visited'], MEMORY)} |",
        f"| per further session of {row['held']} held | {SESSION:.0f} | "
        f"**{row['per_session']:.2f}** | {verdict(row['per_session'], SESSION)} |",
    ]


def _peer(figures: dict[str, Any]) -> list[str]:
    peer = figures["peer"]
    head = ["## Beside the static atlas", ""]
    if peer is None:
        return [*head, "Left out: no copy of its repository was named (`--peer DIR`)."]
    ours = figures.get("browser", {})
    sizes = peer["sizes"]
    lines = [
        *head,
        "crosscoder-atlas-1b, one dictionary on static files, in the same browser; its own page "
        "and script over data of this shape in its own formats: an index of "
        f"{sizes['index'] / 1e6:.1f} MB, shards of {sizes['shard'] / 1e6:.1f} MB, snippets of "
        f"{sizes['snippets'] / 1e6:.0f} MB, which the first feature loads whole. It has no "
        "snapshots to choose, seeds, prompts or links to a filtered list. Both are served from "
        "this machine: over a network its megabytes weigh more.",
        "",
        "| what | static: median, s | MB | here: median, s | kB |",
        "|---|---|---|---|---|",
    ]
    same = {"row to first feature": "row to feature"}
    for name, row in peer["acts"].items():
        mine = ours.get(same.get(name, name))
        here = ("| |" if mine is None
                else f"{mine['median']:.2f} | {mine['bytes'] / 1000:.0f} |")
        lines.append(f"| {name} | {row['median']:.2f} | {row['bytes'] / 1e6:.1f} | {here}")
    return lines


# --- the short table of the README ---------------------------------------------------------------

BEGIN, END = "<!-- speed -->", "<!-- /speed -->"
"""Lines of the README between which the short table stands."""
SHORT = {
    "filter": "filter", "sort": "sort", "page": None, "row to feature": "row to first feature",
    "neighbour to next feature": "neighbour to next feature", "cold landing": "cold landing",
    "cold deep link": None,
}
"""Acts of the short table and the same of the static atlas, where it has it."""


def short(figures: dict[str, Any]) -> str:
    """What, target, seen and the static atlas: a few lines."""
    peer = (figures.get("peer") or {}).get("acts", {})
    lines = ["| what | target | here | static 1B atlas |", "|---|---|---|---|"]
    for name, same in SHORT.items():
        row = figures.get("browser", {}).get(name)
        if row is None:
            continue
        other = peer.get(same or "")
        there = "" if other is None else (
            f"{other['median']:.2f} s, {other['bytes'] / 1e6:.1f} MB"
        )
        lines.append(f"| {WORDS[name]} | {BUDGETS[name]} s | {row['median']:.2f} s | {there} |")
    if row := figures.get("browser", {}).get("next with n"):
        lines.append(f"| bytes and server time of a feature rerun | {BYTES // 1000} kB, "
                     f"{CPU:.0f} ms | {row['bytes'] / 1000:.0f} kB, {row['cpu']:.0f} ms | |")
    for page, row in figures.get("crowd", {}).items():
        lines.append(f"| 20 readers at once, {page.capitalize()}, 95 % within | {CROWD[page]} s | "
                     f"{row['p95']:.2f} s | |")
    if row := figures.get("memory"):
        lines.append(f"| server memory, {row['runs']} runs; each further reader | {MEMORY:.0f} MB; "
                     f"{SESSION:.0f} MB | {row['visited']:.0f} MB; {row['per_session']:.1f} MB | |")
    return "\n".join(lines)


def into_readme(readme: Path, figures: dict[str, Any]) -> None:
    """Put the short table between the marks of the README; one without marks is left as it is."""
    text = readme.read_text(encoding="utf8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if begin and end:
        readme.write_text(f"{head}{BEGIN}\n{short(figures)}\n{END}{tail}", encoding="utf8")
