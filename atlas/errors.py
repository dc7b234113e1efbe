"""Every failure a user can meet, each with the exit status of the command line.

A message is one line: what happened, to which file or value, and the command that mends it.
"""


class AtlasError(Exception):
    """A check failed or a figure is out of tolerance."""

    status = 1


class NotFound(AtlasError):
    """What was asked for is not there: a run, a feature, a token, a store."""

    status = 2


class InvalidValue(AtlasError):
    """What was asked for cannot be: a bad step, an empty prompt, an unknown key."""

    status = 2


class BrokenArtifact(AtlasError):
    """A file is damaged or is not what it claims to be."""

    status = 3


class HubError(AtlasError):
    """The hub or the network did not answer as needed."""

    status = 4


class StoreBusy(AtlasError):
    """Another process is writing the store."""

    status = 5


class NoSpace(AtlasError):
    """The disk is full."""

    status = 6


class VersionMismatch(AtlasError):
    """A file was written by a version this code does not read."""

    status = 7


class OutOfMemory(AtlasError):
    """Memory ran out, also after backing off."""

    status = 8


class Diverged(AtlasError):
    """A training produced a loss or gradient that is not finite."""

    status = 9


class Stopped(AtlasError):
    """Work was asked to stop by a signal and did, with what it had kept.

    Args:
        message: what stopped and how it goes on. signal: number of the signal.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.status = 128 + signal
