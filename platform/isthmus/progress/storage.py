"""The storage of a run's checkpoints, one folder each, on a local disk or on S3.

A store that is unreachable for minutes does not end training: failed writes are retried.
"""

from __future__ import annotations

import errno
import logging
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from isthmus.data.storage.s3_errors import S3Fault, fault_of, reason_of
from isthmus.errors import TrainingError
from isthmus.progress import checkpoints

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_RAYS_RECORD = "checkpoint_manager_snapshot.json"

# How long a store may be unreachable, from the first failure on. One attempt of the S3 client takes
# 12 s if the connection is refused, and up to minutes if nothing answers.
_PATIENCE_S = 600.0
# Shorter for reading, because a person who resumes a run sees nothing until it is done.
_READING_PATIENCE_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
# No retry mends these.
_LASTING = (S3Fault.REFUSED, S3Fault.NO_CREDENTIALS)


@dataclass(frozen=True)
class CheckpointStorage:
    """The checkpoints of one run, including those that Ray Train wrote.

    Attributes:
        storage_path: A local folder or an `s3://` URL.
        run_name: The name of the run's folder in it, which is the run's id.
    """

    storage_path: str
    run_name: str

    def keep(self, folder: Path) -> None:
        """Stores a checkpoint, whole or not at all, and then deletes the earlier ones.

        Raises:
            TrainingError: As in `patiently`.
        """
        self.patiently(lambda: self.try_to_keep(folder))

    def try_to_keep(self, folder: Path) -> None:
        """Does the same as `keep`, without retries.

        Raises:
            OSError: If the store or the network fails.
        """
        from pyarrow import fs

        files, root = self._open()
        files.create_dir(root)
        earlier = self._checkpoints(files, root)
        progress = checkpoints.read_progress(folder)
        place = f"{root}/checkpoint_{progress.epochs:09d}_{progress.rows_done:012d}"
        if place in earlier:  # half a checkpoint, or the run was resumed from an older one
            place = f"{place}_{secrets.token_hex(4)}"
        files.create_dir(place)
        within = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        # The progress file comes last: a checkpoint without it counts as incomplete.
        for path in sorted(within, key=lambda path: path.name == checkpoints.PROGRESS):
            if len(path.parts) > 1:  # "/./" in a key is something else to S3
                files.create_dir(f"{place}/{path.parent}")
            # Renamed when it is whole: a disk that fills up leaves an empty file, and one that is
            # called `progress.json` would make half a checkpoint look complete.
            part = f"{place}/{path}.part"
            fs.copy_files(str(folder / path), part, destination_filesystem=files)
            files.move(part, f"{place}/{path}")
        for old in earlier:
            files.delete_dir(old)
        # Ray Train would look for the checkpoints that its record names, and refuse to resume.
        record = f"{root}/{_RAYS_RECORD}"
        if files.get_file_info(record).type == fs.FileType.File:
            files.delete_file(record)

    def remove(self) -> None:
        """Deletes all checkpoints of the run, and those of the members of its ensemble.

        Raises:
            OSError: If the store or the network fails.
        """
        from pyarrow import fs

        files, root = self._open()
        storage, _, run = root.rpartition("/")
        for each in files.get_file_info(fs.FileSelector(storage, allow_not_found=True)):
            if each.base_name == run or each.base_name.startswith(f"{run}-"):
                files.delete_dir(each.path)

    @contextmanager
    def last(self) -> Iterator[Path | None]:
        """Yields a local copy of the checkpoint with the most progress; `None` if there is none.

        Raises:
            TrainingError: As in `patiently`, after a minute.
        """
        with tempfile.TemporaryDirectory(prefix="isthmus-checkpoint-") as name:
            yield self.patiently(lambda: self._fetch(Path(name)), is_reading=True)

    def patiently(self, work: Callable[[], _Result], *, is_reading: bool = False) -> _Result:
        """Calls a function that uses the store, and retries it while the store is unreachable.

        Args:
            work: The function, which may be called many times.
            is_reading: Whether someone waits for a checkpoint; retries then last one minute, and
                otherwise ten.

        Raises:
            TrainingError: If the store stays unreachable, or at once if a retry would not help:
                the store refuses the credentials, has no such bucket, or is a local disk. The
                message says how to resume.
        """
        patience_s = _READING_PATIENCE_S if is_reading else _PATIENCE_S
        until_s, pause_s = None, _FIRST_PAUSE_S
        while True:
            try:
                return work()
            except Exception as error:
                if (fault := self._lasting_fault(error)) is not None:
                    raise self._error(fault, is_reading) from error
                now_s = time.monotonic()
                if until_s is None:
                    until_s = now_s + patience_s
                    _logger.warning(
                        "%s cannot be used now (%s); it is tried again for %.0f min%s",
                        self.storage_path,
                        reason_of(error),
                        patience_s / 60,
                        "" if is_reading else ", while training goes on",
                    )
                if now_s + pause_s > until_s:
                    fault = f"{self.storage_path} cannot be used ({reason_of(error)}); check it"
                    raise self._error(fault, is_reading) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _lasting_fault(self, error: Exception) -> str | None:
        """Returns what is wrong and what to do, or `None` if a retry may help."""
        fault = fault_of(error)
        bucket = self.storage_path.partition("://")[2].partition("/")[0]
        if fault in _LASTING:
            return (
                f'bucket "{bucket}" refuses these credentials ({reason_of(error)}); check '
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do"
            )
        if fault is S3Fault.NO_BUCKET:
            return f'there is no bucket "{bucket}"; make it, or set ISTHMUS_STORAGE to another'
        if "://" in self.storage_path and isinstance(error, OSError):
            return None
        is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        advice = "free its disk" if is_full else "check it"
        return f"{self.storage_path} cannot be used ({reason_of(error)}); {advice}"

    def _error(self, fault: str, is_reading: bool) -> TrainingError:
        resume = f"isthmus train --resume {self.run_name[:8]}"
        what = f"no checkpoint can be {'read' if is_reading else 'kept'}"
        return TrainingError(f"{what}: {fault}, then go on with {resume}")

    def _fetch(self, folder: Path) -> Path | None:
        from pyarrow import fs

        files, root = self._open()
        best: tuple[tuple[int, int], Path] | None = None
        for place in self._checkpoints(files, root):
            copy = Path(tempfile.mkdtemp(dir=folder))
            fs.copy_files(place, str(copy), source_filesystem=files)
            if checkpoints.is_whole(copy):
                progress = checkpoints.read_progress(copy)
                how_far = progress.epochs, progress.rows_done
                best = max(best or (how_far, copy), (how_far, copy))
        return best[1] if best else None

    def _open(self) -> tuple[Any, str]:
        from pyarrow import fs

        files, path = (
            fs.FileSystem.from_uri(self.storage_path)
            if "://" in self.storage_path
            else (fs.LocalFileSystem(), str(Path(self.storage_path).absolute()))
        )
        return files, f"{path.rstrip('/')}/{self.run_name}"

    @staticmethod
    def _checkpoints(files: Any, root: str) -> list[str]:
        from pyarrow import fs

        selector = fs.FileSelector(root, allow_not_found=True)
        return [
            each.path
            for each in files.get_file_info(selector)
            if each.type == fs.FileType.Directory and each.base_name.startswith("checkpoint_")
        ]
