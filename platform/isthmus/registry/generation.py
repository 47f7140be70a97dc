"""Latents that no row was encoded to: draws from a pair's prior, and those between two latents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from isthmus import variants
from isthmus.core import Autoencoder, IntTable
from isthmus.core.interpolation import linear, spherical
from isthmus.errors import UsageError
from isthmus.registry.batches import Floats

_MOST_SEED = 2**63


def sampled(
    module: Autoencoder, tables: Sequence[IntTable], n: int, seed: int | None, reference: str
) -> Floats:
    """Draws latents from a pair's prior, shape (n, latent_dim).

    Args:
        module: The pair's autoencoder.
        tables: The tables with which the pair compresses; none if it does not.
        n: The number of latents.
        seed: The seed of the draw; by default another one each time.
        reference: The pair's name and version, for messages.

    Raises:
        UsageError: If the variant has no prior, or the number or the seed is none.
    """
    name = module.plan.variant.name
    if module.PRIOR == "none":
        takers = ", ".join(each for each in variants.names() if _has_prior(each))
        raise UsageError(
            f"{reference} is of the variant {name}, which has no prior over latents to sample "
            f"from; train one that has: {takers}"
        )
    if module.PRIOR == "tables" and not tables:
        raise UsageError(
            f"{reference} was registered without the tables that {name} samples from; train the "
            "pair again"
        )
    _refuse_no_whole_number("n", n)
    if n < 1:
        raise UsageError(f"sample(n={n}) asks for no row; use a number from 1")
    if seed is not None:
        _refuse_no_whole_number("seed", seed)
    if seed is not None and not 0 <= seed < _MOST_SEED:
        raise UsageError(f"seed={seed} is out of range; use a number from 0 to 2**63 - 1")
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(int(seed))
    with torch.inference_mode():
        drawn: Floats = module.sample_latents(int(n), generator, tables).float().cpu().numpy()
    return drawn


def between(module: Autoencoder, a: Floats, b: Floats, steps: int, reference: str) -> Floats:
    """Returns the latents on the way from one to another, both included, (steps, latent_dim).

    Args:
        module: The pair's autoencoder, whose prior says which way it is.
        a: The latent at the beginning, shape (latent_dim,).
        b: The latent at the end, shape (latent_dim,).
        steps: The number of latents.
        reference: The pair's name and version, for messages.

    Raises:
        UsageError: If there is nothing between two latents of the variant, or `steps` is no whole
            number from 2.
    """
    if module.PRIOR == "tables":
        raise UsageError(
            f"{reference} is of the variant {module.plan.variant.name}, whose latents are whole "
            "numbers with nothing between two of them; interpolate with a pair of a variant that "
            "does not compress, such as vae"
        )
    _refuse_no_whole_number("steps", steps)
    if steps < 2:
        raise UsageError(f"steps={steps} has no room for both ends; use a number from 2")
    way = spherical if module.PRIOR == "standard_normal" else linear
    # In double precision, so that both ends are what they were.
    first, last = (torch.from_numpy(np.asarray(each, np.float64)) for each in (a, b))
    shares = torch.linspace(0, 1, steps, dtype=torch.float64)
    found: Floats = way(first, last, shares).float().numpy()
    return found


def _has_prior(variant: str) -> bool:
    return variants.get(variant).PRIOR != "none"


def _refuse_no_whole_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise UsageError(f"{name}={value!r} is no whole number; use one, as in {name}=8")
