"""A loss is told how far training is by the Trainer of its module."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

import isthmus
from isthmus.core.clock import Clock

ROWS, BATCH, EPOCHS = 20, 4, 4


class Told(Callback):
    """Keeps what the autoencoder is told before each step."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.shares: list[float] = []
        self.lengths: set[tuple[int, int, int]] = set()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        autoencoder = pl_module.autoencoder
        clock = autoencoder.clock
        self.epochs.append(clock.epoch)
        self.shares.append(autoencoder.warm_up(2))
        self.lengths.add((clock.steps_per_epoch, clock.batches_per_epoch, clock.training_rows))


@pytest.mark.filterwarnings("ignore")
def test_a_loss_is_told_the_epoch_its_length_and_the_share_of_its_warm_up(tmp_path: Path) -> None:
    module, told = isthmus.build("plain", row_shape=(6,), latent_dim=2), Told()
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[told],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, DataLoader(TensorDataset(torch.rand(ROWS, 6)), BATCH))
    steps = ROWS // BATCH
    assert told.epochs == [epoch for epoch in range(EPOCHS) for _ in range(steps)]
    assert told.shares == pytest.approx([min(1, (n + 1) / 10) for n in range(EPOCHS * steps)])
    assert told.lengths == {(steps, steps, ROWS)}
    assert module.autoencoder.eval().warm_up(2) == 1


def test_a_copy_of_a_module_follows_its_own_trainer() -> None:
    module = isthmus.build("plain", row_shape=(6,), latent_dim=2)
    twin = copy.deepcopy(module)
    twin.clock.epoch_length = 7, 7
    assert twin.autoencoder.clock is twin.clock
    assert twin.autoencoder.clock.steps_per_epoch == 7
    assert module.autoencoder.clock.steps_per_epoch == 1


def test_an_autoencoder_outside_training_has_the_final_objective() -> None:
    clock = Clock()
    assert clock.warm_up(20) == 1
    assert (clock.epoch, clock.steps_per_epoch, clock.batches_per_epoch) == (0, 1, 1)
