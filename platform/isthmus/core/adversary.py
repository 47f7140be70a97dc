"""Adversarial training of two opponents in one module, each with its own optimizer.

One backward pass computes the gradients of both. Each opponent learns only from its own loss,
because that loss passes through the other one `frozen`. Several workers thus synchronise their
gradients only once per backward pass.
"""

from __future__ import annotations

import copy
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from isthmus.core.autoencoder import Autoencoder


class AdversarialAutoencoder(Autoencoder):
    """An autoencoder that trains against an adversary, each with an optimizer of its own."""

    @abstractmethod
    def adversary(self) -> nn.Module:
        """Returns the submodule that is trained against the rest."""


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
