"""Training loops written by hand, for tests of what a variant learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from isthmus import modules
from isthmus.core import Autoencoder
from isthmus.modules import AutoencoderModule


class Optimizers:
    """All optimizers of an autoencoder, which step together."""

    def __init__(self, autoencoder: Autoencoder, learning_rate: float = 3e-3) -> None:
        configured: Any = module_of(autoencoder, learning_rate).configure_optimizers()
        configured = configured if isinstance(configured, tuple) else (configured,)
        self._optimizers = [each["optimizer"] for each in configured]

    def zero_grad(self) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        for optimizer in self._optimizers:
            optimizer.step()


@dataclass
class Course:
    """What a module asks its trainer: how long training is, and how far.

    A module keeps only a weak reference to its trainer, so the test must hold this.
    """

    max_epochs: int = 100
    max_steps: int = -1
    steps_per_epoch: int = 1
    rows: int = 1
    global_step: int = 0
    current_epoch: int = 0
    accumulate_grad_batches: int = 1

    @property
    def num_training_batches(self) -> int:
        return self.steps_per_epoch * self.accumulate_grad_batches

    @property
    def train_dataloader(self) -> Course:
        return self

    @property
    def dataset(self) -> range:
        return range(self.rows)


def module_of(autoencoder: Autoencoder, learning_rate: float = 1e-3) -> AutoencoderModule:
    """Returns a LightningModule around an autoencoder that is there already."""
    with torch.random.fork_rng(devices=[]):  # its own weights are replaced
        module = modules.build(autoencoder.plan, learning_rate=learning_rate)
    module.autoencoder = autoencoder
    return module


def put_on(autoencoder: Autoencoder, course: Course) -> Course:
    """Makes an autoencoder believe that it is trained."""
    module = module_of(autoencoder)
    module.trainer = course  # type: ignore[assignment]
    autoencoder.clock = module.clock
    return course
