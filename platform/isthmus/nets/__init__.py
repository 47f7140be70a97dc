"""What an autoencoder is made of. One file is one net; its stem is the name in the job file.

A net knows nothing of how it is trained: it gives an encoder and a decoder for a shape.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from isthmus import plugins
from isthmus.nets._net import Net
from isthmus.spec import ModelPlan, PluginSpec, SpecModel
from isthmus.types import DataKind, Shape

__all__ = ["Net", "build", "config", "for_kind", "get", "made_for", "names"]

# Dense for series and audio too. Measured on metrics (windows of 64) and speech (1024), at equal
# latents and epochs: `temporal` has 0.7 to 1.1 times dense's test error in 15 times the time and
# more, and in that time dense's is lower or level.
_BY_KIND = {
    DataKind.TABULAR: "dense",
    DataKind.IMAGES: "conv",
    DataKind.SERIES: "dense",
    DataKind.AUDIO: "dense",
}


def names() -> tuple[str, ...]:
    """All nets, sorted."""
    return plugins.names_in(__file__)


def get(name: str) -> type[Net]:
    """The net of that name."""
    return cast("type[Net]", plugins.load(__name__, name, Net))


def config(name: str) -> type[SpecModel]:
    """The options that a net takes."""
    return get(name).Config


def for_kind(kind: DataKind) -> PluginSpec:
    """What `net: auto` chooses for a kind of data, with all its options."""
    name = _BY_KIND[kind]
    return PluginSpec(name=name, options=config(name)().model_dump(mode="json"))


def build(plan: ModelPlan, encoder_outputs: int) -> tuple[nn.Module, nn.Module]:
    """The encoder and the decoder of a plan.

    Args:
        plan: Its net, row shape and latent size.
        encoder_outputs: Numbers that the encoder emits for a row: one latent's, or several
            latents' one after another (a mean, then a log variance).

    Returns:
        (B, *row_shape) -> (B, encoder_outputs), and (B, latent_dim) -> (B, *row_shape).
    """
    made = made_for(plan.net, plan.row_shape)
    latents, rest = divmod(encoder_outputs, plan.latent_dim)
    encoder = made.encoder(encoder_outputs) if rest else made.encoder_of(plan.latent_dim, latents)
    return encoder, made.decoder(plan.latent_dim)


def made_for(net: PluginSpec, row_shape: Shape) -> Net:
    """The net with its options, for rows of one shape."""
    found = get(net.name)
    return found(found.Config.model_validate(dict(net.options)), row_shape)
