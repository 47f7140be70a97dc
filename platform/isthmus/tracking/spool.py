"""The spool: a folder for each run, where its records wait while MLflow cannot be reached."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from isthmus.errors import UsageError
from isthmus.spec import Settings
from isthmus.tracking.backlog import Backlog

JOB_FILE = "job.yaml"
_PENDING, _FILES = "pending.json", "files"
# The prefix of a folder whose run is being created in MLflow.
_UNBORN = "new-"
# A folder younger than this may be one that is about to be locked.
_NEW_S = 5.0


class Spool:
    """The spool folder of a run, locked for as long as this process writes the run.

    Raises:
        UsageError: If another process is writing the run, or the folder cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / _FILES
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
        except OSError as error:
            raise _unwritable(folder, error) from error

    def read(self) -> Backlog:
        """Returns the records that were kept, and the staged job file; empty if there are none."""
        try:
            backlog = Backlog.from_json(self._pending.read_text(encoding="utf-8"))
        except FileNotFoundError:
            backlog = Backlog()
        # A run cannot be resumed without its job file. The file is staged before the run is
        # created, so it is complete.
        if (self.files / JOB_FILE).exists() and JOB_FILE not in backlog.artifacts:
            backlog.artifacts.append(JOB_FILE)
        return backlog

    def keep(self, backlog: Backlog) -> None:
        """Replaces the kept records, whole or not at all.

        Raises:
            OSError: If the disk refuses them. The earlier records are then still kept.
        """
        partial = self._pending.with_suffix(".partial")
        try:
            partial.write_text(backlog.to_json(), encoding="utf-8")
            partial.replace(self._pending)
        except OSError:
            partial.unlink(missing_ok=True)  # frees space on a full disk
            raise

    def clear(self) -> None:
        """Deletes the kept records."""
        self._pending.unlink(missing_ok=True)

    def stage(self, path: str) -> Path:
        """Returns the path that an artifact is to be written to before it is sent."""
        file = self.files / path
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def move(self, folder: Path) -> None:
        """Renames the folder, which stays locked.

        Raises:
            OSError: If the new name exists already.
        """
        self.folder.rename(folder)
        self.folder, self.files, self._pending = folder, folder / _FILES, folder / _PENDING

    def touch(self) -> None:
        """Records that the run's process is alive."""
        os.utime(self.files)

    def touched_ms(self) -> int:
        """Returns when the run's process was last known to be alive, in milliseconds since 1970."""
        return int(self.files.stat().st_mtime * 1000)

    @contextmanager
    def let_go_on_error(self, *, remove: bool) -> Iterator[None]:
        """Releases the folder if the block raises."""
        try:
            yield
        except BaseException:
            self.release(remove=remove)
            raise

    def release(self, *, remove: bool) -> None:
        """Lets other processes write the run; removes the folder if `remove` is true."""
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()


def new_spool(settings: Settings, job: str) -> Spool:
    """Creates the spool of a run that is not created in MLflow yet, so that its id is unknown.

    The MLflow run must name the folder in its tag `TAG_SPOOL`; the folder is then renamed to the
    run's id with `move`.

    Args:
        settings: The settings that say where the spool is.
        job: The content of the job file. It is stored before the run exists, because the run needs
            it.

    Raises:
        UsageError: If the spool cannot be created.
    """
    spool = Spool(_store_folder(settings) / f"{_UNBORN}{secrets.token_hex(8)}")
    with spool.let_go_on_error(remove=True):
        try:
            spool.stage(JOB_FILE).write_text(job, encoding="utf-8")
        except OSError as error:
            raise _unwritable(spool.folder, error) from error
    return spool


def spool_folder(settings: Settings, name: str) -> Path:
    """Returns the folder of a run's records; `name` is the run's id or its tag `TAG_SPOOL`."""
    return _store_folder(settings) / name


def staged_job(settings: Settings, run_id: str) -> Path:
    """Returns the path of a run's job file, where it is until it has been sent to MLflow."""
    return spool_folder(settings, run_id) / _FILES / JOB_FILE


def is_unborn(folder: Path) -> bool:
    """Returns whether the folder was created before its run's id was known."""
    return folder.name.startswith(_UNBORN)


def waiting_folders(settings: Settings) -> Iterator[Path]:
    """Yields the folders of runs, except for those that were created a moment ago."""
    folder = _store_folder(settings)
    if folder.is_dir():
        for each in sorted(folder.iterdir()):
            # A new folder belongs to a run that is about to lock it.
            if time.time() - each.stat().st_mtime > _NEW_S or (each / _PENDING).exists():
                yield each


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{folder} cannot be written to ({error.strerror}); free its disk, or set ISTHMUS_HOME to "
        "a folder that can be written to"
    )


def _store_folder(settings: Settings) -> Path:
    # Runs of another store must not be written to this one. The URL is hashed because it may
    # contain a password.
    store = hashlib.sha256(settings.tracking_uri.encode()).hexdigest()[:12]
    return settings.home / "spool" / store
