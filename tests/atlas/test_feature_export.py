"""What can be taken from a feature's page: the files say what the store says."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from atlas import feature_export
from atlas.errors import NotFound
from atlas.exports import csv_bytes
from atlas.store import Store
from tests.tiny import PRISM, SEED0, SILENT_AT_BIRTH, STEPS


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def test_the_life_has_a_row_for_every_snapshot(store: Store) -> None:
    card = store.feature(SEED0, 3)
    table = feature_export.life_table(card)
    assert table["step"].tolist() == STEPS
    assert math.isnan(table["rotation"][0])
    assert table["rotation"].tolist()[1:] == pytest.approx(card.rotation.tolist(), nan_ok=True)
    assert table["promoted"][2] == list(card.promoted[2].texts)
    assert csv_bytes(table).decode("utf8").count("\n") == len(STEPS) + 1
    assert len(feature_export.life_table(store.feature(PRISM, 3))) == 1


@pytest.mark.parametrize(("run", "feature"), [(SEED0, 3), (SEED0, SILENT_AT_BIRTH), (PRISM, 0)])
def test_json_holds_the_numbers_and_no_nan(store: Store, run: str, feature: int) -> None:
    card = store.feature(run, feature)
    more = {"odd": [math.nan, np.float32(0.5)]}
    found = json.loads(feature_export.as_json(store.run(run), card, more))
    assert found["hash"] == store.run(run).hash
    assert found["feature"]["feature"] == feature
    assert len(found["norm"]) == len(found["rotation"]) == len(card.steps)
    assert found["odd"] == [None, 0.5]
    assert found["promoted"][-1]["tokens"] == card.promoted[-1].tokens.tolist()
    if feature == SILENT_AT_BIRTH:
        assert found["to_terminal"][0] is None


def test_directions_have_the_norms_of_the_store(store: Store) -> None:
    card = store.feature(SEED0, 3)
    found = feature_export.directions(store.folder, store.run(SEED0), 3)
    assert np.linalg.norm(found, axis=1) == pytest.approx(card.norm, rel=1e-3)
    assert feature_export.directions(store.folder, store.run(PRISM), 3).shape == (1, 8)
    loaded = np.load(io.BytesIO(feature_export.as_npy(found)), allow_pickle=False)
    assert (loaded == found).all()
    elsewhere = replace(store.run(SEED0), folder="runs/nowhere")
    assert not feature_export.has_directions(store.folder, elsewhere)
    with pytest.raises(NotFound, match="are not in this store"):
        feature_export.directions(store.folder, elsewhere, 3)


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_the_sql_answers_what_the_page_shows(store: Store, run: str) -> None:
    text = feature_export.sql_of(store.folder, store.run(run), 3)
    connection = duckdb.connect()
    for statement in text.split(";\n"):
        rows = connection.execute(statement).fetchall()
    card = store.feature(run, 3)
    assert [row[0] for row in rows] == list(card.steps)
    assert rows[-1][2] == pytest.approx(float(card.rate[-1]))
    assert [row[3] for row in rows] == [list(found.texts) for found in card.promoted]


def test_the_python_runs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    exec(feature_export.python_of(store.folder, SEED0, 3, 2), {})
    card = store.feature(SEED0, 3)
    said = capsys.readouterr().out
    assert said.splitlines()[0] == f"{card.info.label} {card.info.birth_step}"
    assert repr(card.promoted[2].texts[0]) in said
