"""Defines the plan of an autoencoder, in which every `auto` of the job is resolved."""

from __future__ import annotations

from math import prod
from typing import Annotated

from pydantic import Field, field_validator

from isthmus.spec.job import PluginSpec
from isthmus.spec.model import SpecModel
from isthmus.types import DataKind, ReconstructionLoss, Shape

# A GiB of float32. The plan of a stored pair may hold any number, and a net of its size is built.
_MOST_NUMBERS = 2**28
_Axis = Annotated[int, Field(ge=1)]


class ModelPlan(SpecModel):
    """Everything that is needed to build an autoencoder again. Every registered pair stores it."""

    kind: DataKind
    """The kind of a row."""
    row_shape: tuple[_Axis, ...] = Field(min_length=1, max_length=3)
    """The shape of one row: (F,), (C, H, W) or (C, T)."""
    latent_dim: int = Field(ge=1, le=_MOST_NUMBERS)
    """The number of values in one latent."""
    variant: PluginSpec
    """The variant with all its options."""
    net: PluginSpec
    """The net with all its options; never `auto`."""
    reconstruction: ReconstructionLoss
    """The loss between a row and its reconstruction."""

    @field_validator("row_shape")
    @classmethod
    def _fits_into_memory(cls, value: Shape) -> Shape:
        if prod(value) > _MOST_NUMBERS:
            raise ValueError(f"a row of shape {value} has more than {_MOST_NUMBERS:,} numbers")
        return value
