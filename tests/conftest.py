"""Fixtures shared by all tests."""

import atexit
import os
from pathlib import Path

import pytest
import torch

from atlas.places import COLLECTIONS_VARIABLE
from tests.tiny import tiny_store as make_tiny_store


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests measure no speed; several of them may share two cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_collections_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the collections of whoever runs it."""
    monkeypatch.setenv(COLLECTIONS_VARIABLE, str(tmp_path / "collections of the test"))


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built store of five runs and two language models; shared, so leave it as it is."""
    return make_tiny_store(tmp_path_factory.mktemp("tiny store") / "store")


@atexit.register
def _close_in_silence() -> None:
    """Let pytest's closing line be the last one.

    DuckDB's bindings count their types at interpreter exit and call those that Streamlit's
    caches still hold leaks, forty lines of it on stderr; by now every test has reported.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
