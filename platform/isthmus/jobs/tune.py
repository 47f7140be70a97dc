"""The search job: turns a job file with a `tuning` section into the pair of the best trial."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

from isthmus.errors import Fault, SpecError, TrainingError
from isthmus.jobs.few_rows import fitted_to
from isthmus.jobs.finishing import finish
from isthmus.jobs.fitting import Fitting
from isthmus.jobs.preparation import Prepared, prepare
from isthmus.jobs.sizes import size_of
from isthmus.jobs.specs import check_job, plan_for, plan_of_rows
from isthmus.jobs.trial_runs import TrialRuns
from isthmus.launch.session import ray_session
from isthmus.registry import RegisteredPair
from isthmus.search import Candidate, SearchReporter, SearchResult, TrialRecord, search
from isthmus.spec import (
    JobSpec,
    ModelPlan,
    Settings,
    TuningSpec,
    search_faults,
    searched,
    with_values,
)
from isthmus.tracking import SEARCH, TAG_KIND, RunLog

# How many data sets are kept for later trials, if trials have different data: the newest.
_MOST_DATA_KEPT = 4


@dataclass(frozen=True)
class TuneResult:
    """The result of a search job.

    Attributes:
        status: `interrupted` if Ctrl-C ended it; then there is no pair.
        run_id: The id of the MLflow run, which is the parent of the trials' runs.
        trials: All trials, in order.
        best: The best trial, or the best so far if interrupted; `None` if no trial has a value.
        metric: The metric by which it is the best, `validation/mse`.
        pair: The best trial's pair; `None` if interrupted.
        metrics: The metrics, as in `TrainResult`; `None` if interrupted.
        plan: The plan of the best trial's autoencoder; `None` if interrupted.
        not_reconstructed: The features, as in `TrainResult`.
        refusal: The reason why the gate will refuse the pair, as in `TrainResult`.
        ended_early: The reason for fewer trials than were asked for, or for failed ones; empty if
            all were trained.
    """

    status: Literal["finished", "interrupted"]
    run_id: str
    trials: tuple[TrialRecord, ...] = ()
    best: TrialRecord | None = None
    metric: str = ""
    pair: RegisteredPair | None = None
    metrics: Mapping[str, float] | None = None
    plan: ModelPlan | None = None
    not_reconstructed: tuple[str, ...] = ()
    refusal: str = ""
    ended_early: str = ""


def tune(
    spec: JobSpec | Mapping[str, object],
    settings: Settings,
    reporter: SearchReporter | None = None,
) -> TuneResult:
    """Runs a search, and registers the pair of the best trial.

    Raises:
        SpecError: If the job, or a value that would be tried, cannot be run; before anything is
            started.
        DataError: If its data cannot be trained on, before anything is started.
        TrainingError: If no trial could be trained; the run records the reason.
        RegistryError: If the store cannot be reached.
    """
    began_s = time.monotonic()
    checked = check_job(spec)
    tuning = _checked_tuning(checked)
    desk = _Desk(checked)
    tags = {TAG_KIND: SEARCH}
    with ThreadPoolExecutor(1) as executor:
        # Opening the tracking store and starting Ray take seconds each, and do not depend on each
        # other.
        opening = executor.submit(
            RunLog.start, checked, settings, tags=tags, unsettled=searched(checked)
        )
        try:
            with (
                ray_session(settings.ray_address, checked.training.most_workers),
                TrialRuns(desk, opening.result(), settings, tuning.measured, reporter) as runs,
            ):
                return _run(desk, settings, opening.result(), runs, began_s)
        except KeyboardInterrupt:
            opening.result().interrupt(resumable=False)
            return TuneResult("interrupted", opening.result().run_id)
        except BaseException as error:
            opening.result().fail(error)
            raise


def _run(
    desk: _Desk, settings: Settings, log: RunLog, runs: TrialRuns, began_s: float
) -> TuneResult:
    assert desk.spec.tuning is not None  # noqa: S101 (checked)
    log.log_storage(settings.storage_path)
    found = search(
        desk.spec.tuning,
        desk.spec.training,
        desk.candidate,
        storage_path=settings.storage_path,
        run_name=log.run_id,
        reporter=runs,
    )
    if found.is_interrupted:
        log.interrupt(resumable=False)
        return TuneResult("interrupted", log.run_id, found.trials, runs.best, runs.metric)
    return _finish(desk, settings, log, runs, found, began_s)


def _checked_tuning(spec: JobSpec) -> TuningSpec:
    if spec.tuning is None or not spec.tuning.search:
        message = (
            "names nothing to try; give fields here, or with --search, as in "
            "--search training.learning_rate=log_uniform:1e-4:1e-2"
        )
        raise SpecError([Fault("tuning.search", message)])
    if spec.training.start_from is not None:
        message = (
            "a search compares what is trained from random weights, also of other sizes; leave it "
            "out here, and give it to isthmus train with the settings that were found"
        )
        raise SpecError([Fault("training.start_from", message)])
    if spec.training.strategy == "fsdp":
        message = "fsdp shards the weights that a trial is judged by; use ddp for a search"
        raise SpecError([Fault("training.strategy", message)])
    faults = search_faults(spec, check_job, {})
    if faults:
        raise SpecError(faults)
    return spec.tuning


def _finish(
    desk: _Desk,
    settings: Settings,
    log: RunLog,
    runs: TrialRuns,
    found: SearchResult,
    began_s: float,
) -> TuneResult:
    if found.best is None:
        reasons = [trial.reason for trial in found.trials if trial.reason]
        raise TrainingError(
            f"none of {len(found.trials)} trials could be trained; the first: "
            f"{reasons[0] if reasons else 'no reason given'}"
        )
    prepared = desk.prepare(found.best.values)
    log.settle(prepared.spec)
    log.log_data(prepared.fingerprint, prepared.split_sizes, prepared.plan, prepared.data)
    log.add_tags({"isthmus.best_trial": runs.name_of(found.best.number)})
    others = Fitting(prepared, settings, run_id=lambda: log.run_id, log=log).others()
    if others and not others[-1].progress.finished:
        raise KeyboardInterrupt
    finished = finish(prepared, settings, log, [found.result, *others], began_s)
    log.finish()
    return TuneResult(
        status="finished",
        run_id=log.run_id,
        trials=found.trials,
        best=found.best,
        metric=runs.metric,
        pair=finished.pair,
        metrics=finished.metrics,
        plan=prepared.plan,
        not_reconstructed=finished.not_reconstructed,
        refusal=finished.refusal,
        ended_early=why_early(desk.spec.tuning, found.trials),
    )


def why_early(tuning: TuningSpec | None, trials: Sequence[TrialRecord]) -> str:
    """Returns why a search had fewer trials than were asked for, or fewer that could be trained.

    Returns:
        A sentence; empty if all trials were trained.
    """
    failed = [trial for trial in trials if trial.state == "failed"]
    if tuning is not None and len(trials) < tuning.trials:
        count = f"it ended after {len(trials)} of {tuning.trials} trials: "
        if len(trials) >= tuning.combinations:
            return f"{count}the ranges have no more combinations; widen them to try more"
        return f"{count}no values were drawn that were not tried yet; widen the ranges to try more"
    if failed:
        reason = next((trial.reason for trial in failed if trial.reason), "no reason given")
        return f"{len(failed)} of {len(trials)} trials failed; the first: {reason}"
    return ""


class _Desk:
    """Prepares the job of each trial; reads data once for all trials that share them."""

    def __init__(self, spec: JobSpec) -> None:
        """Reads the job's own data, and so finds faults in them before any run is started."""
        self.spec = spec
        self._known = deque([prepare(spec)], maxlen=_MOST_DATA_KEPT)

    def candidate(self, number: int, values: Mapping[str, object]) -> Candidate:
        """Returns what a trial trains.

        Raises:
            IsthmusError: If these values do not fit together.
        """
        prepared = self.prepare(values)
        return Candidate(prepared.plan, prepared.spec.training, prepared.scaled)

    def prepare(self, values: Mapping[str, object]) -> Prepared:
        """Returns the job with other values, its data read, split and scaled.

        Raises:
            IsthmusError: If these values do not fit together.
        """
        spec = check_job(with_values(self.spec, values))
        for known in tuple(self._known):
            if known.spec.data == spec.data and known.spec.training.seed == spec.training.seed:
                plan = plan_for(spec, known.data, known.plan.row_shape)
                plan = plan_of_rows(plan, spec, known.data, known.schema)
                size = size_of(spec, plan.net.name)
                fitted = fitted_to(spec, len(known.scaled.train), size)
                return replace(known, spec=fitted, plan=plan)
        prepared = prepare(spec)
        self._known.append(prepared)
        return prepared
