"""The code that all variants share: the abstract module, losses, corruptions, scaling, maths."""

from isthmus.core.autoencoder import Autoencoder, PlanLike
from isthmus.core.calibration import Calibration
from isthmus.core.corruption import Corruption, corrupt
from isthmus.core.lightning import LossOutput, Stage, StepGroup
from isthmus.core.reconstruction import Reconstruction
from isthmus.core.scaling import Scaling

__all__ = [
    "Autoencoder",
    "Calibration",
    "Corruption",
    "LossOutput",
    "PlanLike",
    "Reconstruction",
    "Scaling",
    "Stage",
    "StepGroup",
    "corrupt",
]
