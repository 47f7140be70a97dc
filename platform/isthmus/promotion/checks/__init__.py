"""The checks that a challenger must pass; each file is one, found by its name."""

from __future__ import annotations

from typing import cast

from isthmus import plugins
from isthmus.promotion.evidence import Evidence, GateCheck
from isthmus.promotion.verdict import Check


def names() -> tuple[str, ...]:
    """Returns the names of all checks, sorted."""
    return plugins.names_in(__file__)


def get(name: str) -> GateCheck:
    """Returns the check of that name."""
    return cast("type[GateCheck]", plugins.load(__name__, name, GateCheck))()


def run(evidence: Evidence) -> tuple[Check, ...]:
    """Returns what all checks find that apply to a job, in the order of the table."""
    found = [
        each.judge(evidence) for each in sorted(map(get, names()), key=lambda each: each.PLACE)
    ]
    return tuple(each for each in found if each is not None)
