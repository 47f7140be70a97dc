"""The undercomplete autoencoder, which only the bottleneck constrains."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus import nets
from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.spec import ModelPlan, SpecModel

# Layers that may be between the linear layers of tied halves, because they need no mirror.
_BETWEEN = (nn.LayerNorm,)


class Plain(Autoencoder):
    """Minimises the reconstruction loss alone.

    With tied weights, the decoder's matrices are the encoder's, transposed: both halves share one
    set of weights, but have their own biases.

    Source: Hinton & Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural
    Networks", Science 313, p. 504; tied weights as in Vincent et al. 2008, "Extracting and
    Composing Robust Features with Denoising Autoencoders", ICML, section "The Basic Autoencoder".
    """

    class Config(SpecModel):
        """Whether the encoder and the decoder share weights."""

        tied: bool = False
        """Whether the decoder's weight matrices are the encoder's, transposed. This halves the
        weights, and makes a linear autoencoder similar to PCA. Only for nets of linear layers with
        mirrored halves: dense."""

    SUMMARY: ClassVar[str] = "reconstruction alone; the first one to try"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder`, and ties the decoder to the encoder if the options say so."""
        super().__init__(plan)
        if self.options.tied:
            _tie(self.encoder, self.decoder)

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """Returns why weights cannot be tied, or `None` if the decoder mirrors the encoder."""
        if not cls.Config.model_validate(dict(plan.variant.options)).tied:
            return None
        with torch.device("meta"):  # shapes alone: no memory, no draws
            encoder, decoder = nets.build(plan, plan.latent_dim)
        if _mirror(encoder, decoder):
            return None
        return (
            f"tied needs a net of linear layers that the decoder repeats backwards, and "
            f"{plan.net.name} is none; use net dense, or leave tied out"
        )

    def loss(self, x: Tensor) -> LossOutput:
        """Computes the reconstruction loss of scaled rows (B, *row_shape)."""
        reconstruction = self.reconstruction_term(self.decoder(self.encoder(x)), x)
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})


class _Transposed(nn.Module):
    """A linear layer with its own bias, whose matrix is another layer's, transposed."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        # The same Parameter under a second name: one tensor to the optimizer, and a full copy in
        # the file of each half.
        self.weight = weight
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.t(), self.bias)


def _tie(encoder: nn.Module, decoder: nn.Module) -> None:
    """Replaces the decoder's matrices with the encoder's, transposed."""
    if not _mirror(encoder, decoder):
        raise ValueError("the decoder does not mirror the encoder; leave tied out")
    sources = dict(zip(_linear_names(decoder), reversed(_linear(encoder)), strict=True))
    for name, source in sources.items():
        replaced = decoder.get_submodule(name)
        assert isinstance(replaced, nn.Linear)  # noqa: S101 (as _linear_names chose)
        decoder.set_submodule(name, _Transposed(source.weight, replaced.bias))


def _mirror(encoder: nn.Module, decoder: nn.Module) -> bool:
    """Returns whether all weights are of linear layers, and the decoder mirrors the encoder."""
    for half in (encoder, decoder):
        for module in half.modules():
            has_weights = next(module.parameters(recurse=False), None) is not None
            if has_weights and not isinstance(module, (nn.Linear, *_BETWEEN)):
                return False
    shapes = [tuple(layer.weight.shape) for layer in _linear(encoder)]
    mirrored = [tuple(layer.weight.shape)[::-1] for layer in reversed(_linear(decoder))]
    return shapes == mirrored


def _linear(half: nn.Module) -> list[nn.Linear]:
    return [module for module in half.modules() if isinstance(module, nn.Linear)]


def _linear_names(half: nn.Module) -> list[str]:
    return [name for name, module in half.named_modules() if isinstance(module, nn.Linear)]
