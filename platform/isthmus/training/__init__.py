"""Training with Lightning, spread by Ray Train or, for one worker, in the process itself.

It knows nothing of MLflow: it has a reporter.

What is heavy is imported when it is first asked for: Ray's controller and our mailbox unpickle
small things from this package, and must not load torch and Lightning for them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.training.checkpoints import Progress
    from isthmus.training.here import fit_here
    from isthmus.training.launch import fit
    from isthmus.training.reporter import EpochReport, Reporter, Reporters
    from isthmus.training.result import FitResult
    from isthmus.training.session import ray_session
    from isthmus.training.share import ScaledRows
    from isthmus.training.storage import CheckpointStorage

_MODULES = {
    "CheckpointStorage": "storage",
    "EpochReport": "reporter",
    "FitResult": "result",
    "Progress": "checkpoints",
    "Reporter": "reporter",
    "Reporters": "reporter",
    "ScaledRows": "share",
    "fit": "launch",
    "fit_here": "here",
    "ray_session": "session",
}

__all__ = [
    "CheckpointStorage",
    "EpochReport",
    "FitResult",
    "Progress",
    "Reporter",
    "Reporters",
    "ScaledRows",
    "fit",
    "fit_here",
    "ray_session",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    value = getattr(module, name)
    globals()[name] = value
    return value
