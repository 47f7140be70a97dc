"""What `build` returns is an ordinary LightningModule, which a plain Trainer trains."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger
from torch.utils.data import DataLoader, TensorDataset

import isthmus
from isthmus import variants
from isthmus.modules import AutoencoderModule
from isthmus.types import DataKind

SHAPES = {DataKind.TABULAR: (12,), DataKind.IMAGES: (1, 9, 14)}
ROWS, BATCH, EPOCHS = 40, 16, 3
STEPS_OF_AN_EPOCH = 3
every_variant = pytest.mark.parametrize("variant", variants.names())


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        yield


def built(variant: str, **training: Any) -> AutoencoderModule:
    kind = next(kind for kind in SHAPES if kind in variants.get(variant).KINDS)
    torch.manual_seed(0)
    return isthmus.build(variant, row_shape=SHAPES[kind], latent_dim=4, **training)


def rows_for(module: AutoencoderModule, seed: int = 1) -> torch.Tensor:
    views = (2,) if module.autoencoder.VIEWS == 2 else ()
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(ROWS, *views, *module.plan.row_shape, generator=generator)


def loader(rows: torch.Tensor) -> DataLoader:
    return DataLoader(TensorDataset(rows), BATCH)


def trainer(folder: Path, **arguments: Any) -> Trainer:
    return Trainer(
        **{
            "max_epochs": EPOCHS,
            "accelerator": "cpu",
            "default_root_dir": folder,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **arguments,
        }
    )


class LossesOfSteps(Callback):
    """Keeps the loss of each batch."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any
    ) -> None:
        self.losses.append(float(outputs["loss"]))


@every_variant
def test_a_plain_trainer_trains_it_and_sees_its_losses_and_steps(
    variant: str, tmp_path: Path
) -> None:
    module, heard = built(variant, learning_rate=1e-2, schedule="cosine"), LossesOfSteps()
    kept = ModelCheckpoint(tmp_path / "kept", monitor="validation/loss")
    logger = CSVLogger(tmp_path / "log")
    fit = trainer(
        tmp_path,
        callbacks=[heard, kept, EarlyStopping("validation/loss", patience=EPOCHS),
                   LearningRateMonitor("step")],
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=True,
    )  # fmt: skip
    fit.fit(module, loader(rows_for(module)), loader(rows_for(module, 2)))
    optimizers = len(fit.optimizers)
    assert fit.global_step == EPOCHS * STEPS_OF_AN_EPOCH * optimizers
    assert len(heard.losses) == EPOCHS * STEPS_OF_AN_EPOCH
    last = heard.losses[-STEPS_OF_AN_EPOCH:]
    weights = [BATCH, BATCH, ROWS - 2 * BATCH]
    mean = sum(loss * rows for loss, rows in zip(last, weights, strict=True)) / ROWS
    assert float(fit.callback_metrics["train/loss"]) == pytest.approx(mean, rel=1e-4)
    assert torch.isfinite(fit.callback_metrics["validation/loss"])
    assert kept.best_model_path
    assert float(fit.optimizers[0].param_groups[0]["lr"]) < 1e-3  # the cosine has come down
    module.eval()
    parts = module.loss(rows_for(module)).means()
    assert {f"validation/{name}" for name in parts} <= set(fit.callback_metrics)


@pytest.mark.slow
def test_lightnings_own_logger_of_mlflow_has_its_losses_and_hyperparameters(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    logger = MLFlowLogger("by hand", tracking_uri=uri)
    module = built("vae", learning_rate=1e-2)
    trainer(tmp_path, logger=logger, max_epochs=1, log_every_n_steps=1).fit(
        module, loader(rows_for(module)), loader(rows_for(module, 2))
    )
    run = MlflowClient(uri).get_run(logger.run_id)
    assert {"train/loss", "validation/loss", "validation/kl"} <= set(run.data.metrics)
    assert run.data.params["learning_rate"] == "0.01"
    assert run.info.status == "FINISHED"


@every_variant
def test_it_scores_and_encodes_the_same_after_load_from_checkpoint(
    variant: str, tmp_path: Path
) -> None:
    module = built(variant, learning_rate=1e-2, gradient_clip_norm=1.0)
    module.scaling.fit(torch.tensor(0.5), torch.tensor(2.0))
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(module, loader(rows_for(module)))
    fit.save_checkpoint(tmp_path / "module.ckpt")
    loaded = type(module).load_from_checkpoint(tmp_path / "module.ckpt", weights_only=True)
    assert loaded.plan == module.plan
    assert loaded.hparams == module.hparams
    x = rows_for(module, 3)
    x = x[:, 0] if module.autoencoder.VIEWS == 2 else x
    module.eval()
    loaded.eval()
    assert torch.equal(loaded.encode(x), module.encode(x))
    assert torch.equal(loaded.score(x), module.score(x))


@every_variant
def test_validate_test_and_predict_do_what_lightning_says(variant: str, tmp_path: Path) -> None:
    module = built(variant)
    use = trainer(tmp_path)
    rows = rows_for(module)
    (validated,) = use.validate(module, loader(rows), verbose=False)
    (tested,) = use.test(module, loader(rows), verbose=False)
    assert validated.keys() == {name.replace("test/", "validation/") for name in tested}
    assert "validation/loss" in validated
    single = rows[:, 0] if module.autoencoder.VIEWS == 2 else rows
    predicted: Any = use.predict(module, loader(single))
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(predicted), module.eval().reconstruct(single))


@every_variant
def test_accumulated_batches_are_one_step(variant: str, tmp_path: Path) -> None:
    module = built(variant)
    fit = trainer(tmp_path, max_epochs=2)
    if module.automatic_optimization:
        fit = trainer(tmp_path, max_epochs=2, accumulate_grad_batches=3)
    fit.fit(module, loader(rows_for(module)))
    steps = 1 if module.automatic_optimization else STEPS_OF_AN_EPOCH * len(fit.optimizers)
    assert fit.global_step == 2 * steps
