"""What two opponents in one module need: a way through each that teaches only the other.

Adversaries are trained with one optimizer and one backward pass, not two in turn: each sees its
own loss because the other is `frozen` on the way. Adam moves every parameter by that parameter's
own gradients alone, so this is what two optimizers that step at the same time would do; but for
`gradient_clip_norm`, which measures the gradients of both together.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional


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
