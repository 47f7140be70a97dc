"""Encoder/decoder pairs: registered together, promoted together, never mixed."""

from isthmus.registry.annotate import annotate
from isthmus.registry.history import Event, history
from isthmus.registry.listing import ModelSummary, VersionSummary, list_models, list_versions
from isthmus.registry.manifest import PairManifest
from isthmus.registry.pair import Detections, Latents, Pair
from isthmus.registry.promote import Promotion, demote, promote, rollback
from isthmus.registry.reconcile import reconcile
from isthmus.registry.reference import CHAMPION, Reference
from isthmus.registry.register import RegisteredPair, TrainedPair, register_pair
from isthmus.registry.resolve import ResolvedPair, load, resolve

__all__ = [
    "CHAMPION",
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
    "promote",
    "reconcile",
    "register_pair",
    "resolve",
    "rollback",
]
