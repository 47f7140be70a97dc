"""The trials of a search in MLflow: each is a run of its own, under the search's run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from isthmus.errors import IsthmusError, TrainingError
from isthmus.jobs.preparation import Prepared
from isthmus.progress.reporter import EpochReport
from isthmus.search import SearchReporter, TrialRecord
from isthmus.spec import JobSpec, Settings, searched
from isthmus.tracking import TAG_KIND, TRIAL, RunLog

_logger = logging.getLogger(__name__)


class Searches(Protocol):
    """A job to search, which can be prepared with other values."""

    spec: JobSpec

    def prepare(self, values: Mapping[str, object]) -> Prepared:
        """Returns the prepared job with other values."""


class TrialRuns:
    """A `SearchReporter` that writes the trials' runs, in the driver, and forwards the reports.

    Attributes:
        metric: The metric that trials are compared by, by its name in MLflow.
    """

    def __init__(
        self,
        desk: Searches,
        parent: RunLog,
        settings: Settings,
        measured: str,
        listener: SearchReporter | None,
    ) -> None:
        """Creates the reporter.

        Args:
            desk: The job to search.
            parent: The search's run.
            settings: The settings with MLflow's address.
            measured: The metric that trials are compared by, by its name among the validation
                losses.
            listener: Receives the same reports, if given.
        """
        self.metric = f"validation/{measured}"
        self._compared = f"validation_{measured}"
        self._desk = desk
        self._parent = parent
        self._settings = settings
        self._listener = listener
        self._trials: dict[int, TrialRecord] = {}
        self._logs: dict[int, RunLog] = {}

    @property
    def best(self) -> TrialRecord | None:
        """The best trial so far; `None` if no trial has a value."""
        valued = [trial for trial in self._trials.values() if trial.value is not None]
        return min(valued, key=lambda trial: trial.value or 0.0, default=None)

    def name_of(self, number: int) -> str:
        """Returns the name of a trial's run."""
        return f"{self._parent.name}-{number:02d}"

    # -- SearchReporter ---------------------------------------------------------------------------

    def on_trial(self, trial: TrialRecord) -> None:
        """Starts the trial's run."""
        self._trials[trial.number] = trial
        try:
            self._logs[trial.number] = self._start(trial)
        except IsthmusError as error:
            # The store may be unreachable for a while, which need not end the search.
            _logger.warning("trial %d has no run: %s", trial.number, error)
        if self._listener:
            self._listener.on_trial(trial)
        if trial.is_over:
            self.on_trial_end(trial)

    def on_trial_epoch(self, trial: TrialRecord, report: EpochReport) -> None:
        """Logs the epoch's metrics to the trial's run."""
        self._trials[trial.number] = trial
        if log := self._logs.get(trial.number):
            log.on_epoch(report)
        if self._listener:
            self._listener.on_trial_epoch(trial, report)

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Ends the trial's run, and logs its value to the search's run."""
        self._trials[trial.number] = trial
        if trial.value is not None and self.best and self.best.value is not None:
            values = {
                f"trial/{self._compared}": trial.value,
                f"best/{self._compared}": self.best.value,
            }
            self._parent.log_values(values, trial.number)
        if log := self._logs.pop(trial.number, None):
            self._end(log, trial)
        if self._listener:
            self._listener.on_trial_end(trial)

    def __enter__(self) -> TrialRuns:
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the runs of trials that have not ended."""
        for log in self._logs.values():
            log.interrupt(resumable=False)
        self._logs.clear()

    # -- its own work -----------------------------------------------------------------------------

    def _start(self, trial: TrialRecord) -> RunLog:
        prepared = None if trial.is_over else self._desk.prepare(trial.values)
        log = RunLog.start(
            prepared.spec if prepared else self._desk.spec.model_copy(update={"tuning": None}),
            self._settings,
            tags={TAG_KIND: TRIAL, "isthmus.trial": str(trial.number)},
            parent=self._parent,
            name=self.name_of(trial.number),
            # Values that do not fit together make no job, so they are logged beside the rest of it.
            unsettled=() if prepared else searched(self._desk.spec),
        )
        if prepared:
            log.log_data(prepared.fingerprint, prepared.split_sizes, prepared.plan, prepared.data)
        else:
            log.log_params(trial.values)
        return log

    def _end(self, log: RunLog, trial: TrialRecord) -> None:
        log.add_tags({"isthmus.trial_end": trial.state})
        if trial.value is not None:
            log.log_values({f"best/{self._compared}": trial.value}, 0)
        if trial.state == "failed":
            log.fail(TrainingError(trial.reason or "no reason given"))
        elif trial.state == "interrupted":
            log.interrupt(resumable=False)
        else:
            log.finish()
