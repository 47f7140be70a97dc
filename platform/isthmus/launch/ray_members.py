"""Trains the other members of an ensemble side by side, each in a Ray task of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError
from torch import Tensor

from isthmus.allocation import keep_freed_memory
from isthmus.errors import IsthmusError, TrainingError, in_one_line
from isthmus.launch.cluster_resources import uses_gpus
from isthmus.launch.in_process import fit_in_process
from isthmus.launch.ray_trainer import put_rows
from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.checkpoints import Progress
from isthmus.progress.reporter import SilentReporter
from isthmus.progress.result import FitResult
from isthmus.progress.storage import CheckpointStorage
from isthmus.spec import ModelPlan, TrainingSpec

if TYPE_CHECKING:
    from pytorch_lightning import Callback

_WAIT_S = 1.0


@dataclass(frozen=True)
class Member:
    """The member of an ensemble that one task trains.

    Attributes:
        training: The job's training options with the member's own seed, for one worker.
        run_name: The name of the folder of its checkpoints.
        taken: The numbers of the training rows that it learns from; `None` if from all.
        weights: The weights that it starts with; `None` if it draws them.
        callbacks: Further Lightning callbacks, its own.
    """

    training: TrainingSpec
    run_name: str
    taken: NDArray[np.int64] | None = None
    weights: Mapping[str, Tensor] | None = None
    callbacks: tuple[Callback, ...] = ()


def fit_members(
    plan: ModelPlan,
    members: Sequence[Member],
    rows: ScaledRows,
    *,
    storage_path: str,
    on_done: Callable[[int], None],
) -> list[FitResult]:
    """Trains members on the connected Ray, as many at once as it has room for.

    A task whose worker is lost is started again, and goes on from its last checkpoint.

    Args:
        plan: The autoencoder that each member is.
        members: The members.
        rows: The scaled rows, in memory or in a file.
        storage_path: The local folder or `s3://` URL that checkpoints are stored in.
        on_done: Called with the number of finished members, whenever one is finished.

    Returns:
        Their results in order; those that Ctrl-C stopped are unfinished.

    Raises:
        TrainingError: If a member diverged or failed.
    """
    shared, fit = put_rows(rows), ray.remote(_fit)
    tasks = [
        fit.options(
            num_cpus=member.training.threads_per_worker or 1,
            num_gpus=int(uses_gpus(member.training)),
            max_retries=member.training.max_failures,
        ).remote(plan, member, shared, storage_path)
        for member in members
    ]
    pending = list(tasks)
    try:
        while pending:
            done, pending = ray.wait(pending, timeout=_WAIT_S)
            for task in done:
                _result(task)  # raises what the task raised, without waiting for the others
                on_done(len(tasks) - len(pending))
    except BaseException as error:
        for task in pending:
            ray.cancel(task)
        if not isinstance(error, KeyboardInterrupt):
            raise
    stopped = FitResult(None, Progress())
    return [stopped if task in pending else _result(task) for task in tasks]


def _fit(plan: ModelPlan, member: Member, rows: ScaledRows, storage_path: str) -> FitResult:
    if member.taken is not None:
        rows = rows.learning_from(member.taken)
    storage = CheckpointStorage(storage_path, member.run_name)
    keep_freed_memory()
    # Resumed also at the first try: there is no checkpoint then.
    return fit_in_process(
        plan,
        member.training,
        rows,
        storage=lambda: storage,
        is_resumed=True,
        reporter=SilentReporter(),
        callbacks=member.callbacks,
        weights=member.weights,
    )


def _result(task: ray.ObjectRef) -> FitResult:
    try:
        found: FitResult = ray.get(task)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, IsthmusError):
            raise cause from None
        raise TrainingError(f"a member of the ensemble failed: {in_one_line(cause)}") from error
    except RayError as error:
        raise TrainingError(f"a member of the ensemble was lost: {in_one_line(error)}") from error
    return found
