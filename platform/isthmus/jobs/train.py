"""The training job: turns a job file into a registered encoder/decoder pair."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from isthmus import own_process
from isthmus.jobs.callbacks import refuse_callbacks
from isthmus.jobs.ensembles import warn_of_random_members
from isthmus.jobs.fitting import Fitting
from isthmus.jobs.opening import Opening
from isthmus.jobs.preparation import Prepared, prepare
from isthmus.jobs.shown import shown_training
from isthmus.jobs.specs import check_job
from isthmus.jobs.starting import starting_pair
from isthmus.jobs.stopped_runs import (
    job_of,
    job_to_resume,
    refuse_other_data,
    results_so_far,
    stopped_run,
    where_its_checkpoints_are,
)
from isthmus.progress.checkpoints import Progress
from isthmus.progress.reporter import Reporter
from isthmus.progress.result import FitResult
from isthmus.registry import RegisteredPair
from isthmus.spec import JobSpec, ModelPlan, Settings
from isthmus.tracking import TAG_STARTED_FROM, RunLog

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
        metrics: `test/reconstruction_mse` and `test/pca_mse` (mean squares, scaled units), the
            variant's own metrics (`test/elbo_nats`, `test/psnr_db`), `validation/loss`,
            `train/loss`, `best_epoch` (0 if no epoch was better than the pair that training
            started from; then there is no `train/loss`), `epochs`, `threshold`, `seconds` (of all
            attempts of a run that was resumed or finished later); of audio `calibration_files`, the
            number of files that the threshold rests on.
        plan: The plan of the trained autoencoder.
        started_from: The version that training started from, `digits/3`, if it started from one.
        refusal: The reason why the gate will refuse the pair, such as that it loses to PCA of the
            same size, and what to try, in sentences; empty if its figures show none.
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
    started_from: str | None = None
    refusal: str = ""
    # Where the run is: for notebooks only, and no field, which the JSON of a command would show.
    _store: ClassVar[Settings | None] = None

    def of_store(self, settings: Settings) -> TrainResult:
        """Returns the result with the store of its run, whose figures a notebook shows."""
        object.__setattr__(self, "_store", settings)
        return self

    def _repr_html_(self) -> str:
        from isthmus.jobs.summaries import training_summary  # notebooks only

        return training_summary(self, self._store)


@dataclass(frozen=True)
class _Given:
    """The caller's additions to a job.

    Attributes:
        reporter: Receives the progress, if given.
        callbacks: Further Lightning callbacks.
        resumed: The id of the run to resume; `None` if a new one begins.
        results: The results of a stopped run, which are registered without further training.
    """

    reporter: Reporter | None = None
    callbacks: tuple[Callback, ...] = ()
    resumed: str | None = None
    results: tuple[FitResult, ...] = ()


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
        UsageError: If a field of the job does what a callback does.
        DataError: If its data cannot be trained on, before anything is started.
        TrainingError: If training failed; the run records the reason.
        RegistryError: If the store cannot be reached.
    """
    refuse_callbacks(callbacks)
    # The tuning section is not part of this run or its pair.
    job = check_job(spec).model_copy(update={"tuning": None})
    with shown_training(reporter) as shown, closing(_prepare(job, settings)) as prepared:
        given, tags = _Given(shown, tuple(callbacks)), {}
        if prepared.start is not None:
            tags = {TAG_STARTED_FROM: prepared.start.pair_id}
        return _run(
            prepared, settings, lambda: RunLog.start(prepared.spec, settings, tags=tags), given
        )


def resume(
    reference: str,
    settings: Settings,
    reporter: Reporter | None = None,
    callbacks: Sequence[Callback] = (),
    overrides: Sequence[str] = (),
) -> TrainResult:
    """Resumes a run that was interrupted or failed, as if it had never stopped.

    Args:
        reference: The run's id, the beginning of its id, or its name.
        settings: The settings with the addresses of the stores.
        reporter: Receives the progress.
        callbacks: Further Lightning callbacks.
        overrides: Fields to change, `["training.epochs=20"]`; `stopped_runs.CHANGEABLE` has them.

    Raises:
        UsageError: If there is no such run, it is finished, or its data have changed; or if a field
            is to be changed that cannot be.
    """
    refuse_callbacks(callbacks)
    stored = stopped_run(reference, settings, "resume")
    settings = where_its_checkpoints_are(stored, settings)
    job = job_to_resume(stored, overrides, settings)
    run_id = stored.run_id
    with shown_training(reporter) as shown, closing(_prepare(job, settings)) as prepared:
        refuse_other_data(stored, prepared)
        given = _Given(shown, tuple(callbacks), resumed=run_id)
        changed = prepared.spec if overrides else None
        return _run(prepared, settings, lambda: RunLog.resume(run_id, settings, changed), given)


def finish(reference: str, settings: Settings) -> TrainResult:
    """Registers what a stopped run has, from its best checkpoint so far, without training further.

    Args:
        reference: The run's id, the beginning of its id, or its name.
        settings: The settings with the addresses of the stores.

    Raises:
        UsageError: If there is no such run, it is finished or being written, its data have changed,
            or none of its epochs is finished.
        RegistryError: If the store cannot be reached.
    """
    stored = stopped_run(reference, settings, "finish")
    settings = where_its_checkpoints_are(stored, settings)
    with closing(_prepare(job_of(stored, settings), settings)) as prepared:
        refuse_other_data(stored, prepared)
        ready, results = results_so_far(stored, prepared, settings)
        given = _Given(results=tuple(results))
        return _run(ready, settings, lambda: RunLog.resume(stored.run_id, settings), given)


def _prepare(job: JobSpec, settings: Settings) -> Prepared:
    """Reads the rows, and finds the pair that training starts from."""
    job, start = starting_pair(job, settings)
    return prepare(job, settings.ray_address, start)


def _run(
    prepared: Prepared,
    settings: Settings,
    open_log: Callable[[], RunLog],
    given: _Given,
) -> TrainResult:
    """Trains and registers a pair, and records the run's end, also if interrupted or failed."""
    began_s = time.monotonic()

    def begin(log: RunLog) -> None:
        log.log_begin(time.monotonic() - began_s)
        log.log_storage(settings.storage_path)
        log.log_data(prepared.fingerprint, prepared.split_sizes, prepared.plan, prepared.data)

    with ThreadPoolExecutor(1) as executor, closing(Opening(open_log, executor, begin)) as opening:
        try:
            results = given.results or _fit(prepared, settings, opening, given)
            log = opening.log()
            if not results[-1].progress.finished:
                log.interrupt()
                return _interrupted(prepared, log, results[0].progress)
            from isthmus.jobs import finishing  # imported only now, to not delay training

            own_process.settle()
            finished = finishing.finish(prepared, settings, log, results, began_s)
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
        refusal=finished.refusal,
        started_from=_started_from(prepared),
    ).of_store(settings)


def _fit(
    prepared: Prepared,
    settings: Settings,
    opening: Opening,
    given: _Given,
) -> list[FitResult]:
    """Trains on a cluster, or in this process if the job has one worker and no cluster is named."""
    warn_of_random_members(prepared)
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
        started_from=_started_from(prepared),
    )


def _started_from(prepared: Prepared) -> str | None:
    return None if prepared.start is None else prepared.start.pair.reference
