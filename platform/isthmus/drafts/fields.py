"""The lines of a drafted job file: fields of the data section with comments, written as YAML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.errors import printable
from isthmus.spec.yaml_file import in_yaml

_WIDTH = 96
_LONGEST_NOTE = 70


@dataclass(frozen=True)
class Field:
    """A field of a section, with what a reader should know about it.

    Attributes:
        name: The name of the field.
        value: The value; a list whose items have notes is written with a line for each.
        why: The comment above it.
        notes: The comment beside each item of a list.
        is_proposal: Whether the field is commented out, for the reader to decide.
    """

    name: str
    value: object
    why: str = ""
    notes: Sequence[str] = ()
    is_proposal: bool = False


def lines_of(field: Field, indent: str = "") -> list[str]:
    """Returns a field as lines of YAML, its comment first."""
    width = _WIDTH - len(indent)
    lines = [f"# {line}" for line in textwrap.wrap(printable(field.why), width - 2)]
    mark = "# " if field.is_proposal else ""
    if field.notes and isinstance(field.value, Sequence):
        lines.append(f"{mark}{field.name}:")
        for item, note in zip(field.value, field.notes, strict=True):
            shown = textwrap.shorten(printable(note), _LONGEST_NOTE, placeholder="...")
            lines.append(f"{mark}  - {in_yaml(item)}{f'  # {shown}' if shown else ''}")
    else:
        lines.append(f"{mark}{field.name}: {in_yaml(field.value)}")
    return [indent + line for line in lines]
