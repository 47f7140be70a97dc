"""Files that define plugins: they are read, imported under a name of their own, and carried along.

A file is identified by its text. So two pairs may need two texts of `swirl.py`, as the gate does
when it compares a version with the champion, and both work in one process.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from isthmus.errors import UsageError, first_line
from isthmus.plugins.rooms import Room, name_of_class, of_file, room_of, undefined_methods

Classes = Mapping[tuple[Room, str], type]
"""Classes by their room and their name in a job file."""
KEY_LENGTH = 12
"""The number of characters of a key."""


@dataclass(frozen=True)
class PluginFile:
    """A file with plugins; it may be pickled, and imported where the file itself is not.

    Attributes:
        name: The file's name: `swirl.py`.
        content: The content.
        path: The path that the file was read from, for messages and tracebacks.
    """

    name: str
    content: bytes = field(repr=False)
    path: str = field(default="", compare=False)

    @classmethod
    def read(cls, path: Path) -> PluginFile:
        """Reads a file.

        Raises:
            UsageError: If there is none, or it cannot be read.
        """
        try:
            return cls(path.name, path.read_bytes(), str(path))
        except FileNotFoundError as error:
            raise UsageError(f"{path}: no such file; name a file with a variant or net") from error
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error

    @property
    def sha256(self) -> str:
        """The sha256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def key(self) -> str:
        """The beginning of the sha256, which is part of the full names of the file's plugins."""
        return self.sha256[:KEY_LENGTH]


@dataclass
class _Table:
    """The files that this process has imported, by key, and their classes by full name."""

    files: dict[str, PluginFile] = field(default_factory=dict)
    classes: dict[tuple[Room, str], type] = field(default_factory=dict)
    names: dict[str, tuple[tuple[Room, str], ...]] = field(default_factory=dict)
    importing: set[str] = field(default_factory=set)


_table = _Table()
_lock = threading.RLock()


def import_file(file: PluginFile) -> tuple[tuple[Room, str], ...]:
    """Imports a file, unless this process has imported the same text already.

    Returns:
        The room and the short name of each plugin that it defines.

    Raises:
        UsageError: If the file does not parse, fails when it is imported, or defines no plugin.
    """
    with _lock:
        if file.key in _table.names:
            return _table.names[file.key]
        if file.key in _table.importing:
            raise UsageError(
                f"{file.name} runs a job while it is imported, and whoever loads its pair imports "
                'it; put what runs below if __name__ == "__main__":'
            )
        _table.importing.add(file.key)
        try:
            classes = _classes_in(_module_of(file), file)
        finally:
            _table.importing.discard(file.key)
        for (room, name), found in classes.items():
            _table.classes[room, of_file(name, file.key)] = found
        _table.files[file.key] = file
        _table.names[file.key] = tuple(classes)
        return _table.names[file.key]


def imported_file(key: str) -> PluginFile | None:
    """Returns the file of a key; `None` if this process has not imported it."""
    return _table.files.get(key)


def class_of(room: Room, full_name: str) -> type | None:
    """Returns the class of a full name; `None` if this process has not imported its file."""
    return _table.classes.get((room, full_name))


def remember_class(room: Room, full_name: str, found: type) -> None:
    """Makes a class that Python code has given the one of a full name."""
    with _lock:
        _table.classes[room, full_name] = found


def defines(file: PluginFile, name: str) -> bool:
    """Returns whether a file has a class of a plugin's name; it is parsed, and not run."""
    try:
        statements = ast.parse(file.content).body
    except (SyntaxError, ValueError):
        return False
    return any(
        isinstance(each, ast.ClassDef) and name_of_class(each.name) == name for each in statements
    )


def _module_of(file: PluginFile) -> ModuleType:
    """Runs a file as a module of its own name, which no other import finds.

    Raises:
        UsageError: If it does not parse, or fails.
    """
    path = file.path or file.name
    try:
        code = compile(file.content, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else error
        raise UsageError(f"{path}{line}: {first_line(str(said))}; it is no Python") from error
    module = ModuleType(f"isthmus_plugin_{file.key}")
    module.__file__ = path
    # pydantic, inspect and tracebacks read the source there, also where the file itself is not.
    lines = file.content.decode(errors="replace").splitlines(keepends=True)
    linecache.cache[path] = (len(file.content), None, lines, path)
    sys.modules[module.__name__] = module  # where pydantic looks up the names in annotations
    try:
        exec(code, vars(module))  # noqa: S102 (the job names it, or the caller trusts the pair)
    except (Exception, SystemExit) as error:
        sys.modules.pop(module.__name__, None)
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path}{_line_in(path, error)}: {_said(error)}") from error
    return module


def _line_in(path: str, error: BaseException) -> str:
    lines = [each.lineno for each in traceback.extract_tb(error.__traceback__, limit=None)
             if each.filename == path]  # fmt: skip
    return f", line {lines[-1]}" if lines else ""


def _said(error: BaseException) -> str:
    said = f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, ModuleNotFoundError):
        return f"{said}; the file is carried alone, so it may import only what is installed"
    return f"{said}; it fails when it is imported"


def _classes_in(module: ModuleType, file: PluginFile) -> dict[tuple[Room, str], type]:
    found: dict[tuple[Room, str], type] = {}
    unfinished = []
    for name, value in vars(module).items():
        is_own = isinstance(value, type) and value.__module__ == module.__name__
        if not is_own or name.startswith("_") or (room := room_of(value)) is None:
            continue
        if inspect.isabstract(value):
            unfinished.append(f"{name} does not define {undefined_methods(value)}")
        else:
            found[room, name_of_class(value.__name__)] = value
    if not found:
        why = unfinished[0] if unfinished else "it defines no variant, net, score or corruption"
        line = _line_of(file, unfinished[0].split()[0]) if unfinished else 1
        raise UsageError(
            f"{file.path or file.name}, line {line}: {why}; a variant is a subclass of "
            "isthmus.core.Autoencoder with a loss, a net one of isthmus.nets.Net with encoder and "
            "decoder"
        )
    return found


def _line_of(file: PluginFile, class_name: str) -> int:
    return next(_lines_of(file, class_name), 1)


def _lines_of(file: PluginFile, class_name: str) -> Iterator[int]:
    for each in ast.parse(file.content).body:
        if isinstance(each, ast.ClassDef) and each.name == class_name:
            yield each.lineno
