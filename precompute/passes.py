"""The three passes over snapshots and dictionary: the work of the parts, without their files.

`measure` looks at one snapshot (moments of its rows, lengths and turns of its directions),
`encode` at a block of rows of all snapshots (the sparse code and what it leaves over), `promote` at
one snapshot (the tokens that lie along each direction). Each part can be done by itself, in any
order, by any process, and gives the same bits whoever does it.
"""

import math
from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from atlas import screening
from atlas.crosscoder import gated
from atlas.errors import OutOfMemory
from atlas.geometry import Extremes
from atlas.prism import Prism, decode, encode, normalise_rows
from atlas.schema import PROMOTED
from atlas.screening import RoughEncoder, unit
from precompute.derive import Arrays, Gate, cut_rows, row_limit
from precompute.sources import BATCH, Dictionary, PrismDictionary, Snapshots, Source

CHUNK = 4096
"""Rows whose moments are added up at a time."""
BLOCK_BYTES = 5 * 2**28
"""Memory of one block of rows, rounded, and of their rough product; twice this where the encoder
is not kept. Each block reads the dictionary once, so larger blocks are faster."""
KEEP_BYTES = 3 * 2**29
"""Size up to which the rounded encoder is kept; a larger one is rounded anew for each block."""
TILE_BYTES = 2**28
"""Size of a piece: of the rows of one snapshot, or of an encoder that is not kept."""
NULL_DIRECTIONS = 256
"""Random directions whose promoted tokens are the null of the features'."""
NULL_SEED = 20_260
"""Seed of these directions, the same for every run of a width."""


# --- measure -----------------------------------------------------------------------------------


def measure(source: Source, snapshots: Snapshots, k: int) -> Arrays:
    """Moments of the rows of snapshot k; of a crosscoder also lengths and turns of directions.

    mean (d,) and scale () as in crosscoder-method section 2, added up in float64; norms, rotation
    to the next snapshot (nan at the last) and to_terminal (D,) as in section 7.2.
    """
    mean, scale = moments(snapshots.rows(k))
    arrays = {"mean": mean.astype(np.float32), "scale": scale}
    if isinstance(source, PrismDictionary):
        return arrays
    now = source.directions(k, check=True)
    last = source.n_snapshots - 1
    after = source.directions(k + 1) if k < last else None
    length = now.norm(dim=-1)
    turn = torch.full_like(length, torch.nan) if after is None else _turn(now, after)
    return arrays | {
        "norms": length.numpy(),
        "rotation": turn.numpy(),
        "to_terminal": _turn(now, source.directions(last)).numpy(),
    }


