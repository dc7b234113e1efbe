"""One step of a JumpReLU crosscoder: loss and gradients, worked out by hand.

The function is that of `trainer.crosscoder_twin`, which spells it out for autograd; the algebra is
in performance.md section 1. Three things make it fast. The pre-activation is one product over all
snapshots, and no tensor of (rows, snapshots, features) is ever made: snapshots pass one at a time.
Where few features fire, everything behind the pre-activation is done on the list of (row, feature)
pairs that fire at any snapshot. The threshold's gradient, which needs every positive
pre-activation, is one more product with a matrix of zeros and ones.

Shapes: K snapshots on this process, B rows, d width, D features.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DENSE_ABOVE = 0.28
"""Share of (row, feature) pairs in the list from which products of full matrices cost less than
lists do, on a CPU (`make bench-train`). On an accelerator they always do (performance.md 4)."""

ROUGH_ERROR = 0.03
"""Bound of the error of a product of bfloat16 rounded inputs, over the spread of a feature's
pre-activations (the largest seen was 0.021, performance.md section 3)."""

Take = Callable[[str, slice, Tensor], None]
"""Receives the gradient of a part: the name of the tensor, its first indices, and the values, which
are overwritten afterwards."""
Reduce = Callable[[Tensor, str], None]
"""Sums (or takes the largest, "max") a tensor over the processes that share the snapshots."""


@dataclass(frozen=True)
class Penalty:
    """What the loss has besides the reconstruction."""

    weight: float
    """lambda times its warm-up."""
    frequency_scale: float
    """epsilon: the frequency at which the penalty doubles."""
    stretch: float
    """c, steepness of the firing score."""
    window: float
    """w, width of the straight-through window of the threshold."""


@dataclass(eq=False)
class Weights:
    """A crosscoder under training, or one process's snapshots of one."""

    encoder: Tensor
    """(D, K d): the released W_E (K, d, D), a feature's rows laid end to end."""
    b_E: Tensor
    """(K, D)."""
    W_D: Tensor
    """(K, D, d)."""
    b_D: Tensor
    """(K, d)."""
    log_threshold: Tensor
    """(D,), the same on every process."""

    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return {name: getattr(self, name)
                for name in ("encoder", "b_E", "W_D", "b_D", "log_threshold")}


@dataclass(frozen=True, eq=False)
class StepLosses:
    """The terms of one step as tensors without dimensions, so that no device has to wait."""

    total: Tensor
    reconstruction: Tensor
    """Mean over rows and snapshots of the squared distance, in standardised units."""
    sparsity: Tensor
    """Sum over features of the tanh-quad penalty, before its weight."""
    l0: Tensor
    """Mean number of features that fire per row and snapshot."""
    fired: Tensor
    """(D,) number of (row, snapshot) pairs at which a feature fires."""


def _alone(values: Tensor, how: str = "sum") -> None:
    """One process holds all snapshots: nothing to sum."""


