"""The prompts of the gallery, as `data/banks/gallery.json` lists them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.bank import DEMO_MODELS
from atlas.errors import BrokenArtifact
from atlas.places import BANKS

GALLERY_FILE = BANKS / "gallery.json"
"""Prompts that are taken apart when a run is built."""


@dataclass(frozen=True)
class Listed:
    """One prompt and what is asked of it."""

    name: str
    prompt: str
    shows: str | None
    """What there is to see."""
    asks: tuple[Mapping[str, Any], ...]
    """Fields of `atlas.asking.Ask`; an empty one asks for the two likeliest tokens."""


def gallery_list(model: str, path: Path = GALLERY_FILE) -> tuple[Listed, ...]:
    """The prompts for a language model: the bundle's own, or English ones.

    Raises:
        BrokenArtifact: the file is damaged.
    """
    family = "demo" if model.startswith(DEMO_MODELS) else "english"
    try:
        told = json.loads(path.read_text(encoding="utf8"))[family]
        return tuple(
            Listed(str(entry["name"]), str(entry["prompt"]), entry.get("shows"),
                   tuple(dict(ask) for ask in entry.get("asks", [{}])))
            for entry in told
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenArtifact(f"{path} is no list of prompts ({error!r:.100})") from error
