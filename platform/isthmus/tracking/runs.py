"""Finds a run by its id, the beginning of its id, or its name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from isthmus.errors import UsageError
from isthmus.spec import Settings
from isthmus.spec.yaml_file import read_yaml
from isthmus.tracking.deletions import DeletedPair, deleted_in
from isthmus.tracking.replay import TAG_KIND, TRIAL, replay
from isthmus.tracking.spool import JOB_FILE, staged_job
from isthmus.tracking.store import is_empty_store, open_store, search_runs, shown, store_errors

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

TAG_JOB = "isthmus.job"
TAG_ATTEMPT = "isthmus.attempt"
TAG_ATTEMPT_BEGAN = "isthmus.attempt_began_ms"
"""The time at which the last attempt began, which is before MLflow knew of it."""
TAG_EARLIER = "isthmus.earlier_attempts_s"
"""The time that all attempts before the last took together, in seconds."""
TAG_STORAGE = "isthmus.storage_path"
TAG_STARTED_FROM = "isthmus.started_from"
"""The id of the pair whose weights training started with."""
PARAM_FINGERPRINT = "data.fingerprint"
_PARAM_START = "training.start_from.model"

_SHORTEST_PREFIX = 4
_MOST_IN_A_MESSAGE = 8


@dataclass(frozen=True)
class StoredRun:
    """A run as MLflow stores it.

    Attributes:
        run_id: MLflow's id, 32 hexadecimal digits.
        experiment_id: The id of the run's experiment.
        name: The readable name, such as `digits-heron-42`.
        job: The job, in the form of a job file.
        status: MLflow's status: RUNNING, FINISHED, FAILED or KILLED.
        attempt: 1, plus one for each resume.
        fingerprint: The fingerprint of the data; `None` if the run ended before they were read.
        storage_path: The location of the checkpoints; `None` if the run ended before it had any.
        kind: `search` or `trial` for runs of `isthmus tune`, otherwise `train`.
    """

    run_id: str
    experiment_id: str
    name: str
    job: Mapping[str, Any]
    status: str
    attempt: int
    fingerprint: str | None
    storage_path: str | None
    kind: str = "train"


def find_run(reference: str, settings: Settings) -> StoredRun:
    """Finds a run that Isthmus started.

    Args:
        reference: The run's id, at least the first four digits of it, or the run's name.
        settings: The settings that say where the runs are.

    Raises:
        UsageError: If there is no such run or more than one, or if Isthmus did not start it.
        RegistryError: If the store cannot be reached.
    """
    if is_empty_store(settings):
        raise UsageError(_no_runs(reference, settings.tracking_uri))
    client = open_store(settings)
    with store_errors(settings.tracking_uri):
        run = _the_one(reference, client)
        if replay(client, settings, run):
            run = client.get_run(run.info.run_id)
        return StoredRun(
            run_id=run.info.run_id,
            experiment_id=run.info.experiment_id,
            name=run.info.run_name or run.info.run_id,
            job=read_job(client, run, settings),
            status=run.info.status,
            attempt=attempt_of(run),
            fingerprint=run.data.params.get(PARAM_FINGERPRINT),
            storage_path=run.data.tags.get(TAG_STORAGE),
            kind=run.data.tags.get(TAG_KIND, "train"),
        )


@dataclass(frozen=True)
class RunSummary:
    """The main facts about a run.

    Attributes:
        run_id: MLflow's id.
        name: The readable name.
        status: MLflow's status.
        started: The start time.
        fingerprint: The fingerprint of the data; `None` if the run ended before they were read.
        data: The path that the data were read from.
        deleted: The pairs that it registered and that were deleted since.
        start_pair_id: The id of the pair whose weights training started with; `None` if it drew
            them.
        start: The name of that pair then, `digits/3`.
    """

    run_id: str
    name: str
    status: str
    started: datetime
    fingerprint: str | None
    data: str
    deleted: tuple[DeletedPair, ...] = ()
    start_pair_id: str | None = None
    start: str | None = None


def summary_of_run(run_id: str, settings: Settings) -> RunSummary | None:
    """Returns the run with an id; `None` if it is no longer in the store.

    Raises:
        RegistryError: If the store cannot be reached.
    """
    if is_empty_store(settings):
        return None
    from mlflow.exceptions import MlflowException

    client = open_store(settings)
    with store_errors(settings.tracking_uri):
        try:
            return _summary(client.get_run(run_id))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None


def runs_of_data(fingerprint: str, settings: Settings) -> list[RunSummary]:
    """Returns all runs that trained on the data with a fingerprint, newest first.

    A search is included, but not its trials.

    Raises:
        RegistryError: If the store cannot be reached.
    """
    if is_empty_store(settings):
        return []
    client = open_store(settings)
    with store_errors(settings.tracking_uri):
        found = _search(client, f"params.`{PARAM_FINGERPRINT}` = '{fingerprint}'")
        return [_summary(run) for run in found if run.data.tags.get(TAG_KIND) != TRIAL]


def runs_started_from(pair_ids: Collection[str], settings: Settings) -> list[RunSummary]:
    """Returns all runs whose training started with the weights of some pairs, newest first.

    Raises:
        RegistryError: If the store cannot be reached.
    """
    if is_empty_store(settings):
        return []
    client = open_store(settings)
    with store_errors(settings.tracking_uri):
        found = [_summary(run) for run in _search(client, f"tags.`{TAG_STARTED_FROM}` != ''")]
    return [run for run in found if run.start_pair_id in pair_ids]


def _summary(run: Run) -> RunSummary:
    return RunSummary(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        status=run.info.status,
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        fingerprint=run.data.params.get(PARAM_FINGERPRINT),
        data=run.data.params.get("data.path", ""),
        deleted=deleted_in(run),
        start_pair_id=run.data.tags.get(TAG_STARTED_FROM),
        start=run.data.params.get(_PARAM_START),
    )


def read_job(client: MlflowClient, run: Run, settings: Settings) -> dict[str, Any]:
    """Returns the job of a run in the form of a job file.

    It is read from the spool if it is not in MLflow yet.

    Raises:
        UsageError: If the run has no job.
    """
    with TemporaryDirectory() as folder:
        if JOB_FILE in {each.path for each in client.list_artifacts(run.info.run_id)}:
            file = Path(client.download_artifacts(run.info.run_id, JOB_FILE, folder))
        else:
            file = staged_job(settings, run.info.run_id)
        if not file.is_file():
            raise UsageError(
                f"run {run.info.run_name} has no {JOB_FILE}; start it again with isthmus train"
            )
        content, _, _ = read_yaml(file, "name and data")
    return content


def attempt_of(run: Run) -> int:
    """Returns how often the run was started; 0 if it is not recorded."""
    return int(run.data.tags.get(TAG_ATTEMPT, "0"))


def seconds_of(run: Run) -> float:
    """Returns how long all attempts of a run took together, the last of which has ended."""
    tags, end_ms = run.data.tags, run.info.end_time
    earlier_s = float(tags.get(TAG_EARLIER, "0"))
    began_ms = int(tags.get(TAG_ATTEMPT_BEGAN, run.info.start_time))
    return earlier_s + (0.0 if end_ms is None else max(0, end_ms - began_ms) / 1000)


def _the_one(reference: str, client: MlflowClient) -> Run:
    name = reference.replace("'", "")
    found = _search(client, f"attributes.run_name = '{name}'")
    if not found and re.fullmatch(rf"[0-9a-f]{{{_SHORTEST_PREFIX},32}}", reference):
        found = _search(client, f"attributes.run_id LIKE '{reference}%'")
    if len(found) == 1:
        return found[0]
    if found:
        which = ", ".join(
            f"{run.info.run_name} ({run.info.run_id[:8]})" for run in found[:_MOST_IN_A_MESSAGE]
        )
        raise UsageError(f'"{reference}" means {len(found)} runs: {which}; give more of the id')
    names = [str(run.info.run_name) for run in _search(client)]
    if not names:
        raise UsageError(_no_runs(reference, client.tracking_uri))
    close = get_close_matches(reference, names, n=1)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    newest = ", ".join(names[:_MOST_IN_A_MESSAGE])
    raise UsageError(f'no run "{reference}"; {hint}newest first there are: {newest}')


def _no_runs(reference: str, uri: str) -> str:
    return (
        f'no run "{reference}", as nothing was trained in {shown(uri)} yet; if it is in another '
        "store, set MLFLOW_TRACKING_URI"
    )


def _search(client: MlflowClient, condition: str | None = None) -> list[Run]:
    """Returns the newest runs of Isthmus that meet a condition."""
    ours = f"tags.`{TAG_JOB}` != ''"
    return search_runs(client, f"{condition} and {ours}" if condition else ours)
