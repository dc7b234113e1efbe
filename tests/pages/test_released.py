"""The Runs page beside the inventory, a store without weights, a finished model's revision."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from atlas.inventory import released
from atlas.places import APP, STORE_VARIABLE
from atlas.store import Store
from atlas.tensor_files import read_json, write_json
from precompute.publish import publish
from precompute.receive import receive_folder
from precompute.share import share
from precompute.stages import precompute_run
from tests.pages.test_pages import FILES, calm, text_of
from tests.tiny import PRISM, SEED0

Visit = Callable[..., AppTest]


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Visit:
    """Open a page on a store."""
    def opened(store: Path, page: str, /, **address: object) -> AppTest:
        monkeypatch.setenv(STORE_VARIABLE, str(store))
        app = AppTest.from_file(str(APP), default_timeout=60)
        if page != "browse":
            app.run()
            app.switch_page(FILES[page])
        for name, value in address.items():
            app.query_params[name] = str(value)
        return calm(app.run())

    return opened


def test_all_released_dictionaries_are_listed_with_their_state(
    visit: Visit, tiny_store: Path
) -> None:
    app = visit(tiny_store, "runs")
    frame = app.dataframe[1].value
    assert len(frame) == len(released()) == 87
    assert set(frame["state"]) == {"not here"}
    assert set(frame["explained_variance_here"]) == {"–"}
    row = frame[frame["run"] == "pythia-160m/W_U/cross-snapshot-32/d24576/seed0"].iloc[0]
    assert (row["explained_variance"], row["l0"]) == ("0.920", "286")
    unknown = frame[frame["run"] == "gemma-4-e2b/k128_16x"].iloc[0]
    assert unknown["explained_variance"] == "–"
    steps = [run for run in frame["run"] if "/per-snapshot-saes/" in run]
    assert steps.index(next(s for s in steps if s.endswith("/step2000"))) > steps.index(
        next(s for s in steps if s.endswith("/step512")))


def test_filters_of_model_and_kind_are_in_the_address(visit: Visit, tiny_store: Path) -> None:
    app = visit(tiny_store, "runs", model="qwen3.5-9b", kind="prism")
    (frame,) = (table.value for table in app.dataframe)
    assert len(frame) == 3
    assert set(frame["kind"]) == {"prism"}
    assert "No run of this store is of this model and kind" in text_of(app)
    app.selectbox(key="runs_model").set_value("all").run()
    assert "model" not in app.query_params
    assert len(calm(app).dataframe[1].value) == 17
    assert app.dataframe[0].value["run"].tolist() == [PRISM]
    odd = visit(tiny_store, "runs", model="gpt-2")
    assert "“gpt-2” is no model here" in text_of(odd)
    assert len(odd.dataframe[1].value) == 87


def test_the_command_of_a_dictionary_can_be_copied(visit: Visit, tiny_store: Path) -> None:
    run = "pythia-160m/W_U/cross-snapshot-32/d24576/seed0"
    app = visit(tiny_store, "runs", released=run)
    assert f"readout-atlas build {run}" in [code.value for code in app.code]
    assert "4.8 GB of dictionary and 4.9 GB of snapshots" in text_of(app)
    assert "is no released dictionary" in text_of(visit(tiny_store, "runs", released="x/y"))


def renamed(tiny_store: Path, folder: Path, run: str, model: str, **config: object) -> Path:
    """A copy of the store in which the tiny prism has another name and config."""
    store = Path(shutil.copytree(tiny_store, folder))
    shutil.copytree(store / "models" / "tiny-large", store / "models" / model)
    target = store / "runs" / run
    shutil.copytree(store / "runs" / PRISM, target, ignore=shutil.ignore_patterns(
        "stages", "*.duckdb", "CURRENT.json"))
    written = read_json(target / "config.json")
    write_json(target / "config.json", written | {"run": run, "model": model} | config)
    precompute_run(store, run)
    publish(store)
    return store


def test_a_published_release_shows_both_figures(
    visit: Visit, tiny_store: Path, tmp_path: Path
) -> None:
    run = "qwen3.5-2b/k128_16x"
    store = renamed(tiny_store, tmp_path / "store", run, "qwen3.5-2b", revision="main", steps=[0])
    app = visit(store, "runs", kind="prism", released=run)
    frame = app.dataframe[1].value
    row = frame[frame["run"] == run].iloc[0]
    assert row["state"] == "published here"
    assert row["explained_variance"] == "0.712"
    measured = Store.open(store).fidelity().set_index("run").loc[run, "explained_variance"]
    assert row["explained_variance_here"] == f"{measured:.3f}"
    assert set(frame["state"]) == {"published here", "not here"}
    assert "it is in this store" in text_of(app)
    for page, more in (("feature", {"feature": 3}), ("token", {"token": 40}), ("browse", {})):
        shown = re.sub(r"\s+", " ", text_of(visit(store, page, run=run, **more)))
        assert "revision main, its only snapshot" in shown
        assert "step 0" not in shown.lower()
    assert "at revision main" in re.sub(
        r"\s+", " ", text_of(visit(store, "token", run=run, token=40)).lower())


def test_a_store_shared_without_weights_says_what_it_lacks(
    visit: Visit, tiny_store: Path, tmp_path: Path
) -> None:
    share(tiny_store, tmp_path / "shared", [SEED0])
    receive_folder(tmp_path / "shared", tmp_path / "store")
    for page in ("browse", "feature", "token", "runs"):
        visit(tmp_path / "store", page, run=SEED0)
    app = visit(tmp_path / "store", "decompose", run=SEED0, prompt="the water")
    assert "so no prompt can be read" in text_of(app)
