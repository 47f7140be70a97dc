"""The registry of encoder/decoder pairs: registered together, verified when loaded, never mixed.

What loads torch is imported when it is first asked for: listing and moving versions needs none.
"""

import importlib
from typing import TYPE_CHECKING

from isthmus.bundle.manifest import PairManifest
from isthmus.registry.annotate import annotate, annotation, is_let_by_gate
from isthmus.registry.card import write_section
from isthmus.registry.held_out import fetch_held_out
from isthmus.registry.latents import Latents
from isthmus.registry.lineage import Lineage, lineage
from isthmus.registry.listing import (
    NEWEST,
    ModelSummary,
    VersionSummary,
    list_models,
    list_versions,
)
from isthmus.registry.lookup import name_of_pair
from isthmus.registry.reference import CHAMPION, Reference
from isthmus.registry.succession import Succession
from isthmus.registry.versions import RegisteredPair

if TYPE_CHECKING:
    from isthmus.registry.alignment import find_succession
    from isthmus.registry.detections import Detections
    from isthmus.registry.device import Device, chosen_device
    from isthmus.registry.graph_files import onnx_files
    from isthmus.registry.loading import ResolvedPair, build, load, named_now, resolve
    from isthmus.registry.pair import Pair
    from isthmus.registry.register import TrainedPair, register_pair
    from isthmus.registry.translation import CompatiblePair, load_compatible, translation_error

_WITH_TORCH = {
    "alignment": ("find_succession",),
    "detections": ("Detections",),
    "device": ("Device", "chosen_device"),
    "graph_files": ("onnx_files",),
    "loading": ("ResolvedPair", "build", "load", "named_now", "resolve"),
    "pair": ("Pair",),
    "register": ("TrainedPair", "register_pair"),
    "translation": ("CompatiblePair", "load_compatible", "translation_error"),
}
"""The names that this package exports from modules that load torch. No module has the name of one
of them, because Python would then find the module."""

__all__ = [
    "CHAMPION",
    "NEWEST",
    "CompatiblePair",
    "Detections",
    "Device",
    "Latents",
    "Lineage",
    "ModelSummary",
    "Pair",
    "PairManifest",
    "Reference",
    "RegisteredPair",
    "ResolvedPair",
    "Succession",
    "TrainedPair",
    "VersionSummary",
    "annotate",
    "annotation",
    "build",
    "chosen_device",
    "fetch_held_out",
    "find_succession",
    "is_let_by_gate",
    "lineage",
    "list_models",
    "list_versions",
    "load",
    "load_compatible",
    "name_of_pair",
    "named_now",
    "onnx_files",
    "register_pair",
    "resolve",
    "translation_error",
    "write_section",
]


def __getattr__(name: str) -> object:
    for module, names in _WITH_TORCH.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
