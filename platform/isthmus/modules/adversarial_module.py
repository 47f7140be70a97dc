"""Adversarial training of two opponents with Lightning's manual optimisation."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from isthmus.core import LossOutput, PlanLike
from isthmus.core.adversary import AdversarialAutoencoder
from isthmus.modules.autoencoder_module import AutoencoderModule


class AdversarialModule(AutoencoderModule):
    """A LightningModule around an autoencoder that trains against an adversary.

    `trainer.global_step` counts the steps of both optimizers, as is usual in Lightning.
    """

    def __init__(self, plan: PlanLike, *, accumulate_batches: int = 1, **training: Any) -> None:
        """Builds the module and selects manual optimisation.

        Args:
            plan: The plan of the model.
            accumulate_batches: The number of parts that a batch is split into, whose gradients are
                accumulated. The Trainer's own flag has no effect under manual optimisation.
            **training: The other arguments of `AutoencoderModule`.
        """
        super().__init__(plan, **training)
        self.save_hyperparameters({"accumulate_batches": accumulate_batches})
        self.automatic_optimization = False
        self.clock.optimizers = 2

    def configure_optimizers(self) -> Any:
        """Returns an optimizer for the autoencoder and one for its adversary."""
        opponents = cast("AdversarialAutoencoder", self.autoencoder)
        adversary = list(opponents.adversary().parameters())
        known = {id(each) for each in adversary}
        autoencoder = [each for each in self.parameters() if id(each) not in known]
        return self._optimizer_of(autoencoder), self._optimizer_of(adversary)

    def training_loss(self, rows: Tensor) -> LossOutput:
        """Takes one step of both optimizers and returns the losses of this step."""
        return self.take_step(rows)

    def take_step(self, rows: Tensor) -> LossOutput:
        """Takes one step of both optimizers and returns the losses of this step.

        Args:
            rows: Scaled rows, shape (B, *row_shape).
        """
        optimizers: Any = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        means: dict[str, Tensor] = {}
        for part in rows.chunk(self.hparams["accumulate_batches"]):
            output, share = self.autoencoder.loss(part), len(part) / len(rows)
            # The backward pass must use the dtypes of the forward pass, without autocast.
            with torch.autocast(rows.device.type, enabled=False):
                self.manual_backward(output.total * share)
            for name, value in output.means().items():
                means[name] = means.get(name, 0) + value.detach() * share
        for optimizer in optimizers:
            self.configure_gradient_clipping(optimizer.optimizer)
            optimizer.step()
        schedulers: Any = self.lr_schedulers() or ()
        for scheduler in schedulers:
            scheduler.step()
        return LossOutput(means.pop("loss"), means)
