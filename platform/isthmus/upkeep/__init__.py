"""Keeps a registry small: deletes versions and runs, and never one that something still needs."""

from isthmus.upkeep.deleting import Pruned, delete, prune
from isthmus.upkeep.needs import Spared

__all__ = ["Pruned", "Spared", "delete", "prune"]
