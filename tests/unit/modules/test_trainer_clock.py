"""A loss is told how far training is by the Trainer of its module."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import isthmus
from isthmus.core.clock import Clock
from isthmus.errors import TrainingError

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


def fit(
    module: LightningModule, callback: Callback, folder: Path, rows: Dataset, **limits: object
) -> None:
    """Trains with a plain Trainer that the callback listens to."""
    Trainer(
        **limits,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    ).fit(module, DataLoader(rows, BATCH))


@pytest.mark.filterwarnings("ignore")
def test_a_loss_is_told_the_epoch_its_length_and_the_share_of_its_warm_up(tmp_path: Path) -> None:
    module, told = isthmus.build("plain", row_shape=(6,), latent_dim=2), Told()
    fit(module, told, tmp_path, TensorDataset(torch.rand(ROWS, 6)), max_epochs=EPOCHS)
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


def fitted(module: LightningModule, folder: Path, rows: Dataset, **limits: object) -> Rates:
    rates = Rates()
    fit(module, rates, folder, rows, **limits)
    return rates


class Rates(Callback):
    """Keeps the learning rate of each step, and the share of a warm-up over two epochs."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.shares: list[float] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.shares.append(pl_module.autoencoder.warm_up(2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("variant", ["plain", "aae"])
@pytest.mark.parametrize(
    "limits",
    [{}, {"max_epochs": -1}, {"max_epochs": 1000}],
    ids=["max_steps alone", "max_epochs=-1", "max_epochs=1000"],
)
def test_max_steps_ends_the_schedule_and_leaves_the_warm_ups_their_epochs(
    limits: dict[str, int], variant: str, tmp_path: Path
) -> None:
    options = {"learning_rate": 1.0, "schedule": "linear", "warm_up_epochs": 1}
    module = isthmus.build(variant, row_shape=(6,), latent_dim=2, **options)
    optimizers, steps = (2, 20) if variant == "aae" else (1, 20)
    rows = TensorDataset(torch.rand(ROWS, 6))
    found = fitted(module, tmp_path, rows, max_steps=steps * optimizers, **limits)
    assert len(found.rates) == steps
    assert module.clock.steps_per_epoch == ROWS // BATCH
    # The rate rises for one epoch of 5 steps, and falls to nothing over the other 15.
    assert found.rates[5] == pytest.approx(1)
    assert found.rates[12] == pytest.approx(0.5, abs=0.1)
    assert found.rates[-1] == pytest.approx(0, abs=0.1)
    if variant == "plain":
        assert found.shares == pytest.approx([min(1, (n + 1) / 10) for n in range(steps)])


class Endless(IterableDataset):
    """Rows whose number nobody knows."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.rand(ROWS, 6))


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_needs_the_number_of_rows_refuses_a_dataset_without_length(
    tmp_path: Path,
) -> None:
    module = isthmus.build("beta_tcvae", row_shape=(6,), latent_dim=2)
    with pytest.raises(TrainingError, match="beta_tcvae needs the number of training rows"):
        fitted(module, tmp_path, Endless(), max_epochs=1)
    other = isthmus.build("vae", row_shape=(6,), latent_dim=2)
    assert len(fitted(other, tmp_path, Endless(), max_epochs=2).rates) == 2 * ROWS // BATCH
