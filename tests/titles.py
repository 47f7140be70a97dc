"""The titles of processes, some of which end while they are looked at."""

from __future__ import annotations

import psutil


def title_of(process: psutil.Process) -> str:
    """Returns the command line of a process; nothing if it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # gone, or not yet waited for by its parent
        return ""
