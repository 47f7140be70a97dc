"""The base class of every net."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Any, ClassVar

from torch import nn

from isthmus.spec import Sizes, SpecModel
from isthmus.types import DataKind, Shape


class Activation(StrEnum):
    """The nonlinearity between layers."""

    RELU = "relu"
    GELU = "gelu"
    SILU = "silu"
    TANH = "tanh"

    def module(self) -> nn.Module:
        """Returns a new module of this activation."""
        modules: dict[Activation, type[nn.Module]] = {
            Activation.RELU: nn.ReLU,
            Activation.GELU: nn.GELU,
            Activation.SILU: nn.SiLU,
            Activation.TANH: nn.Tanh,
        }
        return modules[self]()


class Net(ABC):
    """An encoder and decoder architecture for rows of one shape."""

    class Config(SpecModel):
        """The net's own options, which are beside its name in the job file."""

    SUMMARY: ClassVar[str] = ""
    """One line on what the net is and when to choose it."""
    KINDS: ClassVar[tuple[DataKind, ...]] = tuple(DataKind)
    """The kinds of data that it accepts."""
    SIZES: ClassVar[Sizes | None] = None
    """The options and training settings for each size of a job; `None` if the net has one size."""
    HAS_SKIPS: ClassVar[bool] = False
    """Whether its latent holds copies of the row, which skip connections take to the decoder:
    only variants whose target is never their own input can use it."""
    ONE_MAP: ClassVar[bool] = False
    """Whether its latent is a single map as large as the row: only variants that count the bits of
    maps can use it."""
    ANY_SIZE: ClassVar[bool] = False
    """Whether the same weights work on rows of any size: the net is fully convolutional, and
    normalises nothing over pixels or steps. Such a net knows its `receptive_radius`, `multiple`
    and `numbers_in_memory`, and its latent grows with the row."""

    def __init__(self, options: Any, row_shape: Shape) -> None:
        self.options = options
        self.row_shape = row_shape

    def fixed_latent_dim(self) -> int | None:
        """Returns the latent size if the net, and not the job file, determines it."""
        return None

    def nearest_latent_dim(self, wanted: int) -> int:
        """Returns what `latent_dim: auto` is if the variant would choose `wanted`."""
        return self.fixed_latent_dim() or wanted

    def refusal(self, latent_dim: int) -> str | None:
        """Returns why the net cannot have this latent size, and what can; `None` if it can."""
        return None

    def settled(self) -> SpecModel:
        """Returns the options with every `auto` that depends on the row's size replaced.

        With these, a net for rows of another size has the same weights.
        """
        options: SpecModel = self.options
        return options

    def receptive_radius(self) -> int:
        """Returns how many pixels or steps away, on each side, may change an output."""
        raise NotImplementedError(f"{type(self).__name__} is not for rows of any size")

    def multiple(self) -> int:
        """Returns of what number the sides of a row and the places of its parts are multiples.

        Rows with other sides are padded. Parts of a row that begin elsewhere see another grid.
        """
        raise NotImplementedError(f"{type(self).__name__} is not for rows of any size")

    def numbers_in_memory(self) -> int:
        """Returns about how many numbers are in memory at once while the net computes one row."""
        raise NotImplementedError(f"{type(self).__name__} is not for rows of any size")

    @abstractmethod
    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, *row_shape) to (B, outputs)."""

    def encoder_of(self, latent_dim: int, outputs_per_latent: int) -> nn.Module:
        """Returns the same as `encoder`, whose outputs are several latents one after another.

        Only a net whose latent has an inner order (rows and columns) needs to tell them apart.
        """
        return self.encoder(latent_dim * outputs_per_latent)

    @abstractmethod
    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs) to (B, *row_shape)."""
