"""Makes runs whole whose process is gone: writes what waited, and ends what nobody works on."""

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
# The folder of a run whose id was not known when it was made, by its name.
TAG_SPOOL = "isthmus.spool"


def end_lost_runs(settings: Settings) -> int:
    """Makes whole what processes that are gone have left, for commands that show runs.

    A run whose process was killed stays RUNNING in MLflow, until somebody ends it: here it becomes
    KILLED, and can be resumed. Asks MLflow nothing where no process has left anything.

    Args:
        settings: Where the runs are. Only processes that had the same `home` are known of.

    Returns:
        How many runs were made whole; 0 if the store cannot be reached.
    """
    if not any(True for _ in waiting_folders(settings)):
        return 0
    try:
        return replay(open_store(settings), settings)
    except IsthmusError as error:
        _logger.info("what earlier runs have left still waits: %s", error)
        return 0


def replay(client: MlflowClient, settings: Settings, run: Run | None = None) -> int:
    """Writes what earlier runs could not, if MLflow takes it now, and ends those without an end.

    Args:
        client: The store.
        settings: Where the spool is.
        run: Only this run; by default all that no living process writes.

    Returns:
        How many runs were made whole.
    """
    folders = list(waiting_folders(settings)) if run is None else _folders_of(run, settings)
    return sum(_replay_one(client, settings, folder) for folder in folders)


def interrupted_tags(*, resumable: bool) -> dict[str, str]:
    """What an interrupted run says of itself."""
    return {TAG_STATUS: "interrupted", TAG_RESUMABLE: str(resumable).lower()}


def _folders_of(run: Run, settings: Settings) -> list[Path]:
    names = [run.info.run_id, run.data.tags.get(TAG_SPOOL)]
    folders = [spool_folder(settings, name) for name in names if name]
    return [folder for folder in folders if folder.is_dir()]


def _replay_one(client: MlflowClient, settings: Settings, folder: Path) -> bool:
    try:
        spool = Spool(folder)
    except UsageError:
        return False  # its own process will write it
    is_whole = False
    try:
        check_reachable(settings.tracking_uri)
        if is_unborn(folder) and not _give_id(spool, client, settings):
            is_whole = True  # MLflow never made the run
            return False
        is_whole = _make_whole(spool, client)
    except Exception as error:  # noqa: BLE001 (network, store and driver raise what they like)
        _logger.warning(
            "records of run %s still wait in %s: %s", spool.folder.name, spool.folder, error
        )
    else:
        _logger.info("the records of run %s that waited are written", spool.folder.name)
    finally:
        spool.release(remove=is_whole)
    return is_whole


def _give_id(spool: Spool, client: MlflowClient, settings: Settings) -> bool:
    """Names the folder after the run that was made for it; `False` if none was."""
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
        with suppress(OSError):  # what was kept before still is
            spool.keep(backlog)
        raise
    return not backlog


def _ending_of_lost(spool: Spool, client: MlflowClient) -> Backlog:
    """The end of a run that is RUNNING though its process is gone; empty for any other."""
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
