"""Defines the plan of an autoencoder, in which every `auto` of the job is resolved."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any

from pydantic import Field, field_validator

from isthmus import plugins
from isthmus.spec.job import PluginSpec
from isthmus.spec.model import SpecModel
from isthmus.types import DataKind, ReconstructionLoss, Shape

# A GiB of float32. The plan of a stored pair may hold any number, and a net of its size is built.
_MOST_NUMBERS = 2**28
# The key, in a pickled plan, of the files that define its variant and net.
_FILES = "plugin_files"
_Axis = Annotated[int, Field(ge=1)]


class ModelPlan(SpecModel):
    """Everything that is needed to build an autoencoder again. Every registered pair stores it.

    A pickled plan carries the files of its plugins, and to unpickle it imports them.
    """

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

    def __getstate__(self) -> dict[Any, Any]:
        # A process that a plan is sent to, as a worker of Ray's, has not imported the job's files.
        return {**super().__getstate__(), _FILES: plugins.named_in(self.model_dump_json())}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        for file in state.pop(_FILES):
            plugins.import_file(file)
        super().__setstate__(state)

    @field_validator("row_shape")
    @classmethod
    def _fits_into_memory(cls, value: Shape) -> Shape:
        if prod(value) > _MOST_NUMBERS:
            raise ValueError(f"a row of shape {value} has more than {_MOST_NUMBERS:,} numbers")
        return value
