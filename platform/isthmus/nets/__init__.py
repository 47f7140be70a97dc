"""The network architectures; each file is one net, and its stem is the name in the job file.

A net does not depend on how it is trained: it builds an encoder and a decoder for a row shape.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from isthmus import plugins
from isthmus.nets._net import Net
from isthmus.spec import ModelPlan, PluginSpec, SpecModel
from isthmus.types import DataKind, Shape

__all__ = ["Net", "build", "config", "for_kind", "get", "made_for", "names"]

# Dense is for series and audio too. Measured on metrics (windows of 64) and speech (1024), at equal
# latents and epochs, `temporal` has 0.7 to 1.1 times the test error of dense, but takes at least 15
# times as long, and dense trained for that long is as good or better.
_BY_KIND = {
    DataKind.TABULAR: "dense",
    DataKind.IMAGES: "conv",
    DataKind.SERIES: "dense",
    DataKind.AUDIO: "dense",
}


def names() -> tuple[str, ...]:
    """Returns the names of all nets, sorted."""
    return plugins.names_in(__file__)


def get(name: str) -> type[Net]:
    """Returns the net of that name."""
    return cast("type[Net]", plugins.load(__name__, name, Net))


def config(name: str) -> type[SpecModel]:
    """Returns the class of a net's options."""
    return get(name).Config


def for_kind(kind: DataKind) -> PluginSpec:
    """Returns what `net: auto` chooses for a kind of data, with all its options."""
    name = _BY_KIND[kind]
    return PluginSpec(name=name, options=config(name)().model_dump(mode="json"))


def build(plan: ModelPlan, encoder_outputs: int) -> tuple[nn.Module, nn.Module]:
    """Builds the encoder and the decoder of a plan.

    Args:
        plan: The plan, with its net, row shape and latent size.
        encoder_outputs: Number of values that the encoder emits for a row: those of one latent, or
            of several latents one after another (a mean, then a log variance).

    Returns:
        A module that maps (B, *row_shape) to (B, encoder_outputs), and one that maps
        (B, latent_dim) to (B, *row_shape).
    """
    made = made_for(plan.net, plan.row_shape)
    latents, rest = divmod(encoder_outputs, plan.latent_dim)
    encoder = made.encoder(encoder_outputs) if rest else made.encoder_of(plan.latent_dim, latents)
    return encoder, made.decoder(plan.latent_dim)


def made_for(net: PluginSpec, row_shape: Shape) -> Net:
    """Returns the net with its options, for rows of one shape."""
    found = get(net.name)
    return found(found.Config.model_validate(dict(net.options)), row_shape)
