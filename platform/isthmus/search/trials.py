"""The trials of a search as the driver tracks them: the values and the state of each."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import ray
from safetensors.torch import load

from isthmus.errors import IsthmusError, TrainingError
from isthmus.launch.event_actor import ActorLine
from isthmus.launch.ray_trainer import put_rows
from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.checkpoints import Progress
from isthmus.progress.events import Started
from isthmus.progress.reporter import EpochReport
from isthmus.progress.result import FitResult
from isthmus.search.events import Kept
from isthmus.search.trial import TrialTask
from isthmus.spec import ModelPlan, TrainingSpec

Values = Mapping[str, object]
TrialState = Literal["waiting", "training", "done", "stopped early", "failed", "interrupted"]


@dataclass(frozen=True)
class Candidate:
    """The autoencoder that one trial trains, with its options and rows.

    Attributes:
        plan: The autoencoder to build.
        training: The training options.
        rows: The scaled rows. Trials with the same data share one object, so that Ray's object
            store holds it only once.
    """

    plan: ModelPlan
    training: TrainingSpec
    rows: ScaledRows


@dataclass(frozen=True)
class TrialRecord:
    """The state of one trial.

    Attributes:
        number: The trial's number, counted from 1.
        values: The values that it tries, by dotted field name.
        state: The state of the trial. The scheduler has ended a trial that is `stopped early`.
        epoch: Number of finished epochs.
        epochs: Number of epochs that it trains at most; 0 before it has begun.
        loss: The latest validation loss.
        value: The search's metric at the epoch of the best weights.
        reason: The reason why the trial failed.
    """

    number: int
    values: Values
    state: TrialState = "waiting"
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    value: float | None = None
    reason: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether the trial has ended."""
        return self.state not in ("waiting", "training")


