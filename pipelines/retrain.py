"""The retraining flow: train on the newest data, and promote only what is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prefect import flow, task
from prefect.logging import get_run_logger

from isthmus import api
from isthmus.errors import DataError, ModelNotFound, TrainingError
from isthmus.jobs.compare import Comparison, compare
from isthmus.jobs.specs import load_job_file
from isthmus.registry import CHAMPION, annotate
from isthmus.spec import Settings
from isthmus.training import Reporter

_VERDICT, _REASON = "isthmus.verdict", "isthmus.verdict_reason"


@dataclass(frozen=True)
class Retrained:
    """What a run of the flow came to.

    Attributes:
        verdict: `first` (there was no champion) and `better` were promoted; `not better` and
            `not comparable` were registered only.
        name: Of the pair.
        version: The challenger's.
        reason: The verdict's, with the figures.
    """

    verdict: Literal["first", "better", "not better", "not comparable"]
    name: str
    version: int
    reason: str

    @property
    def is_promoted(self) -> bool:
        """Whether the challenger is the champion now."""
        return self.verdict in ("first", "better")


@flow(name="retrain", log_prints=False)
def retrain(job: str, overrides: list[str] | None = None) -> Retrained:
    """Trains a challenger, compares it with the champion on the same held-out rows, promotes.

    Args:
        job: The job file.
        overrides: Values for dotted names, `training.epochs=5`.
    """
    logger = get_run_logger()
    name, version = train_challenger(job, overrides or [])
    logger.info("%s/%d is registered", name, version)
    verdict, reason = judge(job, overrides or [], name, version)
    retrained = Retrained(verdict, name, version, reason)
    promote_if_better(retrained)
    logger.info("%s/%d: %s; %s", name, version, verdict, reason)
    return retrained


# A lost store or cluster may be back in a minute; what is wrong with the job is wrong again.
@task(retries=2, retry_delay_seconds=60, retry_condition_fn=lambda *state: _may_pass(state[-1]))
def train_challenger(job: str, overrides: list[str]) -> tuple[str, int]:
    """Trains and registers; returns the pair's name and version."""
    result = api.train(job, overrides=overrides, reporter=_reporter)
    if result.pair is None:
        raise TrainingError(f"training was interrupted; isthmus train --resume {result.run_id[:8]}")
    return result.pair.name, result.pair.version


@task(retries=2, retry_delay_seconds=10, retry_condition_fn=lambda *state: _may_pass(state[-1]))
def judge(
    job: str, overrides: list[str], name: str, version: int
) -> tuple[Literal["first", "better", "not better", "not comparable"], str]:
    """Compares the challenger with the champion; returns the verdict and its reason."""
    settings = Settings.from_environment()
    spec = load_job_file(job, overrides)
    try:
        found: Comparison = compare(f"{name}/{version}", f"{name}@{CHAMPION}", spec, settings)
    except ModelNotFound:
        return "first", f"{name} had no champion"
    except DataError as error:
        return "not comparable", str(error)
    return ("better" if found.is_better else "not better"), str(found)


@task(retries=2, retry_delay_seconds=10, retry_condition_fn=lambda *state: _may_pass(state[-1]))
def promote_if_better(retrained: Retrained) -> None:
    """Writes the verdict on the version, and promotes it if it is better."""
    settings = Settings.from_environment()
    reference = f"{retrained.name}/{retrained.version}"
    annotate(reference, {_VERDICT: retrained.verdict, _REASON: retrained.reason}, settings)
    if retrained.is_promoted:
        api.promote(retrained.name, retrained.version)


def _may_pass(state: object) -> bool:
    """Whether trying again may help: not where the user must change something first."""
    from isthmus.errors import UsageError

    try:
        state.result(raise_on_failure=True)  # type: ignore[attr-defined]
    except UsageError:
        return False
    except Exception:  # noqa: BLE001 (only its kind matters)
        return True
    return False


_reporter: Reporter | None = None


def report_to(reporter: Reporter | None) -> None:
    """Lets the flow's training in this process tell of its progress."""
    global _reporter
    _reporter = reporter
