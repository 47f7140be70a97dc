"""The Lightning callbacks that a caller adds to a job: refused ones, and copies of the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING

from isthmus.errors import UsageError, in_one_line

if TYPE_CHECKING:
    from pytorch_lightning import Callback

_logger = logging.getLogger(__name__)

# Lightning's callbacks that change what fields of a job set, by the names of their classes.
_FIELDS = {
    "WeightAveraging": "training.weight_average_decay",
    "StochasticWeightAveraging": "training.weight_average_decay",
    "GradientAccumulationScheduler": "training.accumulate_batches",
    "BatchSizeFinder": "training.global_batch_size: auto",
    "LearningRateFinder": "isthmus tune --search training.learning_rate=log_uniform:1e-4:1e-2",
}


def refuse_callbacks(callbacks: Sequence[Callback]) -> None:
    """Refuses callbacks of which a job has its own way.

    The best weights are those that an epoch ended with, and the pair is made of them. A callback
    that validates other weights would let the wrong ones be chosen.

    Raises:
        UsageError: If one is a callback of Lightning that a field of the job stands for.
    """
    for callback in callbacks:
        for kind in type(callback).__mro__:
            if kind.__module__.startswith("pytorch_lightning.") and kind.__name__ in _FIELDS:
                name, field = type(callback).__name__, _FIELDS[kind.__name__]
                raise UsageError(f"a job takes no callback {name}; use {field}")


def copies_of(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    """Returns copies of callbacks, for another member of an ensemble, of those that can be copied.

    A warning tells of the others, such as one that holds an open file.
    """
    copies = []
    for callback in callbacks:
        try:
            copies.append(deepcopy(callback))
        except Exception as error:  # noqa: BLE001 (what a callback holds raises anything)
            _logger.warning(
                "the callback %s is called for the first autoencoder of the ensemble alone, since "
                "it cannot be copied for the others (%s); training.ensemble: 1 trains one",
                *(type(callback).__name__, in_one_line(error)),
            )
    return tuple(copies)
