"""The regularised autoencoder: no noise in the latent, but a decoder that is held smooth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations

from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.spec import SpecModel

_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


class Rae(Autoencoder):
    """Minimises reconstruction, half the latent's squared norm and the decoder's roughness.

    Source: Ghosh et al. 2019, "From Variational to Deterministic Autoencoders", arXiv:1903.12436,
    section 3: L_RAE = L_REC + beta L_Z + lambda L_REG, and its three regularisers. To sample, the
    paper fits a density to the latents afterwards.
    """

    class Config(SpecModel):
        """What is held, and how firmly."""

        beta: float = Field(default=1e-3, ge=0.0)
        """Weight of half the squared norm of a latent; without it the latent grows as the
        decoder is held."""
        regularizer: Literal["l2", "gradient_penalty", "spectral", "none"] = "gradient_penalty"
        """`gradient_penalty`: half the squared norm of the decoder's Jacobian at the latents,
        which a second pass through the decoder estimates; `l2`: the sum of the decoder's squared
        weights; `spectral`: no penalty, but linear and convolution layers of spectral norm 1, so
        that `weight` is not used."""
        weight: float = Field(default=1e-3, ge=0.0)
        """Weight of the penalty; the paper's lambda."""

    SUMMARY: ClassVar[str] = "a VAE's smooth latent space without its noise; sharp, and simple"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike, **training: Any) -> None:
        """As `Autoencoder`; the decoder's layers are normalised if the options say so."""
        super().__init__(plan, **training)
        if self.options.regularizer == "spectral":
            # Its vectors are buffers of the decoder: saved, loaded and moved with it.
            for layer in list(self.decoder.modules()):
                if isinstance(layer, _LAYERS):
                    parametrizations.spectral_norm(layer)

    def loss(self, x: Tensor) -> LossOutput:
        """Reconstruction, the latent's norm and the penalty, of scaled rows (B, *row_shape)."""
        z = self.encoder(x)
        reconstruction = self.reconstruction_term(self.decoder(z), x)
        latent = 0.5 * z.square().sum(dim=1).mean()
        parts = {"reconstruction": reconstruction, "latent": latent}
        total = reconstruction + self.options.beta * latent
        if self.options.regularizer in ("l2", "gradient_penalty"):
            penalty = self._penalty(z)
            parts[self.options.regularizer] = penalty
            total = total + self.options.weight * penalty
        return LossOutput(total=total, parts=parts)

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """`jacobian_norm`: of the decoder at these rows, root mean square; `latent_norm`, so too.

        What the decoder makes of a small step in the latent is about the step times the former
        over the square root of latent_dim.
        """
        z = self.encoder(x)
        return {
            "jacobian_norm": float((2 * self._gradient_penalty(z)).sqrt()),
            "latent_norm": float(z.square().sum(dim=1).mean().sqrt()),
        }

    def _penalty(self, z: Tensor) -> Tensor:
        if self.options.regularizer == "gradient_penalty":
            return self._gradient_penalty(z)
        return torch.stack([weight.square().sum() for weight in self.decoder.parameters()]).sum()

    def _gradient_penalty(self, z: Tensor) -> Tensor:
        """Half the squared Frobenius norm of the decoder's Jacobian at (B, latent_dim), shape ().

        An estimate without bias: for signs v drawn at random, the mean of |v^T J|^2 is |J|^2
        (Hutchinson 1990). The Jacobian is of the raw output, before the output activation.
        """
        # Also on validation rows, where no gradients are kept otherwise.
        with torch.enable_grad(), _differentiable_twice(self.decoder):
            point = z if z.requires_grad else z.detach().requires_grad_()
            output = self.decoder(point)
            signs = torch.randint_like(output, 2) * 2 - 1
            (gradient,) = torch.autograd.grad(
                output, point, grad_outputs=signs, create_graph=self.training
            )
        return 0.5 * gradient.float().square().sum(dim=1).mean()


@contextmanager
def _differentiable_twice(decoder: nn.Module) -> Iterator[None]:
    """Without fused attention and cuDNN's RNNs, which have no second derivative."""
    is_recurrent = any(isinstance(layer, nn.RNNBase) for layer in decoder.modules())
    with (
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not is_recurrent),
    ):
        yield
