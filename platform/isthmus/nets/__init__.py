"""The network architectures; each file is one net, and its stem is the name in the job file.

A net does not depend on how it is trained: it builds an encoder and a decoder for a row shape.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from isthmus import plugins
from isthmus.kinds import facts_of
from isthmus.nets._net import Net
from isthmus.nets._skips import MapsNet
from isthmus.spec import ModelPlan, PluginSpec, SpecModel
from isthmus.types import DataKind, Shape

__all__ = [
    "MapsNet",
    "Net",
    "build",
    "config",
    "for_any_size",
    "for_kind",
    "for_noisy",
    "get",
    "made_for",
    "names",
]


def names() -> tuple[str, ...]:
    """Returns the names of all nets, sorted."""
    return plugins.names("nets")


def get(name: str) -> type[Net]:
    """Returns the net of that name."""
    return cast("type[Net]", plugins.get("nets", name, Net))


def config(name: str) -> type[SpecModel]:
    """Returns the class of a net's options."""
    return get(name).Config


def for_any_size(kind: DataKind, *, is_coded: bool) -> PluginSpec:
    """Returns what `net: auto` chooses for images of any size, with all its options.

    Args:
        kind: The kind of data.
        is_coded: Whether the latent is coded to files.
    """
    facts = facts_of(kind)
    name = facts.coded_any_size_net if is_coded else facts.any_size_net
    if name is None:
        raise ValueError(f"{kind} has no rows of any size")
    return _with_all_options(name)


def for_kind(kind: DataKind) -> PluginSpec:
    """Returns what `net: auto` chooses for a kind of data, with all its options."""
    return _with_all_options(facts_of(kind).net)


def for_noisy(kind: DataKind) -> PluginSpec:
    """Returns what `net: auto` chooses for variants that remove noise, with all its options."""
    facts = facts_of(kind)
    return _with_all_options(facts.noisy_net or facts.net)


def _with_all_options(name: str) -> PluginSpec:
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
