"""The way to champion: the gate, and the watcher that brings the registry in line with clicks."""

from isthmus.promotion.gate import judge
from isthmus.promotion.verdict import Check, Verdict

__all__ = ["Check", "Verdict", "judge"]
