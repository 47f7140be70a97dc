"""The gate that versions pass to become champion, and the watcher for changes in MLflow's UI."""

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
