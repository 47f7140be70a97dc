"""What two opponents in one module need: an optimizer each, and a way through the other.

A step takes the gradients of both from one backward pass: each opponent sees only its own loss,
because the other is `frozen` on the way. Under several workers their gradients then meet once.
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
    """An autoencoder with an opponent, by Lightning's manual optimisation.

    `trainer.global_step` counts the steps of both optimizers, as Lightning does.
    """

    def __init__(self, plan: PlanLike, *, accumulate_batches: int = 1, **training: Any) -> None:
        """Draws the weights, and chooses manual optimisation.

        Args:
            plan: What to build.
            accumulate_batches: Parts that a batch is taken in, one after another: under manual
                optimisation the Trainer's own flag has no effect.
            **training: As `Autoencoder` has them.
        """
        super().__init__(plan, **training)
        self.save_hyperparameters({"accumulate_batches": accumulate_batches})
        self.automatic_optimization = False

    @abstractmethod
    def adversary(self) -> nn.Module:
        """Returns the submodule that works against the rest."""

    def configure_optimizers(self) -> Any:
        """Returns an optimizer for the autoencoder and one for its adversary."""
        adversary = list(self.adversary().parameters())
        known = {id(each) for each in adversary}
        autoencoder = [each for each in self.parameters() if id(each) not in known]
        return self._optimizer_of(autoencoder), self._optimizer_of(adversary)

    def training_loss(self, rows: Tensor) -> LossOutput:
        """Takes a step on rows, and returns the losses it was taken by."""
        return self.take_step(rows)

    def take_step(self, rows: Tensor) -> LossOutput:
        """Takes one step of both optimizers, and returns the losses it was taken by.

        Args:
            rows: Scaled, shape (B, *row_shape).
        """
        optimizers: Any = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        means: dict[str, Tensor] = {}
        for part in rows.chunk(self.hparams["accumulate_batches"]):
            output, share = self.loss(part), len(part) / len(rows)
            # Gradients take the types of the forward pass, and no others.
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
    """Tells draws of the prior from encodings: (B, latent_dim) to logits (B,)."""

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
        """The log odds that a latent was drawn from the prior."""
        logits: Tensor = self.layers(z)
        return logits.squeeze(1)


def discriminator_loss(drawn: Tensor, encoded: Tensor) -> Tensor:
    """The cross entropy of telling draws of the prior (1) from encodings (0).

    Args:
        drawn: Shape (B,). Logits of draws from the prior.
        encoded: Shape (B,). Logits of encodings.

    Returns:
        Shape (), in nats: averaged over each of the two, and their sum; 2 log 2 for a guess.

    Source: Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv:1406.2661, equation 1.
    """
    return functional.softplus(-drawn).mean() + functional.softplus(encoded).mean()


def generator_loss(encoded: Tensor) -> Tensor:
    """How surely encodings (logits, shape (B,)) are not taken for draws, shape (), in nats.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 3: -log D, whose gradient does not
    vanish where the discriminator wins.
    """
    return functional.softplus(-encoded).mean()


def frozen(module: nn.Module, x: Tensor) -> Tensor:
    """The module's output, with gradients to its input and none to its parameters."""
    held = {name: parameter.detach() for name, parameter in module.named_parameters()}
    output: Tensor = functional_call(module, held, (x,))
    return output


def redrawn(module: nn.Module) -> nn.Module:
    """A copy with weights of its own, drawn from torch's global generator as the layers draw them.

    Parameters that no layer knows how to draw stay copies.
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
