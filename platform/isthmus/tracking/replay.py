"""Completes runs whose process has died: writes their waiting records and ends them."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.errors import IsthmusError, UsageError
from isthmus.spec import Settings
from isthmus.tracking.backlog import Backlog
from isthmus.tracking.spool import Spool, is_unborn, spool_folder, waiting_folders
from isthmus.tracking.store import check_reachable, open_store, search_runs

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

TAG_KIND = "isthmus.kind"
SEARCH, TRIAL = "search", "trial"
TAG_STATUS = "isthmus.status"
TAG_RESUMABLE = "isthmus.resumable"
# The name of the spool folder that was created before the run's id was known.
TAG_SPOOL = "isthmus.spool"


def end_lost_runs(settings: Settings) -> int:
    """Completes the runs of processes that have died, for commands that show runs.

    A run whose process was killed stays RUNNING in MLflow until something ends it. This sets its
    status to KILLED; it can then be resumed. If no process has left anything behind, no request is
    sent to MLflow.

    Args:
        settings: The settings that say where the runs are. Only processes with the same `home` are
            known.

    Returns:
        The number of runs that were completed; 0 if the store cannot be reached.
    """
    if not any(True for _ in waiting_folders(settings)):
        return 0
    try:
        return replay(open_store(settings), settings)
    except IsthmusError as error:
        _logger.info("what earlier runs have left still waits: %s", error)
        return 0


def replay(client: MlflowClient, settings: Settings, run: Run | None = None) -> int:
    """Writes the waiting records of earlier runs, and ends those that have no end.

    Args:
        client: The client of the tracking store.
        settings: The settings that say where the spool is.
        run: The only run to complete; by default all runs that no living process writes.

    Returns:
        The number of runs that were completed.
    """
    folders = list(waiting_folders(settings)) if run is None else _folders_of(run, settings)
    return sum(_replay_one(client, settings, folder) for folder in folders)


def interrupted_tags(*, resumable: bool) -> dict[str, str]:
    """Returns the tags of an interrupted run."""
    return {TAG_STATUS: "interrupted", TAG_RESUMABLE: str(resumable).lower()}


def _folders_of(run: Run, settings: Settings) -> list[Path]:
    names = [run.info.run_id, run.data.tags.get(TAG_SPOOL)]
    folders = [spool_folder(settings, name) for name in names if name]
    return [folder for folder in folders if folder.is_dir()]


def _replay_one(client: MlflowClient, settings: Settings, folder: Path) -> bool:
    try:
        spool = Spool(folder)
    except UsageError:
        return False  # the process of the run is alive and will write it
    is_whole = False
    try:
        check_reachable(settings.tracking_uri)
        if is_unborn(folder) and not _give_id(spool, client, settings):
            is_whole = True  # MLflow never created the run
            return False
        is_whole = _make_whole(spool, client)
    except Exception as error:  # noqa: BLE001 (network, store and driver may raise anything)
        _logger.warning(
            "records of run %s still wait in %s: %s", spool.folder.name, spool.folder, error
        )
    else:
        _logger.info("the records of run %s that waited are written", spool.folder.name)
    finally:
        spool.release(remove=is_whole)
    return is_whole


def _give_id(spool: Spool, client: MlflowClient, settings: Settings) -> bool:
    """Renames the folder to the id of the run that was created for it; `False` if none was."""
    found = search_runs(client, f"tags.`{TAG_SPOOL}` = '{spool.folder.name}'")
    if found:
        spool.move(spool_folder(settings, found[0].info.run_id))
    return bool(found)


def _make_whole(spool: Spool, client: MlflowClient) -> bool:
    backlog = spool.read()
    try:
        if backlog.ending is None:
            backlog = backlog.before(_ending_of_lost(spool, client))
        backlog.send(client, spool.folder.name, spool.files)
    except Exception:
        with suppress(OSError):  # the records that were kept before remain
            spool.keep(backlog)
        raise
    return not backlog


def _ending_of_lost(spool: Spool, client: MlflowClient) -> Backlog:
    """Returns the end of a run that is RUNNING although its process died; empty for other runs."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(spool.folder.name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return Backlog()  # somebody deleted it
    if run.info.status != "RUNNING":
        return Backlog()
    tags = interrupted_tags(resumable=run.data.tags.get(TAG_KIND) not in (SEARCH, TRIAL))
    return Backlog(tags=tags, ending=("KILLED", spool.touched_ms()))
