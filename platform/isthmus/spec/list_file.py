"""Reads a YAML file that holds one list, such as the schedules or the subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError, create_model

from isthmus.errors import Fault, SpecError
from isthmus.spec.faults import faults_of
from isthmus.spec.model import SpecModel
from isthmus.spec.yaml_file import read_yaml

Entry = TypeVar("Entry", bound=SpecModel)


def read_list(
    path: Path, field: str, kind: type[Entry]
) -> tuple[tuple[Entry, ...], Mapping[str, int], list[Fault]]:
    """Reads a file whose one field is a list.

    Args:
        path: The file.
        field: The name of the field.
        kind: The model of an entry.

    Returns:
        The entries; the line of each dotted name; and the faults that were found outside of the
        entries. The caller, who can check more, adds its own faults and raises all of them.

    Raises:
        SpecError: If an entry has a fault, or the file cannot be read.
    """
    source = str(path)
    content, lines, duplicates = read_yaml(path, field)
    faults = [Fault(where, message, lines.get(where)) for where, message in duplicates]
    whole = create_model(kind.__name__, __base__=SpecModel, **{field: (tuple[kind, ...], ...)})  # type: ignore[call-overload,valid-type]
    try:
        entries: tuple[Entry, ...] = getattr(whole.model_validate(content), field)
    except ValidationError as error:
        raise SpecError([*faults, *faults_of(error, whole, "", content, lines)], source) from None
    if not entries:
        faults.append(Fault(field, "is empty; give at least one", lines.get(field)))
    return entries, lines, faults
