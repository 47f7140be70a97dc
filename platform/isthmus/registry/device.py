"""Chooses the device that a loaded pair computes on: a GPU if there is one, else the CPU."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from isthmus.errors import UsageError

Device = Literal["auto", "cpu", "gpu"]
"""The device that a pair computes on; `auto` is a GPU if there is one."""


def chosen_device(wanted: Device) -> torch.device:
    """Returns the device that is asked for.

    Raises:
        UsageError: If it is a GPU and there is none, or no such device is known.
    """
    check_device(wanted)
    has_gpu = torch.cuda.is_available()
    if wanted == "gpu" and not has_gpu:
        raise UsageError(
            "device gpu needs a GPU, and this machine has none that torch can use; choose auto or "
            "cpu"
        )
    return torch.device("cuda" if has_gpu and wanted != "cpu" else "cpu")


def check_device(wanted: str) -> None:
    """Refuses a device that no machine has.

    Raises:
        UsageError: Naming those that there are.
    """
    if wanted not in get_args(Device):
        raise UsageError(f'no device "{wanted}"; choose one of {", ".join(get_args(Device))}')
