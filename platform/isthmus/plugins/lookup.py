"""Finds a plugin by its name, wherever it comes from.

A file's plugin has a short name, `swirl`, in the job that names the file, and everywhere else its
full one, `swirl@3f2a9c1b0d4e`, which also says of what text of the file it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from isthmus.errors import UsageError
from isthmus.plugins import built_in, entry_points
from isthmus.plugins.files import PluginFile, class_of, import_file, imported_file
from isthmus.plugins.rooms import Room, built_in_names, is_of_file, of_file, split

_FULL_NAME = re.compile(r"@([0-9a-f]{12})\b")
# The full names by the room and short name, while a job is checked.
_job_names: ContextVar[dict[tuple[Room, str], str] | None] = ContextVar("job_names", default=None)


@contextmanager
def using(files: Sequence[PluginFile]) -> Iterator[None]:
    """Makes the short names of the plugins of a job's files known in the block.

    Raises:
        UsageError: If a file cannot be imported, or a name is not unique.
    """
    known: dict[tuple[Room, str], str] = {}
    origins: dict[tuple[Room, str], str] = {}
    called: dict[str, str] = {}
    for file in files:
        other = called.setdefault(file.name, file.path)
        if other != file.path:
            raise UsageError(
                f"{other} and {file.path} have one name, under which both would be stored with the "
                "pair; rename one"
            )
        for room, name in import_file(file):
            taken = origins.get((room, name)) or _installed(room, name)
            if taken is not None:
                raise UsageError(
                    f"{file.path} defines the {room[:-1]} {name}, and {taken} has one of that "
                    "name; rename its class"
                )
            known[room, name] = of_file(name, file.key)
            origins[room, name] = file.path
    token = _job_names.set(known)
    try:
        yield
    finally:
        _job_names.reset(token)


def _installed(room: Room, name: str) -> str | None:
    if name in built_in_names(room):
        return "Isthmus"
    offer = entry_points.offers(room).get(name)
    return None if offer is None else f"the package {offer.origin}"


def names(room: Room) -> tuple[str, ...]:
    """Returns the names that a job may choose from: in `using`, those of its files too."""
    of_job = [name for where, name in _job_names.get() or {} if where == room]
    return tuple(sorted({*built_in_names(room), *entry_points.offers(room), *of_job}))


def full_name(room: Room, name: str) -> str | None:
    """Returns the full name of a plugin; `None` if there is none of that name."""
    if is_of_file(name):
        return name if class_of(room, name) is not None else None
    of_job = (_job_names.get() or {}).get((room, name))
    return of_job or (name if name in names(room) else None)


def is_known(room: Room, name: str) -> bool:
    """Returns whether there is a plugin of a name in this process."""
    return full_name(room, name) is not None


def get(room: Room, name: str, base: type) -> type:
    """Imports a plugin and returns its class.

    Raises:
        UsageError: If it is from outside, and cannot be imported.
    """
    found = found_outside(room, name)
    return built_in.load(f"isthmus.{room}", name, base) if found is None else found


def found_outside(room: Room, name: str) -> type | None:
    """Returns the class of a plugin from outside; `None` if the name is of none.

    Raises:
        UsageError: If it cannot be imported.
    """
    whole = full_name(room, name)
    if whole is not None and is_of_file(whole):
        return class_of(room, whole)
    if is_of_file(name):
        raise UsageError(
            f"the {room[:-1]} {name} is of a file that this process has not imported; name the "
            "file in plugins, or load the pair that stores it"
        )
    offer = entry_points.offers(room).get(name)
    return None if offer is None else offer.load()


def origin(room: Room, name: str) -> str:
    """Returns where a plugin comes from: `isthmus`, a package and its version, or a file."""
    whole = full_name(room, name) or name
    if is_of_file(whole):
        file = imported_file(split(whole)[1])
        return whole if file is None else file.name
    offer = entry_points.offers(room).get(whole)
    return "isthmus" if offer is None else offer.origin


def named_in(text: str) -> tuple[PluginFile, ...]:
    """Returns the imported files whose plugins a text names by their full names, each once."""
    found = (imported_file(key) for key in dict.fromkeys(_FULL_NAME.findall(text)))
    return tuple(file for file in found if file is not None)
