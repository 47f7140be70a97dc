"""Chooses smaller batches and more epochs for few rows where the job file does not set them."""

from __future__ import annotations

import math
from collections.abc import Collection

from isthmus.spec import JobSpec, Size, TrainingSpec

# Below this number of steps an epoch says little about how training goes.
_STEPS_IN_AN_EPOCH = 16
_FEWEST_ROWS_IN_A_STEP = 4
# A net needs about so many steps to leave the plateau at its start, and to be trained.
_STEPS_OF_PATIENCE = 200
_STEPS = 1500
_MEDIUM = Size()


def fitted_to(job: JobSpec, rows: int, size: Size = _MEDIUM) -> JobSpec:
    """Returns a job with the training of its size, and with more and smaller steps for few rows.

    With the usual batch of 128, an epoch of 100 rows is a single step: 100 epochs would be 100
    steps, and early stopping would end training after 10 steps without progress. Whatever the job
    says itself stays.

    Args:
        job: The job.
        rows: The number of training rows.
        size: The meaning of the job's size with its net.
    """
    training = job.training
    said = training.model_fields_set
    changed: dict[str, object] = {}
    if size != _MEDIUM and "epochs" not in said:
        changed["epochs"] = max(size.epochs, math.ceil(training.warm_up_epochs))
    if size != _MEDIUM and "learning_rate" not in said:
        changed["learning_rate"] = size.learning_rate
    training = training.model_copy(update=changed)
    changed = _for_few_rows(training, said, rows)
    return job.model_copy(update={"training": training.model_copy(update=changed)})


def _for_few_rows(training: TrainingSpec, said: Collection[str], rows: int) -> dict[str, object]:
    """Returns what training has otherwise for few rows, unless the job has said it."""
    is_divided = training.most_workers > 1 or training.accumulate_batches > 1
    if training.global_batch_size == "auto" or is_divided:
        return {}
    batch = training.global_batch_size
    if "global_batch_size" not in said:
        while batch > _FEWEST_ROWS_IN_A_STEP and batch * _STEPS_IN_AN_EPOCH > rows:
            batch //= 2
    steps = math.ceil(rows / batch)
    changed: dict[str, object] = {"global_batch_size": batch}
    stopping = training.early_stopping
    if "epochs" not in said:
        changed["epochs"] = max(training.epochs, math.ceil(_STEPS / steps))
    if "early_stopping" not in said and stopping is not None:
        patience = max(stopping.patience, math.ceil(_STEPS_OF_PATIENCE / steps))
        changed["early_stopping"] = stopping.model_copy(update={"patience": patience})
    return changed
