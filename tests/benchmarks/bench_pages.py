"""What the pages cost at full shape: DESIGN section 9's table, target and seen.

    python -m tests.benchmarks.bench_pages [--store DIR] [--peer DIR] [--repeats N]

Everything is measured on a running atlas: the browser's figures in a real Chromium by its own
clock (`pages_painted`), the crowd's over the websocket protocol (`pages_crowd`), the questions in
a process of their own (`pages_queries`). With `--peer` the static atlas is measured in the same
browser in the same run (`pages_peer`); without it a line says that it was left out.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas.places import ROOT
from atlas.store import POINTER, Store
from tests.benchmarks import pages_browser, pages_crowd, pages_peer, pages_table
from tests.benchmarks.bench_precompute import machine
from tests.benchmarks.pages_store import many_runs
from tests.browser.visits import browser, serve

HERE = Path(__file__).parent
PARTS = ("queries", "browser", "crowd", "memory", "peer")
FEW, MANY = 10, 73
"""Runs of the two larger stores."""


def questions(store: Path, run: str, work: Path, turns: int) -> Any:
    """The questions of the pages, in a process of their own."""
    out = work / "queries.json"
    subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.pages_queries", str(store), run,
         "--json", str(out), "--turns", str(turns)],
        check=True, stderr=subprocess.DEVNULL,
    )
    return json.loads(out.read_text())


def in_browser(store: Path, run: str, width: int, work: Path, repeats: int) -> Any:
    """The clicks of a reader."""
    served = serve(store)
    try:
        with browser() as chromium:
            assert chromium is not None, "no Chromium is here; `make browser` gets one"
            features = [(37 + 211 * i) % width for i in range(4)]
            return pages_browser.measure(
                chromium, served.address, served.process.pid, run, features, work, repeats
            )
    finally:
        served.end()


def in_crowd(store: Path, run: str, width: int) -> Any:
    """Twenty readers on Browse, then on Feature."""
    served = serve(store)
    try:
        return {page: pages_crowd.crowd(served.address, served.process.pid, page, run, width)
                for page in ("browse", "feature")}
    finally:
        served.end()


def in_memory(store: Path) -> Any:
    """The server with ten runs, and what a session adds."""
    served = serve(store)
    try:
        runs = [card.run for card in Store.open(store).runs()]
        return pages_crowd.weights(served.address, served.process.pid, runs)
    finally:
        served.end()


def beside(peer: Path | None, store: Path, run: str, work: Path, repeats: int) -> Any:
    """The static atlas, or None where there is no copy of it."""
    if peer is None:
        return None
    with browser() as chromium:
        assert chromium is not None
        return pages_peer.measure(chromium, peer, store, run, work / "static", repeats)


def main() -> int:
    """Measure what is asked for, keep the figures, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, default=Path("build/full-shape"))
    parser.add_argument("--run", help="another run than the store's first crosscoder")
    parser.add_argument("--peer", type=Path, help="a copy of the static atlas's repository")
    parser.add_argument("--work", type=Path, default=Path("build/pages"))
    parser.add_argument("--repeats", type=int, default=pages_browser.REPEATS)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS,
                        help="measure these again and keep the other figures")
    parser.add_argument("--out", type=Path, default=HERE / "pages.md")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md",
                        help="its short table is written anew")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    store = args.store.resolve()
    if not (store / POINTER).is_file():
        print(f"there is no store in {store}; `make bench-precompute` makes one", file=sys.stderr)
        return 2
    cards = Store.open(store).runs()
    card = next(c for c in cards if c.run == args.run or (not args.run and c.kind == "crosscoder"))
    kept = args.work / "figures.json"
    figures = json.loads(kept.read_text()) if kept.is_file() else {}

    def part(name: str, act: Callable[[], Any]) -> None:
        if name not in args.only:
            return
        print(f"{name} …", flush=True)
        before = os.getloadavg()[0]
        figures[name] = act()
        figures.setdefault("load", {})[name] = [before, os.getloadavg()[0]]
        kept.write_text(json.dumps(figures, indent=1))

    part("queries", lambda: {
        "one": questions(store, card.run, args.work, args.repeats),
        "many": questions(many_runs(store, MANY, args.work / f"{MANY}-runs"), card.run, args.work,
                          args.repeats),
        "runs": MANY,
    })
    part("browser", lambda: in_browser(store, card.run, card.d_sae, args.work, args.repeats))
    part("crowd", lambda: in_crowd(store, card.run, card.d_sae))
    part("memory", lambda: in_memory(many_runs(store, FEW, args.work / f"{FEW}-runs")))
    part("peer", lambda: beside(args.peer, store, card.run, args.work, args.repeats))
    figures |= {
        "machine": machine(), "measured": time.strftime("%Y-%m-%d"), "run": card.run,
        "shape": f"{card.d_sae:,} features x {len(card.steps)} snapshots x "
        f"{len(Store.open(store).token_texts(card.model)):,} rows",
    }
    kept.write_text(json.dumps(figures, indent=1))
    args.out.write_text(pages_table.written(figures))
    pages_table.into_readme(args.readme, figures)
    print(args.out.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
