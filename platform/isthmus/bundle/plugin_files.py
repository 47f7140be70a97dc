"""The code that a pair needs beside Isthmus: what `pair.json` says of it, and the stored files.

A file's text is stored with the pair. It is run only with consent: loading a pair must not run what
whoever can write to the registry has put there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, StringConstraints

from isthmus import plugins
from isthmus.bundle.plugin_places import is_of_user
from isthmus.errors import CodeUnavailable, RegistryError, UsageError
from isthmus.spec import ModelPlan, PluginSpec, SpecModel

if TYPE_CHECKING:
    from isthmus.bundle.manifest import PairManifest

_PREFIX = "plugin-"
# The name becomes part of a path, so it may not lead out of a folder.
_FileName = Annotated[str, StringConstraints(pattern=r"^[^/\\\x00-\x1f]+$", max_length=200)]


class PluginRecord(SpecModel):
    """A variant, net, score or corruption that is no part of Isthmus."""

    room: plugins.Room
    """The room that it belongs to."""
    name: str
    """The plugin's name in the job file."""
    file: _FileName | None = None
    """The name of its file, which is stored with the pair."""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """The sha256 of the file."""
    package: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The installed package that offers it, if it is of no file."""
    version: str = Field(default="", pattern=r"^[A-Za-z0-9._+!-]*$")
    """The version of the package with which the pair was made."""

    @property
    def shown(self) -> str:
        """The plugin in words: `the variant "swirl" of swirl.py`."""
        origin = self.file or f"the package {self.package}"
        return f'the {self.room[:-1]} "{self.name}" of {origin}'


def records_of(plan: ModelPlan, scoring: PluginSpec) -> tuple[PluginRecord, ...]:
    """Returns what a pair needs beside Isthmus."""
    found = (_record(room, name) for room, name in _named(plan, scoring))
    return tuple(each for each in found if each is not None)


def _named(plan: ModelPlan, scoring: PluginSpec) -> Iterator[tuple[plugins.Room, str]]:
    yield "variants", plan.variant.name
    yield "nets", plan.net.name
    yield "scores", scoring.name
    corruption: Any = plan.variant.options.get("corruption")
    name = corruption.get("name") if isinstance(corruption, Mapping) else corruption
    if isinstance(name, str) and plugins.is_known("corruptions", name):
        yield "corruptions", name


def _record(room: plugins.Room, name: str) -> PluginRecord | None:
    short, _, key = name.partition("@")
    file = plugins.imported_file(key)
    if file is not None:
        return PluginRecord(room=room, name=short, file=file.name, sha256=file.sha256)
    offer = plugins.offers(room).get(name)
    if offer is None:
        return None
    return PluginRecord(room=room, name=name, package=offer.package, version=offer.version)


def packages_of(records: tuple[PluginRecord, ...]) -> dict[str, str]:
    """Returns the versions of the packages that a pair needs beside Isthmus."""
    return {each.package: each.version for each in records if each.package is not None}


def write_files(records: tuple[PluginRecord, ...], folder: Path) -> list[Path]:
    """Writes the files of a pair's plugins into a folder, and returns their paths."""
    written: dict[Path, None] = {}
    for record in records:
        file = plugins.imported_file(record.sha256[: plugins.KEY_LENGTH])
        if file is not None:
            path = stored_file(folder, record)
            path.write_bytes(file.content)
            written[path] = None
    return list(written)


def stored_file(folder: Path, record: PluginRecord) -> Path:
    """Returns the path of a plugin's file among the files of its pair."""
    return folder / f"{_PREFIX}{record.file}"


def stored_files(folder: Path) -> list[Path]:
    """Returns the files of plugins that are in a pair's folder."""
    return sorted(folder.glob(f"{_PREFIX}*"))


