"""What every net is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Any, ClassVar

from torch import nn

from isthmus.spec import SpecModel
from isthmus.types import DataKind, Shape


class Activation(StrEnum):
    """The nonlinearity between layers."""

    RELU = "relu"
    GELU = "gelu"
    SILU = "silu"
    TANH = "tanh"

    def module(self) -> nn.Module:
        """A fresh module of it."""
        modules: dict[Activation, type[nn.Module]] = {
            Activation.RELU: nn.ReLU,
            Activation.GELU: nn.GELU,
            Activation.SILU: nn.SiLU,
            Activation.TANH: nn.Tanh,
        }
        return modules[self]()


class Net(ABC):
    """An architecture for rows of one shape."""

    class Config(SpecModel):
        """A net's own options, as they stand beside its name in the job file."""

    SUMMARY: ClassVar[str] = ""
    """One line: what it is, and when to pick it."""
    KINDS: ClassVar[tuple[DataKind, ...]] = tuple(DataKind)
    """The kinds of data that it takes."""
    HAS_SKIPS: ClassVar[bool] = False
    """Whether its latent holds copies of the row, which skip connections take to the decoder:
    only variants that never ask for their own input can use it."""

    def __init__(self, options: Any, row_shape: Shape) -> None:
        self.options = options
        self.row_shape = row_shape

    def fixed_latent_dim(self) -> int | None:
        """The latent's size, if the net and not the job file determines it."""
        return None

    def nearest_latent_dim(self, wanted: int) -> int:
        """What `latent_dim: auto` becomes where a variant would have `wanted`."""
        return self.fixed_latent_dim() or wanted

    def refusal(self, latent_dim: int) -> str | None:
        """Why it cannot be built for its rows and a latent, and what can; `None` if it can."""
        return None

    @abstractmethod
    def encoder(self, outputs: int) -> nn.Module:
        """(B, *row_shape) -> (B, outputs)."""

    def encoder_of(self, latent_dim: int, outputs_per_latent: int) -> nn.Module:
        """As `encoder`, told how the outputs are made up: so many latents, one after another.

        Only a net whose latent has an inner order (rows and columns) needs to know.
        """
        return self.encoder(latent_dim * outputs_per_latent)

    @abstractmethod
    def decoder(self, inputs: int) -> nn.Module:
        """(B, inputs) -> (B, *row_shape)."""
