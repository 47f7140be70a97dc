"""Finds and deletes the old runs of a job, with their artifacts and checkpoints."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from isthmus.progress.storage import CheckpointStorage
from isthmus.registry.removal import unless_gone
from isthmus.spec import Settings
from isthmus.tracking.deletions import delete_files
from isthmus.tracking.run import TAG_PARENT
from isthmus.tracking.runs import TAG_JOB, TAG_STORAGE
from isthmus.upkeep.needs import Spared

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_MOST_RUNS = 50_000
_ACTIVE = ("RUNNING", "SCHEDULED")


def old_runs(
    client: MlflowClient,
    name: str,
    keep: int,
    before: datetime | None,
    deleted: Collection[str],
) -> tuple[list[Any], list[Spared]]:
    """Returns the runs of a job to delete, oldest first, and the old ones that are needed.

    The trials of a search are deleted with it, and kept with it.

    Args:
        client: The client of the tracking store.
        name: The name of the pair, and of its job's experiment.
        keep: The number of newest runs that are kept in any case.
        before: The time after which runs are kept in any case.
        deleted: The versions that are deleted, or would be: their runs are not needed any more.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return [], []
    found = client.search_runs(
        [experiment.experiment_id],
        f"tags.`{TAG_JOB}` != ''",
        max_results=_MOST_RUNS,
        order_by=["attributes.start_time DESC"],
    )
    trials: dict[str, list[Any]] = {}
    for run in found:
        trials.setdefault(run.data.tags.get(TAG_PARENT, ""), []).append(run)
    doomed: list[Any] = []
    spared: list[Spared] = []
    for run in trials.get("", [])[keep:]:
        if before is not None and datetime.fromtimestamp(run.info.start_time / 1000, UTC) > before:
            continue
        why = _why_kept(client, run, deleted)
        if why is None:
            doomed += [run, *trials.get(run.info.run_id, [])]
        else:
            spared.append(Spared(f"run {run.info.run_name}", why))
    return doomed[::-1], spared


def _why_kept(client: MlflowClient, run: Any, deleted: Collection[str]) -> str | None:
    if run.info.status in _ACTIVE:
        return "it is running"
    made = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    names = {f"{each.name.removesuffix('-encoder')}/{each.version}": each for each in made}
    live = [name for name, each in names.items() if each.name.endswith("-encoder")]
    live = sorted(set(live) - set(deleted))
    return f"it made {', '.join(live)}" if live else None


def remove_run(client: MlflowClient, run: Any, settings: Settings) -> None:
    """Deletes a run, its artifacts and its checkpoints; the record comes last.

    MLflow keeps the record, marked as deleted, until `mlflow gc`.
    """
    storage = run.data.tags.get(TAG_STORAGE)
    if storage is not None:
        CheckpointStorage(storage, run.info.run_id).remove()
    delete_files(run.info.artifact_uri, settings)
    unless_gone(partial(client.delete_run, run.info.run_id))
