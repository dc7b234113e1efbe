"""A dictionary that llamascopium itself trained: taken in, verified, precomputed, opened.

`tests/fixtures/llamascopium` was written by `tests/peers/llamascopium_release.py`, with figures
from the library's own encode and decode.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from atlas.browsing import Wish, page
from atlas.store import Store
from precompute.intake import recognise, take_in
from precompute.locate import Located
from precompute.publish import publish
from precompute.stages import precompute_run
from precompute.verify import verify

PEER = Path(__file__).parents[1] / "fixtures" / "llamascopium"
RUN = "peer-tiny/W_U/cross-snapshot-6/d64/seed0"
CLOSE = 1e-4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the peer's snapshots, tokenizer and dictionary."""
    folder = tmp_path_factory.mktemp("peer store")
    shutil.copytree(PEER / "snapshots", folder / "snapshots")
    shutil.copytree(PEER / "models", folder / "models")
    origin = {"repository": "llamascopium", "revision": None, "files": {}}
    take_in(folder, RUN, PEER / f"{RUN}.safetensors", PEER / f"{RUN}.config.json", origin,
            lambda line: None)
    return folder


def told() -> dict:
    return json.loads((PEER / "figures.json").read_text())


def test_it_is_recognised_by_what_the_library_wrote() -> None:
    found = recognise(RUN, PEER / f"{RUN}.safetensors", PEER / f"{RUN}.config.json")
    assert (found.kind, found.act_fn, found.n_snapshots) == ("crosscoder", "jumprelu", 6)
    assert found.training["tanh_stretch"] == 1.0
    assert found.rows == 520


def test_its_figures_are_the_librarys(store: Path) -> None:
    found = verify(Located(RUN, store))
    assert found.within_tolerance
    for protocol in ("canonical", "training"):
        ours, theirs = getattr(found, protocol), told()[protocol]
        for name in ("explained_variance", "l0", "dead_rate"):
            assert ours[name] == pytest.approx(theirs[name], abs=CLOSE), (protocol, name)
    assert told()["canonical"]["dead_rate"] > 0
    assert told()["canonical"]["explained_variance"] > 0.5


def test_it_is_precomputed_and_opened(store: Path) -> None:
    precompute_run(store, RUN)
    publish(store)
    opened = Store.open(store)
    assert list(opened.run(RUN).steps) == [0, 4, 32, 256, 1000, 4000]
    rates = np.array(told()["rates"])
    for feature in (int(rates[-1].argmax()), int(rates.sum(axis=0).argmin())):
        assert opened.feature(RUN, feature).rate == pytest.approx(rates[:, feature], abs=CLOSE)
    loudest = opened.feature(RUN, int(rates[-1].argmax()))
    assert len(loudest.firing.tokens) > 0
    assert page(opened, RUN, 0, Wish()).total == opened.run(RUN).d_sae
