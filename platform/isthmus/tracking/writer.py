"""Writes a run's records from a background thread, so that training never waits for MLflow."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.errors import first_line
from isthmus.tracking.backlog import Backlog, DatasetUse, MetricPoint
from isthmus.tracking.spool import Spool
from isthmus.tracking.store import check_reachable, shown

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

_INTERVAL_S = 1.0
# If workers use all cores, they wait for each other, so writing delays training twice over. It may
# take at most a hundredth of the time, as long as the pauses are too short to be noticed in the UI.
_PAUSE_PER_WRITING = 100.0
_LONGEST_INTERVAL_S = 5.0
# The longest pause between two attempts while MLflow cannot be reached.
_LONGEST_PAUSE_S = 30.0
# A call that hangs inside MLflow's client is abandoned after this time; its records are on disk.
_CLOSING_TIMEOUT_S = 60.0


class RunWriter:
    """Buffers the records of one run and writes them every one to five seconds.

    While MLflow cannot be reached, the records wait in memory and on disk, the user is told once,
    and writing is retried at growing intervals. No method raises because of MLflow.
    """

    def __init__(self, client: MlflowClient, run_id: str, tracking_uri: str, spool: Spool) -> None:
        self._client = client
        self._run_id = run_id
        self._tracking_uri = tracking_uri
        self._spool = spool
        self._guard = threading.Lock()
        self._backlog = spool.read()
        self._in_flight = Backlog()
        self._is_out = False
        self._closing = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="isthmus-tracking", daemon=True)
        self._thread.start()

    def add(
        self,
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Iterable[MetricPoint] = (),
        datasets: Iterable[DatasetUse] = (),
    ) -> None:
        """Adds records to the buffer; returns at once."""
        with self._guard:
            self._backlog.params.update(params or {})
            self._backlog.tags.update(tags or {})
            self._backlog.metrics.extend(metrics)
            self._backlog.datasets.extend(datasets)

    def add_text(self, path: str, text: str) -> None:
        """Adds a small text artifact."""
        self.stage(path).write_text(text, encoding="utf-8")
        self.add_file(path)

    def stage(self, path: str) -> Path:
        """Returns the path that an artifact is to be written to before `add_file` is called."""
        return self._spool.stage(path)

    def add_file(self, path: str) -> None:
        """Adds the artifact that was written to the path from `stage`."""
        with self._guard:
            self._backlog.artifacts.append(path)

    def end(self, status: str) -> None:
        """Sets the run's final status."""
        with self._guard:
            self._backlog.ending = (status, int(time.time() * 1000))

    def close(self) -> bool:
        """Writes the remaining records, or leaves them on disk for the next start.

        Returns:
            Whether all records were written.
        """
        if self._closed:
            return not self._is_out
        self._closed = True
        self._closing.set()
        try:
            self._thread.join(_CLOSING_TIMEOUT_S)
        finally:
            with self._guard:
                left = self._in_flight.before(self._backlog)
            if left:
                self._is_out = True
                self._say_what_is_left(self._keep(left))
            self._spool.release(remove=not left)
        return not left

    def _run(self) -> None:
        pause_s = _INTERVAL_S
        while True:
            is_last = self._closing.wait(pause_s)
            began_s = time.monotonic()
            is_written = self._flush()
            if is_last and (not is_written or self._is_empty()):
                return
            if is_written:
                pause_s = _PAUSE_PER_WRITING * (time.monotonic() - began_s)
                pause_s = min(max(pause_s, _INTERVAL_S), _LONGEST_INTERVAL_S)
            else:
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _is_empty(self) -> bool:
        with self._guard:
            return not self._backlog

    def _flush(self) -> bool:
        """Writes the buffered records; returns whether that succeeded."""
        with self._guard:
            self._in_flight, self._backlog = self._backlog, Backlog()
        if not self._in_flight:
            return True
        try:
            self._spool.touch()
            check_reachable(self._tracking_uri)
            self._in_flight.send(self._client, self._run_id, self._spool.files)
        except Exception as error:  # noqa: BLE001 (network, store and driver may raise anything)
            self._put_back(error)
            return False
        if self._is_out:
            self._is_out = False
            self._spool.clear()
            _logger.info("MLflow at %s is back; all is written", shown(self._tracking_uri))
        return True

    def _put_back(self, error: Exception) -> None:
        with self._guard:
            self._backlog = self._in_flight.before(self._backlog)
            self._in_flight = Backlog()
            refusal = self._keep(self._backlog)
        if not self._is_out:
            self._is_out = True
            kept = (
                "are kept and written later"
                if refusal is None
                else f"wait in memory, for the disk does not take them ({refusal})"
            )
            _logger.warning("%s. Training goes on; the run's records %s", first_line(error), kept)
        _logger.debug("the tracking store could not be written to", exc_info=error)

    def _keep(self, backlog: Backlog) -> str | None:
        """Keeps the records on disk; returns the reason if the disk refuses them."""
        try:
            self._spool.keep(backlog)
        except OSError as error:
            return error.strerror or str(error)  # a full disk must not end training
        return None

    def _say_what_is_left(self, refusal: str | None) -> None:
        if refusal is None:
            _logger.warning(
                "MLflow at %s could not be written to; what is left of run %s waits in %s "
                "and is written when Isthmus next starts or resumes a run",
                shown(self._tracking_uri),
                self._run_id,
                self._spool.folder,
            )
        else:
            _logger.warning(
                "MLflow at %s could not be written to, nor could %s (%s): the last records of run "
                "%s are lost, but for what its checkpoint knows; free the disk",
                shown(self._tracking_uri),
                self._spool.folder,
                refusal,
                self._run_id,
            )
