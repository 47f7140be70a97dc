"""Training in this process without Ray, for a single worker."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from isthmus.allocation import free_memory_of, raise_malloc_thresholds
from isthmus.errors import ClusterError, IsthmusError, TrainingError, in_one_line
from isthmus.launch.background import Background
from isthmus.launch.courier import accompany
from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.checkpoints import Progress
from isthmus.progress.events import Event, Mailbox
from isthmus.progress.reporter import Reporter
from isthmus.progress.result import FitResult
from isthmus.progress.storage import CheckpointStorage
from isthmus.progress.uploads import CheckpointUploads
from isthmus.spec import ModelPlan, TrainingSpec
from isthmus.strategies.context import WorkerContext
from isthmus.training.worker_task import WorkerTask

if TYPE_CHECKING:
    from pytorch_lightning import Callback

_logger = logging.getLogger(__name__)
_CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
# How long training may take to leave its step after it was asked to stop.
_LEAVING_S = 10.0


def fit_in_process(
    plan: ModelPlan,
    training: TrainingSpec,
    rows: ScaledRows,
    *,
    storage: Callable[[], CheckpointStorage],
    is_resumed: bool,
    reporter: Reporter,
    callbacks: tuple[Callback, ...] = (),
    weights: Mapping[str, torch.Tensor] | None = None,
) -> FitResult:
    """Trains in a thread of this process until the end or Ctrl-C; otherwise as `ray_trainer.fit`.

    Args:
        plan: The autoencoder to build.
        training: The job's training options, with one worker.
        rows: Scaled rows.
        storage: Returns the storage of the checkpoints; it is called when the first checkpoint is
            stored, or when a run is resumed.
        is_resumed: Whether to resume from the last checkpoint.
        reporter: Receives the progress, in this thread.
        callbacks: Further Lightning callbacks.
        weights: The weights that training starts with; `None` if it draws them.

    Raises:
        TrainingError: If training diverged or failed.
        ClusterError: If the job requires a GPU and there is none.
    """
    task = WorkerTask(plan=plan, training=training, callbacks=callbacks, weights=weights)
    context = WorkerContext(
        rank=0, workers=1, local_rank=0, workers_here=1, device=_device(training)
    )
    mailbox = Mailbox()
    ended: list[FitResult] = []
    uploads = CheckpointUploads(storage)

    def keep(folder: Path | None, progress: Progress) -> None:
        assert folder is not None  # noqa: S101 (there is one worker)
        uploads.keep(folder)
        ended[:] = [FitResult.read(folder)]

    from isthmus.training.worker_loop import train_worker  # loads Lightning

    def work() -> FitResult:
        with _checkpoint(storage if is_resumed else None) as folder:
            with uploads:
                train_worker(task, rows, context, _ThreadSender(mailbox), keep, folder)
            # After a stop in the middle of an epoch, the result is the last checkpoint's.
            result = ended[0] if ended else FitResult.read(folder)
        free_memory_of(context.device)
        return result

    raise_malloc_thresholds()
    with _process_as_before():
        outcome = Background(work, mailbox.wake)
        try:
            accompany(outcome, mailbox, reporter)
        except BaseException:
            # A process that exits while one of its threads is in torch is aborted.
            outcome.is_there.wait(_LEAVING_S)
            raise
    return _result_of(outcome)


def _result_of(outcome: Background[FitResult]) -> FitResult:
    try:
        return outcome.result()
    except IsthmusError:
        raise
    except Exception as error:
        _logger.exception("training failed")
        raise TrainingError(f"training failed: {in_one_line(error)}") from error


class _ThreadSender:
    """The training thread's end of the channel, an `events.Sender`."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def send(self, event: Event) -> None:
        self._mailbox.put(event)

    def stop_was_requested(self) -> bool:
        return self._mailbox.is_stop_requested()


def _device(training: TrainingSpec) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if training.device == "gpu" and not has_gpu:
        raise ClusterError(
            "training.device=gpu needs a GPU, and this machine has none that torch can use; set "
            "training.device: cpu, or RAY_ADDRESS to train on a cluster"
        )
    return torch.device("cuda:0" if has_gpu and training.device != "cpu" else "cpu")


@contextmanager
def _checkpoint(storage: Callable[[], CheckpointStorage] | None) -> Iterator[Path | None]:
    if storage is None:
        yield None
        return
    with storage().last() as folder:
        yield folder


@contextmanager
def _process_as_before() -> Iterator[None]:
    """Restores all that training changes in the process, which its caller goes on to use.

    These are the random state, torch's settings and number of threads, the filters of warnings, the
    level of Lightning's logger, and a variable of the environment.
    """
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    threads = torch.get_num_threads()
    lightning = logging.getLogger("pytorch_lightning")
    level, workspace = lightning.level, os.environ.get(_CUBLAS_WORKSPACE)
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        torch.set_num_threads(threads)
        lightning.setLevel(level)
        if workspace is None:
            os.environ.pop(_CUBLAS_WORKSPACE, None)
