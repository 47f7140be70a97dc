"""Brings the output of a job to its place, on this machine or in S3, whole or not at all.

What goes to S3 is first written to this machine, so that a job that fails leaves nothing there.
"""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from isthmus.data import rejected_path, sidecar_path
from isthmus.data.outputs.parts_folder import PartsFolder
from isthmus.data.outputs.provenance import FOLDER_PROVENANCE
from isthmus.data.storage.files import is_in_s3
from isthmus.data.storage.s3 import check_bucket
from isthmus.errors import DataError, IsthmusError, UsageError


class Destination(ABC):
    """The place of an output, as a context in which it is written.

    Attributes:
        address: The place, as the user wrote it.
        path: The local path to write to, within the context.
        final: The place of the output in the end, a path or an address.
    """

    address: str
    path: Path
    final: Path | str

    @abstractmethod
    def exists(self) -> bool:
        """Returns whether there is something at the place.

        Raises:
            DataError: If S3 does not answer, or there is no such bucket.
        """

    def refuse_existing(self, *, force: bool) -> None:
        """Refuses a place where something is, unless it may be replaced.

        Raises:
            UsageError: Naming the place.
            DataError: As `exists`.
        """
        if self.exists() and not force:
            raise UsageError(
                f"{self.address} exists already; choose another output, or add --force (in "
                "Python force=True)"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027 (what lies here already needs nothing)
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leaves nothing behind besides the output."""

    @abstractmethod
    def publish(self) -> None:
        """Brings what was written to its place, if it is not there yet.

        Raises:
            DataError: If it cannot be written there; nothing of it is left there then.
        """


def destination(output: str | Path) -> Destination:
    """Returns the place of an output.

    Raises:
        UsageError: If an address in S3 names no object.
    """
    address = str(output)
    return _InS3(address) if is_in_s3(address) else _Here(Path(output))


class _Here(Destination):
    """A path of this machine; jobs themselves write it whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.address, self.path, self.final = str(path), path, path

    def exists(self) -> bool:
        return self.path.exists()

    def publish(self) -> None:
        pass


class _InS3(Destination):
    """An object or a prefix of S3."""

    def __init__(self, address: str) -> None:
        self.address = self.final = address.rstrip("/")
        parent, _, name = self.address.rpartition("/")
        if parent in ("s3:", "s3:/") or not name:
            raise UsageError(f"{address}: names no object; write s3://bucket/name")
        self._parent, self._name = PartsFolder(parent), name
        self._own = PartsFolder(self.address)

    def exists(self) -> bool:
        check_bucket(self.address)
        return self._parent.has(self._name) or bool(self._own.names())

    def refuse_existing(self, *, force: bool) -> None:
        super().refuse_existing(force=force)
        there = self._own.names()
        if there and FOLDER_PROVENANCE not in there:
            raise DataError(
                f"{self.address}: holds other files, which are not touched; name a new folder"
            )

    def __enter__(self) -> Self:
        self._staging = Path(tempfile.mkdtemp(prefix="isthmus-output-"))
        self.path = self._staging / self._name
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)
        # The user knows the address, and not the folder of this machine.
        if isinstance(error, DataError | UsageError) and str(self.path) in str(error):
            said = str(error).replace(str(self.path), self.address)
            raise type(error)(said) from error

    def publish(self) -> None:
        before, names = self._own.names(), self._in_order()
        # An old note must not stand beside new files, even for a moment.
        self._own.remove(FOLDER_PROVENANCE)
        with self._removed_after_a_fault(names):
            for name in names:
                self._parent.put(self._staging / name, name)
        aside = rejected_path(Path(self._name))
        of_before = {f"{self._name}/{name}" for name in before}
        of_before |= {aside.as_posix(), sidecar_path(aside).as_posix()}
        for name in sorted(of_before - set(names)):
            self._parent.remove(name)

    def _in_order(self) -> list[str]:
        """Returns the names of the written files: the output itself last, and its note before it.

        In a folder, the note that names the pair is last: it says that the folder is whole.
        """
        files = [each for each in self._staging.rglob("*") if each.is_file()]
        names = sorted(each.relative_to(self._staging).as_posix() for each in files)
        note = sidecar_path(Path(self._name)).as_posix()
        last = (note, self._name, f"{self._name}/{FOLDER_PROVENANCE}")
        return sorted(names, key=lambda name: last.index(name) if name in last else -1)

    @contextmanager
    def _removed_after_a_fault(self, names: list[str]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for name in names:
                try:
                    self._parent.remove(name)
                except IsthmusError:
                    break  # S3 does not answer any more
            raise
