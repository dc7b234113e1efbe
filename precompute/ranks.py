"""Which of how many processes this is: from the command line, torchrun, a Slurm array, or Ray.

Processes that share a store folder share the parts of a build; `precompute_run` takes the two
numbers that are found here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import InvalidValue
from precompute.stages import Precomputed, precompute_run

LARGEST_WORLD = 4096
"""More processes than this are a slip of the keyboard."""


@dataclass(frozen=True)
class Rank:
    """One process among several that do a build together."""

    rank: int
    """0 to world_size - 1."""
    world_size: int
    source: str
    """Who said so, for the one line that is printed."""


def from_environment(
    rank: int | None, world_size: int | None, environ: Mapping[str, str]
) -> Rank:
    """What the command line says, else torchrun, else Slurm; alone where nobody says anything.

    Args:
        rank, world_size: `--rank` and `--world-size`, both or neither.
        environ: RANK and WORLD_SIZE of torchrun; SLURM_ARRAY_TASK_ID, _COUNT and _MIN of an array
            of step 1; SLURM_PROCID and SLURM_NTASKS of `srun`. A single job of Slurm is alone.

    Raises:
        InvalidValue: one number without the other, not a number, or a rank outside the world.
    """
    if rank is not None or world_size is not None:
        return _checked(rank, world_size, "--rank and --world-size")
    if "RANK" in environ or "WORLD_SIZE" in environ:
        return _checked(environ.get("RANK"), environ.get("WORLD_SIZE"), "RANK and WORLD_SIZE")
    if "SLURM_ARRAY_TASK_ID" in environ:
        names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT")
        task, first, count = (_number(environ.get(name), name) for name in names)
        step = _number(environ.get("SLURM_ARRAY_TASK_STEP", "1"), "SLURM_ARRAY_TASK_STEP")
        if step < 1 or (task - first) % step:
            raise InvalidValue(f"SLURM_ARRAY_TASK_ID {task} is no task of an array of step {step}")
        return _checked((task - first) // step, count, "the Slurm array")
    if "SLURM_PROCID" in environ and "SLURM_NTASKS" in environ:
        return _checked(
            environ["SLURM_PROCID"], environ["SLURM_NTASKS"], "SLURM_PROCID and SLURM_NTASKS"
        )
    return Rank(0, 1, "alone")


def own_device(name: str, crew: Rank, environ: Mapping[str, str], count: int) -> str:
    """The GPU of one process of several on a machine: without a number all would take the first.

    Args:
        name: what torch calls the device; one with a number, or the CPU, is kept.
        environ: LOCAL_RANK of torchrun or SLURM_LOCALID, numbers from 0 on each machine.
        count: GPUs that this process sees; more processes than that share them in turn.
    """
    local = environ.get("LOCAL_RANK", environ.get("SLURM_LOCALID"))
    if name != "cuda" or crew.world_size == 1 or local is None or count < 1:
        return name
    return f"cuda:{_number(local, 'LOCAL_RANK or SLURM_LOCALID') % count}"


def _checked(rank: int | str | None, world_size: int | str | None, source: str) -> Rank:
    if rank is None or world_size is None:
        raise InvalidValue(f"{source} go together: rank is {rank}, world size is {world_size}")
    number, size = _number(rank, source), _number(world_size, source)
    if not 1 <= size <= LARGEST_WORLD or not 0 <= number < size:
        raise InvalidValue(
            f"{source} say process {number} of {size}; processes are numbered from 0 to one less "
            f"than there are, and there are at most {LARGEST_WORLD}"
        )
    return Rank(number, size, source)


def _number(value: int | str | None, source: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise InvalidValue(f"{source}: {value!r} is not a whole number") from None


def precompute_with_ray(
    store: Path, run: str, world_size: int, device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Precomputed:
    """Build a run with Ray: one task a rank on any machine that sees the store folder, then merge.

    Ray is an extra (`pip install readout-atlas[ray]`); it has to be started, or starts itself here.
    """
    try:
        import ray
    except ImportError:
        raise InvalidValue("Ray is not installed; `pip install 'readout-atlas[ray]'`") from None
    ray.init(ignore_reinit_error=True)
    task = ray.remote(num_gpus=1 if device.startswith("cuda") else 0)(precompute_run)
    waiting = [task.remote(store, run, device=device, rank=rank, world_size=world_size)
               for rank in range(world_size)]
    while waiting:
        ready, waiting = ray.wait(waiting)
        built = ray.get(ready[0])
        report(f"{run}: {world_size - len(waiting)} of {world_size} processes done")
    return built if built.file else precompute_run(store, run, device=device)
