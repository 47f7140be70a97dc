"""The anomaly scores; each file is one, and its stem is the name in the job file.

A score does not depend on how the autoencoder was trained: it looks at rows, at their latents and
at their reconstructions.
"""

from __future__ import annotations

from typing import cast

from isthmus import plugins
from isthmus.core import Autoencoder
from isthmus.kinds import facts_of
from isthmus.scores._detector import Detector
from isthmus.scores._score import Score, Views
from isthmus.spec import PluginSpec, SpecModel
from isthmus.types import DataKind

__all__ = [
    "Detector",
    "Score",
    "Views",
    "build",
    "config",
    "detector_of",
    "for_kind",
    "get",
    "names",
]


def names() -> tuple[str, ...]:
    """Returns the names of all scores, sorted."""
    return plugins.names("scores")


def get(name: str) -> type[Score]:
    """Returns the score of that name."""
    return cast("type[Score]", plugins.get("scores", name, Score))


def config(name: str) -> type[SpecModel]:
    """Returns the class of a score's options."""
    return get(name).Config


def for_kind(kind: DataKind) -> PluginSpec:
    """Returns what `scoring: auto` chooses for a kind of data, with all its options."""
    name = facts_of(kind).score
    return PluginSpec(name=name, options=config(name)().model_dump(mode="json"))


def build(spec: PluginSpec) -> Score:
    """Builds a score that is not fitted yet."""
    found = get(spec.name)
    return found(found.Config.model_validate(dict(spec.options)))


def detector_of(module: Autoencoder) -> Detector:
    """Returns a detector that scores rows as the variant itself does, not calibrated yet."""
    return Detector(module, [build(PluginSpec(name="own"))])
