"""The stages fidelity and gallery, from what a build has derived before them."""

from functools import cached_property

import numpy as np

from atlas.artifacts import RunFolder
from precompute import tables
from precompute.derive import Arrays, code_of, explained, kept_of_code
from precompute.gallery import gallery
from precompute.kept import Report
from precompute.readouts import Readouts
from precompute.sources import Snapshots, Source
from precompute.trial import Trial
from precompute.trust import trust
from precompute.words import Words


class Trying:
    """A run ready to be tried; what both stages need is put together when one of them is done."""

    def __init__(
        self, trial: Trial, folder: RunFolder, source: Source, snapshots: Snapshots,
        measured: list[Arrays], encoded: Arrays, report: Report,
    ) -> None:
        self.trial, self.folder, self.source, self.snapshots = trial, folder, source, snapshots
        self.measured, self.encoded, self.report = measured, encoded, report

    @cached_property
    def readouts(self) -> Readouts:
        """The readouts, with the code as the store will keep it."""
        norms, threshold = self.encoded["norms"], self.encoded["threshold"]
        code = tables.rounded(code_of(self.encoded), norms, threshold)
        mean, scale = (np.stack([part[name] for part in self.measured])
                       for name in ("mean", "scale"))
        return Readouts(self.source, self.snapshots, code.by_token(), norms, threshold, mean, scale)

    def fidelity(self, words: Words) -> Arrays:
        """The part of the stage fidelity."""
        rows = {name: self.encoded[f"row_{name}"] for name in ("residual", "total")
                if f"row_{name}" in self.encoded}
        share = explained(rows) if rows else np.zeros((0, len(self.folder.steps)))
        counts = words.counts
        if counts is not None:
            counts = np.pad(counts, (0, self.snapshots.n_rows - words.size))
        k = float(self.encoded["rates"][-1].sum())
        return trust(self.trial, self.readouts, k, counts, share, self.report)

    def gallery(self) -> Arrays:
        """The part of the stage gallery."""
        return gallery(
            self.trial, self.folder, self.readouts, kept_of_code(self.encoded), self.report
        )
