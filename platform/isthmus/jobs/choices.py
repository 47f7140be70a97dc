"""The choices for a job file: every variant, net and score, with its paper and its options."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from isthmus import nets, plugins, scores, variants
from isthmus.errors import UsageError, nearest
from isthmus.types import DataKind

Room = Literal["variants", "nets", "scores"]
_ROOMS: dict[Room, ModuleType] = {"variants": variants, "nets": nets, "scores": scores}
FIELDS: dict[Room, str] = {"variants": "variant", "nets": "net", "scores": "scoring"}
"""The field of a job file that names one of each room."""


@dataclass(frozen=True)
class Option:
    """An option of a variant, net or score: a field beside its name in the job file.

    Attributes:
        name: The name of the field in the job file.
        default: The value if the field is left out.
        explanation: What the option does, with unit and range.
    """

    name: str
    default: Any
    explanation: str


@dataclass(frozen=True)
class Choice:
    """A variant, a net or a score.

    Attributes:
        name: The name in the job file.
        summary: What it is, and when to choose it.
        paper: The authors and the year, and the arXiv number if there is one.
        kinds: The kinds of data that it accepts.
        about: Its documentation, with the full citation.
        options: The options that can be set beside its name.
    """

    name: str
    summary: str
    paper: str
    kinds: tuple[DataKind, ...]
    about: str
    options: tuple[Option, ...]

    @property
    def data(self) -> str:
        """The kinds of data in words."""
        return "all" if set(self.kinds) == set(DataKind) else ", ".join(self.kinds)


def choices(what: Room) -> list[Choice]:
    """Returns all variants, nets or scores, sorted by name."""
    room = _ROOMS[what]
    return [_choice(name, room.get(name)) for name in room.names()]


def choice(what: Room, name: str) -> Choice:
    """Returns one variant, net or score.

    Raises:
        UsageError: If there is none of that name.
    """
    room = _ROOMS[what]
    if name not in room.names():
        raise UsageError(f'no {what[:-1]} "{name}"; {nearest(name, room.names())}')
    return _choice(name, room.get(name))


def _choice(name: str, found: Any) -> Choice:
    about = inspect.getdoc(found) or ""
    options = tuple(
        Option(field, info.get_default(call_default_factory=True), info.description or "")
        for field, info in found.Config.model_fields.items()
    )
    return Choice(name, found.SUMMARY, plugins.paper(found), found.KINDS, about, options)
