"""The stage that takes prompts apart while a run is built."""

import json
import shutil
from pathlib import Path

import pytest

from atlas import gallery as kept
from atlas.bank import DEMO_MODELS
from atlas.errors import BrokenArtifact
from atlas.explanations import Ask
from atlas.gallery import ask_of
from atlas.places import model_path
from atlas.store import Store
from precompute.gallery_list import gallery_list
from precompute.publish import publish
from precompute.stages import precompute_run
from precompute.writer import read_meta
from tests.tiny import EMBEDDING, LARGE_MODEL, PRISM, SEED0


def test_the_shipped_list_is_whole() -> None:
    for model in (f"{DEMO_MODELS}large", "pythia-160m"):
        found = gallery_list(model)
        assert len(found) >= 12
        assert len({entry.name for entry in found}) == len(found)
        for entry in found:
            for ask in entry.asks:
                assert isinstance(ask_of(ask), Ask)
    from pages.decompose import EXAMPLES

    prompts = {entry.prompt for entry in gallery_list(f"{DEMO_MODELS}large")}
    assert set(EXAMPLES.values()) <= prompts


def test_a_list_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gallery.json"
    path.write_text('{"english": 3}', encoding="utf8")
    with pytest.raises(BrokenArtifact, match=r"gallery\.json is no list of prompts"):
        gallery_list("pythia-160m", path)


def told(store: Path, run: str) -> dict[str, str | None]:
    return json.loads(read_meta(store / Store.open(store).run(run).file)["gallery"])


def test_without_a_model_there_is_none_and_the_reason_is_kept(
    tiny_store: Path, tmp_path: Path
) -> None:
    assert "embedding" in told(tiny_store, EMBEDDING)["reason"]
    assert told(tiny_store, PRISM)["reason"] is None
    own = Path(shutil.copytree(tiny_store, tmp_path / "own"))
    for file in model_path(own, LARGE_MODEL).glob("step*.safetensors"):
        file.unlink()
    assert precompute_run(own, SEED0).done == ()  # what was made of the model stays
    assert kept.listed(Store.open(own), SEED0)
    precompute_run(own, SEED0, force=True)
    publish(own)
    assert "keeps no whole tiny-large" in told(own, SEED0)["reason"]
    assert kept.listed(Store.open(own), SEED0) == ()


def test_what_cannot_be_asked_is_left_out_and_said(tiny_store: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(tiny_store, tmp_path / "own"))
    shutil.rmtree(own / "runs" / PRISM / "stages" / "gallery")
    lines: list[str] = []
    precompute_run(own, PRISM, force=True, report=lines.append)
    assert any(line.startswith("note: gallery: Verdict left out") for line in lines)
    asked = [entry.ask for entry in kept.listed(Store.open(tiny_store), PRISM)]
    assert Ask(target=" guilty", versus=" not") not in asked
