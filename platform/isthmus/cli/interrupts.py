"""Ctrl-C and SIGTERM while a command runs: a `KeyboardInterrupt`, but in no library's import."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_IMPORTING = "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"
_OURS = "isthmus"


class Interrupts:
    """What this process has been asked by a person with Ctrl-C, or by SIGTERM.

    Attributes:
        was_asked: Whether it was asked to stop.
    """

    def __init__(self) -> None:
        self.was_asked = False

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Handles the signal: raises `KeyboardInterrupt`.

        A library that is interrupted while it is imported may raise an error of its own, or go on
        as if nothing had been. So the first signal waits until the library is imported, which
        takes a second at most; the second does not.
        """
        waits, self.was_asked = not self.was_asked and _is_importing(frame), True
        sys.setprofile(_raise_after_the_import if waits else None)
        if not waits:
            raise KeyboardInterrupt


@contextmanager
def listening() -> Iterator[Interrupts]:
    """Raises `KeyboardInterrupt` at SIGINT and SIGTERM until the block ends.

    A scheduler or a container that sends SIGTERM means what a person means with Ctrl-C.
    """
    interrupts = Interrupts()
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        # A shell starts what runs in its background deaf to Ctrl-C, and so it stays.
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
    """Raises `KeyboardInterrupt` when an import is over that a module of ours has asked for.

    It is called by Python at each call and return; the import's last frame returns to who asked.
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