class JointStep:
    """Loss and gradients of one batch; built for each batch, used once."""

    def __init__(
        self, weights: Weights, x: Tensor, penalty: Penalty, snapshots: int | None = None,
        reduce: Reduce = _alone, lists: bool | None = None, half: bool = False,
        micro: int | None = None,
    ):
        """Args:
            weights: of this process's snapshots.
            x: (B, K d) standardised rows, a token's snapshots laid end to end.
            penalty: the rest of the loss.
            snapshots: of all processes together; K if there is one.
            reduce: over processes.
            lists: whether to work on lists; decided by density unless told.
            half: the full products take inputs rounded to bfloat16. Which features fire is then
                decided in float32 all the same on a CPU, where a named approximation remains in the
                threshold's gradient; on an accelerator it is decided in bfloat16.
            micro: rows that full matrices are worked on at once; all unless told.
        """
        self.w, self.x, self.penalty = weights, x, penalty
        self.k, self.features, self.d = weights.W_D.shape
        self.rows = x.shape[0]
        self.pairs = self.rows * (snapshots or self.k)
        self.reduce, self.half = reduce, half
        step = min(micro or self.rows, self.rows)
        self.parts = [slice(i, min(i + step, self.rows)) for i in range(0, self.rows, step)]
        self.norms = weights.W_D.norm(dim=2).clamp_min_(1e-8)
        self.threshold = weights.log_threshold.exp()
        self.p = self._encode()
        self.at = self._listed(lists)
        if self.half and self.at is None and x.device.type == "cpu":
            self.half = False  # rounded inputs without the second look would move the gates
            self.p = self._encode()

    def _encode(self) -> Tensor:
        bias = self.w.b_E.sum(0)
        p = self._product(self.x, self.w.encoder.T).add_(bias)
        self.reduce(p, "sum")
        return p

    def _product(self, first: Tensor, second: Tensor) -> Tensor:
        """A product of full matrices, of rounded inputs where that was asked for."""
        return rounded_product(first, second) if self.half else first @ second

    def _listed(self, lists: bool | None) -> "Listed | None":
        if lists is False or (lists is None and self.x.device.type != "cpu"):
            return None
        longest = self.norms.amax(0)
        self.reduce(longest, "max")
        lowest = self.threshold / longest
        near = lowest - ROUGH_ERROR * self.p.square().mean(0).sqrt() if self.half else lowest
        on = self.p > near
        if lists is None and int(on.sum()) > DENSE_ABOVE * on.numel():
            return None
        found = Listed(on, self.p)
        if self.half:
            exact = found.sampled(self.x, self.w.encoder)
            self.reduce(exact, "sum")
            exact += self.w.b_E.sum(0)[found.column]
            self.p.view(-1)[found.flat] = exact
            found = Listed(self.p > lowest, self.p)
        return found

    # --- forward ---------------------------------------------------------------------------------

    def losses(self) -> StepLosses:
        """The loss; keeps what the gradients need."""
        like = self.p.new_zeros
        scores, fired = like(self.features), like(self.features)
        self.residual = torch.empty(self.k, self.rows, self.d, dtype=self.x.dtype,
                                    device=self.x.device)
        squared = like(())
        blocks = self.x.view(self.rows, self.k, self.d)
        for k in range(self.k):
            rebuilt = self._decoded(k, scores, fired)
            error = torch.sub(rebuilt, blocks[:, k], out=self.residual[k])
            squared += error.square().sum()
        for part in (scores, fired, squared):
            self.reduce(part, "sum")
        self.frequency = scores / self.pairs
        reconstruction = squared / self.pairs
        scale = self.penalty.frequency_scale
        sparsity = (self.frequency * (1 + self.frequency / scale)).sum()
        self.residual *= 2 / self.pairs
        return StepLosses(reconstruction + self.penalty.weight * sparsity, reconstruction, sparsity,
                          fired.sum() / self.pairs, fired)

    def _decoded(self, k: int, scores: Tensor, fired: Tensor) -> Tensor:
        norms, bias = self.norms[k], self.w.b_D[k]
        if self.at is not None:
            acts, score = self._at(k)
            scores.index_add_(0, self.at.column, score)
            fired.index_add_(0, self.at.column, (acts > 0).to(fired.dtype))
            return self.at.decode(acts, self.w.W_D[k]).add_(bias)
        rebuilt = []
        for part in self.parts:
            p = self.p[part]
            z = p * norms
            fire = z > self.threshold
            scores += torch.tanh(z * self.penalty.stretch).mul_(fire).sum(0)
            fired += fire.sum(0)
            rebuilt.append(self._product(p * fire, self.w.W_D[k]).add_(bias))
        return torch.cat(rebuilt) if rebuilt[1:] else rebuilt[0]

    def _at(self, k: int) -> tuple[Tensor, Tensor]:
        """Activation and firing score of the listed pairs at a snapshot, 0 where not firing."""
        z = self.at.p * self.norms[k][self.at.column]
        fire = z > self.threshold[self.at.column]
        return self.at.p * fire, torch.tanh(z * self.penalty.stretch).mul_(fire)

    # --- backward --------------------------------------------------------------------------------

    def gradients(self, take: Take) -> None:
        """Hand over every gradient, one snapshot of the decoder and one slab of the encoder at a
        time; `losses` comes first.
        """
        scale = self.penalty.frequency_scale
        self.push = self.penalty.weight * self.penalty.stretch / self.pairs \
            * (1 + 2 * self.frequency / scale)
        theta = self.p.new_zeros(self.features)
        if self.at is None:
            back = self._dense_back(take, theta)
            bias = back.sum(0)
        else:
            back = self._listed_back(take, theta)
            bias = self.p.new_zeros(self.features).index_add_(0, self.at.column, back)
        take("b_D", slice(None), self.residual.sum(1))
        take("b_E", slice(None), bias.expand(self.k, -1))
        self.reduce(theta, "sum")
        theta *= -self.threshold.square() / self.penalty.window
        take("log_threshold", slice(None), theta)
        if self.at is None:
            self._encoder_slabs(back, take)
        else:
            take("encoder", slice(None), self.at.transposed(back) @ self.x)

    def _encoder_slabs(self, back: Tensor, take: Take) -> None:
        slab = max(1, self.features // max(1, self.k))
        for first in range(0, self.features, slab):
            part = slice(first, first + slab)
            take("encoder", part, self._product(back[:, part].T, self.x))

    def _dense_back(self, take: Take, theta: Tensor) -> Tensor:
        back = torch.zeros_like(self.p)
        for k in range(self.k):
            norms, W_D = self.norms[k], self.w.W_D[k]
            grad, own = torch.zeros_like(W_D), torch.zeros_like(norms)
            for part in self.parts:
                self._dense_part(k, part, back, theta, grad, own)
            grad.addcmul_(W_D, (own / norms).unsqueeze(1))
            take("W_D", slice(k, k + 1), grad.unsqueeze(0))
        self.reduce(back, "sum")
        return back

    def _dense_part(self, k: int, part: slice, back: Tensor, theta: Tensor, grad: Tensor,
                    own: Tensor) -> None:
        """What some rows add at a snapshot: to the gradients of p (B, D), theta (D,), directions
        (D, d), and to the sum of the penalty's pull on each norm (D,).
        """
        penalty, norms, g, p = self.penalty, self.norms[k], self.residual[k, part], self.p[part]
        z = p * norms
        fire = z > self.threshold
        score = torch.tanh(z * penalty.stretch).mul_(fire)
        pull = (1 - score.square()).mul_(self.push)
        u = self._product(g, self.w.W_D[k].T).addcmul_(pull, norms)
        near = (z > 0) & ((z - self.threshold).abs() < penalty.window / 2)
        theta += (u * near).sum(0) / norms
        back[part] += u.mul_(fire)
        acts = p * fire
        grad += self._product(acts.T, g)
        own += pull.mul_(acts).sum(0)

    def _listed_back(self, take: Take, theta: Tensor) -> Tensor:
        at, back = self.at, torch.zeros_like(self.at.p)
        positive = self._positive()
        for k in range(self.k):
            W_D, g = self.w.W_D[k], self.residual[k]
            norms = self.norms[k]
            acts, score = self._at(k)
            push, length = self.push[at.column], norms[at.column]
            pull = (1 - score.square()).mul_(push)
            dots = at.sampled(g, W_D)
            u = torch.addcmul(dots, pull, length)
            theta += self._theta(k, positive, u, dots.addcmul_(push, length)) / norms
            back += u * (acts > 0)
            grad = at.transposed(acts) @ g
            own = self.p.new_zeros(self.features).index_add_(0, at.column, pull * acts)
            grad.addcmul_(W_D, (own / norms).unsqueeze(1))
            take("W_D", slice(k, k + 1), grad.unsqueeze(0))
        self.reduce(back, "sum")
        return back

    def _positive(self) -> Tensor | None:
        """(D, B), 1 where the window may begin: above 0, the same at every snapshot; None where a
        threshold is so high that the window's lower end differs between snapshots.
        """
        if float(self.threshold.max()) > self.penalty.window / 2:
            return None
        positive = (self.p > 0).T
        return positive.to(torch.bfloat16 if self.half else self.p.dtype)

    def _theta(self, k: int, positive: Tensor | None, u: Tensor, idle: Tensor) -> Tensor:
        """(D,) sum over rows of the gradient before the gate, within the window.

        Pairs that are not listed do not fire: theirs is the gradient of the reconstruction and the
        penalty's slope at 0. So all positive pairs are summed as if none fired, by one product, and
        the listed ones are then put right.

        Args:
            positive: of `_positive`.
            u: (n,) that gradient at the listed pairs.
            idle: (n,) what it would be if none of them fired.
        """
        W_D, g, norms, at = self.w.W_D[k], self.residual[k], self.norms[k], self.at
        half = self.penalty.window / 2
        if positive is None:
            z = self.p * norms
            near = ((z > 0) & ((z - self.threshold).abs() < half)).to(self.p.dtype)
            total = ((near.T @ g) * W_D).sum(1) + near.sum(0) * self.push * norms
            z = at.p * norms[at.column]
            near = ((z > 0) & ((z - self.threshold[at.column]).abs() < half)).to(u.dtype)
            return total.index_add_(0, at.column, (u - idle) * near)
        total = ((positive @ g.to(positive.dtype)).to(W_D.dtype) * W_D).sum(1)
        if k == 0:
            self.count = positive.sum(1, dtype=self.p.dtype)
        total += self.count * self.push * norms
        z = at.p * norms[at.column]
        near = ((z - self.threshold[at.column]) < half).to(u.dtype)
        return total.index_add_(0, at.column, u * near - idle)


class Listed:
    """The (row, feature) pairs that fire at any snapshot, by row and by feature."""

    def __init__(self, on: Tensor, p: Tensor):
        """Args: on: (B, D) bool. p: (B, D)."""
        self.shape = on.shape
        flat = on.view(-1).nonzero().squeeze(1)
        self.flat = flat
        self.row = flat // on.shape[1]
        self.column = flat - self.row * on.shape[1]
        self.p = p.view(-1)[flat]
        self.start = _starts(self.row, on.shape[0])
        self.by_column = self.column.argsort(stable=True)
        self.column_start = _starts(self.column, on.shape[1])
        self.column_row = self.row[self.by_column]

    def decode(self, acts: Tensor, W_D: Tensor) -> Tensor:
        """(B, d): activations (n,) times directions (D, d)."""
        return F.embedding_bag(self.column, W_D, self.start[:-1], mode="sum",
                               per_sample_weights=acts)

    def transposed(self, values: Tensor) -> Tensor:
        """(D, B) sparse matrix of values (n,)."""
        return torch.sparse_csr_tensor(
            self.column_start, self.column_row, values[self.by_column],
            (self.shape[1], self.shape[0]), check_invariants=False)

    def sampled(self, g: Tensor, W_D: Tensor) -> Tensor:
        """(n,) products of the rows g (B, d) and the directions (D, d) of each pair."""
        pattern = torch.sparse_csr_tensor(
            self.start, self.column, torch.zeros_like(self.p), self.shape, check_invariants=False)
        return torch.sparse.sampled_addmm(pattern, g, W_D.T, beta=0).values()


def rounded_product(first: Tensor, second: Tensor) -> Tensor:
    """A product of bfloat16 inputs, summed in float32; an accelerator also writes it so (writing it
    in bfloat16 is what hurts most, performance.md section 2).
    """
    first, second = first.bfloat16(), second.bfloat16()
    if first.device.type == "cuda":
        return torch.mm(first, second, out_dtype=torch.float32)
    return (first @ second).float()


def _starts(ids: Tensor, size: int) -> Tensor:
    """(size + 1,) where each id begins once they are sorted."""
    return F.pad(torch.bincount(ids, minlength=size).cumsum(0), (1, 0))


with warnings.catch_warnings():  # torch says once per process that its sparse rows are in beta
    warnings.simplefilter("ignore")
    torch.zeros(1, 1).to_sparse_csr()
