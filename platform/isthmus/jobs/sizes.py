"""Turns a job's `size` into options of its net; each net in `nets/` declares its own sizes."""

from __future__ import annotations

from math import prod

from isthmus.declarations import declaration
from isthmus.errors import Fault, SpecError
from isthmus.spec import DataSpec, JobSpec, PluginSpec, Size, Sizes
from isthmus.types import DataKind, Shape

_LEAST_LATENT_DIM = 2


def size_of(spec: JobSpec, net: str) -> Size:
    """Returns what the job's size means with a net.

    Raises:
        SpecError: If the net has no such sizes.
    """
    sizes: Sizes | None = declaration("nets", net).value("SIZES")
    if sizes is not None:
        return sizes.named(spec.size)
    if spec.size != "medium":
        message = f'net "{net}" has one size; leave size out, and set its options'
        raise SpecError([Fault("size", message)])
    return Size()


def chosen_net(spec: JobSpec, data: DataSpec, kind: DataKind) -> PluginSpec:
    """Returns what `net: auto` chooses, with all options of the job's size.

    Args:
        spec: The job.
        data: The job's data section with every `auto` resolved.
        kind: The kind of the data.
    """
    from isthmus import nets  # loads torch, which commands that only read a job file do not need

    variant = declaration("variants", spec.variant.name)
    if data.patch is not None:
        net = nets.for_any_size(kind, is_coded=variant.value("CODES_MAPS"))
    elif variant.value("REMOVES_NOISE"):
        net = nets.for_noisy(kind)
    else:
        net = nets.for_kind(kind)
    options = nets.config(net.name).model_validate(dict(size_of(spec, net.name).options))
    return PluginSpec(name=net.name, options=options.model_dump(mode="json"))


def sized_latent_dim(wanted: int, size: Size, row_shape: Shape) -> int:
    """Returns the latent size of a size, where `latent_dim: auto` would be another by itself.

    It is at most half of the values in a row, so that there is a bottleneck.
    """
    if size.latent_multiplier == 1:
        return wanted
    most = max(wanted, prod(row_shape) // 2)
    return min(max(round(wanted * size.latent_multiplier), _LEAST_LATENT_DIM), most)
