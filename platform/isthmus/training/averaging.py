"""A moving average of the weights, which is smoother than any one step's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class AveragedWeights(WeightAveraging):
    """Lightning's averaging: the averaged weights are validated, and the others trained.

    Source: Polyak & Juditsky 1992, SIAM J. Control Optim. 30(4); exponential as in Tarvainen &
    Valpola 2017, arXiv:1703.01780, equation 1.
    """

    def __init__(self, decay: float) -> None:
        # Buffers are not averaged but copied: a codebook or a centre keeps its own average.
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]

    def follow(self, module: LightningModule) -> None:
        """Takes the weights after a step into the average."""
        self._average.update_parameters(module)

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: Lightning's batch is an epoch here, and each step was followed."""

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: what is kept was kept, and another worker may not be done with the weights."""

    @contextmanager
    def in_place_of(self, module: LightningModule) -> Iterator[None]:
        """The module has the averaged weights in the block, and after it its own again.

        They change places and are not copied: a module's may lie in memory that all workers share.
        """
        averaged = self._average.module.parameters()
        own = [parameter.data for parameter in module.parameters()]
        for parameter, average in zip(module.parameters(), averaged, strict=True):
            parameter.data = average.data
        try:
            yield
        finally:
            for parameter, data in zip(module.parameters(), own, strict=True):
                parameter.data = data

    def state(self) -> dict[str, Tensor]:
        """The averaged weights, by the module's own names."""
        state: dict[str, Tensor] = self._average.module.state_dict()
        return state

    @property
    def _average(self) -> AveragedModel:
        assert self._average_model is not None  # noqa: S101 (made when fit begins)
        return self._average_model
