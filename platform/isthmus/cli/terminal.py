"""The two streams that commands write to: results to stdout, everything else to stderr."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console

# A pipe has no width: tables must not be cut to the 80 columns of a terminal that is not there.
_PIPE_WIDTH = 240


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


out = _console(stderr=False)
err = _console(stderr=True)


def age(moment: datetime) -> str:
    """How long ago, in the unit that people would use."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
