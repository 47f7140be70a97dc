"""The steps that users' training takes are those of Lightning's own loop."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from isthmus import variants
from isthmus.core import Autoencoder
from isthmus.spec import ModelPlan, PluginSpec, TrainingSpec
from isthmus.training.batches import Batches, ResidentBatches
from isthmus.training.steps import EpochSteps

EPOCHS = 3


class SeedsEpochs(Callback):
    """Gives each epoch its order and noise, as the keeper of the books does."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.losses: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches.epoch = trainer.current_epoch
        torch.manual_seed(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Autoencoder)
        sums = {name: float(value) for name, value in pl_module.pop_sums("train").items()}
        self.losses.append({name: value / sums["rows"] for name, value in sums.items()})


def fitted(variant: str, *, is_fast: bool, **options: object) -> tuple[Autoencoder, list]:
    training = TrainingSpec(
        epochs=EPOCHS, global_batch_size=32, learning_rate=3e-3, precision="float32", **options
    )  # 100 rows: the last step of an epoch is a smaller one
    torch.manual_seed(0)
    plan = ModelPlan(
        kind="tabular",
        row_shape=(8,),
        latent_dim=4,
        variant=PluginSpec(
            name=variant, options=variants.config(variant)().model_dump(mode="json")
        ),
        net=PluginSpec(name="dense", options={"hidden": [16]}),
        reconstruction=variants.get(variant).AUTO_LOSS,
    )
    module = variants.build(plan)
    torch.manual_seed(1)
    views = (2,) if module.VIEWS == 2 else ()
    rows = torch.randn(100, *views, 3) @ torch.randn(3, 8)
    module.configure_training(training, len(rows))
    parts = training.accumulate_batches
    batches = ResidentBatches(
        rows=rows,
        device=rows.device,
        global_batch_size=training.rows_per_step,
        rank=0,
        workers=1,
        seed=0,
        parts=parts,
    )
    seeds = SeedsEpochs(batches)
    clip = None if is_fast else training.gradient_clip_norm
    module.automatic_optimization = not is_fast
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer = Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            devices=1,
            callbacks=[seeds],
            gradient_clip_val=clip,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        steps = (
            EpochSteps(training, batches, None, lambda steps: None, lambda: False)
            if is_fast
            else batches
        )
        trainer.fit(module, steps)
    return module, seeds.losses


def assert_close(found: Autoencoder, expected: Autoencoder, **tolerance: float) -> None:
    state = {**found.state_dict()}
    torch.testing.assert_close(state, {**expected.state_dict()}, equal_nan=True, **tolerance)


def assert_same(variant: str, **options: object) -> None:
    fast, fast_losses = fitted(variant, is_fast=True, **options)
    slow, slow_losses = fitted(variant, is_fast=False, **options)
    assert_close(fast, slow)
    for found, expected in zip(fast_losses, slow_losses, strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert slow_losses[0] != slow_losses[-1]


@pytest.mark.parametrize(
    "variant",
    [name for name in variants.names() if name != "noise2void"],  # not for tables
)
def test_every_variants_losses_and_weights_are_those_of_lightnings_loop(variant: str) -> None:
    assert_same(variant)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"schedule": "cosine", "warm_up_epochs": 1.0}, id="schedule"),
        pytest.param({"gradient_clip_norm": 0.1}, id="clipping"),
        pytest.param({"weight_decay": 0.1}, id="decay"),
    ],
)
def test_so_are_they_with_options(options: dict[str, object]) -> None:
    assert_same("vae", **options)


def test_a_step_in_parts_has_the_gradients_of_the_whole_step() -> None:
    whole, _ = fitted("plain", is_fast=True)
    parts, _ = fitted("plain", is_fast=True, accumulate_batches=4)
    assert_close(whole, parts, rtol=1e-3, atol=1e-4)
