"""Classes in place of names, in what Python code gives as a job: `{"variant": Swirl}`."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import UsageError
from isthmus.plugins.entry_points import offers
from isthmus.plugins.files import KEY_LENGTH, PluginFile, remember_class
from isthmus.plugins.rooms import Room, name_of_class, of_file, room_of, undefined_methods

NameOf = Callable[[Room, type], str]
"""A function that returns the name of a class that is neither built in nor of a package."""


def with_files_of_classes(job: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a job with a name in place of each class, and the classes' files in `plugins`.

    The files are imported anew, because a pair stores their text, which must be what was trained.

    Raises:
        UsageError: If a class is none of a plugin, or is in no file, such as that of a notebook.
    """
    files: dict[str, None] = {}

    def name_of(room: Room, found: type) -> str:
        path = _path_of(found)
        if path is None:
            raise UsageError(
                f"{found.__qualname__} is defined in a notebook or an interactive session, and a "
                "pair stores the file of its code; write it to a file (%%writefile swirl.py) and "
                "import it from there"
            )
        here = Path.cwd()
        files[str(path.relative_to(here) if path.is_relative_to(here) else path)] = None
        return of_file(name_of_class(found.__name__), PluginFile.read(path).key)

    named = {key: _named(value, name_of) for key, value in job.items()}
    if files:
        given = job.get("plugins") or ()
        named["plugins"] = [*([given] if isinstance(given, str) else given), *files]
    return named


def without_classes(job: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a job with a name in place of each class, for a module that nobody stores.

    Raises:
        UsageError: If a class is none of a plugin.
    """

    def name_of(room: Room, found: type) -> str:
        path = _path_of(found)
        # Equal code has an equal name in every process, and two cells of a notebook have not.
        text = f"{found.__qualname__} {id(found)}" if path is None else f"class {path.read_text()}"
        key = hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]
        whole = of_file(name_of_class(found.__name__), key)
        remember_class(room, whole, found)
        return whole

    return {key: _named(value, name_of) for key, value in job.items()}


def _named(value: Any, name_of: NameOf) -> Any:
    if isinstance(value, type):
        return _name_of(value, name_of)
    if isinstance(value, Mapping):
        return {key: _named(each, name_of) for key, each in value.items()}
    return value


def _name_of(found: type, name_of: NameOf) -> str:
    room = room_of(found)
    if room is None:
        raise UsageError(
            f"{found.__qualname__} is no variant, net, score or corruption; a variant is a "
            "subclass of isthmus.core.Autoencoder, a net one of isthmus.nets.Net"
        )
    if inspect.isabstract(found):
        missing = undefined_methods(found)
        raise UsageError(f"{found.__qualname__} does not define {missing}; define it")
    if found.__module__.startswith(f"isthmus.{room}."):
        return found.__module__.rpartition(".")[2]
    for offer in offers(room).values():
        if offer.point.value == f"{found.__module__}:{found.__qualname__}":
            return offer.name
    return name_of(room, found)


def _path_of(found: type) -> Path | None:
    """Returns the file that a class is defined in; `None` for one of a notebook."""
    module = sys.modules.get(found.__module__)
    name = getattr(module, "__file__", None)
    return Path(name) if name and Path(name).is_file() else None
