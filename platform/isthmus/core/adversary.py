"""Adversarial training of two opponents in one module, each with its own optimizer.

One backward pass computes the gradients of both. Each opponent learns only from its own loss,
because that loss passes through the other one `frozen`. Several workers thus synchronise their
gradients only once per backward pass.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from isthmus.core.autoencoder import Autoencoder, PlanLike
from isthmus.core.lightning import LossOutput


class AdversarialAutoencoder(Autoencoder):
    """An autoencoder that trains against an adversary, with Lightning's manual optimisation.

    `trainer.global_step` counts the steps of both optimizers, as is usual in Lightning.
    """

    def __init__(self, plan: PlanLike, *, accumulate_batches: int = 1, **training: Any) -> None:
        """Builds the module and selects manual optimisation.

        Args:
            plan: The plan of the model.
            accumulate_batches: The number of parts that a batch is split into, whose gradients are
                accumulated. The Trainer's own flag has no effect under manual optimisation.
            **training: The other arguments of `Autoencoder`.
        """
        super().__init__(plan, **training)
        self.save_hyperparameters({"accumulate_batches": accumulate_batches})
        self.automatic_optimization = False

    @abstractmethod
    def adversary(self) -> nn.Module:
        """Returns the submodule that is trained against the rest."""

    def configure_optimizers(self) -> Any:
        """Returns an optimizer for the autoencoder and one for its adversary."""
        adversary = list(self.adversary().parameters())
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
            output, share = self.loss(part), len(part) / len(rows)
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


class Discriminator(nn.Module):
    """A classifier that distinguishes encodings from draws of the prior.

    It takes latents of shape (B, latent_dim) and returns logits of shape (B,).
    """

    def __init__(self, latent_dim: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Computes the log odds that each latent was drawn from the prior, shape (B,)."""
        logits: Tensor = self.layers(z)
        return logits.squeeze(1)


def discriminator_loss(drawn: Tensor, encoded: Tensor) -> Tensor:
    """Computes the cross-entropy of classifying draws from the prior as 1 and encodings as 0.

    Args:
        drawn: The logits of draws from the prior, shape (B,).
        encoded: The logits of encodings, shape (B,).

    Returns:
        The loss, shape (), in nats. It is the mean over the draws plus the mean over the
        encodings, which is 2 log 2 for a guess.

    Source: Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv:1406.2661, equation 1.
    """
    return functional.softplus(-drawn).mean() + functional.softplus(encoded).mean()


def generator_loss(encoded: Tensor) -> Tensor:
    """Computes the encoder's loss against the discriminator: the mean of -log D(encoding).

    Args:
        encoded: The discriminator's logits of encodings, shape (B,).

    Returns:
        The loss, shape (), in nats. It is low if the discriminator takes encodings for draws.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 3. The gradient of -log D does not
    vanish where the discriminator wins.
    """
    return functional.softplus(-encoded).mean()


def frozen(module: nn.Module, x: Tensor) -> Tensor:
    """Computes the module's output, with gradients for its input but not for its parameters."""
    held = {name: parameter.detach() for name, parameter in module.named_parameters()}
    output: Tensor = functional_call(module, held, (x,))
    return output


def redrawn(module: nn.Module) -> nn.Module:
    """Returns a copy of the module with newly initialised weights.

    Each layer draws its own weights from torch's global generator. Parameters that no layer can
    initialise keep their values.
    """
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for layer in twin.modules():
            draw = getattr(layer, "reset_parameters", None) or getattr(
                layer, "_reset_parameters", None
            )
            if callable(draw):
                draw()
    return twin
