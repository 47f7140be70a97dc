"""The held-out rows of a pair in a job that uses it: fetched while the job works, if they exist."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from isthmus.bundle.held_out import HeldOutSample
from isthmus.errors import RegistryError
from isthmus.registry import Pair, fetch_held_out
from isthmus.spec import Settings

_logger = logging.getLogger(__name__)
ReferenceRows = Callable[[], HeldOutSample | None]
"""Waits for a pair's held-out rows and returns them; `None` if there are none."""


def no_reference_rows() -> HeldOutSample | None:
    """Returns `None`: a pair that is not from a registry has no held-out rows with it."""
    return None


@contextmanager
def reference_rows(pair: Pair, settings: Settings) -> Iterator[ReferenceRows]:
    """Yields a function that returns a pair's held-out rows, which are fetched in a thread.

    Rows that cannot be fetched fail no job: a log line says so.
    """

    def fetch() -> HeldOutSample | None:
        try:
            return fetch_held_out(pair.manifest, settings)
        except RegistryError as error:
            _logger.info("drift is not looked at: %s", error)
            return None

    with ThreadPoolExecutor(1, thread_name_prefix="isthmus-held-out") as thread:
        future = thread.submit(fetch)
        try:
            yield future.result
        finally:
            future.cancel()
