"""The other members of an ensemble: which rows each is trained on, and its training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from isthmus.data.prepared.splits import hash_rows
from isthmus.jobs.preparation import Prepared
from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.result import FitResult
from isthmus.spec import TrainingSpec

_logger = logging.getLogger(__name__)

CROSSED_MEMBERS = 6
"""The members where calibration is crossed and the job says nothing: the pair's own, and one for
each of five folds."""

Fit = Callable[[int, TrainingSpec, ScaledRows], FitResult]
"""Trains a member, given its number, its training options and its rows."""


@dataclass(frozen=True)
class Folds:
    """The folds of the training rows, for cross-conformal calibration.

    Member 0, the pair's own, is trained on all rows; member k leaves fold k out. Equal rows are in
    one fold, because a copy of a row that was trained on is no unseen row.

    Source: Vovk 2015, "Cross-conformal predictors", Annals of Mathematics and Artificial
    Intelligence 74, p. 9; Barber et al. 2021, "Predictive inference with the jackknife+",
    arXiv:1905.02928.

    Attributes:
        fold: The fold of each training row, from 1 on, shape (N,).
    """

    fold: NDArray[np.int64]

    @classmethod
    def of(cls, rows: NDArray[np.float32], folds: int, seed: int) -> Folds:
        """Divides rows of shape (N, ...) into folds of about equal size, by a hash of each row."""
        _, kind = np.unique(hash_rows(rows.reshape(len(rows), -1), seed), return_inverse=True)
        return cls(1 + kind % folds)

    def trained_on(self, member: int) -> NDArray[np.int64]:
        """Returns the numbers of the rows that a member is trained on."""
        return np.flatnonzero(self.fold != member)

    def left_out_of(self, member: int) -> NDArray[np.int64]:
        """Returns the numbers of the rows that a member is not trained on."""
        return np.flatnonzero(self.fold == member)


def members_of(prepared: Prepared) -> int:
    """Returns how many members the ensemble of a job has, the pair's own included."""
    asked = prepared.spec.training.ensemble
    if asked == "auto":
        return CROSSED_MEMBERS if prepared.is_crossed else 1
    return asked


def folds_of(prepared: Prepared) -> Folds | None:
    """Returns the folds of a job whose calibration is crossed; `None` for any other."""
    train = prepared.scaled.train
    if not prepared.is_crossed or not isinstance(train, np.ndarray):
        return None
    # As in the split, a fold has all noisy versions of a clean row.
    by = train if prepared.data.clean_path is None else np.ascontiguousarray(train[:, 1])
    return Folds.of(by, members_of(prepared) - 1, prepared.spec.training.seed)


def others_of(
    prepared: Prepared,
) -> Iterator[tuple[int, TrainingSpec, NDArray[np.int64] | None]]:
    """Yields the members besides the pair's own.

    Yields:
        A member's number, its training options with a seed of its own, and the numbers of the
        training rows that it learns from; `None` for all.
    """
    training, folds = prepared.spec.training, folds_of(prepared)
    for number in range(1, members_of(prepared)):
        own = training.model_copy(update={"seed": (training.seed + number) % 2**31})
        yield number, own, None if folds is None else folds.trained_on(number)


def weights_to_start(prepared: Prepared, member: int) -> Mapping[str, Tensor] | None:
    """Returns the weights that a member starts with; `None` if it draws them.

    Where calibration is crossed, the members besides the pair's own draw them: an earlier pair may
    have learned from the very rows that a member is to have never seen.
    """
    if prepared.start is None or (prepared.is_crossed and member):
        return None
    return prepared.start.weights_of(member)


def warn_of_random_members(prepared: Prepared) -> None:
    """Warns if members start from random weights beside others that start from a pair."""
    start = prepared.start
    if start is None:
        return
    count = sum(weights_to_start(prepared, each) is None for each in range(members_of(prepared)))
    if not count:
        return
    why = (
        "each calibrates by rows that it has never seen"
        if prepared.is_crossed
        else f"{start.pair.reference} has no such members"
    )
    epochs = prepared.spec.training.epochs
    _logger.warning(
        "%d of %d members of the ensemble start from random weights, because %s: they have "
        "training.epochs=%d to learn from nothing; give as many as a first training needs",
        *(count, members_of(prepared), why, epochs),
    )


def train_others(prepared: Prepared, fit: Fit) -> list[FitResult]:
    """Trains the members besides the pair's own, one after another.

    Returns:
        Their results; fewer if training was interrupted.
    """
    results: list[FitResult] = []
    for number, training, taken in others_of(prepared):
        rows = prepared.scaled
        if taken is not None:
            rows = rows.learning_from(taken)
        results.append(fit(number, training, rows))
        if not results[-1].progress.finished:
            break
    return results
