"""Encoder/decoder pairs: registered together, promoted together, never mixed."""

from isthmus.registry.annotate import annotate
from isthmus.registry.events import Event
from isthmus.registry.history import history
from isthmus.registry.listing import (
    NEWEST,
    ModelSummary,
    VersionSummary,
    list_models,
    list_versions,
)
from isthmus.registry.manifest import PairManifest
from isthmus.registry.onnx_files import onnx_files
from isthmus.registry.pair import Detections, Latents, Pair
from isthmus.registry.promote import Promotion, demote, promote, rollback
from isthmus.registry.reconcile import reconcile
from isthmus.registry.reference import CHAMPION, Reference
from isthmus.registry.register import TrainedPair, register_pair
from isthmus.registry.resolve import ResolvedPair, load, resolve
from isthmus.registry.versions import RegisteredPair

__all__ = [
    "CHAMPION",
    "NEWEST",
    "Detections",
    "Event",
    "Latents",
    "ModelSummary",
    "Pair",
    "PairManifest",
    "Promotion",
    "Reference",
    "RegisteredPair",
    "ResolvedPair",
    "TrainedPair",
    "VersionSummary",
    "annotate",
    "demote",
    "history",
    "list_models",
    "list_versions",
    "load",
    "onnx_files",
    "promote",
    "reconcile",
    "register_pair",
    "resolve",
    "rollback",
]
