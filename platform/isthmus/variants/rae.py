"""The regularised autoencoder: no noise in the latent, but a decoder that is kept smooth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

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
    """Minimises reconstruction, half the latent's squared norm, and a penalty on the decoder.

    Source: Ghosh et al. 2019, "From Variational to Deterministic Autoencoders", arXiv:1903.12436,
    section 3: L_RAE = L_REC + beta L_Z + lambda L_REG, and its three regularisers. To sample, the
    paper fits a density to the latents afterwards.
    """

    class Config(SpecModel):
        """The penalties and their weights."""

        beta: float = Field(default=1e-3, ge=0.0)
        """Weight of half the squared norm of a latent; without it the latent grows as the decoder
        is regularised."""
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

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder`, with spectral norm in the decoder if the options say so."""
        super().__init__(plan)
        if self.options.regularizer == "spectral":
            # Spectral norm keeps its vectors in the decoder's buffers, so they are saved with it.
            for layer in list(self.decoder.modules()):
                if isinstance(layer, _LAYERS):
                    parametrizations.spectral_norm(layer)

    def loss(self, x: Tensor) -> LossOutput:
        """Computes reconstruction, latent norm and penalty, of scaled rows (B, *row_shape)."""
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
        """Computes the decoder's `jacobian_norm` and the `latent_norm`, as root mean squares.

        A small step in the latent changes the decoder's output by about the step times
        `jacobian_norm` over the square root of latent_dim.
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
        """Estimates half the squared norm of the decoder's Jacobian at (B, latent_dim), shape ().

        The norm is Frobenius's, and the estimate is unbiased: for random signs v, the mean of
        |v^T J|^2 is |J|^2 (Hutchinson 1990). The Jacobian is of the raw output, before the output
        activation.
        """
        # Gradients are needed on validation rows too, where they are off by default.
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
    """Disables fused attention and cuDNN's RNNs, which have no second derivative."""
    is_recurrent = any(isinstance(layer, nn.RNNBase) for layer in decoder.modules())
    with (
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not is_recurrent),
    ):
        yield
