"""Fully connected layers; for tables, and for short series and small images."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from isthmus.nets._net import Activation, Net
from isthmus.spec import SpecModel

Width = Annotated[int, Field(ge=1, le=65_536)]


class Dense(Net):
    """A multilayer perceptron; the decoder mirrors the encoder."""

    class Config(SpecModel):
        """Widths and what stands between them."""

        hidden: tuple[Width, ...] | Literal["auto"] = "auto"
        """Widths of the encoder's hidden layers, from the data to the latent. `auto`: two layers
        of four times the numbers in a row, between 64 and 512."""
        activation: Activation = Activation.GELU
        """The nonlinearity after each hidden layer."""
        normalization: Literal["none", "layer"] = "none"
        """Layer normalisation before each nonlinearity."""
        dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
        """Share of the hidden numbers set to 0 while training."""

    SUMMARY: ClassVar[str] = "fully connected; tables, short series, small images"

    def encoder(self, outputs: int) -> nn.Module:
        """(B, *row_shape) -> (B, outputs)."""
        features = prod(self.row_shape)
        return nn.Sequential(nn.Flatten(), *self._layers((features, *self._hidden(), outputs)))

    def decoder(self, inputs: int) -> nn.Module:
        """(B, inputs) -> (B, *row_shape)."""
        features = prod(self.row_shape)
        return nn.Sequential(
            *self._layers((inputs, *reversed(self._hidden()), features)),
            nn.Unflatten(1, self.row_shape),
        )

    def _hidden(self) -> tuple[int, ...]:
        if self.options.hidden != "auto":
            return tuple(self.options.hidden)
        width = min(max(4 * prod(self.row_shape), 64), 512)
        return (width, width)

    def _layers(self, widths: tuple[int, ...]) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            layers.append(nn.Linear(before, after))
            if self.options.normalization == "layer":
                layers.append(nn.LayerNorm(after))
            layers.append(self.options.activation.module())
            if self.options.dropout:
                layers.append(nn.Dropout(self.options.dropout))
        return [*layers, nn.Linear(widths[-2], widths[-1])]
