"""Opens a job's run beside its training: MLflow takes seconds to import and to answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future

from isthmus.progress.reporter import EpochReport
from isthmus.tracking import RunLog, preload

Told = Callable[[RunLog], None]


class Opening:
    """A `Reporter` that passes on what it hears to a run log, once that is open.

    The log is opened in a thread; all else happens in the thread that calls.
    """

    def __init__(
        self, open_log: Callable[[], RunLog], executor: Executor, on_open: Callable[[RunLog], None]
    ) -> None:
        """Args:
        open_log: Makes the log; may raise, which whoever calls next then hears.
        executor: Of one thread.
        on_open: Called once with the log, before anything else is told to it.
        """
        self._open_log = open_log
        self._executor = executor
        self._missed: list[Told] = [on_open]
        self._future: Future[RunLog] | None = None

    @property
    def is_begun(self) -> bool:
        """Whether there is, or will be, a run."""
        return self._future is not None

    def begin(self) -> None:
        """Begins to open the log, and to import what its end needs."""
        if self._future is None:
            self._future = self._executor.submit(self._open_log)
            self._executor.submit(preload)

    def run_id(self) -> str:
        """The run's id, from any thread; waits for it."""
        self.begin()
        assert self._future is not None  # noqa: S101 (just begun)
        return self._future.result().run_id

    def log(self) -> RunLog:
        """The open log, which has heard of everything so far; waits for it."""
        self.begin()
        assert self._future is not None  # noqa: S101 (just begun)
        log = self._future.result()
        missed, self._missed = self._missed, []
        for told in missed:
            told(log)
        return log

    def fail(self, error: BaseException) -> None:
        """Tells the run, if there is one, what ended the job."""
        if self._future is not None and self._future.exception() is None:
            self.log().fail(error)

    def close(self) -> None:
        """Waits until all is written."""
        if self._future is not None and self._future.exception() is None:
            self._future.result().close()

    # -- Reporter -----------------------------------------------------------------------------

    def on_resume(self, history: Sequence[EpochReport]) -> None:
        """Tells the log of the epochs that the run's checkpoint knows of."""
        self._tell(lambda log: log.on_resume(history))

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        """Training runs: what is imported from now on does not keep it from beginning."""
        self.begin()
        self._tell(lambda log: log.on_start(epochs, rows, first_epoch))

    def on_rows(self, epoch: int, done: int) -> None:
        """Nothing is written of rows; but a log that cannot be opened is noticed."""
        if self._future is not None and self._future.done():
            self.log()

    def on_epoch(self, report: EpochReport) -> None:
        """Tells the log."""
        self._tell(lambda log: log.on_epoch(report))

    def _tell(self, told: Told) -> None:
        self._missed.append(told)
        if self._future is not None and self._future.done():
            self.log()
