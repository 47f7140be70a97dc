"""Reads the log files of services."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

_POLL_S = 0.2


def read_log(file: Path, lines: int, *, follow: bool = False) -> Iterator[str]:
    """Yields the last lines of a log without their line ends, and with `follow` also new lines.

    It yields nothing if the file does not exist.
    """
    if not file.exists():
        return
    with file.open(encoding="utf-8", errors="replace") as opened:
        yield from (line.rstrip("\n") for line in deque(opened, maxlen=lines))
        part = ""
        while follow:
            part += opened.readline()
            if part.endswith("\n"):
                yield part.rstrip("\n")
                part = ""
            else:
                time.sleep(_POLL_S)
