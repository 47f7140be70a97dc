"""Reporters that stop a training as Ctrl-C does."""

from __future__ import annotations

import signal

from isthmus.progress.reporter import EpochReport


class StopsAfterTwoEpochs:
    """A reporter that stops training after two epochs."""

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        pass

    def on_rows(self, epoch: int, done: int) -> None:
        pass

    def on_epoch(self, report: EpochReport) -> None:
        if report.epoch == 2:
            signal.raise_signal(signal.SIGINT)
