"""Who says which of how many processes this is, and what is refused."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from atlas.errors import InvalidValue
from precompute.ranks import Rank, from_environment, precompute_with_ray

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


def test_alone_is_said_so() -> None:
    assert from_environment(None, None, {}) == Rank(0, 1, "alone")


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_the_command_that_installs_it_is_named() -> None:
    with pytest.raises(InvalidValue, match=r"pip install 'readout-atlas\[ray\]'"):
        precompute_with_ray(Path("."), "demo/x", 2)
