"""Snapshots spread over processes: who has which, and the sums they need of each other.

A process owns K / W neighbouring snapshots: their rows, encoder, decoder and moments. Thresholds
and the order of the rows are the same everywhere. Per step two (B, D) sums pass between them, the
pre-activation forward and its gradient backward, and a few of (D,) (performance.md section 4).
"""

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from atlas.errors import InvalidValue


@dataclass(frozen=True)
class Heads:
    """One process among those that train a dictionary together; alone unless told otherwise."""

    rank: int = 0
    world: int = 1

    def own(self, snapshots: int) -> slice:
        """Indices of the snapshots that this process has.

        Raises:
            InvalidValue: they cannot be dealt out evenly.
        """
        if snapshots % self.world:
            fitting = [w for w in range(1, snapshots + 1) if snapshots % w == 0]
            raise InvalidValue(
                f"{snapshots} snapshots cannot be dealt out evenly among {self.world} processes; "
                f"--nproc-per-node takes {', '.join(map(str, fitting))}"
            )
        each = snapshots // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def reduce(self, values: Tensor, how: str = "sum") -> None:
        """Sum, or take the largest ("max"), over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(values, dist.ReduceOp.MAX if how == "max" else dist.ReduceOp.SUM)

    def agree(self, wish: int) -> int:
        """The largest wish of any process."""
        if self.world == 1:
            return wish
        told = torch.tensor([wish], device=_device())
        self.reduce(told, "max")
        return int(told)

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            dist.barrier()


def _device() -> torch.device:
    gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")


def join(device: torch.device) -> Heads:
    """The processes that `torchrun` started, by its variables; alone without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Heads()
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Heads(dist.get_rank(), dist.get_world_size())
