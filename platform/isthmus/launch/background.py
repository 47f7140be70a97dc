"""Runs a blocking call in a thread, so that Ctrl-C reaches the main thread and not Ray."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Background(Generic[Result]):
    """A call that runs in a thread of its own.

    Attributes:
        is_there: The event that the call has ended. Wait for it, and not with `thread.join`: Ctrl-C
            during a join makes Python 3.11 take the running thread for ended.
    """

    def __init__(
        self, work: Callable[[], Result], at_end: Callable[[], object] | None = None
    ) -> None:
        """Starts the call.

        Args:
            work: The function to call.
            at_end: Called in the same thread once the call has ended, also if it failed.
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

    def attend(self, deliver: Callable[[], object], stop: Callable[[], object]) -> None:
        """Calls `deliver` until the call in the thread has ended.

        Args:
            deliver: Waits a moment for news of the call, and passes it on.
            stop: Asks the call to stop; called at the first Ctrl-C.

        Raises:
            KeyboardInterrupt: At the second Ctrl-C.
        """
        is_stopping = False
        while not self.is_there.is_set():
            try:
                deliver()
            except KeyboardInterrupt:
                if is_stopping:
                    raise  # the second Ctrl-C ends at once
                is_stopping = True
                stop()

    def result(self) -> Result:
        """Returns the call's result, or raises its exception."""
        if self._error is not None:
            raise self._error
        return self._result[0]
