"""The static atlas beside ours: the same full shape in its own file formats, in the same browser.

Its page, script and style are read from a copy of its repository that the caller names; nothing of
them is kept here. Its data files are made up from the store of full shape in a temporary folder:
`data/index.json` with the scalars of all features as columns, shards of 512 features with their
lives and tokens, and one `data/snippets.json` of the size that its repository records.
"""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.store import Store
from tests.benchmarks.pages_browser import watched
from tests.benchmarks.pages_painted import landed, timed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Response

SHARD = 512
KEPT = {"random": 0, "init": 0, "warmup": 8, "early": 512, "transition": 1000, "terminal": None}
"""Its columns of promoted tokens and their steps; None is the last."""
TOKENS = 30
SNIPPETS = 112_266_027
"""Bytes of its snippets file, if its repository does not say."""
MARK = "document.querySelector('.rows').firstChild.id = 'old'"
DRAWN_ANEW = "!document.querySelector('.rows #old')"


def files_of(peer: Path, out: Path) -> int:
    """Copy its page, script and style into `out`; bytes that its snippets file should have."""
    def read(name: str) -> str:
        if (peer / name).is_file():
            return (peer / name).read_text(encoding="utf8")
        return subprocess.run(
            ["git", f"--git-dir={peer}", "show", f"HEAD:{name}"],
            check=True, capture_output=True, text=True, encoding="utf8",
        ).stdout

    for name in ("index.html", "assets/atlas.js", "assets/atlas.css"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(read(name), encoding="utf8")
    found = re.search(r"size (\d+)", read("data/snippets.json")[:400])
    return int(found.group(1)) if found else SNIPPETS


def make_data(store: Path, run: str, out: Path, snippets: int) -> dict[str, int]:
    """Write its data files for a run of ours; bytes of each kind."""
    opened = Store.open(store)
    card = opened.run(run)
    texts = opened.token_texts(card.model)
    scalars = opened.ask(run, "SELECT * FROM {run}.feature ORDER BY feature").to_pandas()
    lives = opened.ask(
        run, "SELECT feature, norm, rate, rotation, to_terminal FROM {run}.life ORDER BY feature"
    ).to_pandas()
    norm, rate = (np.nan_to_num(np.array(lives[n].tolist(), float)) for n in ("norm", "rate"))
    steps = list(card.steps)
    middle = min(int(np.searchsorted(steps, 1000)), len(steps) - 1)
    draw = np.random.default_rng(0)
    top = [[texts[t] for t in row] for row in draw.integers(0, len(texts), (card.d_sae, 5))]
    peak = norm.argmax(axis=1)
    (out / "data" / "shards").mkdir(parents=True)
    near = draw.integers(0, card.d_sae, (card.d_sae, 10))
    classes = ["init", "pre-transition", "step1000-emergent", "mid-emergent", "late-emergent",
               "persistent", "other"]
    columns: dict[str, Any] = {
        "id": list(range(card.d_sae)),
        "lifecycle": [classes[i] for i in draw.integers(0, len(classes), card.d_sae)],
        "peak_step": [steps[i] for i in peak],
        "first_active_step": [steps[int(i)] for i in (rate > 1e-6).argmax(axis=1)],
        "lifetime_snaps": (rate > 1e-6).sum(axis=1).tolist(),
        "alive_at_end": (rate[:, -1] > 1e-6).tolist(),
        "norm_terminal": _short(norm[:, -1]), "norm_peak": _short(norm.max(axis=1)),
        "rate_terminal": _short(rate[:, -1]), "rate_peak": _short(rate.max(axis=1)),
        "direction_init_to_terminal": _short(draw.uniform(-1, 1, card.d_sae)),
        "step1000_norm_delta": _short(norm[:, middle] - norm[:, max(0, middle - 1)]),
        "step1000_rate_delta": _short(rate[:, middle] - rate[:, max(0, middle - 1)]),
        **{f"cusum_{n}": _short(draw.gamma(2, 2, card.d_sae))
           for n in ("rates", "norms", "rotation")},
        "threshold": _short(np.nan_to_num(scalars["threshold"].to_numpy(float))),
        "top1_token": [row[0] for row in top],
        "top5_token": [" · ".join(row) for row in top],
        "concept_top1": [""] * card.d_sae, "concept_set": [["plural_nouns"]] * card.d_sae,
    }
    meta = {"d_sae": card.d_sae, "seed": 0, "model": card.model, "n_snapshots": len(steps),
            "terminal_step": steps[-1], "shard_size": SHARD, "topk_tokens": TOKENS}
    _write(out / "data" / "index.json", {
        "meta": meta, "steps": steps, "lifecycle_categories": classes, "concept_names": [],
        "features": columns,
    })
    for low in range(0, card.d_sae, SHARD):
        high = min(low + SHARD, card.d_sae)
        _write(out / "data" / "shards" / f"feat_{low:06d}_{high:06d}.json", {"features": {
            str(i): _feature(i, columns, lives, near, texts, draw) for i in range(low, high)
        }})
    _write_snippets(out / "data" / "snippets.json", card.d_sae, texts, snippets, draw)
    data = out / "data"
    shards = [path.stat().st_size for path in data.glob("shards/*")]
    return {"index": (data / "index.json").stat().st_size, "shard": sum(shards) // len(shards),
            "snippets": (data / "snippets.json").stat().st_size}


def _feature(
    i: int, columns: dict[str, Any], lives: Any, near: np.ndarray, texts: list[str],
    draw: np.random.Generator,
) -> dict[str, Any]:
    tokens = draw.integers(0, len(texts), (len(KEPT), TOKENS))
    logits = -np.sort(-draw.gamma(3, 1, (len(KEPT), TOKENS)), axis=1)
    rows = {name: np.nan_to_num(np.array(lives[name].iloc[i], float))
            for name in ("norm", "rate", "rotation", "to_terminal")}
    return {
        "lifecycle": columns["lifecycle"][i], "peak_step": columns["peak_step"][i],
        "first_active_step": columns["first_active_step"][i],
        "norm_traj": _short(rows["norm"]), "rate_traj": _short(rows["rate"]),
        "direction_traj": _short(1 - rows["to_terminal"]),
        "rotation_traj": _short(rows["rotation"]),
        "concepts": [{"name": "plural_nouns", "hits": 4}],
        "neighbors": [{"id": int(n), "sim": 0.5} for n in near[i]],
        **{f"top_{name}": [{"tok": texts[t], "logit": round(float(v), 3)}
                           for t, v in zip(tokens[k], logits[k], strict=True)]
           for k, name in enumerate(KEPT)},
    }


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{v:.5g}") for v in values]


def _write(path: Path, found: Any) -> None:
    path.write_text(json.dumps(found, ensure_ascii=False), encoding="utf8")


def _write_snippets(
    path: Path, width: int, texts: list[str], size: int, draw: np.random.Generator
) -> None:
    """Eight snippets a feature, of as many tokens as make the file about `size` bytes."""
    def snippet(length: int) -> dict[str, Any]:
        tokens = draw.integers(0, len(texts), length)
        return {"score": 9.0, "pos": length // 2, "tokens": [texts[t] for t in tokens],
                "scores": [round(float(v), 2) for v in draw.normal(0, 2, length)]}

    probe = [len(json.dumps(snippet(n), ensure_ascii=False).encode()) for n in (8, 40)]
    each = max(0.1, (probe[1] - probe[0]) / 32)
    length = max(4, round((size / width / 8 - probe[0] + 8 * each) / each))
    ready = [snippet(length) for _ in range(997)]
    meta = {"total_tokens": 200_704, "mean": [0.0] * width, "std": [1.0] * width}
    with open(path, "w", encoding="utf8") as file:
        file.write('{"meta": ' + json.dumps(meta) + ', "snippets": {')
        for i in range(width):
            chosen = [ready[(8 * i + k) % len(ready)] for k in range(8)]
            file.write(f'{", " if i else ""}"{i}": {json.dumps(chosen, ensure_ascii=False)}')
        file.write("}}")


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """`python -m http.server` on a folder, as its README says."""
    handler = functools.partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def measure(
    chromium: "Browser", peer: Path, store: Path, run: str, folder: Path, repeats: int
) -> dict[str, Any]:
    """Its cold landing, filter, sort, first and next feature: seconds, and bytes over HTTP."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sizes = make_data(store, run, folder, files_of(peer, folder))
    ready = "document.querySelectorAll('.row').length > 5"
    shown = "!!document.querySelector('.feature-view')"
    found: dict[str, list[tuple[float, int]]] = {}
    with served(folder) as address:
        for _ in range(repeats + 1):
            with watched(chromium, address) as visit:
                got: list[int] = []
                visit.page.on("response", functools.partial(_count, got))
                pages: dict[str, tuple[float, int]] = {}

                def note(name: str, seconds: float, got: list = got, pages: dict = pages) -> None:
                    pages[name] = (seconds, sum(got))
                    got.clear()

                note("cold landing", landed(visit, address, 0, until=ready, idle=False).seconds)
                box = visit.page.locator("#f-token")
                box.click()
                visit.page.evaluate(MARK)
                note("filter", timed(visit, lambda b=box: b.press("e"), 0, DRAWN_ANEW,
                                     answered=False).seconds)
                head = visit.page.locator('.th[data-key="rate_terminal"]')
                visit.page.evaluate(MARK)
                note("sort", timed(visit, head.click, 0, DRAWN_ANEW, answered=False).seconds)
                row = visit.page.locator(".row").nth(2)
                note("row to first feature",
                     timed(visit, row.click, 0, until=shown, answered=False).seconds)
                near = visit.page.locator(".neighbor").first
                visit.page.evaluate("document.querySelector('.feature-view').id = 'old'")
                other = "!!document.querySelector('.feature-view:not(#old)')"
                note("neighbour to next feature",
                     timed(visit, near.click, 0, until=other, answered=False).seconds)
                for name, row_of in pages.items():
                    found.setdefault(name, []).append(row_of)
    return {"sizes": sizes, "acts": {
        name: {"median": median(s for s, _ in rows[1:]), "least": min(s for s, _ in rows[1:]),
               "most": max(s for s, _ in rows[1:]), "bytes": median(b for _, b in rows[1:])}
        for name, rows in found.items()
    }}


def _count(got: list[int], response: "Response") -> None:
    got.append(int(response.headers.get("content-length", "0")))