@dataclass(frozen=True)
class Needed:
    """The plugins that a fetched pair needs, and whether the pair's own files of them may be run.

    Attributes:
        records: The plugins.
        folder: The folder with the pair's stored files.
        pair: The pair in messages: `digits/3`.
        named: The files that the pair's job named. One that is there, with the same sha256, counts
            as installed.
        is_trusted: Whether stored files may be run.
    """

    records: tuple[PluginRecord, ...]
    folder: Path
    pair: str
    named: object
    is_trusted: bool

    @classmethod
    def by(cls, manifest: PairManifest, folder: Path, pair: str, *, is_trusted: bool) -> Needed:
        """Returns what the pair of a manifest needs."""
        named = manifest.spec.get("plugins")
        return cls(manifest.plugins, folder, pair, named, is_trusted)

    def check(self) -> None:
        """Refuses a pair that could not be loaded here; it runs no code.

        Raises:
            CodeUnavailable: If something is not installed, and stored code may not be run.
            RegistryError: If a stored file is damaged.
        """
        for record in self.records:
            self._to_import(record)

    def import_files(self) -> None:
        """Imports the files that the pair needs.

        Raises:
            CodeUnavailable: As in `check`, or if a file fails here, as for want of a package.
            RegistryError: If a stored file is damaged, or defines nothing of the name.
        """
        for record in self.records:
            file = self._to_import(record)
            if file is not None:
                _import(file, record, self.pair)

    def _to_import(self, record: PluginRecord) -> plugins.PluginFile | None:
        """Returns the file to import for a plugin; `None` if it is there already."""
        if record.file is None:
            _check_package(record, self.pair)
            return None
        imported = plugins.imported_file(record.sha256[: plugins.KEY_LENGTH])
        if imported is not None and imported.sha256 == record.sha256:
            return None
        file = self._file_here(record)
        if file is None:
            if not self.is_trusted:
                raise CodeUnavailable(_refusal(record, self.pair))
            file = _stored(record, self.folder, self.pair)
        return file

    def _file_here(self, record: PluginRecord) -> plugins.PluginFile | None:
        """Returns the file that the job named, if it is there and of the same text.

        Whoever writes to the registry could name any file of this machine, and put one there by a
        pair. So it is not run unless it defines a class of the plugin's name, and lies where only
        the user puts files.
        """
        for path in self.named if isinstance(self.named, list | tuple) else ():
            local = Path(str(path))
            if local.name == record.file and local.is_file() and is_of_user(local, self.folder):
                file = plugins.PluginFile.read(local)
                if file.sha256 == record.sha256 and plugins.defines(file, record.name):
                    return file
        return None


def _check_package(record: PluginRecord, pair: str) -> None:
    if record.name not in plugins.offers(record.room):
        raise CodeUnavailable(
            f"{pair} needs {record.shown}, which is not installed here; install it: "
            f"pip install {record.package}=={record.version}"
        )


def _stored(record: PluginRecord, folder: Path, pair: str) -> plugins.PluginFile:
    assert record.file is not None  # noqa: S101 (as the caller has looked at)
    path = stored_file(folder, record)
    file = plugins.PluginFile(record.file, path.read_bytes() if path.is_file() else b"")
    if file.sha256 != record.sha256:
        raise RegistryError(
            f"{record.file}, which is stored with {pair}, is missing or damaged: its sha256 is not "
            "that of pair.json; restore it, or register the pair again"
        )
    return file


def _import(file: plugins.PluginFile, record: PluginRecord, pair: str) -> None:
    try:
        defined = plugins.import_file(file)
    except UsageError as error:
        raise CodeUnavailable(f"{pair} needs {record.shown}, which fails here: {error}") from error
    if (record.room, record.name) not in defined:
        raise RegistryError(
            f"{pair} needs {record.shown}, and that file defines none; register the pair again"
        )


def _refusal(record: PluginRecord, pair: str) -> str:
    return (
        f"{pair} needs {record.shown}, which is stored with the pair; read it, and load the pair "
        "with isthmus --trust COMMAND, load(trust_plugins=True) or "
        "ISTHMUS_TRUST_PLUGINS=1, or put the file where the job named it"
    )
