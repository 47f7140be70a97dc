"""Asks a server again that does not answer: it may be starting, or busy."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

# A server behind MLflow's is asked several times by each of MLflow's own three tries.
_PATIENCE_S = 60.0
_FIRST_PAUSE_S = 0.5
_MOST_COLLISIONS = 4
# MLflow's names for what another try may mend; it gives the first to a broken connection too.
_PASSING_ERRORS = frozenset({"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"})
_NETWORK_LIBRARIES = ("boto3", "botocore", "requests", "urllib3")


def patient(client: MlflowClient) -> MlflowClient:
    """A client whose every call is made again, for about a minute, while nobody answers.

    An answer may be lost after the deed was done, which is then done twice: callers look for that
    where it matters.
    """
    return cast("MlflowClient", _Patient(client))


def beside_others(write: Callable[[], None]) -> None:
    """Writes what other processes write at once: an alias, or a tag.

    MLflow looks if there is one, then inserts or updates it. Of two that insert the first at once
    its database refuses one, which MLflow calls a bad request; asked again, it updates.
    """
    from mlflow.exceptions import MlflowException

    for _ in range(_MOST_COLLISIONS):
        try:
            return write()
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
    return write()


class _Patient:
    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return _again(found) if callable(found) else found


def _again(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def ask(*args: Any, **kwargs: Any) -> Any:
        until_s, pause_s = time.monotonic() + _PATIENCE_S, _FIRST_PAUSE_S
        while True:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if not _may_pass(error) or time.monotonic() + pause_s > until_s:
                    raise
                _logger.info("%s failed, and is tried again: %s", call.__name__, error)
            time.sleep(pause_s)
            pause_s *= 2

    return ask


def _may_pass(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code in _PASSING_ERRORS
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, ConnectionError | TimeoutError) or library in _NETWORK_LIBRARIES
