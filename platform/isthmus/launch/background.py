"""Runs what blocks in a thread, so that Ctrl-C reaches us and not Ray, and keeps its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Background(Generic[Result]):
    """A call in a thread of its own.

    Attributes:
        is_there: Set once the call is over. Wait for this, and not with `thread.join`: Ctrl-C in
            it makes Python 3.11 take a running thread for ended.
    """

    def __init__(
        self, work: Callable[[], Result], at_end: Callable[[], object] | None = None
    ) -> None:
        """Args:
        work: What to call.
        at_end: Called in the same thread once the call is over, however it ended.
        """
        self.is_there = threading.Event()
        self._result: list[Result] = []
        self._error: BaseException | None = None
        self._at_end = at_end
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[], Result]) -> None:
        try:
            self._result.append(work())
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            self._error = error
        finally:
            self.is_there.set()
            if self._at_end:
                self._at_end()

    def result(self) -> Result:
        """What the call returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result[0]
