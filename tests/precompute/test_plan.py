"""What a plan says of stages: which are there, how many parts, how long the others take."""

import shutil
from pathlib import Path

import pytest

from precompute import passes, plan
from precompute.locate import Located
from precompute.plan import Shape, plan_run
from precompute.stages import SHARED, STAGES, clean_stages, precompute_run
from tests.tiny import SEED0

FULL = Shape(32, 50_304, 768, 24_576, 286.4)
LARGEST = Shape(32, 50_432, 4096, 32_768, 741.8)


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


def test_the_full_shape_is_said_to_fit_its_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "cores", lambda: 2)
    monkeypatch.setattr(plan, "multiplies_roughly", lambda: True)
    seconds = {name: FULL.stage(name).seconds for name in STAGES}
    assert 6 * 60 < sum(seconds.values()) < 16 * 60
    assert max(seconds, key=seconds.__getitem__) in ("encode", "promote")
    assert 2e9 < FULL.memory_bytes < 6e9
    assert LARGEST.memory_bytes < 12e9
    monkeypatch.setattr(plan, "multiplies_roughly", lambda: False)
    assert sum(FULL.stage(name).seconds for name in STAGES) > 1.5 * sum(seconds.values())


def test_a_larger_shape_takes_longer_and_a_done_part_shortens_it() -> None:
    for name in SHARED:
        assert LARGEST.stage(name).seconds > FULL.stage(name).seconds
        half = FULL.stage(name, parts=(4, 8))
        assert half.seconds == pytest.approx((FULL.stage(name).seconds + plan.OVERHEAD) / 2)
        assert FULL.stage(name, done=True).seconds == 0
    assert FULL.blocks == 7


def test_parts_that_are_there_are_reported(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "block_rows", lambda source, snapshots: 64)
    clean_stages(store, SEED0)
    (store / "runs" / SEED0 / "CURRENT.json").unlink()
    precompute_run(store, SEED0, rank=0, world_size=2)
    stages = {stage.name: stage for stage in plan_run(Located(SEED0, store)).stages}
    assert list(stages) == list(STAGES)
    assert stages["measure"].done
    assert (stages["encode"].parts_done, stages["encode"].parts) == (3, 5)
    assert not stages["encode"].done
    assert not stages["write"].done
    precompute_run(store, SEED0)
    assert all(stage.done for stage in plan_run(Located(SEED0, store)).stages)
