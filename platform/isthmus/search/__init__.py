"""Hyperparameter search with Ray Tune; each trial trains like any other job.

Heavy modules are imported on first use: the actor that the trials report to unpickles small objects
from this package, and must not load torch and Ray Tune for them.
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
