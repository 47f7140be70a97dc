"""The detector of anomalies: autoencoders, their fitted scores, and the scores of normal rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from isthmus.core import Autoencoder
from isthmus.core.calibration import Calibration
from isthmus.scores._score import Score, Views


class Detector(nn.Module):
    """Scores rows with a pair's autoencoder, or with an ensemble of them, and flags anomalies.

    The score of a row is the mean of the members' scores. Each member has a fitted score of its
    own, because each has a latent space of its own.

    Attributes:
        module: The pair's own autoencoder, which is the first member.
        others: The other members of the ensemble.
        scores: The fitted score of each member.
        calibration: The scores of normal rows.
        point_calibration: The scores of single steps of normal series; each is the mean over the
            windows that cover them; `None` for other kinds of data, and for older pairs.
    """

    def __init__(
        self, module: Autoencoder, scores: Sequence[Score], others: Sequence[Autoencoder] = ()
    ) -> None:
        """Creates a detector that is not calibrated yet.

        Args:
            module: The pair's own autoencoder.
            scores: A score for each member, the pair's own first.
            others: The other members.
        """
        super().__init__()
        if len(scores) != 1 + len(others):
            raise ValueError(f"{1 + len(others)} members need as many scores, not {len(scores)}")
        self.module = module
        self.others = nn.ModuleList(others)
        self.scores = nn.ModuleList(scores)
        self.calibration = Calibration()
        self.point_calibration: Calibration | None = None

    @property
    def members(self) -> tuple[Autoencoder, ...]:
        """All members, the pair's own first."""
        return (self.module, *cast("Iterable[Autoencoder]", self.others))

    def score(self, x: Tensor) -> Tensor:
        """Computes how unusual rows are.

        Args:
            x: Rows in data units, shape (B, *row_shape).

        Returns:
            The scores, shape (B,). A higher score means a more unusual row.
        """
        return _mean(
            [
                score(Views(member, x))
                for member, score in zip(self.members, self.scores, strict=True)
            ]
        )

    def score_by(self, member: int, x: Tensor) -> Tensor:
        """Computes the scores of rows by one member alone, shape (B,)."""
        score: Tensor = self.scores[member](Views(self.members[member], x))
        return score

    def exportable_score(self) -> Callable[[Tensor], Tensor]:
        """Returns a function that computes `score` with operations that ONNX supports.

        The function runs on the CPU, and nothing may be fitted after this call.
        """
        functions = [
            cast("Score", score).exportable(member)
            for member, score in zip(self.members, self.scores, strict=True)
        ]
        members = self.members
        return lambda x: _mean(
            [
                function(Views(member, x))
                for member, function in zip(members, functions, strict=True)
            ]
        )


def _mean(scores: Sequence[Tensor]) -> Tensor:
    return scores[0] if len(scores) == 1 else torch.stack(list(scores)).mean(dim=0)
