"""Where the project keeps things; the one place that knows folder names."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout; the project is installed editable, so pages and data lie beside the code."""
DATA = ROOT / "data"
DEMO = DATA / "demo"
"""The shipped bundle, itself a store."""
RECIPES = DATA / "recipes"
INVENTORY = DATA / "inventory"
APP = ROOT / "pages" / "app.py"

STORE_VARIABLE = "READOUT_ATLAS_STORE"
"""Environment variable that names the store to open or to build into."""


def store_from_environment(default: Path = DEMO) -> Path:
    """The store named by the environment, else `default`."""
    named = os.environ.get(STORE_VARIABLE)
    return Path(named) if named else default


def run_path(store: Path, run: str) -> Path:
    """Run folder of a run id."""
    return store / "runs" / run


def model_path(store: Path, label: str) -> Path:
    """Folder of a language model's configuration, tokenizer and kept weights."""
    return store / "models" / label


def received_stores() -> Path:
    """Where stores that were fetched from others are kept: `$XDG_CACHE_HOME/readout-atlas`."""
    named = os.environ.get("XDG_CACHE_HOME")
    return Path(named if named else Path.home() / ".cache") / "readout-atlas"
