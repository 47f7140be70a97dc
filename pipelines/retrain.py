"""The retraining flow: trains on the newest data, and promotes only a better version."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus import api
from isthmus.errors import TrainingError
from isthmus.extras import importing
from isthmus.progress.reporter import Reporter
from isthmus.promotion import GateRefused, Outcome, promote
from isthmus.spec import Settings

with importing("schedule", needed_by="isthmus schedule"):
    from prefect import flow, task
    from prefect.logging import get_run_logger


@dataclass(frozen=True)
class Retrained:
    """The result of a run of the flow.

    Attributes:
        verdict: The gate's verdict. If the job's policy is to enforce it, only `passed` is
            promoted.
        name: The name of the pair.
        version: The version of the challenger.
        reason: The reason of the verdict, with the figures.
        is_promoted: Whether the challenger is the champion now.
    """

    verdict: Outcome
    name: str
    version: int
    reason: str
    is_promoted: bool


@flow(name="retrain", log_prints=False)
def retrain(job: str, overrides: list[str] | None = None) -> Retrained:
    """Trains a challenger, and promotes it if the gate finds it better than the champion.

    Args:
        job: The job file.
        overrides: Values for dotted names, `training.epochs=5`.
    """
    logger = get_run_logger()
    name, version = train_challenger(job, overrides or [])
    logger.info("%s/%d is registered", name, version)
    retrained: Retrained = promote_if_better(name, version)
    logger.info("%s/%d: %s; %s", name, version, retrained.verdict, retrained.reason)
    return retrained


# A lost store or cluster may be back in a minute, but a fault in the job stays.
@task(retries=2, retry_delay_seconds=60, retry_condition_fn=lambda *state: _may_pass(state[-1]))
def train_challenger(job: str, overrides: list[str]) -> tuple[str, int]:
    """Trains and registers a pair; returns its name and version."""
    result = api.train(job, overrides=overrides, reporter=_reporter)
    if result.pair is None:
        raise TrainingError(f"training was interrupted; isthmus train --resume {result.run_id[:8]}")
    return result.pair.name, result.pair.version


@task(retries=2, retry_delay_seconds=10, retry_condition_fn=lambda *state: _may_pass(state[-1]))
def promote_if_better(name: str, version: int) -> Retrained:
    """Promotes the challenger only if the gate finds it better: no person has looked at it.

    What so few rows cannot tell is left to a person, who may promote it with `--undecided`.
    """
    settings = Settings.from_environment()
    try:
        promoted = promote(name, version, settings, must_be_better=True, source="schedule")
    except GateRefused as error:
        return Retrained(error.verdict.outcome, name, version, error.verdict.reason, False)
    verdict = promoted.verdict
    if verdict is None:  # an earlier attempt has promoted it
        return Retrained("passed", name, version, "it is champion already", True)
    return Retrained(verdict.outcome, name, version, verdict.reason, True)


def _may_pass(state: object) -> bool:
    """Returns whether a retry may help: not if the user must change something first."""
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
    """Sets the reporter for the flow's training in this process."""
    global _reporter
    _reporter = reporter
