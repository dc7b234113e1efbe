"""Processor time of everything a page asks, with one run in the store and with many.

    python -m tests.benchmarks.pages_queries STORE RUN --json OUT

Pages are run by Streamlit's own AppTest in this process. `others` clears every cache of the
answers before each turn; `next` keeps what all features, tokens or lists of a run share and asks
for another feature, token or list each time, as a reader who goes on does.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from atlas.places import APP, STORE_VARIABLE

TURNS = 9
WORDS = ("ing", "the", "er", "al", "un", "re", "in", "on", "ed", "ly", "es", "st")


def pages(run: str, features: list[int], tokens: list[int]) -> dict[str, Callable[[int], Any]]:
    """Page and parameters by the turn, for each kind of question."""
    return {
        "Browse, sorted": lambda t: ("browse", {"run": run, "sort": "rate_final", "page": t + 2}),
        "Browse, searched": lambda t: ("browse", {"run": run, "q": WORDS[t]}),
        "Browse, one token": lambda t: ("browse", {"run": run, "token_text": " " + WORDS[t]}),
        "Browse, part of a token": lambda t: (
            "browse", {"run": run, "token_text": WORDS[t], "match": "substring"}
        ),
        "Browse, map": lambda t: ("browse", {"run": run, "view": "map", "q": WORDS[t]}),
        "Feature": lambda t: ("feature", {"run": run, "feature": features[t]}),
        "Token": lambda t: ("token", {"run": run, "token": tokens[t]}),
        "Token, search": lambda t: (
            "token", {"run": run, "token": tokens[0], "find": WORDS[t]}
        ),
    }


def measure(store: Path, run: str, turns: int = TURNS) -> dict[str, dict[str, float]]:
    """Milliseconds and queries of each kind of question."""
    os.environ[STORE_VARIABLE] = str(store)
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    from pages.shared import PAGES
    from tests.counting import counted

    width = _d_sae(store, run)
    features = [(37 + 211 * i) % width for i in range(turns + 1)]
    tokens = [300 + 7 * i for i in range(turns + 1)]
    found: dict[str, dict[str, float]] = {}
    for name, address in pages(run, features, tokens).items():
        kept: dict[str, list[tuple[float, float, int]]] = {"next": [], "nothing kept": []}
        for way, rows in kept.items():
            for turn in range(turns + 1):
                page, parameters = address(turn)
                app = AppTest.from_file(str(APP), default_timeout=120)
                if page != "browse":
                    app.query_params["run"] = run
                    app.run()
                    app.switch_page(PAGES[page][1])
                for key in list(app.query_params):
                    del app.query_params[key]
                for key, value in parameters.items():
                    app.query_params[key] = str(value)
                if way == "nothing kept":
                    st.cache_data.clear()
                with counted() as asked:
                    app.run()
                assert not app.exception, [e.message for e in app.exception]
                rows.append((asked.seconds, asked.in_queries, len(asked.queries)))
        found[name] = {
            "next": 1000 * median(r[0] for r in kept["next"][1:]),
            "next_duckdb": 1000 * median(r[1] for r in kept["next"][1:]),
            "next_queries": median(r[2] for r in kept["next"][1:]),
            "cold": 1000 * median(r[0] for r in kept["nothing kept"][1:]),
            "cold_queries": median(r[2] for r in kept["nothing kept"][1:]),
        }
    found["token in every run"] = every_run(store, turns)
    found["features of a token"] = one_run(store, run, "exact", turns)
    found["features of a part"] = one_run(store, run, "substring", turns)
    return found


def _d_sae(store: Path, run: str) -> int:
    from atlas.store import Store

    return Store.open(store).run(run).d_sae


def every_run(folder: Path, turns: int) -> dict[str, float]:
    """Features that promote one token in each run of the store, one question after another."""
    from atlas.store import Store

    store = Store.open(folder)
    sql = "SELECT feature, snapshots FROM {run}.token_index WHERE token = $token"
    runs, spent = store.runs(), []
    for turn in range(turns + 1):
        begun = time.process_time()
        for card in runs:
            store.ask(card.run, sql, token=300 + 7 * turn)
        spent.append(1000 * (time.process_time() - begun))
    return {"next": median(spent[1:]), "next_queries": len(runs)}


def one_run(folder: Path, run: str, match: str, turns: int) -> dict[str, float]:
    """Features that promote the tokens a text means or fire on them: the whole search."""
    from atlas.searches import features_of_tokens
    from atlas.store import Store
    from atlas.token_search import matching_tokens
    from atlas.wishes import EITHER

    store, spent = Store.open(folder), []
    for turn in range(turns + 1):
        begun = time.process_time()
        tokens = matching_tokens(store, run, WORDS[turn], match)[:200]
        features_of_tokens(store, run, 0, tokens, EITHER, False)
        spent.append(1000 * (time.process_time() - begun))
    return {"next": median(spent[1:])}


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("run")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=TURNS)
    args = parser.parse_args()
    args.json.write_text(json.dumps(measure(args.store, args.run, args.turns), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
