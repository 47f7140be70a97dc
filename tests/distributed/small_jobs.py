"""A job that takes a second, for tests of who trains it and where."""

from __future__ import annotations

import numpy as np
import torch

from isthmus import nets, variants
from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.reporter import EpochReport
from isthmus.progress.result import FitResult
from isthmus.spec import ModelPlan, PluginSpec, TrainingSpec

# The options of a job whose weights do not depend on who has drawn which noise. Its workers take
# steps of equally many rows, of `rows(300)`.
PLAIN = {"learning_rate": 1e-2, "epochs": 8}


def plan(variant: str = "denoising", hidden: tuple[int, ...] = (16,)) -> ModelPlan:
    return ModelPlan(
        kind="tabular",
        row_shape=(6,),
        latent_dim=2,
        variant=PluginSpec(
            name=variant, options=variants.config(variant)().model_dump(mode="json")
        ),
        net=PluginSpec(
            name="dense", options=nets.config("dense")(hidden=hidden).model_dump(mode="json")
        ),
        reconstruction="mse",
    )


def training(**options: object) -> TrainingSpec:
    options = {"epochs": 6, "global_batch_size": 64, "early_stopping": None, **options}
    return TrainingSpec.model_validate(options)


def rows(count: int = 301) -> ScaledRows:
    generator = np.random.default_rng(0)
    factors = generator.standard_normal((count + 50, 2)).astype(np.float32)
    values = factors @ generator.standard_normal((2, 6)).astype(np.float32)
    return ScaledRows(
        values[:count], values[count:], np.zeros(6, np.float32), np.ones(6, np.float32)
    )


class RecordingSender:
    """The first worker's channel to a driver that records what it is told."""

    def __init__(self, stop_after: int | None = None) -> None:
        """Creates the channel; the driver asks to stop after so many epochs, if at all."""
        self.sent: list[object] = []
        self._stop_after = stop_after

    def send(self, event: object) -> None:
        self.sent.append(event)

    def stop_was_requested(self) -> bool:
        epochs = sum(isinstance(each, EpochReport) for each in self.sent)
        return self._stop_after is not None and epochs >= self._stop_after


def same_weights(first: FitResult, second: FitResult) -> bool:
    assert first.state is not None
    assert second.state is not None
    return all(torch.equal(first.state[name], second.state[name]) for name in first.state)
