"""The choices for a job file: the plugins of each room, with their papers and their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus import plugins
from isthmus.declarations import Declaration, declaration, plugin_names, summary_of
from isthmus.errors import UsageError, nearest
from isthmus.plugins import Room
from isthmus.spec import JobSpec, Sizes
from isthmus.types import DataKind

LINES: dict[Room, str] = {
    "variants": "variant: {{name: {name}}}",
    "nets": "net: {{name: {name}}}",
    "scores": "scoring: {{name: {name}}}",
    "corruptions": "variant: {{name: denoising, corruption: {{name: {name}}}}}",
}
"""The line of a job file that names one of each room."""
_FIELDS_WITH_AUTO: dict[Room, str] = {"nets": "net", "scores": "scoring"}


@dataclass(frozen=True)
class Option:
    """An option of a plugin: a field beside its name in the job file.

    Attributes:
        name: The name of the field in the job file.
        default: The value if the field is left out.
        explanation: The effect of the option, with unit and range.
    """

    name: str
    default: Any
    explanation: str


@dataclass(frozen=True)
class Choice:
    """A variant, a net, a score or a corruption.

    Attributes:
        name: The name in the job file.
        summary: The description of it, and when to choose it.
        paper: The authors and the year, and the arXiv number if there is one.
        kinds: The kinds of data that it accepts.
        about: The documentation, with the full citation.
        origin: The package that offers the plugin, with its version; `isthmus` for a built-in one.
    """

    name: str
    summary: str
    paper: str
    kinds: tuple[DataKind, ...]
    about: str
    origin: str = "isthmus"

    @property
    def data(self) -> str:
        """The kinds of data in words."""
        return "all" if set(self.kinds) == set(DataKind) else ", ".join(self.kinds)


def choices(what: Room) -> list[Choice]:
    """Returns all plugins of a room, sorted by name.

    Raises:
        UsageError: If an installed package offers one whose name is taken.
    """
    plugins.refuse_collisions(what)
    return [choice(what, name) for name in plugin_names(what)]


def choice(what: Room, name: str) -> Choice:
    """Returns one plugin of a room.

    Raises:
        UsageError: If there is none of that name.
    """
    declared = _declared(what, name)
    about, kinds = declared.about, declared.value("KINDS")
    summary = summary_of(declared)
    origin = plugins.origin(what, name)
    return Choice(name, summary, plugins.paper(about), kinds, about, origin)


def automatic(what: Room) -> str | None:
    """Returns what `auto` chooses, as the job file's field says; `None` if the room has no auto."""
    field = _FIELDS_WITH_AUTO.get(what)
    return None if field is None else JobSpec.model_fields[field].description


def options(what: Room, name: str) -> list[Option]:
    """Returns the options that can be set beside the name of a plugin.

    Raises:
        UsageError: If there is none of that name.
    """
    fields = _declared(what, name).value("Config").model_fields
    return [
        Option(field, info.get_default(call_default_factory=True), info.description or "")
        for field, info in fields.items()
    ]


def sizes(net: str) -> Sizes | None:
    """Returns what the sizes of a job mean for a net; `None` if it has one size.

    Raises:
        UsageError: If there is no net of that name.
    """
    found: Sizes | None = _declared("nets", net).value("SIZES")
    return found


def _declared(what: Room, name: str) -> Declaration:
    names = plugin_names(what)
    if name not in names:
        raise UsageError(f'no {what[:-1]} "{name}"; {nearest(name, names)}')
    return declaration(what, name)
