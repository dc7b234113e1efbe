"""Look the installation over: what is there, what is missing, and the command that mends it."""

import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas.artifacts import read_run, snapshot_path
from atlas.device import choose_device
from atlas.errors import AtlasError
from atlas.language_model import full_steps, load_tokenizer
from atlas.places import APP, ROOT, model_path, run_path
from atlas.records import RunCard
from atlas.store import Store
from atlas.tensor_files import sha256
from precompute.manifest import is_bare
from precompute.models import SOURCE

NEEDED = {
    "torch": (2, 10),
    "transformers": (5, 3),
    "tokenizers": (0, 20),
    "safetensors": (0, 5),
    "duckdb": (2, 0),
    "streamlit": (1, 54),
    "plotly": (5, 0),
}
"""Oldest version of each package that the project runs on."""
BELOW = {"duckdb": (3, 0)}
"""First version that is too new."""
ROOM = 1e9
"""Free bytes under which building is likely to fail."""
SETUP = "make setup"


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    ok: bool
    detail: str
    fix: str | None = None
    """What to run when it is not ok; None when there is nothing to do."""
    optional: bool = False
    """Whether the atlas works without it."""


def examine(store_dir: Path, network: bool = False) -> list[Check]:
    """All checks, from the ground up; none raises. The hub is asked only if `network` says so."""
    return [
        _python(),
        *(_package(name) for name in NEEDED),
        _device(),
        _pages(),
        _disk(store_dir),
        *_hub(network),
        *_store(store_dir),
        _browser(),
    ]


def is_well(checks: list[Check]) -> bool:
    """Whether everything needed is there."""
    return all(check.ok or check.optional for check in checks)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, f"{version} at {sys.executable}", None if ok else "install 3.11+")


def _version(text: str) -> tuple[int, ...]:
    digits = text.split("+")[0].split(".")[:2]
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in digits)


def _package(name: str) -> Check:
    try:
        text = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "not installed", SETUP)
    version = _version(text)
    oldest = ".".join(map(str, NEEDED[name]))
    if version < NEEDED[name]:
        return Check(name, False, f"{text}, older than {oldest}", SETUP)
    if name in BELOW and version >= BELOW[name]:
        return Check(name, False, f"{text}, newer than this code knows", SETUP)
    return Check(name, True, text)


def _device() -> Check:
    try:
        device = choose_device()
    except AtlasError as error:
        return Check("device", False, str(error), "unset READOUT_ATLAS_DEVICE")
    return Check("device", True, f"{device.name}: {device.reason}")


def _pages() -> Check:
    if APP.is_file():
        return Check("pages", True, str(APP))
    return Check("pages", False, f"{APP} is not there", f"git -C {ROOT} checkout pages")


def _disk(store_dir: Path) -> Check:
    there = next(p for p in (store_dir, *store_dir.parents) if p.exists())
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK)
    detail = f"{free / 1e9:.1f} GB free at {there}{'' if writable else ', not writable'}"
    return Check("disk", free >= ROOM, detail, None if free >= ROOM else "free at least 1 GB")


def _hub(network: bool) -> Iterator[Check]:
    """The client's cache, whether the network is forbidden, and, asked for, whether it answers."""
    from precompute.hub import Hub, asked_offline, cache_folder, has_token, is_answering

    cache = cache_folder()
    held = sum(p.stat().st_size for p in cache.rglob("*") if p.is_file() and not p.is_symlink())
    offline = asked_offline()
    flag = "offline by HF_HUB_OFFLINE" if offline else "online when a build needs it"
    token = "a token is set" if has_token() else "no token, none needed for what was released"
    yield Check("hub", True, f"{flag}; {held / 1e9:.1f} GB cached in {cache}; {token}",
                optional=True)
    if not network:
        return
    if offline:
        yield Check("hub answers", False, "not asked: HF_HUB_OFFLINE is set",
                    "unset HF_HUB_OFFLINE", optional=True)
        return
    hub = Hub()
    fault = is_answering(hub)
    yield Check("hub answers", fault is None, fault or hub.endpoint,
                None if fault is None else "readout-atlas build RUN --from DIR", optional=True)


def _store(store_dir: Path) -> Iterator[Check]:
    try:
        store = Store.open(store_dir)
        cards, faults = store.runs(), store.verify()
    except AtlasError as error:
        yield Check("store", False, str(error), "readout-atlas build demo")
        return
    if not cards:
        yield Check("store", False, f"{store_dir} holds no run", "readout-atlas build RUN")
        return
    for fault in faults:
        yield Check("store", False, fault, _command(fault))
    if not faults:
        yield Check("store", True, f"{len(cards)} runs in {store_dir}, every file as built")
    yield from _runs(store_dir, cards)
    for model, run in sorted({card.model: card.run for card in cards}.items()):
        yield _language_model(store_dir, model, run)


def _command(fault: str) -> str:
    """The command that a fault's own line names in backquotes."""
    quoted = fault.split("`")
    return quoted[1] if len(quoted) > 2 else "readout-atlas build demo"


def _runs(store_dir: Path, cards: list[RunCard]) -> Iterator[Check]:
    bare = [card for card in cards if is_bare(run_path(store_dir, card.run))]
    if bare:
        yield Check("weights", False, f"{len(bare)} runs were shared without weights: everything "
                    "is shown but prompts", f"readout-atlas build {bare[0].run}", optional=True)
    faults = [fault for card in cards if card not in bare
              for fault in _run_faults(store_dir, card)]
    for fault in faults:
        yield Check("run folders", False, fault, "git checkout data/demo, or train it again")
    if not faults:
        yield Check("run folders", True, "weights as recorded, every snapshot there")


def _run_faults(store_dir: Path, card: RunCard) -> Iterator[str]:
    try:
        folder = read_run(run_path(store_dir, card.run))
    except AtlasError as error:
        yield str(error)
        return
    recorded = folder.provenance.get("weights")
    if recorded is not None and sha256(folder.weights) != recorded:
        yield f"{folder.weights} is not the file that was trained"
    for step in folder.steps:
        path = snapshot_path(store_dir, card.model_name, step, card.matrix)
        if not path.is_file():
            yield f"{path} is not there"


def _language_model(store_dir: Path, model: str, run: str) -> Check:
    """Tokenizer and whole models of one language model, which `run` reads."""
    folder = model_path(store_dir, model)
    name = f"language model {model}"
    store = f"--store {shlex.quote(str(store_dir))}"
    fetched = (folder / SOURCE).is_file()
    mend = (f"readout-atlas build {run} --model {store}" if fetched
            else f"readout-atlas train models/{model} {store}")
    try:
        load_tokenizer(folder)
    except AtlasError as error:
        return Check(name, False, str(error), mend, optional=True)
    steps = full_steps(folder)
    if not steps:
        return Check(name, False, f"{folder} keeps no whole model; no prompt can be read", mend,
                     optional=True)
    return Check(name, True, f"whole at steps {', '.join(map(str, steps))}")


def _browser() -> Check:
    """A Chromium for the browser tests; the atlas itself needs none of its own."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                 None)
    named = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    cache = Path(named) if named else Path.home() / ".cache" / "ms-playwright"
    if found is None and cache.is_dir():
        found = next((str(p) for p in sorted(cache.glob("chromium*"))), None)
    if importlib.util.find_spec("playwright") is None:
        return Check("chromium", False, "playwright is not installed; only browser tests need it",
                     "make test", optional=True)
    if found is None:
        return Check("chromium", False, "not found; only browser tests need it",
                     "python -m playwright install chromium", optional=True)
    return Check("chromium", True, found, optional=True)
