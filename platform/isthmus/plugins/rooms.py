"""The rooms whose plugins may come from outside, and what their names look like."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from isthmus.plugins.built_in import names_in

Room = Literal["variants", "nets", "scores", "corruptions"]
ROOMS: tuple[Room, ...] = get_args(Room)
# The base class of each room by its module and name: importing it would import torch.
_BASES: dict[tuple[str, str], Room] = {
    ("isthmus.core.autoencoder", "Autoencoder"): "variants",
    ("isthmus.nets._net", "Net"): "nets",
    ("isthmus.scores._score", "Score"): "scores",
    ("isthmus.corruptions._corruption", "Corruption"): "corruptions",
}
_PACKAGE = Path(__file__).parent.parent
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@cache
def built_in_names(room: str) -> tuple[str, ...]:
    """Returns the names of a room's own plugins, sorted; its folder is read once."""
    return names_in(str(_PACKAGE / room / "__init__.py"))


def room_of(found: type) -> Room | None:
    """Returns the room that a class is a plugin of; `None` if it is none."""
    for base in found.__mro__[1:]:
        room = _BASES.get((base.__module__, base.__qualname__))
        if room is not None:
            return room
    return None


def name_of_class(name: str) -> str:
    """Returns the name in a job file of a class: `TwoSpirals` is `two_spirals`."""
    return _WORD.sub("_", name).lower()


def undefined_methods(found: type) -> str:
    """Returns the names of the methods that a class must define and does not, for a message."""
    return ", ".join(sorted(getattr(found, "__abstractmethods__", ())))


def of_file(name: str, key: str) -> str:
    """Returns the full name of a plugin of a file, which tells the file's texts apart."""
    return f"{name}@{key}"


def is_of_file(name: str) -> bool:
    """Returns whether a name is the full one of a plugin of a file."""
    return "@" in name


def split(full_name: str) -> tuple[str, str]:
    """Returns the name and the key of a file's plugin."""
    name, _, key = full_name.partition("@")
    return name, key
