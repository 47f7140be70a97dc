"""The training job: turns a job file into a registered encoder/decoder pair."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from isthmus.errors import UsageError
from isthmus.jobs.fitting import Fitting
from isthmus.jobs.opening import Opening
from isthmus.jobs.preparation import Prepared, prepare
from isthmus.jobs.specs import check_job
from isthmus.progress.checkpoints import Progress
from isthmus.progress.reporter import Reporter
from isthmus.progress.result import FitResult
from isthmus.registry import RegisteredPair
from isthmus.spec import JobSpec, ModelPlan, Settings
from isthmus.tracking import SEARCH, RunLog, find_run

if TYPE_CHECKING:
    from pytorch_lightning import Callback


@dataclass(frozen=True)
class TrainResult:
    """The result of a training job.

    Attributes:
        status: `interrupted` if Ctrl-C stopped it; then there is no pair, and the run can be
            resumed.
        run_id: The id of the MLflow run.
        epochs: Number of finished epochs.
        pair: The registered pair; `None` if interrupted.
        metrics: `test_reconstruction_mse` and `test_pca_mse` (mean squares, scaled units), the
            variant's own metrics (`test_elbo_nats`, `test_psnr_db`), `validation_loss`,
            `train_loss`, `best_epoch`, `epochs`, `threshold`, `seconds`; of audio
            `calibration_files`, the number of files that the threshold rests on.
        plan: The plan of the trained autoencoder.
        not_reconstructed: The features of a table, or channels of a series, of whose variance on
            held-out rows less than 5 % is reconstructed.
    """

    status: Literal["finished", "interrupted"]
    run_id: str
    epochs: int
    pair: RegisteredPair | None
    metrics: Mapping[str, float]
    plan: ModelPlan
    not_reconstructed: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Given:
    """The caller's additions to a job.

    Attributes:
        reporter: Receives the progress, if given.
        callbacks: Further Lightning callbacks.
        resumed: The id of the run to resume; `None` if a new one begins.
    """

    reporter: Reporter | None = None
    callbacks: tuple[Callback, ...] = ()
    resumed: str | None = None


def train(
    spec: JobSpec | Mapping[str, object],
    settings: Settings,
    reporter: Reporter | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Trains, evaluates and registers a pair.

    Ctrl-C ends training, and the run keeps what is needed to resume it.

    Args:
        spec: The job.
        settings: The settings with the addresses of the stores.
        reporter: Receives the progress.
        callbacks: Further Lightning callbacks.

    Raises:
        SpecError: If the job cannot be run, before anything is started.
        DataError: If its data cannot be trained on, before anything is started.
        TrainingError: If training failed; the run records the reason.
        RegistryError: If the store cannot be reached.
    """
    # The tuning section is not part of this run or its pair.
    job = check_job(spec).model_copy(update={"tuning": None})
    with closing(prepare(job, settings.ray_address)) as prepared:
        given = _Given(reporter, tuple(callbacks))
        return _run(prepared, settings, lambda: RunLog.start(prepared.spec, settings), given)


def resume(
    reference: str,
    settings: Settings,
    reporter: Reporter | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Resumes a run that was interrupted or failed, as if it had never stopped.

    Args:
        reference: The run's id, the beginning of its id, or its name.

    Raises:
        UsageError: If there is no such run, it is finished, or its data have changed.
    """
    stored = find_run(reference, settings)
    if stored.kind == SEARCH:
        raise UsageError(f"run {reference} is a search; start it again with isthmus tune")
    if stored.status == "FINISHED":
        raise UsageError(f"run {reference} is finished; there is nothing to resume")
    run_id = stored.run_id
    with closing(prepare(check_job(stored.job), settings.ray_address)) as prepared:
        if stored.fingerprint and stored.fingerprint != prepared.fingerprint:
            raise UsageError(
                f"the data of run {reference} have changed since it began "
                f"({prepared.spec.data.shown_path}); start a new run with isthmus train"
            )
        given = _Given(reporter, tuple(callbacks), resumed=run_id)
        return _run(prepared, settings, lambda: RunLog.resume(run_id, settings), given)


def _run(
    prepared: Prepared,
    settings: Settings,
    open_log: Callable[[], RunLog],
    given: _Given,
) -> TrainResult:
    """Trains and registers a pair, and records the run's end, also if interrupted or failed."""
    began_s = time.monotonic()

    def begin(log: RunLog) -> None:
        log.log_storage(settings.storage_path)
        log.log_data(prepared.fingerprint, prepared.split_sizes, prepared.plan, prepared.data)

    with ThreadPoolExecutor(1) as executor, closing(Opening(open_log, executor, begin)) as opening:
        try:
            results = _fit(prepared, settings, opening, given)
            log = opening.log()
            if not results[-1].progress.finished:
                log.interrupt()
                return _interrupted(prepared, log, results[0].progress)
            from isthmus.jobs.finishing import finish  # imported only now, to not delay training

            finished = finish(prepared, settings, log, results, began_s)
            log.finish()
        except KeyboardInterrupt:
            if not opening.is_begun:
                raise  # there is no run yet that could be resumed
            opening.log().interrupt()
            return _interrupted(prepared, opening.log(), Progress())
        except BaseException as error:
            opening.fail(error)
            raise
    return TrainResult(
        status="finished",
        run_id=log.run_id,
        epochs=results[0].progress.epochs,
        pair=finished.pair,
        metrics=finished.metrics,
        plan=prepared.plan,
        not_reconstructed=finished.not_reconstructed,
    )


def _fit(
    prepared: Prepared,
    settings: Settings,
    opening: Opening,
    given: _Given,
) -> list[FitResult]:
    """Trains on a cluster, or in this process if the job has one worker and no cluster is named."""
    fitting = Fitting(
        prepared,
        settings,
        run_id=lambda: given.resumed or opening.run_id(),
        log=opening,
        reporter=given.reporter,
        callbacks=given.callbacks,
        is_resumed=given.resumed is not None,
    )
    if fitting.is_in_process:
        return fitting.all_members()
    from isthmus.launch.session import ray_session  # loads Ray, which one process does not need

    # Opening the run and starting Ray take seconds each, and do not depend on each other.
    opening.begin()
    with ray_session(settings.ray_address, prepared.spec.training.most_workers):
        return fitting.all_members()


def _interrupted(prepared: Prepared, log: RunLog, progress: Progress) -> TrainResult:
    return TrainResult(
        status="interrupted",
        run_id=log.run_id,
        epochs=progress.epochs,
        pair=None,
        metrics={},
        plan=prepared.plan,
    )
