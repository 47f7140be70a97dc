"""A job with nothing left open: what `auto` became once the data was read."""

from __future__ import annotations

from pydantic import Field

from isthmus.spec.job import PluginSpec
from isthmus.spec.model import SpecModel
from isthmus.types import DataKind, ReconstructionLoss, Shape


class ModelPlan(SpecModel):
    """All that is needed to build an autoencoder again; stored with every registered pair."""

    kind: DataKind
    """What a row is."""
    row_shape: Shape
    """Shape of one row: (F,), (C, H, W), (C, T)."""
    latent_dim: int = Field(ge=1)
    """Numbers in one latent."""
    variant: PluginSpec
    """The variant with all its options."""
    net: PluginSpec
    """The net with all its options; never `auto`."""
    reconstruction: ReconstructionLoss
    """The loss between a row and its reconstruction."""
