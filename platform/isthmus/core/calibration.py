"""The distribution of normal anomaly scores, which turns a score into a p-value and a label."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

QUANTILES = 1001
DEFAULT_FALSE_POSITIVE_RATE = 0.01


class Calibration(nn.Module):
    """The distribution of anomaly scores on rows that were held out of training.

    The distribution is kept in buffers, so that it travels with the module's weights.

    Attributes:
        quantiles: Shape (1001,). The validation scores at the probabilities 0, 0.001, ..., 1.
        threshold: Shape (). Rows that score above the threshold are anomalies. By default 1 % of
            normal rows score above it.
    """

    quantiles: Tensor
    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        # The initial values are NaN and not 0: a module that was never calibrated must not call
        # every row an anomaly.
        self.register_buffer("quantiles", torch.full((QUANTILES,), torch.nan))
        self.register_buffer("threshold", torch.tensor(torch.nan))

    def fit(self, scores: Tensor, false_positive_rate: float = DEFAULT_FALSE_POSITIVE_RATE) -> None:
        """Learns the distribution from the scores of normal rows.

        Args:
            scores: Shape (N,). The rows must be normal and must not have been trained on.
            false_positive_rate: The share of normal rows that the threshold calls anomalies,
                between 0 and 1.
        """
        # numpy sorts without the index that torch.sort returns, which takes twice the memory of
        # the scores themselves.
        ordered = torch.from_numpy(np.sort(scores.detach().flatten().cpu().numpy()))
        probabilities = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
        self.quantiles.copy_(_interpolate(ordered, probabilities))
        wanted = torch.tensor([1 - false_positive_rate], dtype=torch.float64)
        self.threshold.copy_(_interpolate(ordered, wanted)[0])

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> Calibration:
        """Returns the calibration whose `state_dict` is given.

        Raises:
            RuntimeError: If a tensor is missing, unknown or of another shape.
        """
        calibration = cls()
        calibration.load_state_dict(dict(state))
        return calibration

    def p_values(self, scores: Tensor) -> Tensor:
        """Computes the share of normal rows that score at least as high.

        Args:
            scores: Shape (B,).

        Returns:
            Shape (B,), in [1/1001, 1]. A finite sample cannot show a smaller p-value.
        """
        # NaN counts as above all others.
        scores = scores.contiguous().nan_to_num(nan=torch.inf, posinf=torch.inf)
        quantiles_below = torch.searchsorted(self.quantiles, scores, right=False)
        return (QUANTILES - quantiles_below).clamp(min=1) / QUANTILES

    def is_anomaly(self, scores: Tensor) -> Tensor:
        """Returns which scores are above the threshold, shape (B,), bool.

        A score that is NaN, as of a row whose numbers overflow, is no normal row's.
        """
        return (scores > self.threshold) | torch.isnan(scores)


def _interpolate(ordered: Tensor, probabilities: Tensor) -> Tensor:
    """Returns the quantiles of sorted scores at the probabilities, in float64.

    torch.quantile computes the same but refuses more than 16 million scores.
    """
    position = probabilities * (len(ordered) - 1)
    below = position.floor().long()
    above = position.ceil().long()
    return torch.lerp(ordered[below].double(), ordered[above].double(), position - below)
