"""Lightning's logger of a job: what callbacks log goes to the driver, and from there to MLflow."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pytorch_lightning.loggers.logger import Logger

from isthmus.progress.events import Logged, Sender
from isthmus.training.loss_sums import LossSums


class DriverLogger(Logger):
    """Sends the metrics that callbacks log, such as the learning rates of LearningRateMonitor."""

    def __init__(self, sender: Sender | None, sums: LossSums) -> None:
        """Creates the logger.

        Args:
            sender: The channel to the driver; only the first worker has one, and the others log
                nothing.
            sums: The losses that the report of an epoch has.
        """
        super().__init__()
        self._sender = sender
        self._sums = sums
        self._began = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S-%f")

    @property
    def name(self) -> str:
        """The name of the logger."""
        return "isthmus"

    @property
    def version(self) -> str:
        """The time at which training began.

        Lightning's ModelCheckpoint takes the first worker's for its folder, if the user names none,
        so that two trainings do not write into one.
        """
        return self._began

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing, because the run has the job's parameters."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Sends metrics by name, with the optimizer steps taken.

        The report of an epoch has the losses of its training rows already, and everything that is
        logged of validation rows.
        """
        reported = {"epoch", *(f"train/{name}" for name in self._sums.names)}
        others = {
            name: float(value)
            for name, value in metrics.items()
            if name not in reported and not name.startswith("validation/")
        }
        if others and self._sender:
            self._sender.send(Logged(others, step or 0))
