"""Training through Ray Train, with Lightning inside. Knows nothing of MLflow: it has a reporter.

What is heavy is imported when it is first asked for: Ray's controller and our mailbox unpickle
small things from this package, and must not load torch and Lightning for them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.training.checkpoints import Progress
    from isthmus.training.launch import FitResult, fit
    from isthmus.training.reporter import EpochReport, Reporter, Reporters
    from isthmus.training.session import ray_session
    from isthmus.training.worker import ScaledRows

_MODULES = {
    "EpochReport": "reporter",
    "FitResult": "launch",
    "Progress": "checkpoints",
    "Reporter": "reporter",
    "Reporters": "reporter",
    "ScaledRows": "worker",
    "fit": "launch",
    "ray_session": "session",
}

__all__ = [
    "EpochReport",
    "FitResult",
    "Progress",
    "Reporter",
    "Reporters",
    "ScaledRows",
    "fit",
    "ray_session",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    value = getattr(module, name)
    globals()[name] = value
    return value
