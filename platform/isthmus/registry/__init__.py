"""Encoder/decoder pairs: registered together, promoted together, never mixed."""

from isthmus.bundle.manifest import PairManifest
from isthmus.registry.annotate import annotate, annotation
from isthmus.registry.card import write_section
from isthmus.registry.events import Event
from isthmus.registry.history import history
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
from isthmus.registry.promote import Promotion, demote, promote, rollback
from isthmus.registry.reconcile import reconcile
from isthmus.registry.reference import CHAMPION, Reference
from isthmus.registry.register import TrainedPair, register_pair
from isthmus.registry.resolve import ResolvedPair, load, resolve
from isthmus.registry.standings import Position, alias_positions, champion_of
from isthmus.registry.succession import Succession, find_succession
from isthmus.registry.translation import CompatiblePair, load_compatible
from isthmus.registry.versions import RegisteredPair
from isthmus.registry.webhooks import Webhook, register_webhook, remove_webhook

__all__ = [
    "CHAMPION",
    "NEWEST",
    "CompatiblePair",
    "Detections",
    "Event",
    "Latents",
    "Lineage",
    "ModelSummary",
    "Pair",
    "PairManifest",
    "Position",
    "Promotion",
    "Reference",
    "RegisteredPair",
    "ResolvedPair",
    "Succession",
    "TrainedPair",
    "VersionSummary",
    "Webhook",
    "alias_positions",
    "annotate",
    "annotation",
    "champion_of",
    "demote",
    "find_succession",
    "history",
    "lineage",
    "list_models",
    "list_versions",
    "load",
    "load_compatible",
    "onnx_files",
    "promote",
    "reconcile",
    "register_pair",
    "register_webhook",
    "remove_webhook",
    "resolve",
    "rollback",
    "write_section",
]
