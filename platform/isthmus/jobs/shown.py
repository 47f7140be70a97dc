"""Shows the progress of trainings and searches in a notebook, where nobody else shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isthmus.notebook import NotebookBar, in_notebook
from isthmus.progress.counting import counted
from isthmus.progress.reporter import EpochReport, Reporter
from isthmus.progress.telling import TrainingTeller

if TYPE_CHECKING:
    from isthmus.search import SearchReporter, TrialRecord


@contextmanager
def shown_training(reporter: Reporter | None) -> Iterator[Reporter | None]:
    """Yields the reporter of a training: the given one, or a bar if this is a notebook."""
    if reporter is not None or not in_notebook():
        yield reporter
        return
    bar = NotebookBar()
    teller = TrainingTeller(bar)
    with _ended(bar):
        bar.rename("preparing")
        yield teller
    bar.end(f"{counted(teller.epochs, 'epochs')} trained")


@contextmanager
def shown_search(reporter: SearchReporter | None, trials: int) -> Iterator[SearchReporter | None]:
    """Yields the reporter of a search: the given one, or a bar if this is a notebook.

    Args:
        reporter: The caller's reporter, if there is one.
        trials: The most trials of the search.
    """
    if reporter is not None or not in_notebook():
        yield reporter
        return
    bar = NotebookBar()
    teller = _SearchTeller(bar)
    with _ended(bar):
        bar.begin("searching", trials, 0, "preparing")
        yield teller
    bar.end(f"{teller.ended:,} trials")


@contextmanager
def _ended(bar: NotebookBar) -> Iterator[None]:
    try:
        yield
    except BaseException:
        bar.stop()
        raise


class _SearchTeller:
    """A `SearchReporter` that tells the newest trial and the best one so far."""

    def __init__(self, bar: NotebookBar) -> None:
        self.ended = 0
        self._bar = bar
        self._best: TrialRecord | None = None

    def on_trial(self, trial: TrialRecord) -> None:
        """Tells that a trial begins."""
        self._bar.move(self.ended, f"trial {trial.number}{self._beside()}")

    def on_trial_epoch(self, trial: TrialRecord, report: EpochReport) -> None:
        """Tells how far a trial is."""
        said = f"trial {trial.number}: epoch {trial.epoch}/{trial.epochs}"
        self._bar.move(self.ended, f"{said}{self._beside()}")

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Tells that a trial has ended."""
        self.ended += 1
        known = self._best.value if self._best else None
        if trial.value is not None and (known is None or trial.value < known):
            self._best = trial
        self._bar.move(self.ended, f"trial {trial.number} {trial.state}{self._beside()}")

    def _beside(self) -> str:
        if self._best is None:
            return ""
        return f"; best {self._best.value:.4g} (trial {self._best.number})"
