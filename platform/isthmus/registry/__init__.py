"""The registry of encoder/decoder pairs: registered together, verified when loaded, never mixed."""

from isthmus.bundle.manifest import PairManifest
from isthmus.registry.annotate import annotate, annotation, is_let_by_gate
from isthmus.registry.card import write_section
from isthmus.registry.device import Device, chosen_device
from isthmus.registry.held_out import fetch_held_out
from isthmus.registry.lineage import Lineage, lineage
from isthmus.registry.listing import (
    NEWEST,
    ModelSummary,
    VersionSummary,
    list_models,
    list_versions,
)
from isthmus.registry.onnx_files import onnx_files
from isthmus.registry.pair import Detections, Latents, Pair
from isthmus.registry.reference import CHAMPION, Reference
from isthmus.registry.register import TrainedPair, register_pair
from isthmus.registry.resolve import ResolvedPair, load, resolve
from isthmus.registry.succession import Succession, find_succession
from isthmus.registry.translation import CompatiblePair, load_compatible
from isthmus.registry.versions import RegisteredPair

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
    "chosen_device",
    "fetch_held_out",
    "find_succession",
    "is_let_by_gate",
    "lineage",
    "list_models",
    "list_versions",
    "load",
    "load_compatible",
    "onnx_files",
    "register_pair",
    "resolve",
    "write_section",
]
