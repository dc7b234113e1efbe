"""Who says which of how many processes this is, and what is refused."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from atlas.errors import InvalidValue
from atlas.store import POINTER
from atlas.tensor_files import read_json
from precompute.ranks import Rank, from_environment, own_device, precompute_with_ray
from precompute.stages import clean_stages
from tests.tiny import SEED0

TORCHRUN = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}
ARRAY = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "3",
         "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
SRUN = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}


@pytest.mark.parametrize(("given", "environ", "rank", "world"), [
    ((None, None), {}, 0, 1),
    ((None, None), TORCHRUN, 2, 4),
    ((None, None), ARRAY, 2, 3),
    ((None, None), ARRAY | {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_STEP": "2"}, 2, 3),
    ((None, None), SRUN, 3, 8),
    ((1, 2), TORCHRUN | ARRAY, 1, 2),
    ((None, None), TORCHRUN | ARRAY, 2, 4),
    ((None, None), {"SLURM_PROCID": "0"}, 0, 1),
])
def test_the_first_that_speaks_is_heard(
    given: tuple[int | None, int | None], environ: dict[str, str], rank: int, world: int
) -> None:
    found = from_environment(*given, environ)
    assert (found.rank, found.world_size) == (rank, world)


@pytest.mark.parametrize(("given", "environ"), [
    ((3, 3), {}), ((-1, 2), {}), ((0, 0), {}), ((0, 10**6), {}), ((1, None), {}), ((None, 2), {}),
    ((None, None), {"RANK": "0"}), ((None, None), {"WORLD_SIZE": "2"}),
    ((None, None), {"RANK": "4", "WORLD_SIZE": "4"}),
    ((None, None), {"RANK": "x", "WORLD_SIZE": "4"}),
    ((None, None), {"SLURM_ARRAY_TASK_ID": "1"}),
    ((None, None), ARRAY | {"SLURM_ARRAY_TASK_ID": "4"}),
    ((None, None), ARRAY | {"SLURM_ARRAY_TASK_STEP": "4"}),
    ((None, None), ARRAY | {"SLURM_ARRAY_TASK_STEP": "0"}),
    ((None, None), SRUN | {"SLURM_PROCID": "8"}),
])
def test_nonsense_is_refused(
    given: tuple[int | None, int | None], environ: dict[str, str]
) -> None:
    with pytest.raises(InvalidValue) as caught:
        from_environment(*given, environ)
    assert caught.value.status == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "world", "environ", "count", "device"), [
    ("cuda", 4, TORCHRUN | {"LOCAL_RANK": "2"}, 4, "cuda:2"),
    ("cuda", 8, SRUN | {"SLURM_LOCALID": "3"}, 4, "cuda:3"),
    ("cuda", 8, SRUN | {"SLURM_LOCALID": "5"}, 4, "cuda:1"),
    ("cuda", 8, SRUN | {"SLURM_LOCALID": "5"}, 1, "cuda:0"),
    ("cuda:1", 4, TORCHRUN | {"LOCAL_RANK": "2"}, 4, "cuda:1"),
    ("cpu", 4, TORCHRUN | {"LOCAL_RANK": "2"}, 4, "cpu"),
    ("cuda", 1, {"SLURM_LOCALID": "0"}, 4, "cuda"),
    ("cuda", 4, {}, 4, "cuda"),
])
def test_processes_of_one_machine_take_its_gpus_in_turn(
    name: str, world: int, environ: dict[str, str], count: int, device: str
) -> None:
    assert own_device(name, Rank(0, world, "test"), environ, count) == device


def test_alone_is_said_so() -> None:
    assert from_environment(None, None, {}) == Rank(0, 1, "alone")


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_the_command_that_installs_it_is_named() -> None:
    with pytest.raises(InvalidValue, match=r"pip install 'readout-atlas\[ray\]'"):
        precompute_with_ray(Path("."), "demo/x", 2)


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is an extra and is not installed here")
def test_ray_gives_what_one_process_gives(tiny_store: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    clean_stages(store, SEED0)
    (store / "runs" / SEED0 / POINTER).unlink()
    lines: list[str] = []
    built = precompute_with_ray(store, SEED0, 2, report=lines.append)
    assert built.digest == read_json(tiny_store / "runs" / SEED0 / POINTER)["digest"]
    assert lines[-1] == f"{SEED0}: 2 of 2 processes done"
