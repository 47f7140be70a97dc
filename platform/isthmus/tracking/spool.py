"""Where a run's records wait on disk while MLflow cannot be reached: one folder for each run."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from isthmus.errors import UsageError
from isthmus.spec import Settings
from isthmus.tracking.backlog import Backlog
from isthmus.tracking.store import check_reachable

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)
_PENDING = "pending.json"
_NEW_S = 60.0


class Spool:
    """One run's folder, locked for as long as this process writes the run.

    Raises:
        UsageError: If another process is writing the run, or the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "files"
        _make(self.files)
        self._pending = folder / _PENDING
        self._lock = FileLock(folder / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"run {folder.name} is being written by another process; "
                "wait for it to end, or stop it"
            ) from None

    def read(self) -> Backlog:
        """What was kept; empty if nothing was."""
        try:
            return Backlog.from_json(self._pending.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Backlog()

    def keep(self, backlog: Backlog) -> None:
        """Replaces what was kept; it is there whole or not at all."""
        partial = self._pending.with_suffix(".partial")
        partial.write_text(backlog.to_json(), encoding="utf-8")
        partial.replace(self._pending)

    def clear(self) -> None:
        """Forgets what was kept."""
        self._pending.unlink(missing_ok=True)

    def stage(self, path: str) -> Path:
        """The file to write an artifact of that path to before it is sent."""
        file = self.files / path
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def release(self, *, remove: bool) -> None:
        """Lets others write the run; removes the folder if nothing waits in it."""
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()


def prepare_spool(settings: Settings) -> None:
    """Makes the folder that runs keep their records in, before there is a run.

    Raises:
        UsageError: If it cannot be made.
    """
    _make(_store_folder(settings))


def spool_folder(settings: Settings, run_id: str) -> Path:
    """Where the records of a run wait."""
    return _store_folder(settings) / run_id


def replay(client: MlflowClient, settings: Settings, run_id: str | None = None) -> int:
    """Writes what earlier runs could not, if MLflow takes it now.

    Args:
        client: The store.
        settings: Where the spool is.
        run_id: Only this run; by default all that no living process writes.

    Returns:
        How many runs were made whole.
    """
    folders = [spool_folder(settings, run_id)] if run_id else list(_waiting(settings))
    return sum(_replay_one(client, settings, folder) for folder in folders if folder.is_dir())


def _replay_one(client: MlflowClient, settings: Settings, folder: Path) -> bool:
    try:
        spool = Spool(folder)
    except UsageError:
        return False  # its own process will write it
    backlog = spool.read()
    try:
        check_reachable(settings.tracking_uri)
        backlog.send(client, folder.name, spool.files)
    except Exception as error:  # noqa: BLE001 (network, store and driver raise what they like)
        spool.keep(backlog)
        _logger.warning("records of run %s still wait in %s: %s", folder.name, folder, error)
    else:
        _logger.info("the records of run %s that waited are written", folder.name)
    finally:
        spool.release(remove=not backlog)
    return not backlog


def _waiting(settings: Settings) -> Iterator[Path]:
    folder = _store_folder(settings)
    if folder.is_dir():
        for each in sorted(folder.iterdir()):
            # One that was just made is a run's that is about to lock it.
            if time.time() - each.stat().st_mtime > _NEW_S or (each / _PENDING).exists():
                yield each


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made ({error.strerror}); set ISTHMUS_HOME to a folder that can "
            "be written to"
        ) from error


def _store_folder(settings: Settings) -> Path:
    # Another store's runs must not be written to this one; the address may hold a password.
    store = hashlib.sha256(settings.tracking_uri.encode()).hexdigest()[:12]
    return settings.home / "spool" / store
