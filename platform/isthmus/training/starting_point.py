"""The weights that training starts with, as a candidate for the best epoch."""

from __future__ import annotations

import math

from pytorch_lightning import Callback, LightningModule, Trainer

from isthmus.core import Autoencoder
from isthmus.progress.checkpoints import Progress
from isthmus.progress.events import Logged, Sender
from isthmus.progress.reporter import EpochReport
from isthmus.training.checkpoint_writer import CheckpointWriter
from isthmus.training.epoch_end import validation_losses


class StartingPoint(Callback):
    """A callback that keeps the start as the best weights until an epoch is better.

    Lightning validates before the first epoch in what it calls the sanity check, in which nothing
    is drawn that training draws later. Of a run that is resumed there is none.
    """

    def __init__(
        self, progress: Progress, checkpoints: CheckpointWriter, sender: Sender | None
    ) -> None:
        """Creates the callback.

        Args:
            progress: The progress of training.
            checkpoints: Writes the checkpoints and keeps the best weights.
            sender: The channel to the driver; only the first worker has one.
        """
        self._progress = progress
        self._checkpoints = checkpoints
        self._sender = sender

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the weights and their losses, and sends these to the driver; all workers do."""
        losses = validation_losses(trainer)
        if not math.isfinite(losses["loss"]):
            return  # any epoch is better
        self._progress.start = EpochReport(
            epoch=0, train={}, validation=losses, learning_rate=0.0, rows_per_s=0.0
        )
        self._progress.best_loss = losses["loss"]
        self._checkpoints.take_best(trainer)
        if self._sender:
            tell_start(self._progress.start, self._sender)


def is_comparable(module: Autoencoder) -> bool:
    """Returns whether the validation loss of a start can be compared with that of later epochs.

    A discriminator, and whatever else only training needs, is not registered and begins anew: the
    loss of the start would rest on one that has learned nothing.
    """
    names = (name.partition(".")[0] for name, _ in module.named_parameters())
    return not any(name in module.TRAINING_PARTS for name in names)


def tell_start(start: EpochReport, sender: Sender) -> None:
    """Sends the losses of the start to the driver, as a point before those of the first epoch."""
    sender.send(Logged({f"validation/{name}": each for name, each in start.validation.items()}, 0))
