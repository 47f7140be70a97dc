"""Makes a run's figures and texts in threads; an error in one never makes the run fail."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from isthmus.errors import in_one_line

_logger = logging.getLogger(__name__)
_TIMEOUT_S = 60.0


class Extras:
    """The threads of one run that make figures and texts. An error in one is only a warning."""

    def __init__(self, run_name: str) -> None:
        self._run_name = run_name
        self._told: set[str] = set()
        self._threads: list[threading.Thread] = []

    def begin(self, work: Callable[[], object]) -> None:
        """Calls a function in a thread."""

        def guarded() -> None:
            with self.forgiving("part"):
                work()

        thread = threading.Thread(target=guarded, name="isthmus-tracking-extra", daemon=True)
        self._threads.append(thread)
        thread.start()

    @contextmanager
    def forgiving(self, what: str) -> Iterator[None]:
        """Turns an error in the block into a warning that names what is missing, and the cause."""
        try:
            yield
        except Exception as error:
            reason = getattr(error, "strerror", None) or in_one_line(error)
            if reason not in self._told:  # a full disk causes the same error for every file
                self._told.add(reason)
                _logger.warning(
                    "%s of run %s could not be logged: %s",
                    *(what, self._run_name, reason),
                    exc_info=True,
                )

    def join(self) -> None:
        """Waits for all threads, up to a minute for each."""
        for thread in self._threads:
            thread.join(_TIMEOUT_S)
