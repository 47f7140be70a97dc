"""How an autoencoder learns. One file is one variant; its stem is the name in the job file."""

from __future__ import annotations

from typing import cast

from isthmus import nets, plugins
from isthmus.core import Autoencoder
from isthmus.spec import ModelPlan, SpecModel


def names() -> tuple[str, ...]:
    """All variants, sorted."""
    return plugins.names_in(__file__)


def get(name: str) -> type[Autoencoder]:
    """The variant of that name."""
    return cast("type[Autoencoder]", plugins.load(__name__, name, Autoencoder))


def config(name: str) -> type[SpecModel]:
    """The options that a variant takes."""
    return get(name).Config


def build(plan: ModelPlan) -> Autoencoder:
    """The autoencoder of a plan, with weights drawn from torch's global generator."""
    variant = get(plan.variant.name)
    encoder, decoder = nets.build(plan, plan.latent_dim * variant.ENCODER_OUTPUTS_PER_LATENT)
    return variant(plan, encoder, decoder)
