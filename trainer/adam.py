"""Adam applied part by part, so that no full gradient has to exist at once.

A gradient is handed over for a slab of a tensor (one snapshot of the decoder), the slab is updated
by torch's own fused kernel, and its memory is used for the next one. `sparse` is the variant the
reference calls SparseAdam (crosscoder-method section 3.4): both moments decay everywhere at every
step, the parameter moves only where the gradient is not 0.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.adam import adam

from atlas.errors import OutOfMemory

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """Moments of some tensors, and the step that moves them.

    Args:
        tensors: by name, contiguous (the fused kernel walks their memory); moved in place.
        slow: names whose learning rate is multiplied by `slow_share`.
        sparse: the variant above.
    """

    def __init__(self, tensors: dict[str, Tensor], slow: tuple[str, ...] = (),
                 slow_share: float = 1.0, sparse: bool = False):
        strided = [name for name, value in tensors.items() if not value.is_contiguous()]
        if strided:
            raise ValueError(f"{', '.join(strided)} must be contiguous")
        self.tensors = tensors
        self.first = {name: torch.zeros_like(value) for name, value in tensors.items()}
        self.second = {name: torch.zeros_like(value) for name, value in tensors.items()}
        self.share = {name: slow_share if name in slow else 1.0 for name in tensors}
        self.sparse = sparse
        self.done = 0
        """Steps taken."""
        self.moved = dict.fromkeys(tensors, 0)
        """Sparse: steps in which any gradient of a tensor was not 0; the others skip it."""
        self.rate, self._taken = 0.0, 0
        self._touched: set[str] = set()

    @contextmanager
    def step(self, rate: float) -> Iterator[None]:
        """A new step at a learning rate, within which every part is handed over once.

        Raises:
            OutOfMemory: memory ran out after a part was moved; the step cannot be taken again.
        """
        self.rate, self._taken = rate, 0
        self.done += 1
        self._touched = set()
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            self.done -= 1
            if self._taken:
                raise OutOfMemory(
                    "memory ran out in the middle of a step, with part of the weights moved; the "
                    f"same command goes on from the last checkpoint ({error})"
                ) from error
            raise

    def take(self, name: str, part: slice, grad: Tensor) -> None:
        """Move a slab of a tensor by its gradient."""
        self._taken += 1
        value, first, second = (store[name][part]
                                for store in (self.tensors, self.first, self.second))
        rate = self.rate * self.share[name]
        if self.sparse:
            self._take_sparse(name, value, first, second, grad, rate)
            return
        count = torch.tensor(float(self.done - 1), device=value.device)
        adam([value], [grad.contiguous()], [first], [second], [], [count], fused=True,
             amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], lr=rate, weight_decay=0.0,
             eps=EPSILON, maximize=False)

    def _take_sparse(self, name: str, value: Tensor, first: Tensor, second: Tensor, grad: Tensor,
                     rate: float) -> None:
        mask = grad != 0
        if name not in self._touched and bool(mask.any()):
            self._touched.add(name)
            self.moved[name] += 1
        first.mul_(BETAS[0]).add_(grad, alpha=1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
        steps = max(1, self.moved[name])
        root = second.sqrt().div_(math.sqrt(1 - BETAS[1] ** steps)).add_(EPSILON)
        value.sub_(first.div(root).mul_(mask), alpha=rate / (1 - BETAS[0] ** steps))

    def state(self) -> dict[str, Tensor]:
        """What resuming needs, by name."""
        counts = torch.tensor([self.done, *self.moved.values()])
        return {"steps": counts} | dict(self._moments())

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` gave."""
        self.done, *moved = state["steps"].tolist()
        self.moved = dict(zip(self.moved, moved, strict=True))
        for name, value in self._moments():
            value.copy_(state[name])

    def _moments(self) -> Iterator[tuple[str, Tensor]]:
        for name in self.tensors:
            yield f"first.{name}", self.first[name]
            yield f"second.{name}", self.second[name]
