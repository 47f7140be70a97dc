"""The anomaly scores; each file is one, and its stem is the name in the job file.

A score does not depend on how the autoencoder was trained: it looks at rows, at their latents and
at their reconstructions.
"""

from __future__ import annotations

from typing import cast

from isthmus import plugins
from isthmus.core import Autoencoder
from isthmus.scores._detector import Detector
from isthmus.scores._score import Score, Views
from isthmus.spec import PluginSpec, SpecModel
from isthmus.types import DataKind

# Measured: for tables on 22 sets of ADBench; for series on the NAB files and for images on digits
# `kernel_denoising` alone is better, as drawing in the tails of single features helps only where
# features are of different kinds.
_BY_KIND = {
    DataKind.TABULAR: "consensus",
    DataKind.IMAGES: "kernel_denoising",
    DataKind.SERIES: "kernel_denoising",
    DataKind.AUDIO: "kernel_denoising",
}

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
    name = _BY_KIND[kind]
    return PluginSpec(name=name, options=config(name)().model_dump(mode="json"))


def build(spec: PluginSpec) -> Score:
    """Builds a score that is not fitted yet."""
    found = get(spec.name)
    return found(found.Config.model_validate(dict(spec.options)))


def detector_of(module: Autoencoder) -> Detector:
    """Returns a detector that scores rows as the variant itself does, not calibrated yet."""
    return Detector(module, [build(PluginSpec(name="own"))])
