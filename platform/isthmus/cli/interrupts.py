"""Turns Ctrl-C and SIGTERM into a `KeyboardInterrupt`, but not while a library is imported."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_IMPORTING = "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"
_OURS = "isthmus"


class Interrupts:
    """Handles SIGINT, which Ctrl-C sends, and SIGTERM.

    Attributes:
        was_asked: Whether this process was asked to stop.
    """

    def __init__(self) -> None:
        self.was_asked = False

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Handles the signal: raises `KeyboardInterrupt`.

        A library that is interrupted during its import may raise an error of its own, or ignore
        the interrupt. The first signal therefore waits until the import has ended, which takes a
        second at most. The second signal does not wait.
        """
        waits, self.was_asked = not self.was_asked and _is_importing(frame), True
        sys.setprofile(_raise_after_the_import if waits else None)
        if not waits:
            raise KeyboardInterrupt


@contextmanager
def listening() -> Iterator[Interrupts]:
    """Raises `KeyboardInterrupt` at SIGINT and SIGTERM until the block ends.

    Schedulers and containers send SIGTERM for what a person does with Ctrl-C.
    """
    interrupts = Interrupts()
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        # A shell makes its background processes ignore Ctrl-C, and they must go on doing so.
        if not (number == signal.SIGINT and handler is signal.SIG_IGN):
            signal.signal(number, interrupts.hear)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename in _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _raise_after_the_import(frame: FrameType, event: str, _: object) -> None:
    """Raises `KeyboardInterrupt` when an import that a module of Isthmus began has ended.

    Python calls this function at each call and return. The last frame of an import returns to the
    module that began it.
    """
    if event != "return" or frame.f_code.co_filename not in _IMPORTING:
        return
    asking = frame.f_back
    if asking is None:
        return
    is_ours = asking.f_globals.get("__name__", "").partition(".")[0] == _OURS
    if is_ours or not _is_importing(asking):
        sys.setprofile(None)
        raise KeyboardInterrupt