class SearchReporter(Protocol):
    """Receives the progress of a search in order, in the driver process and the search's thread."""

    def on_trial(self, trial: TrialRecord) -> None:
        """Reports a new trial; a trial that cannot be trained has failed already."""

    def on_trial_epoch(self, trial: TrialRecord, report: EpochReport) -> None:
        """Reports a finished epoch of a trial."""

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Reports the end of a trial."""


# How many data sets Ray keeps for later trials, if trials have different data: the latest in use.
_MOST_ROWS_KEPT = 4


class Trials:
    """Tracks the trials by what Ray Tune's thread and their processes report; calls the reporter.

    `accept` and `end` are called in Ray Tune's thread, all other methods in the driver's.
    """

    def __init__(
        self,
        board: Any,
        line: ActorLine,
        candidate: Callable[[int, Values], Candidate],
        make_task: Callable[[int, Candidate, Any], TrialTask],
        reporter: SearchReporter,
    ) -> None:
        """Creates the tracker, without any trials.

        Args:
            board: The handle of the `TrialBoard`.
            line: The driver's end of the channel to it.
            candidate: Returns what a trial trains, given its number and values.
            make_task: Returns a trial's task, given its number, its candidate, and Ray's reference
                to the candidate's rows.
            reporter: Receives the progress.
        """
        self.is_interrupted = False
        self._board = board
        self._line = line
        self._candidate = candidate
        self._make_task = make_task
        self._reporter = reporter
        self._records: dict[int, TrialRecord] = {}
        self._made: deque[TrialRecord] = deque()
        self._ended: deque[tuple[int, float | None, str | None]] = deque()
        self._kept: dict[int, Kept] = {}
        self._rows: OrderedDict[int, tuple[ScaledRows, Any]] = OrderedDict()

    # -- Ray Tune's thread ------------------------------------------------------------------------

    def accept(self, number: int, values: Values) -> bool:
        """Takes a proposed trial; returns whether it can be trained."""
        record = TrialRecord(number, values)
        try:
            candidate = self._candidate(number, values)
            task = self._make_task(number, candidate, self._reference(candidate.rows))
            # In a list, because Ray would fetch the task of a bare reference before the call.
            ray.get(self._board.put_task.remote(number, [ray.put(task)]))
        except IsthmusError as error:
            record = replace(record, state="failed", reason=" ".join(str(error).split()))
        self._made.append(record)
        return record.state != "failed"

    def end(self, number: int, value: float | None, reason: str | None) -> None:
        """Takes the end of a trial: its last value, and why it failed if Ray Tune knows."""
        self._ended.append((number, value, reason))

    def _reference(self, rows: ScaledRows) -> Any:
        key = id(rows)
        if key not in self._rows:
            self._rows[key] = (rows, put_rows(rows))
        self._rows.move_to_end(key)
        if len(self._rows) > _MOST_ROWS_KEPT:
            self._rows.popitem(last=False)
        return self._rows[key][1]

    # -- the driver's thread ----------------------------------------------------------------------

    def deliver(self, wait_s: float = 0.0) -> None:
        """Passes news to the reporter; waits up to `wait_s` seconds for a trial's event."""
        # The order matters. Ends are counted before the events are fetched, so that an end comes
        # after the trial's last events. New trials are read afterwards, so that none comes after
        # its first event. Ctrl-C, which most likely comes during the wait, loses nothing.
        ended = len(self._ended)
        events: list[Any] = self._line.drain(wait_s)
        while self._made:
            record = self._made.popleft()
            self._records[record.number] = record
            self._reporter.on_trial(record)
        for each in events:
            self._take(each.number, each.event)
        for _ in range(ended):
            self._close(*self._ended.popleft())

    def close(self, state: TrialState, reason: str | None = None) -> None:
        """Ends all trials that Ray Tune has left without an end."""
        self.deliver()
        for number, record in self._records.items():
            if not record.is_over:
                self._reporter.on_trial_end(self._update(number, state=state, reason=reason))

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """All trials, in order."""
        return tuple(self._records[number] for number in sorted(self._records))

    def best(self) -> tuple[TrialRecord | None, FitResult]:
        """Returns the trial with the lowest value and its result.

        If no trial has a value, returns `None` and a result without weights.
        """
        number = self._best_number()
        if number is None:
            return None, FitResult(state=None, progress=Progress())
        kept = self._kept[number]
        return self._records[number], FitResult(
            state=load(kept.weights), progress=Progress.from_json(kept.progress)
        )

    def _update(self, number: int, **changes: Any) -> TrialRecord:
        self._records[number] = replace(self._records[number], **changes)
        return self._records[number]

    def _take(self, number: int, event: object) -> None:
        match event:
            case Started():
                self._update(number, state="training", epochs=event.epochs)
            case EpochReport() if event.epoch > self._records[number].epoch:
                # A trial whose process was lost repeats some epochs.
                loss = event.validation["loss"]
                record = self._update(number, epoch=event.epoch, loss=loss)
                self._reporter.on_trial_epoch(record, event)
            case Kept():
                self._update(number, value=event.value)
                self._kept[number] = event
            case TrainingError():
                self._update(number, reason=str(event))

    def _close(self, number: int, value: float | None, reason: str | None) -> None:
        record = self._records[number]
        if record.is_over:
            return
        self._board.drop_task.remote(number)
        kept = self._kept.get(number)
        reason = record.reason or reason
        if reason:
            self._kept.pop(number, None)
            record = self._update(number, state="failed", value=None, reason=reason)
        elif kept is not None and kept.progress["finished"]:
            record = self._update(number, state="done")
        else:
            value = value if record.value is None else record.value
            state: TrialState = "interrupted" if self.is_interrupted else "stopped early"
            record = self._update(number, state=state, value=value)
        self._keep_the_best_alone()
        self._reporter.on_trial_end(record)

    def _keep_the_best_alone(self) -> None:
        """Deletes the weights of trials that have ended, except those of the best."""
        best = self._best_number()
        for number in tuple(self._kept):
            if number != best and self._records[number].is_over:
                del self._kept[number]

    def _best_number(self) -> int | None:
        return min(self._kept, key=lambda number: (self._kept[number].value, number), default=None)
