"""Searches over a job's settings with Ray Tune; each trial trains as any other job does.

What is heavy is imported when it is first asked for: the actor that the trials talk to unpickles
small things from this package, and must not load torch and Ray Tune for them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.search.driver import SearchResult, search
    from isthmus.search.trials import Candidate, SearchReporter, TrialRecord

_MODULES = {
    "Candidate": "trials",
    "SearchReporter": "trials",
    "SearchResult": "driver",
    "TrialRecord": "trials",
    "search": "driver",
}

__all__ = ["Candidate", "SearchReporter", "SearchResult", "TrialRecord", "search"]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    value = getattr(module, name)
    globals()[name] = value
    return value
