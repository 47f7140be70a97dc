"""From pydantic's errors to faults that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from isthmus.errors import Fault, nearest


def faults_of(
    error: ValidationError,
    model: type[BaseModel],
    prefix: str,
    content: Mapping[str, Any],
    lines: Mapping[str, int],
) -> list[Fault]:
    """Turns pydantic's errors into ours; a union's many complaints become one."""
    faults: dict[str, Fault] = {}
    for item in error.errors():
        location = _location(item["loc"], content)
        where = prefix + ".".join(str(part) for part in location)
        kind = item["type"]
        if kind == "extra_forbidden":
            message = (
                f"no such field; {nearest(str(location[-1]), _fields_at(model, location[:-1]))}"
            )
        elif kind == "missing":
            message = "is missing; it has no default"
        else:
            message = _said(item)
        fault = Fault(where, message, line_of(where, lines))
        if where in faults:
            if faults[where].message != message:
                faults[where] = Fault(
                    where, f"{faults[where].message}, or {_requirement(item)}", fault.line
                )
        else:
            faults[where] = fault
    return list(faults.values())


def _location(loc: tuple[int | str, ...], content: object) -> tuple[int | str, ...]:
    """Drops from pydantic's location the parts that name a union's branch, not a field."""
    kept: list[int | str] = []
    place: object = content
    for position, part in enumerate(loc):
        if isinstance(place, Mapping):
            last = position == len(loc) - 1
            # A branch is `constrained-int` or `function-after[...]`; a field is a name.
            is_name = not isinstance(part, str) or part.isidentifier()
            if part not in place and not (last and is_name):
                continue
            kept.append(part)
            place = place.get(part)
        elif isinstance(place, (list, tuple)) and isinstance(part, int) and part < len(place):
            kept.append(part)
            place = place[part]
    return tuple(kept)


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        if isinstance(part, int):
            continue  # an entry of a list, whose kind the list's own field told
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)


def _requirement(item: Mapping[str, Any]) -> str:
    message = str(item["msg"])
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return message[:1].lower() + message[1:]


def _said(item: Mapping[str, Any]) -> str:
    if item["type"] == "value_error":
        return _requirement(item)
    value = item.get("input")
    shown = repr(value)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    if item["type"] == "string_pattern_mismatch":
        return (
            f"{shown} is not a name; use letters, digits, '.', '_' and '-', at most 100, "
            "as in digits-v2"
        )
    return f"{shown} is not allowed; use {_requirement(item)}"


def line_of(where: str, lines: Mapping[str, int]) -> int | None:
    """The line of a field or, if it is not in the file, of the nearest part that is."""
    while where:
        if where in lines:
            return lines[where]
        where = where.rpartition(".")[0]
    return None
