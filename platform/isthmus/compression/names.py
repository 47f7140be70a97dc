"""The names of files in a compressed folder, and what is wrong with them in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Annotated
from unicodedata import category

from pydantic import AfterValidator, Field, ValidationError

from isthmus.data.storage.files import ending_of
from isthmus.errors import DataError

# File systems have no longer ones.
_MOST_BYTES = 255


def _within_folder(name: str) -> str:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or {"\0", "\\"} & set(name):
        raise ValueError(f"the name {_shown(name)} may lead out of the folder; rename the file")
    if any(category(sign) == "Cc" for sign in name):
        raise ValueError(f"the name {_shown(name)} has control characters; rename the file")
    if any(len(part.encode()) > _MOST_BYTES for part in path.parts):
        raise ValueError(f"the name {_shown(name)} is longer than {_MOST_BYTES} bytes; shorten it")
    return name


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    seen: set[PurePosixPath] = set()
    for name in names:
        path = PurePosixPath(name)
        if path in seen:
            raise ValueError(f"the name {_shown(name)} is there twice; rename one of the files")
        seen.add(path)
    for name in names:
        if not seen.isdisjoint(PurePosixPath(name).parents):
            raise ValueError(f"a folder in the name {_shown(name)} is a file too; rename one")
    return names


Name = Annotated[str, AfterValidator(_within_folder)]
"""The name of a file, which does not lead out of the folder that it is written to."""
Names = Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_distinct)]
"""The names of the files of a folder, each another one."""


def check_endings(names: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Refuses names of files that no writer knows.

    Raises:
        ValueError: Naming the first.
    """
    for name in names:
        if ending_of(name) not in known:
            raise ValueError(f"the name {_shown(name)} has an ending that cannot be written")


@contextmanager
def refusing(called: str) -> Iterator[None]:
    """Says in one line what a file of compressed rows cannot hold.

    Args:
        called: The name of the input for messages.

    Raises:
        DataError: For what a form does not validate.
    """
    try:
        yield
    except ValidationError as error:
        raise DataError(f"{called}: cannot be compressed: {told(error)}") from error


def told(error: ValidationError) -> str:
    """Returns the first thing that is wrong, in one line that can be shown."""
    first = error.errors()[0]
    said = str(first.get("ctx", {}).get("error", first["msg"]))
    where = ".".join(map(str, first["loc"]))
    return "".join(sign if sign.isprintable() else "?" for sign in f"{where}: {said}")


def _shown(name: str) -> str:
    return ascii(name if len(name) <= _MOST_BYTES else f"{name[:40]}...")
