"""Where a run's checkpoints lie: a folder of the storage, local or on S3; one folder each.

A store that is away for minutes does not end training: what it did not take is tried again.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from isthmus.errors import TrainingError
from isthmus.progress import checkpoints

if TYPE_CHECKING:
    pass

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

# How long a store may be away, from its first refusal on; a try of its own takes S3's client
# between 12 s, if nobody listens, and minutes, if nobody answers.
_PATIENCE_S = 600.0
# Whoever resumes a run waits for its checkpoint and sees nothing.
_READING_PATIENCE_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
# What S3 says in the same words however often one asks: of the key, and of the bucket.
_REFUSED = re.compile(
    "ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID"
    "|MISSING_AUTHENTICATION_TOKEN|UNRECOGNIZED_CLIENT|ExpiredToken|HTTP status 40[13]"
)
_NO_BUCKET = re.compile("NO_SUCH_BUCKET|Bucket '.*' not found")


@dataclass(frozen=True)
class CheckpointStorage:
    """The checkpoints of one run; those that Ray Train wrote are found too.

    Attributes:
        storage_path: A folder, or `s3://`.
        run_name: The run's folder in it, which is its id.
    """

    storage_path: str
    run_name: str

    def keep(self, folder: Path) -> None:
        """Keeps a checkpoint in place of the earlier ones; it is there whole or not at all.

        Raises:
            TrainingError: As `patiently`.
        """
        self.patiently(lambda: self.try_to_keep(folder))

    def try_to_keep(self, folder: Path) -> None:
        """As `keep`, once.

        Raises:
            OSError: Whatever the store or the network said.
        """
        from pyarrow import fs

        files, root = self._open()
        files.create_dir(root)
        earlier = self._checkpoints(files, root)
        progress = checkpoints.read_progress(folder)
        place = f"{root}/checkpoint_{progress.epochs:09d}_{progress.rows_done:012d}"
        if place in earlier:  # half of one, or that of a run that went back to an older one
            place = f"{place}_{secrets.token_hex(4)}"
        files.create_dir(place)
        within = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        # The progress last: a checkpoint without it is none.
        for path in sorted(within, key=lambda path: path.name == checkpoints.PROGRESS):
            files.create_dir(f"{place}/{path.parent}")
            fs.copy_files(str(folder / path), f"{place}/{path}", destination_filesystem=files)
        for old in earlier:
            files.delete_dir(old)

    @contextmanager
    def last(self) -> Iterator[Path | None]:
        """A local copy of the checkpoint that is furthest on; `None` if there is none.

        Raises:
            TrainingError: As `patiently`, after a minute.
        """
        with tempfile.TemporaryDirectory(prefix="isthmus-checkpoint-") as name:
            yield self.patiently(lambda: self._fetch(Path(name)), is_reading=True)

    def patiently(self, work: Callable[[], _Result], *, is_reading: bool = False) -> _Result:
        """Calls what uses the store, and calls it again while the store is away.

        Args:
            work: May be called often.
            is_reading: Whether somebody waits for a checkpoint: then for a minute, else for ten.

        Raises:
            TrainingError: If the store stays away, or at once if another try would not help: it
                refuses the key, has no such bucket, or is a disk. Says how to go on.
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
                        _reason(error),
                        patience_s / 60,
                        "" if is_reading else ", while training goes on",
                    )
                if now_s + pause_s > until_s:
                    fault = f"{self.storage_path} cannot be used ({_reason(error)}); check it"
                    raise self._error(fault, is_reading) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _lasting_fault(self, error: Exception) -> str | None:
        """What is wrong and what to do, if another try would not mend it."""
        said = str(error)
        bucket = self.storage_path.partition("://")[2].partition("/")[0]
        if _REFUSED.search(said):
            return (
                f'bucket "{bucket}" refuses these credentials ({_reason(error)}); check '
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do"
            )
        if _NO_BUCKET.search(said):
            return f'there is no bucket "{bucket}"; make it, or set ISTHMUS_STORAGE to another'
        if "://" in self.storage_path and isinstance(error, OSError):
            return None
        is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        advice = "free its disk" if is_full else "check it"
        return f"{self.storage_path} cannot be used ({_reason(error)}); {advice}"

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


def _reason(error: Exception) -> str:
    """What went wrong, in a few words, without S3's own name for it in front.

    Ray takes "AWS Error NETWORK_CONNECTION" in a message as a wish that it try again.
    """
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    found = re.search(r"AWS Error (\w+)(?:.*Details: ([^\n]*))?", str(error), re.DOTALL)
    if found is None:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{found[1]}: {found[2]}" if found[2] else found[1]
