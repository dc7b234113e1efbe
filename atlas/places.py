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

BANKS = DATA / "banks"
"""Query banks and the prompts of the gallery that come with the project."""
GALLERY = DATA / "gallery"
"""Collections that come with the project, about the bundle's runs."""
QUESTIONS = DATA / "questions.json"
"""Questions about the bundle's runs, each with the address that answers it."""

STORE_VARIABLE = "READOUT_ATLAS_STORE"
"""Environment variable that names the store to open or to build into."""
COLLECTIONS_VARIABLE = "READOUT_ATLAS_COLLECTIONS"
"""Environment variable that names the folder collections are kept in; `none` keeps none."""


def store_from_environment(default: Path = DEMO) -> Path:
    """The store named by the environment, else `default`."""
    named = os.environ.get(STORE_VARIABLE)
    return Path(named) if named else default


MATRICES = {"W_U": "wu", "W_E": "we"}
"""The two matrices, and how the name of a snapshot's file spells them."""


def snapshot_path(store: Path, model_name: str, step: int, matrix: str) -> Path:
    """Where a snapshot lies: `snapshots/<owner>_<name>_step<N>_<wu|we>.safetensors`."""
    slug = model_name.replace("/", "_")
    return store / "snapshots" / f"{slug}_step{step}_{MATRICES[matrix]}.safetensors"


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


def collections_folder() -> Path | None:
    """Where collections are kept: `$XDG_DATA_HOME/readout-atlas/collections` unless the
    environment names a folder; None when it says `none`.
    """
    named = os.environ.get(COLLECTIONS_VARIABLE, "").strip()
    if named:
        return None if named == "none" else Path(named)
    home = os.environ.get("XDG_DATA_HOME")
    data = Path(home) if home else Path.home() / ".local" / "share"
    return data / "readout-atlas" / "collections"
