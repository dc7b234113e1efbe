"""A store that is replaced while a page is open: followed where it can be read, said where not."""

import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from atlas.places import APP, STORE_VARIABLE, run_path
from atlas.store import POINTER, Store
from atlas.tensor_files import read_json, write_json
from pages import answers
from precompute.publish import publish
from tests.pages.test_pages import calm, text_of
from tests.tiny import PRISM, SEED0


@pytest.fixture
def own_store(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may spoil."""
    folder = shutil.copytree(tiny_store, tmp_path / "store")
    monkeypatch.setenv(STORE_VARIABLE, str(folder))
    return folder


def test_a_new_generation_is_followed(own_store: Path) -> None:
    app = calm(AppTest.from_file(str(APP), default_timeout=60).run())
    before = Store.open(own_store).digest
    shutil.rmtree(run_path(own_store, PRISM))
    publish(own_store)
    calm(app.run())
    assert Store.open(own_store).digest != before
    assert PRISM not in app.selectbox(key="run").options
    assert "cannot be read" not in text_of(app)


def test_a_generation_that_cannot_be_read_is_said_and_the_old_one_stays(own_store: Path) -> None:
    app = calm(AppTest.from_file(str(APP), default_timeout=60).run())
    pointer = read_json(own_store / POINTER)
    (own_store / "broken.duckdb").write_bytes(b"no store")
    write_json(own_store / POINTER, pointer | {"catalog": "broken.duckdb", "digest": "0" * 64})
    calm(app.run())
    assert "The store changed, and what it is now cannot be read" in text_of(app)
    assert app.dataframe[0].value["feature"].size
    write_json(own_store / POINTER, pointer)
    calm(app.run())
    assert "cannot be read" not in text_of(app)


class BegunAnewError(Exception):
    """What stands for a page that begins anew."""


def test_an_answer_is_never_kept_under_another_generation(
    own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publish between the beginning of a page and its questions begins the page anew."""
    def begin_anew() -> None:
        raise BegunAnewError

    monkeypatch.setattr(answers.st, "rerun", begin_anew)
    with pytest.raises(BegunAnewError):
        answers.births("f" * 64, SEED0)
    assert len(answers.births(Store.open(own_store).digest, SEED0))
