"""Training with Lightning's Trainer, spread by Ray Train or, for one worker, in the process itself.

Begin with `worker_loop.py`, which every worker runs, and `epoch_end.py`, the callback that keeps
the books. The room knows nothing of MLflow: it has a reporter.

Heavy modules are imported when they are first asked for: Ray's controller and the actor of events
unpickle small things from this package, and must not load torch and Lightning for them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.training.checkpoints import Progress
    from isthmus.training.in_process import fit_in_process
    from isthmus.training.ray_trainer import fit
    from isthmus.training.reporter import EpochReport, Reporter, Reporters
    from isthmus.training.result import FitResult
    from isthmus.training.scaled_rows import ScaledRows
    from isthmus.training.session import ray_session
    from isthmus.training.storage import CheckpointStorage

_MODULES = {
    "CheckpointStorage": "storage",
    "EpochReport": "reporter",
    "FitResult": "result",
    "Progress": "checkpoints",
    "Reporter": "reporter",
    "Reporters": "reporter",
    "ScaledRows": "scaled_rows",
    "fit": "ray_trainer",
    "fit_in_process": "in_process",
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
    "fit_in_process",
    "ray_session",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    value = getattr(module, name)
    globals()[name] = value
    return value
