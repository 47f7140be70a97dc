"""Retries requests to a server that does not answer, because it may be starting or busy."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

# MLflow itself makes three attempts per call, each of which asks a server behind MLflow several
# times.
_PATIENCE_S = 60.0
_FIRST_PAUSE_S = 0.5
_MOST_COLLISIONS = 4
# MLflow's error codes that a retry may mend. The first also stands for a broken connection.
_PASSING_ERRORS = frozenset({"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"})
_NETWORK_LIBRARIES = ("boto3", "botocore", "requests", "urllib3")


def patient(client: MlflowClient) -> MlflowClient:
    """Returns a client that retries every call for about a minute while the server does not answer.

    If an answer is lost after the server has done the work, the retry does it a second time.
    Callers check for this where it matters.
    """
    return cast("MlflowClient", _Patient(client))


def beside_others(write: Callable[[], None]) -> None:
    """Writes an alias or a tag that other processes may write at the same time.

    MLflow checks whether there is one, then inserts or updates it. If two processes insert at the
    same time, the database refuses one, which MLflow reports as a bad request. A retry then updates
    it.
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