def moments(rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and scale () of raw rows (section 2), added up in float64."""
    starts = range(0, len(rows), CHUNK)
    total = sum(rows[s : s + CHUNK].numpy().sum(axis=0, dtype=np.float64) for s in starts)
    mean = total / len(rows)
    square = sum(
        np.square(rows[s : s + CHUNK].numpy() - mean).sum(dtype=np.float64) for s in starts
    )
    return mean, np.sqrt(np.maximum(square / rows.numel(), 1e-8))


def _turn(a: Tensor, b: Tensor) -> Tensor:
    """1 - cos of rows, (D,); nan where either has no length."""
    parts = zip(a.split(CHUNK), b.split(CHUNK), strict=True)
    dots = torch.cat([(x * y).sum(dim=-1) for x, y in parts])
    return 1 - (dots / (a.norm(dim=-1) * b.norm(dim=-1))).clamp(-1, 1)


# --- encode ------------------------------------------------------------------------------------


def block_rows(source: Source, snapshots: Snapshots) -> int:
    """Rows of a block: whole training batches, as many as `BLOCK_BYTES` hold."""
    return block_rows_of(source.n_snapshots, snapshots.width, source.n_features, source.batch)


def block_rows_of(n_snapshots: int, width: int, n_features: int, batch: int = BATCH) -> int:
    """The same from the numbers alone."""
    length = n_snapshots * width
    kept = 2 * length * n_features <= KEEP_BYTES
    rows = BLOCK_BYTES * (1 if kept else 2) // (2 * length + 4 * n_features)
    return max(rows // batch, 1) * batch


class Encoding:
    """The encode pass of one process: what its blocks share."""

    def __init__(
        self, source: Source, snapshots: Snapshots, measured: Arrays, device: torch.device,
        screen: torch.dtype | None = None,
    ) -> None:
        """Take what was measured: mean (K, d), scale (K,), norms (K, D).

        Args:
            screen: number type of the rough product; the fast one of the device when None.
        """
        self.source, self.snapshots, self.device = source, snapshots, device
        self.screen = screen or screening.screen_type(device)
        self.mean = torch.from_numpy(measured["mean"]).to(device)
        self.scale = torch.from_numpy(measured["scale"]).float().to(device)
        # sqrt(K) if all snapshots were alike, and half of the margin is to stay free
        self.widen = 2 * math.sqrt(source.n_snapshots)
        self._kept: list[RoughEncoder] = []
        if isinstance(source, Dictionary):
            self.norms = torch.from_numpy(measured["norms"]).to(device)
            self.threshold = source.threshold.to(device)
            self.bias = source.bias.to(device)
            self.bar = self._bar()

    def block(self, start: int, stop: int) -> Arrays:
        """Code and left-over of rows start to stop: token, feature, p; residual, total (B, K).

        The left-over is that of the whole code, of which `cut_rows` may keep a part. Also length
        (B, K) of the rows and, of several snapshots, turn (B, K): 1 - cosine to the last.
        """
        gate = None
        if isinstance(self.source, Dictionary):
            gate = Gate(self.norms.cpu().numpy(), self.threshold.cpu().numpy())
        most = row_limit(self.snapshots.n_rows)
        return cut_rows(self._whole(start, stop), most, self.source.n_features, gate, start)

    def _whole(self, start: int, stop: int) -> Arrays:
        """The same with every entry.

        Where the device has too little memory the block is halved, down to one training batch.
        """
        work = self._prism if isinstance(self.source, PrismDictionary) else self._crosscoder
        try:
            return work(start, stop)
        except torch.OutOfMemoryError as error:
            batches = -(-(stop - start) // self.source.batch)
            if batches < 2:
                raise OutOfMemory(
                    f"{self.device} has too little memory for {stop - start} rows of "
                    f"{self.source.n_features} features; run this again with --device cpu"
                ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = start + batches // 2 * self.source.batch
        parts = self._whole(start, middle), self._whole(middle, stop)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    # a crosscoder

    def _bar(self) -> Tensor:
        """What p must exceed for a feature to be of interest, (D,) less its bias."""
        source = self.source
        assert isinstance(source, Dictionary)
        if source.gate is not None:
            gate = source.gate
            bar = torch.maximum(-gate.bias, -gate.offset * (-gate.log_gain).exp())
        elif source.act_fn == "batchtopk":
            bar = torch.zeros(source.n_features)
        else:  # a direction without length fires nowhere: theta / 0
            bar = source.threshold / self.norms.amax(dim=0).cpu()
        return bar.to(self.device) - self.bias

    def _crosscoder(self, start: int, stop: int) -> Arrays:
        span = (start, stop)
        row, feature, p = self._code(span)
        offsets = torch.searchsorted(row, torch.arange(stop - start + 1, device=row.device))
        rows = self._left_over(span, offsets, feature, p)
        return _code_arrays(row + start, feature, p) | rows

    def _rows(self, span: tuple[int, int], k: int) -> Tensor:
        """Standardised rows (B, d) of a snapshot."""
        return (self.snapshots.rows(k, *span).to(self.device) - self.mean[k]) / self.scale[k]

    def _code(self, span: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        x = (self._rows(span, k) for k in range(self.source.n_snapshots))
        side = screening.side_by_side(x, span[1] - span[0], len(self.mean.ravel()), self.screen)
        size = screening.four_norm(side)
        plane, sizes = screening.rough_plane(side, self._rough(), self.source.n_features)
        del side
        while True:
            room = screening.slack((size, sizes), self.screen, self.widen)
            row, feature, p, strain = self._exact(span, plane, room)
            if strain <= 0.5:
                return self._gated(row, feature, p, len(plane))
            self.widen *= 2

    def _exact(
        self, span: tuple[int, int], plane: Tensor, room: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, float]:
        """Every entry that may be kept, its p, and how much of the margin errors took up."""
        row, feature = screening.above(plane, self._bars(plane, room), room, self.screen)
        entries = screening.Entries(row, feature, tuple(plane.shape))
        for k in range(self.source.n_snapshots):
            slab = self.source.encoder(k).to(self.device).T.contiguous()
            entries.add(self._rows(span, k), slab)
        p = entries.values()
        strain = screening.strain(plane[row, feature], p, row, feature, room, self.screen)
        return row, feature, p + self.bias[feature], strain

    def _bars(self, plane: Tensor, room: tuple[Tensor, Tensor]) -> Tensor:
        """The bar (D,), or of batchtopk the bar (B, D) that the batch's budget sets."""
        if self.source.act_fn != "batchtopk":
            return self.bar
        bars = torch.empty(plane.shape, device=plane.device)
        widest = float(room[1].max())
        for start in range(0, len(plane), self.source.batch):
            part = slice(start, start + self.source.batch)
            values = plane[part].float() + self.bias
            budget = min(len(values) * self.source.budget, values.numel())
            cut = float(values.flatten().kthvalue(values.numel() - budget + 1).values)
            # the cut itself is rough: the exact one is lower by no more than an entry is off
            cut -= float(room[0][part].max()) * widest
            cut -= 4 * screening.ROUNDING[self.screen] * (abs(cut) + float(self.bias.abs().max()))
            bars[part] = max(cut, 0.0) - self.bias
        return bars

    def _gated(
        self, row: Tensor, feature: Tensor, p: Tensor, n_rows: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the sparse code keeps: the rule of `atlas.crosscoder.row_codes`, entry by entry."""
        source = self.source
        if source.gate is not None:
            gate = [part.to(p.device)[feature] for part in
                    (source.gate.bias, source.gate.log_gain, source.gate.offset)]
            p = gated(p, *gate)
            kept = p > 0
        elif source.act_fn == "batchtopk":
            kept = torch.zeros_like(p, dtype=torch.bool)
            for start in range(0, n_rows, source.batch):
                size = min(source.batch, n_rows - start)
                inside = ((row >= start) & (row < start + size) & (p > 0)).nonzero()[:, 0]
                order = p[inside].sort(descending=True, stable=True).indices
                kept[inside[order[: size * source.budget]]] = True
        else:
            kept = p * self.norms.amax(dim=0)[feature] > self.threshold[feature]
        return row[kept], feature[kept], p[kept]

    def _left_over(
        self, span: tuple[int, int], offsets: Tensor, feature: Tensor, p: Tensor
    ) -> Arrays:
        """Squared residual and squared length of every row at every snapshot, (B, K) float64.

        And the length, and of several snapshots the turn from the last: nan of a row of no length.
        """
        count = self.source.n_snapshots
        residual = np.empty((span[1] - span[0], count))
        total, turn = np.empty_like(residual), np.empty_like(residual, dtype=np.float32)
        last = self._rows(span, count - 1)
        bar = self.threshold[feature]
        ungated = self.source.act_fn != "jumprelu"
        for k in range(count):
            rows = self._rows(span, k)
            turn[:, k] = _turn(rows, last).cpu()
            active = p if ungated else p * (p * self.norms[k][feature] > bar)
            directions = self.source.directions(k).to(self.device)
            rebuilt = _sums(directions, offsets, feature, active)
            total[:, k] = rows.square().sum(dim=1).cpu()
            error = rebuilt.sub_(rows).add_(self.source.b_D[k].to(self.device))
            residual[:, k] = error.square_().sum(dim=1).cpu()
        found = {"residual": residual, "total": total,
                 "length": np.sqrt(total).astype(np.float32)}
        return found | ({"turn": turn} if count > 1 else {})

    def _rough(self) -> Iterator[RoughEncoder]:
        """The encoder, rounded, in pieces of features; kept if it is small enough."""
        if self._kept:
            yield from self._kept
            return
        source = self.source
        assert isinstance(source, Dictionary)
        width = source.n_snapshots * source.d_model
        size = width * self.screen.itemsize
        keep = size * source.n_features <= KEEP_BYTES or self.device.type == "cuda"
        pieces = []
        step = max(TILE_BYTES // size, 1)
        for start in range(0, source.n_features, step):
            stop = min(start + step, source.n_features)
            rough = torch.empty(stop - start, width, dtype=self.screen, device=self.device)
            for k in range(source.n_snapshots):
                part = source.encoder(k)[:, start:stop].to(self.device)
                rough[:, k * source.d_model : (k + 1) * source.d_model] = part.T
            if not bool(torch.isfinite(rough).all()):
                for k in range(source.n_snapshots):
                    source.encoder(k, check=True)  # names the place
            piece = RoughEncoder(start, rough)
            pieces += [piece] if keep else []
            yield piece
        self._kept = pieces

    # a prism

    def _prism(self, start: int, stop: int) -> Arrays:
        assert isinstance(self.source, PrismDictionary)
        prism = _moved(self.source.prism, self.device)
        x, _, length = normalise_rows(
            self.snapshots.rows(0, start, stop).to(self.device), prism.row_mean
        )
        tokens, features, values, residual = [], [], [], []
        for first in range(0, len(x), self.source.batch):
            rows = x[first : first + self.source.batch]
            indices, code = encode(prism, rows)
            error = decode(prism, indices, code) - rows
            residual.append(error.square().sum(dim=1).double().cpu().numpy())
            indices, order = indices.sort(dim=1)
            code = code.gather(1, order)
            at = start + first
            code = code * prism.row_norms[at : at + len(rows), None]
            row, place = (code > 0).nonzero(as_tuple=True)
            tokens.append(row + at)
            features.append(indices[row, place])
            values.append(code[row, place])
        code = _code_arrays(torch.cat(tokens), torch.cat(features), torch.cat(values))
        total = x.square().sum(dim=1).double().cpu().numpy()
        length = np.where(total > 0, length.cpu().numpy(), np.float32(0))
        return code | {"residual": np.concatenate(residual)[:, None], "total": total[:, None],
                       "length": length[:, None]}


def _moved(prism: Prism, device: torch.device) -> Prism:
    values = {field.name: getattr(prism, field.name) for field in fields(prism)}
    return replace(prism, **{name: value.to(device) for name, value in values.items()
                             if isinstance(value, Tensor)})


def _sums(directions: Tensor, offsets: Tensor, feature: Tensor, active: Tensor) -> Tensor:
    """Rows (B, d) added up from directions, one after the other: a hundredth of them is on."""
    return embedding_bag(
        feature, directions, offsets, mode="sum", per_sample_weights=active,
        include_last_offset=True,
    )


def _code_arrays(token: Tensor, feature: Tensor, p: Tensor) -> Arrays:
    return {"token": token.int().cpu().numpy(), "feature": feature.int().cpu().numpy(),
            "p": p.float().cpu().numpy()}


# --- promote -----------------------------------------------------------------------------------


def promote(
    source: Source, snapshots: Snapshots, k: int, mean: np.ndarray, allowed: Tensor,
    device: torch.device, screen: torch.dtype | None = None,
) -> Arrays:
    """Tokens along and against each direction of snapshot k, and along random directions.

    Ranking is by the cosine of the centred row with the direction (demo section 5.6). promoted and
    suppressed (D, n) ids with their cosines; null_cosines and null_tokens (R, n) are what
    `statistics.promoted_null` finds for the random directions.
    """
    directions, _ = unit(source.directions(k).to(device))
    random = torch.from_numpy(random_directions(snapshots.width)).to(device)
    ids = allowed.nonzero()[:, 0]
    found = Extremes(torch.cat([directions, random]), min(PROMOTED, len(ids)), screen)
    rows, centre = snapshots.rows(k), torch.from_numpy(mean)
    for part in ids.split(max(TILE_BYTES // (4 * snapshots.width), 1024)):
        found.add(unit((rows[part] - centre).to(device))[0], part.to(device))
    names = ("promoted", "promoted_cosines", "suppressed", "suppressed_cosines")
    columns = dict(zip(names, (c.cpu().numpy() for c in found.columns()), strict=True))
    columns = {name: values.astype(np.int32) if values.dtype == np.int64 else values
               for name, values in columns.items()}
    size = source.n_features
    return {name: values[:size] for name, values in columns.items()} | {
        "null_tokens": columns["promoted"][size:],
        "null_cosines": columns["promoted_cosines"][size:],
    }


def random_directions(width: int) -> np.ndarray:
    """Unit directions (R, d) float32, the same on every machine."""
    draws = np.random.default_rng(NULL_SEED).standard_normal((NULL_DIRECTIONS, width))
    return (draws / np.linalg.norm(draws, axis=1, keepdims=True)).astype(np.float32)
