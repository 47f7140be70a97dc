"""Encoder/decoder pairs: registered together, promoted together, never mixed."""

from isthmus.registry.annotate import annotate
from isthmus.registry.lineage import Lineage, lineage
from isthmus.registry.listing import ModelSummary, VersionSummary, list_models, list_versions
from isthmus.registry.manifest import PairManifest
from isthmus.registry.pair import Detections, Latents, Pair
from isthmus.registry.promote import Promotion, promote
from isthmus.registry.reference import CHAMPION, Reference
from isthmus.registry.register import RegisteredPair, TrainedPair, register_pair
from isthmus.registry.resolve import ResolvedPair, load, resolve
from isthmus.registry.succession import Succession, find_succession
from isthmus.registry.translation import CompatiblePair, load_compatible

__all__ = [
    "CHAMPION",
    "CompatiblePair",
    "Detections",
    "Latents",
    "Lineage",
    "ModelSummary",
    "Pair",
    "PairManifest",
    "Promotion",
    "Reference",
    "RegisteredPair",
    "ResolvedPair",
    "Succession",
    "TrainedPair",
    "VersionSummary",
    "annotate",
    "find_succession",
    "lineage",
    "list_models",
    "list_versions",
    "load",
    "load_compatible",
    "promote",
    "register_pair",
    "resolve",
]
