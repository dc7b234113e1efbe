"""The lines of Python that a page hands out give the numbers of the page."""

import contextlib
import io
from pathlib import Path

import pytest

from atlas.asking import KINDS, Ask
from atlas.decompose_recipe import python_of
from atlas.live import decompose_prompt
from atlas.places import STORE_VARIABLE
from atlas.store import Store
from tests.tiny import PRISM, SEED0, STEPS

PROMPT = 'In the "beginning"\nthe light\'s'


def run(lines: str) -> tuple[dict[str, object], str]:
    names: dict[str, object] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(lines, "recipe", "exec"), names)
    return names, said.getvalue()


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_ledger(tiny_store: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    ask = Ask(kind)  # type: ignore
    names, said = run(python_of(SEED0, PROMPT, 2, ask, 16, "own", "a\n− b"))
    wanted = decompose_prompt(
        Store.open(tiny_store), SEED0, PROMPT, step=16, position=2, hidden="own", ask=ask
    ).rows[0].ledger
    ledger = names["found"].rows[0].ledger  # type: ignore
    assert (ledger.exact, ledger.base, ledger.residual) == (
        wanted.exact, wanted.base, wanted.residual)
    assert f"{wanted.exact} {wanted.base} {wanted.feature_sum} {wanted.residual}" in said
    assert len(said.splitlines()) == 2 + len(wanted.features)


def test_a_question_with_all_its_parts(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    ask = Ask("family", " water |  light", "#40", rank=7, rivals=3)
    names, _ = run(python_of(PRISM, PROMPT, -1, ask, STEPS[-1], "final"))
    assert names["found"].score.kind == "family"  # type: ignore
    assert len(names["found"].score.tokens) == 3  # type: ignore


def test_through_training(tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    names, said = run(python_of(SEED0, PROMPT, -1, Ask(), None, "final"))
    assert len(names["found"].rows) == len(STEPS)  # type: ignore
    assert said.count("probability=") == len(STEPS)
