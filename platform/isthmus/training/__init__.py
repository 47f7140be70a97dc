"""Training through Ray Train, with Lightning inside. Knows nothing of MLflow: it has a reporter."""

from isthmus.training.checkpoints import Progress
from isthmus.training.launch import FitResult, fit
from isthmus.training.ray_session import ray_session
from isthmus.training.reporter import EpochReport, Reporter, Reporters
from isthmus.training.worker import ScaledRows

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
