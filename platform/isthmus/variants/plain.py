"""The undercomplete autoencoder: all that holds it back is the bottleneck."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus import nets
from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.spec import ModelPlan, SpecModel

# What may stand between the linear layers of a tied pair: it mirrors as it is.
_BETWEEN = (nn.LayerNorm,)


class Plain(Autoencoder):
    """Minimises the reconstruction loss alone.

    With tied weights, the decoder's matrices are the encoder's, transposed: one set of numbers
    that both halves hold; biases are each half's own.

    Source: Hinton & Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural
    Networks", Science 313, p. 504; tied weights as in Vincent et al. 2008, "Extracting and
    Composing Robust Features with Denoising Autoencoders", ICML, section "The Basic Autoencoder".
    """

    class Config(SpecModel):
        """Whether the halves share weights."""

        tied: bool = False
        """Whether the decoder's weight matrices are the encoder's, transposed: half the weights,
        and a linear pair comes close to PCA. Only for nets of linear layers that mirror: dense."""

    SUMMARY: ClassVar[str] = "reconstruction alone; the first one to try"
    CUDA_GRAPH_SAFE: ClassVar[bool] = True
    options: Config

    def __init__(self, plan: PlanLike, **training: Any) -> None:
        """As `Autoencoder`; ties the decoder to the encoder if the options say so."""
        super().__init__(plan, **training)
        if self.options.tied:
            _tie(self.encoder, self.decoder)

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """Weights can be tied only where the decoder's layers are the encoder's, backwards."""
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
        """The reconstruction loss of scaled rows (B, *row_shape)."""
        reconstruction = self.reconstruction_term(self.decoder(self.encoder(x)), x)
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})


class _Transposed(nn.Module):
    """A linear layer whose matrix is another layer's, transposed; its bias is its own."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        # The same Parameter under a second name: one tensor to the optimizer, and a full copy in
        # the file of each half.
        self.weight = weight
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.t(), self.bias)


def _tie(encoder: nn.Module, decoder: nn.Module) -> None:
    """Puts the encoder's matrices in the place of the decoder's."""
    if not _mirror(encoder, decoder):
        raise ValueError("the decoder does not mirror the encoder; leave tied out")
    sources = dict(zip(_linear_names(decoder), reversed(_linear(encoder)), strict=True))
    for name, source in sources.items():
        replaced = decoder.get_submodule(name)
        assert isinstance(replaced, nn.Linear)  # noqa: S101 (as _linear_names chose)
        decoder.set_submodule(name, _Transposed(source.weight, replaced.bias))


def _mirror(encoder: nn.Module, decoder: nn.Module) -> bool:
    """Whether all matrices are of linear layers, and the decoder's the encoder's backwards."""
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
