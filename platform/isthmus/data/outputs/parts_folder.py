"""A folder of results in parts, local or in S3, in which each part appears whole."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from isthmus.data.storage.files import is_in_s3
from isthmus.data.storage.s3 import connect_to
from isthmus.errors import DataError

_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class PartsFolder:
    """A folder that several processes write parts to.

    Hidden files are no parts. Any process can have it, because what travels is an address.

    Attributes:
        address: An absolute local path, or `s3://bucket/prefix`.
    """

    address: str

    @classmethod
    def at(cls, address: str) -> PartsFolder:
        """Returns the folder at an address, which a relative path is made absolute for."""
        if is_in_s3(address):
            return cls(address.rstrip("/"))
        return cls(str(Path(address).expanduser().absolute()))

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of a file system."""
        return not is_in_s3(self.address)

    def place(self, name: str) -> str:
        """Returns the address of a file in the folder."""
        return f"{self.address}/{name}"

    def beside(self) -> PartsFolder:
        """Returns the folder that this one lies in."""
        return PartsFolder(self.address.rpartition("/")[0])

    def names(self) -> set[str]:
        """Returns the names of the files that are not hidden, relative to the folder."""
        with self._said_plainly("read") as (files, path):
            selector = fs.FileSelector(path, recursive=True, allow_not_found=True)
            found = files.get_file_info(selector)
        names = {each.path.removeprefix(f"{path}/") for each in found if each.is_file}
        return {name for name in names if not any(p[:1] == "." for p in name.split("/"))}

    def has(self, name: str) -> bool:
        """Returns whether there is a file of that name in the folder."""
        with self._said_plainly("read") as (files, path):
            return bool(files.get_file_info(f"{path}/{name}").is_file)

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file; `None` if there is none."""
        with self._said_plainly("read") as (files, path):
            try:
                with files.open_input_stream(f"{path}/{name}", compression=None) as file:
                    return bytes(file.read())
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, which appears whole."""
        with self.staging() as folder:
            staged = folder / "content"
            staged.write_bytes(content)
            self.put(staged, name)

    def put(self, staged: Path, name: str) -> None:
        """Moves a file from a `staging` folder into the folder, in which it appears whole."""
        with self._said_plainly("written") as (files, path):
            if self.is_local:
                target = Path(self.address, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                staged.replace(target)
                return
            # An object of S3 appears when all of it is there.
            fs.copy_files(
                str(staged),
                f"{path}/{name}",
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=files,
            )

    def remove(self, name: str) -> None:
        """Removes a file, if there is one."""
        with self._said_plainly("written") as (files, path):
            if files.get_file_info(f"{path}/{name}").is_file:
                files.delete_file(f"{path}/{name}")

    def clear(self) -> None:
        """Removes all that is in the folder."""
        with self._said_plainly("written") as (files, path):
            files.delete_dir_contents(path, missing_dir_ok=True)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yields a local folder for files that are not finished, on the same disk if it can be."""
        if self.is_local:
            with self._said_plainly("written"):
                staging = Path(self.address, _UNFINISHED, uuid.uuid4().hex)
                staging.mkdir(parents=True)
        else:
            staging = Path(tempfile.mkdtemp(prefix="isthmus-part-"))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def remove_unfinished(self) -> None:
        """Removes what killed processes have left unfinished."""
        if self.is_local:
            shutil.rmtree(Path(self.address, _UNFINISHED), ignore_errors=True)

    @contextmanager
    def _said_plainly(self, done: str) -> Iterator[tuple[fs.FileSystem, str]]:
        """Yields the file system and the folder's path; what fails is told in one line."""
        try:
            if self.is_local:
                yield fs.LocalFileSystem(), self.address
            else:
                path = self.address.removeprefix("s3://")
                yield connect_to(path.partition("/")[0]), path
        except OSError as error:
            reason = error.strerror or str(error).splitlines()[0]
            raise DataError(
                f"{self.address}: cannot be {done}: {reason}; name another place"
            ) from error
