"""Where live work and jobs run, and why.

The choice is made once per call and handed in as a string; nothing deeper in atlas picks a device.
"""

import os
from dataclasses import dataclass

import torch

from atlas.errors import InvalidValue

DEVICE_VARIABLE = "READOUT_ATLAS_DEVICE"
"""Environment variable that overrides the choice: `cpu`, `cuda` or `cuda:N`."""


@dataclass(frozen=True)
class Device:
    """A device and the reason it was chosen, both shown by `readout-atlas doctor`."""

    name: str
    """What torch calls it: `cpu`, `cuda` or `cuda:N`."""
    reason: str
    """One clause, fit to follow the name."""


def choose_device(wanted: str | None = None) -> Device:
    """The GPU where a working one is visible, else the CPU; a named device is taken at its word.

    Args:
        wanted: `auto` or None to choose; else a device name, which wins over the environment.

    Raises:
        InvalidValue: the named device does not exist on this machine.
    """
    source = "asked for with --device"
    if wanted in (None, "auto"):
        wanted, source = os.environ.get(DEVICE_VARIABLE), f"{DEVICE_VARIABLE} says so"
    if wanted in (None, "", "auto"):
        return _best_device()
    kind, _, index = wanted.partition(":")
    if wanted == "cpu":
        return Device("cpu", source)
    if kind != "cuda" or not (index == "" or index.isdecimal()):
        raise InvalidValue(f"device {wanted!r} is not known; use auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise InvalidValue(
            f"device {wanted!r} is not there: torch sees {count} GPUs; use --device cpu"
        )
    return Device(wanted, source)


def _best_device() -> Device:
    if torch.version.cuda is None:
        return Device("cpu", "this build of torch has no CUDA; the README says how to get one")
    if not torch.cuda.is_available():
        return Device("cpu", "torch sees no GPU")
    return Device("cuda", f"torch sees {torch.cuda.get_device_name(0)}")
