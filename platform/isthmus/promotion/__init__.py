"""The way to champion: the gate, and the watcher that brings the registry in line with clicks."""

from isthmus.promotion.champion import GateRefused, Promoted, judge_reference, promote
from isthmus.promotion.gate import judge
from isthmus.promotion.verdict import Check, Outcome, Verdict

__all__ = [
    "Check",
    "GateRefused",
    "Outcome",
    "Promoted",
    "Verdict",
    "judge",
    "judge_reference",
    "promote",
]
