"""What the verbs share: JSON that programs can read, tables that people can, the choice of a store.

Text of tokens and prompts is printed as `show_token` draws it: a token may hold control characters
that would move the cursor or reverse the line.
"""

import difflib
import json
import math
import re
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from atlas.errors import InvalidValue, NotFound
from atlas.places import DATA, DEMO, run_path, store_from_environment
from atlas.store import POINTER, Store
from precompute.kept import silent
from precompute.locate import Located, from_folder, is_run_folder
from precompute.manifest import is_share

USERS_STORE = DATA / "store"
"""Where `build` and `train` write when nothing else is said."""


def print_json(value: Any) -> None:
    """Print a value as ASCII JSON; numbers that are not finite become null."""
    print(json.dumps(_finite(value), indent=1, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


class Progress:
    """Progress of long work, one call a line.

    On a terminal the lines that count ("step 3/40", "snapshot 3 of 24") move a bar on stderr.
    Otherwise every line goes to stdout: stderr is left to the one line of a failure.
    """

    COUNT = re.compile(r"(\d+)(?:/| of )(\d+)")

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def __call__(self, line: str) -> None:
        counted = self.COUNT.search(line)
        if counted is None or not sys.stderr.isatty() or int(counted[2]) == 0:
            self.close()
            print(line, flush=True)
            return
        what, done, total = line[: counted.start()].strip(), int(counted[1]), int(counted[2])
        if self._bar is None or (self._bar.desc, self._bar.total) != (f"{what}: ", total):
            self.close()
            self._bar = tqdm(total=total, desc=what, leave=False, file=sys.stderr)
        self._bar.set_postfix_str(line[counted.end() :].strip(" :,"), refresh=False)
        self._bar.n = done
        self._bar.refresh()

    def close(self) -> None:
        """Take away a bar that is still drawn."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


progress = Progress()
"""The one that all verbs use."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: Iterable[int]) -> str:
    """Columns of text under a header; the columns in `left` flush left, the others right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    left = set(left)

    def drawn(line: Sequence[str]) -> str:
        cells = (
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join([drawn(lines[0]), "  ".join("-" * w for w in widths), *map(drawn, lines[1:])])


def number(value: float | None, digits: int = 3) -> str:
    """A number in a table; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def size(n_bytes: float) -> str:
    """A size in decimal units."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"


def quoted(path: Path) -> str:
    """A path as it is typed in a command."""
    return shlex.quote(str(path))


def named_store(args: Namespace) -> Path:
    """The store that `--store` names; one that others share is received first, once.

    `hf://datasets/OWNER/NAME[@REVISION]` or a folder that `export` wrote becomes a store in the
    user's cache folder.
    """
    if args.store.startswith("hf://") or is_share(Path(args.store)):
        from precompute.remote import opened  # loads the hub's client, half a second

        store = opened(args.store, silent if getattr(args, "json", False) else progress)
        progress.close()
        return store
    return Path(args.store).absolute()


def store_to_read(args: Namespace) -> Path:
    """The store a verb reads: `--store`, else the environment, else the user's, else the bundle."""
    if args.store is not None:
        return named_store(args)
    theirs = USERS_STORE if (USERS_STORE / POINTER).is_file() else DEMO
    return store_from_environment(theirs).absolute()


def store_for_run(args: Namespace, run: str) -> Path:
    """The same for a verb about one run: of the user's store and the bundle, whichever has it."""
    having = (s for s in (USERS_STORE, DEMO) if run and run_path(s, run).is_dir())
    if args.store is not None:
        return named_store(args)
    return store_from_environment(next(having, store_to_read(args))).absolute()


def store_to_write(args: Namespace) -> Path:
    """The store a verb writes: `--store`, else the environment, else `data/store`."""
    named = args.store or store_from_environment(USERS_STORE)
    if str(named).startswith("hf://"):
        raise InvalidValue(
            f"{named} can be read, not written; name a folder with --store and send it with "
            "`readout-atlas publish`"
        )
    return Path(named).absolute()


def located(args: Namespace) -> Located:
    """The run that `args.run` names: a run folder, or an id in the store that is read."""
    if is_run_folder(args.run):
        return from_folder(args.run)
    run = args.run.strip("/").removesuffix(".safetensors")
    store = store_for_run(args, run)
    if run and run_path(store, run).is_dir() and ".." not in Path(run).parts:
        return Located(run, store)
    known = [card.run for card in Store.open(store).runs()]
    near = difflib.get_close_matches(run, known, n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else "`readout-atlas runs` lists them"
    raise NotFound(f"no run {args.run!r} in {store}; {hint}")
