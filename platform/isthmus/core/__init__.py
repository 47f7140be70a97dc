"""The code that all variants share: the abstract module, losses, scaling, maths."""

from isthmus.core.autoencoder import Autoencoder, LatentPrior, PlanLike
from isthmus.core.calibration import Calibration
from isthmus.core.coding import CodedAutoencoder, IndexCoded
from isthmus.core.integer_tables import IntTable
from isthmus.core.loss_output import LossOutput
from isthmus.core.reconstruction import Reconstruction
from isthmus.core.scaling import Scaling
from isthmus.core.variational import VariationalAutoencoder

__all__ = [
    "Autoencoder",
    "Calibration",
    "CodedAutoencoder",
    "IndexCoded",
    "IntTable",
    "LatentPrior",
    "LossOutput",
    "PlanLike",
    "Reconstruction",
    "Scaling",
    "VariationalAutoencoder",
]
