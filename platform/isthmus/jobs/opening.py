"""Opens a job's run during its training, because MLflow takes seconds to import and to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future

from isthmus.progress.reporter import EpochReport
from isthmus.tracking import RunLog, preload

Told = Callable[[RunLog], None]


class Opening:
    """A `Reporter` that opens a run log, and forwards what is reported once the log is open.

    The log is opened in a thread; everything else happens in the caller's thread.
    """

    def __init__(
        self, open_log: Callable[[], RunLog], executor: Executor, on_open: Callable[[RunLog], None]
    ) -> None:
        """Creates the reporter; `begin` opens the log.

        Args:
            open_log: Opens the log. An error that it raises is raised by the next call that needs
                the log.
            executor: An executor with one thread.
            on_open: Called once with the log, before anything is reported to it.
        """
        self._open_log = open_log
        self._executor = executor
        self._missed: list[Told] = [on_open]
        self._future: Future[RunLog] | None = None

    @property
    def is_begun(self) -> bool:
        """Whether there is a run, or there will be one."""
        return self._future is not None

    def begin(self) -> None:
        """Begins to open the log, and to import what is needed at the end of training."""
        if self._future is None:
            self._future = self._executor.submit(self._open_log)
            self._executor.submit(preload)

    def run_id(self) -> str:
        """Waits for the run and returns its id; may be called in any thread."""
        self.begin()
        assert self._future is not None  # noqa: S101 (just begun)
        return self._future.result().run_id

    def log(self) -> RunLog:
        """Waits until the log is open; returns it after everything so far is reported to it."""
        self.begin()
        assert self._future is not None  # noqa: S101 (just begun)
        log = self._future.result()
        missed, self._missed = self._missed, []
        for told in missed:
            told(log)
        return log

    def fail(self, error: BaseException) -> None:
        """Tells the run, if there is one, which error ended the job."""
        if self._future is not None and self._future.exception() is None:
            self.log().fail(error)

    def close(self) -> None:
        """Waits until everything is written."""
        if self._future is not None and self._future.exception() is None:
            self._future.result().close()

    # -- Reporter -----------------------------------------------------------------------------

    def on_resume(self, history: Sequence[EpochReport]) -> None:
        """Reports the epochs that are in the run's checkpoint to the log."""
        self._tell(lambda log: log.on_resume(history))

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        """Reports the start, and opens the log now that imports cannot delay training."""
        self.begin()
        self._tell(lambda log: log.on_start(epochs, rows, first_epoch))

    def on_rows(self, epoch: int, done: int) -> None:
        """Writes nothing, but raises an error if the log could not be opened."""
        if self._future is not None and self._future.done():
            self.log()

    def on_epoch(self, report: EpochReport) -> None:
        """Reports the epoch to the log."""
        self._tell(lambda log: log.on_epoch(report))

    def on_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Reports the metrics of a user's callbacks to the log."""
        self._tell(lambda log: log.log_values(metrics, step))

    def _tell(self, told: Told) -> None:
        self._missed.append(told)
        if self._future is not None and self._future.done():
            self.log()
