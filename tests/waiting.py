"""Waits for what other processes bring about."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], timeout_s: float = 240.0) -> None:
    """Waits until a condition holds; fails after longer than a busy machine takes."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, "it did not come about"
        time.sleep(0.1)
