"""The kinds of noise; each file is one, and its stem is the name in the job file.

A corruption does not depend on what learns to remove it: it puts noise on scaled rows.
"""

from __future__ import annotations

from typing import cast

from isthmus import plugins
from isthmus.corruptions._corruption import Corruption
from isthmus.corruptions._noise import Noise
from isthmus.corruptions._options import NoiseOptions
from isthmus.spec import PluginSpec, SpecModel

__all__ = ["Corruption", "Noise", "NoiseOptions", "build", "config", "get", "names"]


def names() -> tuple[str, ...]:
    """Returns the names of all corruptions, sorted."""
    return plugins.names("corruptions")


def get(name: str) -> type[Corruption]:
    """Returns the corruption of that name."""
    return cast("type[Corruption]", plugins.get("corruptions", name, Corruption))


def config(name: str) -> type[SpecModel]:
    """Returns the class of a corruption's options."""
    return get(name).Config


def build(spec: PluginSpec) -> Corruption:
    """Builds the corruption of a name and its options."""
    found = get(spec.name)
    return found(found.Config.model_validate(dict(spec.options)))
