"""A moving average of the weights, which varies less than the weights of single steps."""

from __future__ import annotations

from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class AveragedWeights(WeightAveraging):
    """A Lightning callback that validates the averaged weights while the others are trained.

    Attributes:
        follows_groups: Whether a group of steps calls `follow` after each step. Lightning, which
            sees the group as one batch, must then not update the average.

    Source: Polyak & Juditsky 1992, SIAM J. Control Optim. 30(4); exponential as in Tarvainen &
    Valpola 2017, arXiv:1703.01780, equation 1.
    """

    def __init__(self, decay: float) -> None:
        # Buffers are not averaged but copied: a codebook or a centre keeps its own average.
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        self.follows_groups = False

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Returns whether Lightning is to update the average after a batch."""
        return step_idx is not None and not self.follows_groups

    def follow(self, module: LightningModule) -> None:
        """Updates the average with the weights after a step."""
        assert self._average_model is not None  # noqa: S101 (made when fit begins)
        self._average_model.update_parameters(module)

    def state(self) -> dict[str, Tensor]:
        """Returns the averaged weights under the names that they have in the module."""
        assert self._average_model is not None  # noqa: S101 (made when fit begins)
        state: dict[str, Tensor] = self._average_model.module.state_dict()
        return state
