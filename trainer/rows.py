"""The rows a dictionary is trained on: held on the device, or read where they lie batch by batch.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from atlas.crosscoder import Standardization


class Rows(Protocol):
    """Standardised rows of some snapshots."""

    snapshots: int
    d_model: int
    device: torch.device

    def __len__(self) -> int:
        """Number of rows."""

    def take(self, ids: Tensor) -> Tensor:
        """Rows (B, K d) on the device, a token's snapshots laid end to end; ids (B,) on the CPU."""


class ResidentRows:
    """Rows held whole: 4 n K d bytes.

    Args:
        x: (K, n, d) standardised.
        device: where they are held; where they are unless told.
    """

    def __init__(self, x: Tensor, device: torch.device | None = None):
        self.snapshots, _, self.d_model = x.shape
        self.device = device or x.device
        self._flat = x.permute(1, 0, 2).reshape(x.shape[1], -1).to(self.device)

    @classmethod
    def filled(cls, rows: "Rows", batch: int = 4096) -> "ResidentRows":
        """All of some rows, brought over batch by batch: never twice in memory."""
        one = cls.__new__(cls)
        one.snapshots, one.d_model, one.device = rows.snapshots, rows.d_model, rows.device
        one._flat = torch.empty(len(rows), rows.snapshots * rows.d_model, device=rows.device)
        for ids in torch.arange(len(rows)).split(batch):
            one._flat[ids[0] : ids[-1] + 1] = rows.take(ids)
        return one

    def __len__(self) -> int:
        return len(self._flat)

    def take(self, ids: Tensor) -> Tensor:
        """Rows (B, K d)."""
        return self._flat[ids.to(self.device)]


class StreamedRows:
    """Rows read from memory-mapped snapshots, batch by batch, when they do not fit the device.

    Args:
        raw: K tensors (V, d), as the snapshots hold them.
        statistics: of these snapshots.
        device: where batches go.
        fitted: ids (n,) of the rows to train on; all unless told.
    """

    def __init__(self, raw: Sequence[Tensor], statistics: Standardization, device: torch.device,
                 fitted: Tensor | None = None):
        self.snapshots, self.d_model = len(raw), raw[0].shape[1]
        self.device, self._raw, self._statistics = device, raw, statistics
        self._fitted = torch.arange(len(raw[0])) if fitted is None else fitted

    def __len__(self) -> int:
        return len(self._fitted)

    def take(self, ids: Tensor) -> Tensor:
        """Rows (B, K d)."""
        tokens = self._fitted[ids]
        stacked = torch.stack([part[tokens].float() for part in self._raw])
        if self.device.type == "cuda":
            stacked = stacked.pin_memory()
        own = self._statistics
        on = Standardization(own.mean.to(self.device), own.scale.to(self.device))
        x = on.apply(stacked.to(self.device, non_blocking=True))
        return x.permute(1, 0, 2).reshape(len(tokens), -1)
