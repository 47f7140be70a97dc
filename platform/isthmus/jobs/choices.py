"""The choices for a job file: every variant, net and score, with its paper and its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from isthmus import plugins
from isthmus.declarations import Declaration, declaration, plugin_names
from isthmus.errors import UsageError, nearest
from isthmus.types import DataKind

Room = Literal["variants", "nets", "scores"]
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
    """

    name: str
    summary: str
    paper: str
    kinds: tuple[DataKind, ...]
    about: str

    @property
    def data(self) -> str:
        """The kinds of data in words."""
        return "all" if set(self.kinds) == set(DataKind) else ", ".join(self.kinds)


def choices(what: Room) -> list[Choice]:
    """Returns all variants, nets or scores, sorted by name."""
    return [choice(what, name) for name in plugin_names(what)]


def choice(what: Room, name: str) -> Choice:
    """Returns one variant, net or score.

    Raises:
        UsageError: If there is none of that name.
    """
    declared = _declared(what, name)
    summary, kinds = declared.value("SUMMARY"), declared.value("KINDS")
    return Choice(name, summary, plugins.paper(declared.about), kinds, declared.about)


def options(what: Room, name: str) -> list[Option]:
    """Returns the options that can be set beside the name of a variant, net or score.

    Raises:
        UsageError: If there is none of that name.
    """
    fields = _declared(what, name).value("Config").model_fields
    return [
        Option(field, info.get_default(call_default_factory=True), info.description or "")
        for field, info in fields.items()
    ]


def _declared(what: Room, name: str) -> Declaration:
    names = plugin_names(what)
    if name not in names:
        raise UsageError(f'no {what[:-1]} "{name}"; {nearest(name, names)}')
    return declaration(what, name)
