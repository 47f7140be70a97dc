"""Defines the sizes of a net: what the one dial `size` of a job file stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field

from isthmus.spec.model import SpecModel

SizeName = Literal["small", "medium", "large"]


class Size(SpecModel):
    """The options that a size of a net gives to a job; the job's own settings take precedence."""

    options: Mapping[str, Any] = Field(default_factory=dict)
    """The options of the net that are not its defaults."""
    latent_multiplier: float = Field(default=1.0, gt=0.0)
    """The factor of the latent size where `latent_dim` is `auto`."""
    epochs: int = Field(default=100, ge=1)
    """The number of epochs."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """The learning rate."""


class Sizes(SpecModel):
    """The sizes of a net. What `medium` is, the net's own defaults say."""

    small: Size
    """The size for a first look, or for a small machine."""
    medium: Size = Size()
    """The size of a job that says nothing."""
    large: Size
    """The size for many rows and a GPU."""

    @classmethod
    def of(cls, *, small: Mapping[str, Any], large: Mapping[str, Any]) -> Self:
        """Returns sizes with the usual training, given the options of the net.

        The learning rate is halved where widths double.

        Source: Yang et al. 2022, "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot
        Hyperparameter Transfer", arXiv:2203.03466, table 3: Adam's learning rate of hidden weights
        goes with 1 / width.
        """
        return cls(
            small=Size(options=small, latent_multiplier=0.5, epochs=50, learning_rate=2e-3),
            large=Size(options=large, latent_multiplier=2.0, epochs=200, learning_rate=5e-4),
        )

    def named(self, name: SizeName) -> Size:
        """Returns the size of a name."""
        return {"small": self.small, "medium": self.medium, "large": self.large}[name]
