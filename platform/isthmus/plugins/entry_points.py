"""Plugins of installed packages, which offer them by entry points: `isthmus.variants` and others.

    [project.entry-points."isthmus.variants"]
    swirl = "my_package.swirl:Swirl"

They are listed from the packages' metadata: no package is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import cast

from isthmus.errors import UsageError, in_one_line
from isthmus.plugins.rooms import ROOMS, Room, built_in_names, room_of


@dataclass(frozen=True)
class Offer:
    """A plugin that an installed package offers.

    Attributes:
        room: The room that it belongs to.
        name: The name in a job file, which is that of the entry point.
        package: The name of the distribution: `isthmus-swirl`.
        version: The version of the distribution.
        point: The entry point.
    """

    room: Room
    name: str
    package: str
    version: str
    point: metadata.EntryPoint

    @property
    def origin(self) -> str:
        """The package and its version."""
        return f"{self.package} {self.version}"

    def load(self) -> type:
        """Imports the class.

        Raises:
            UsageError: If that fails, or it is of another room.
        """
        try:
            found = self.point.load()
        except Exception as error:
            raise UsageError(f"{self._shown} cannot be imported: {in_one_line(error)}") from error
        if not isinstance(found, type) or room_of(found) != self.room:
            raise UsageError(
                f"{self._shown} is {self.point.value}, which is no class of isthmus.{self.room}; "
                "correct the package's entry point"
            )
        return found

    def source_file(self) -> Path | None:
        """Returns the file of the class's module, without importing it or the packages above it."""
        parts = self.point.module.split(".")
        path: list[str] | None = None
        spec: ModuleSpec | None = None
        for number in range(1, len(parts) + 1):
            spec = PathFinder.find_spec(".".join(parts[:number]), path)
            if spec is None:
                return None
            path = list(spec.submodule_search_locations or ())
        origin = None if spec is None else spec.origin
        return Path(origin) if origin and origin.endswith(".py") else None

    @property
    def _shown(self) -> str:
        return f"the {self.room[:-1]} {self.name} of the package {self.origin}"


def offers(room: Room) -> Mapping[str, Offer]:
    """Returns what installed packages offer for a room, by name; not what is built in, too."""
    return _offered(room, tuple(sys.path))[0]


def refuse_collisions(room: Room) -> None:
    """Refuses two plugins of one name: of two packages, or of a package and built in.

    Raises:
        UsageError: If there are such.
    """
    for why in _offered(room, tuple(sys.path))[1]:
        raise UsageError(why)


@cache
def _points(path: tuple[str, ...]) -> Mapping[Room, metadata.EntryPoints]:
    """Returns the entry points of each room: reading all packages' metadata takes the time."""
    found = metadata.entry_points()
    return {room: found.select(group=f"isthmus.{room}") for room in ROOMS}


@cache
def _offered(room: Room, path: tuple[str, ...]) -> tuple[Mapping[str, Offer], tuple[str, ...]]:
    """Returns the offers, and what is wrong with those left out; `path` is where they lie."""
    found: dict[str, Offer] = {}
    wrong = []
    own = built_in_names(room)
    for point in _points(path)[room]:
        package = cast("metadata.Distribution", point.dist)
        offer = Offer(room, point.name, package.name, package.version, point)
        other = found.get(point.name)
        if point.name in own:
            wrong.append(_collision(offer, "Isthmus has one of that name"))
        elif other is not None and other.point.value != point.value:
            wrong.append(_collision(offer, f"{other.origin} has one of that name"))
        else:
            found[point.name] = offer
    return found, tuple(wrong)


def _collision(offer: Offer, other: str) -> str:
    return (
        f"the package {offer.origin} offers the {offer.room[:-1]} {offer.name}, and {other}; "
        "uninstall the package, or rename its entry point"
    )
