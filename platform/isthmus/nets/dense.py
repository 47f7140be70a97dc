"""Fully connected layers; for tables, and for short series and small images."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from isthmus.nets._levels import Shortcut, WidthMultiplier, multiplied
from isthmus.nets._net import Activation, Net
from isthmus.spec import Sizes, SpecModel

Width = Annotated[int, Field(ge=1, le=65_536)]


class Dense(Net):
    """A multilayer perceptron; the decoder mirrors the encoder.

    There is no batch normalisation: in training, a row's latent would depend on the other rows of
    its batch, and the running means on the worker, because workers share only gradients.

    Source: Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating
    errors", Nature 323, p. 533; residual as in He et al. 2016, "Identity Mappings in Deep Residual
    Networks", arXiv:1603.05027, figure 4e; normalisation as in Ba et al. 2016, "Layer
    Normalization", arXiv:1607.06450.
    """

    class Config(SpecModel):
        """The layer widths and what is between the layers."""

        hidden: tuple[Width, ...] | Literal["auto"] = "auto"
        """Widths of the encoder's hidden layers, from the data to the latent. `auto`: `depth`
        layers of four times the values in a row, between 64 and 512, times `width_multiplier`."""
        width_multiplier: WidthMultiplier = 1.0
        """The factor of the automatic widths."""
        depth: Annotated[int, Field(ge=1, le=64)] = 2
        """The number of hidden layers where `hidden` is `auto`."""
        activation: Activation = Activation.GELU
        """The nonlinearity after each hidden layer."""
        normalization: Literal["none", "layer"] = "none"
        """Layer normalisation before each nonlinearity."""
        dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
        """Dropout rate of the hidden layers."""
        residual: bool = False
        """Whether each hidden layer that is as wide as the one before adds its input to its output.
        For four hidden layers and more."""

    SUMMARY: ClassVar[str] = "fully connected; tables, short series, small images"
    # Three layers without normalisation had five times the error of two on digits.
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"width_multiplier": 0.5, "depth": 1},
        large={"width_multiplier": 2.0},
    )

    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, *row_shape) to (B, outputs)."""
        features = prod(self.row_shape)
        return nn.Sequential(nn.Flatten(), *self._layers((features, *self._hidden(), outputs)))

    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs) to (B, *row_shape)."""
        features = prod(self.row_shape)
        return nn.Sequential(
            *self._layers((inputs, *reversed(self._hidden()), features)),
            nn.Unflatten(1, self.row_shape),
        )

    def _hidden(self) -> tuple[int, ...]:
        if self.options.hidden != "auto":
            return tuple(self.options.hidden)
        depth: int = self.options.depth
        width = min(max(4 * prod(self.row_shape), 64), 512)
        return (multiplied(width, self.options.width_multiplier),) * depth

    def _layers(self, widths: tuple[int, ...]) -> list[nn.Module]:
        """Returns the linear layers, with normalisation, activation and dropout between them."""
        layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
        between = list(pairwise(widths[1:]))
        for index, (before, after) in enumerate(between):
            linear = nn.Linear(before, after)
            is_last = index == len(between) - 1
            if self.options.residual and before == after and not is_last:
                layers.append(Shortcut(*self._act(before), linear))
            else:
                layers += [*self._act(before), linear]
        return layers

    def _act(self, width: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        if self.options.normalization == "layer":
            layers.append(nn.LayerNorm(width))
        layers.append(self.options.activation.module())
        if self.options.dropout:
            layers.append(nn.Dropout(self.options.dropout))
        return layers
