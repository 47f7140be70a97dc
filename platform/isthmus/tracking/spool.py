"""Where a run's records wait on disk while MLflow cannot be reached: one folder for each run."""

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
# The folder of a run that MLflow is being asked for.
_UNBORN = "new-"
# A folder that was just made is about to be locked.
_NEW_S = 5.0


class Spool:
    """One run's folder, locked for as long as this process writes the run.

    Raises:
        UsageError: If another process is writing the run, or the folder cannot be made.
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
        """What was kept, and the job's file if it was staged; empty if nothing was."""
        try:
            backlog = Backlog.from_json(self._pending.read_text(encoding="utf-8"))
        except FileNotFoundError:
            backlog = Backlog()
        # Without it a run cannot be resumed: it is staged before there is the run, and so is whole.
        if (self.files / JOB_FILE).exists() and JOB_FILE not in backlog.artifacts:
            backlog.artifacts.append(JOB_FILE)
        return backlog

    def keep(self, backlog: Backlog) -> None:
        """Replaces what was kept; it is there whole or not at all.

        Raises:
            OSError: If the disk does not take it; what was kept before still is.
        """
        partial = self._pending.with_suffix(".partial")
        try:
            partial.write_text(backlog.to_json(), encoding="utf-8")
            partial.replace(self._pending)
        except OSError:
            partial.unlink(missing_ok=True)  # a full disk needs the room
            raise

    def clear(self) -> None:
        """Forgets what was kept."""
        self._pending.unlink(missing_ok=True)

    def stage(self, path: str) -> Path:
        """The file to write an artifact of that path to before it is sent."""
        file = self.files / path
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def move(self, folder: Path) -> None:
        """Gives the folder another name; it stays locked.

        Raises:
            OSError: If there is something of that name.
        """
        self.folder.rename(folder)
        self.folder, self.files, self._pending = folder, folder / _FILES, folder / _PENDING

    def touch(self) -> None:
        """Notes that the run's process lives."""
        os.utime(self.files)

    def touched_ms(self) -> int:
        """When the run's process was last known to live, in milliseconds since 1970."""
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
        """Lets others write the run; removes the folder if nothing waits in it."""
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()


def new_spool(settings: Settings, job: str) -> Spool:
    """The spool of a run that MLflow is still to be asked for: its id is not known yet.

    MLflow's run is to name the folder (`TAG_SPOOL`), which then gets the run's id with `move`.

    Args:
        settings: Where the spool is.
        job: The run's job file, which lies there before there is a run that needs it.

    Raises:
        UsageError: If it cannot be made.
    """
    spool = Spool(_store_folder(settings) / f"{_UNBORN}{secrets.token_hex(8)}")
    with spool.let_go_on_error(remove=True):
        try:
            spool.stage(JOB_FILE).write_text(job, encoding="utf-8")
        except OSError as error:
            raise _unwritable(spool.folder, error) from error
    return spool


def spool_folder(settings: Settings, name: str) -> Path:
    """Where the records of a run wait; `name` is the run's id, or what its `TAG_SPOOL` says."""
    return _store_folder(settings) / name


def staged_job(settings: Settings, run_id: str) -> Path:
    """Where a run's job file is for as long as MLflow has not taken it."""
    return spool_folder(settings, run_id) / _FILES / JOB_FILE


def is_unborn(folder: Path) -> bool:
    """Whether the folder is of a run whose id was not known."""
    return folder.name.startswith(_UNBORN)


def waiting_folders(settings: Settings) -> Iterator[Path]:
    """The folders of runs, but for those that were made a moment ago."""
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
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{folder} cannot be written to ({error.strerror}); free its disk, or set ISTHMUS_HOME to "
        "a folder that can be written to"
    )


def _store_folder(settings: Settings) -> Path:
    # Another store's runs must not be written to this one; the address may hold a password.
    store = hashlib.sha256(settings.tracking_uri.encode()).hexdigest()[:12]
    return settings.home / "spool" / store
