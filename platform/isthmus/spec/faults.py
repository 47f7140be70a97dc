"""Turns pydantic's errors into faults that a person can act on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from isthmus.errors import Fault, nearest

_LONGEST_NAME = 100

# What a field needs, by pydantic's kind of error, in the words of those who write YAML.
NEEDED = {
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    **dict.fromkeys(("dict_type", "mapping_type"), "a mapping"),
    **dict.fromkeys(("model_type", "model_attributes_type"), "a mapping"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a valid integer"),
    **dict.fromkeys(("float_type", "float_parsing"), "a valid number"),
    "string_type": "text",
}
UNQUOTED = "unquoted"
"""The kind of error of a word such as `No` where a label belongs, which YAML reads as false."""
_QUOTED = {
    True: 'YAML reads yes, on and true so; put it in quotes, as in "yes"',
    False: 'YAML reads no, off and false so; put it in quotes, as in "no"',
    None: 'YAML reads ~, null and nothing so; put it in quotes, as in "null"',
}


_SIZES = {
    "string_too_short": "text of at least {min_length} character(s)",
    "string_too_long": "text of at most {max_length} character(s)",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}


def faults_of(
    error: ValidationError,
    model: type[BaseModel],
    prefix: str,
    content: Mapping[str, Any],
    lines: Mapping[str, int],
) -> list[Fault]:
    """Turns pydantic's errors into ours; the several errors of one union become one fault."""
    faults: dict[str, Fault] = {}
    kinds: dict[str, str] = {}
    for item in error.errors():
        location = _location(item["loc"], content)
        # A fault of the whole section, whose location is empty, is told of its name.
        where = (prefix + ".".join(str(part) for part in location)).removesuffix(".")
        kinds[where] = item["type"]
        if item["type"] == "extra_forbidden":
            message = (
                f"no such field; {nearest(str(location[-1]), _fields_at(model, location[:-1]))}"
            )
        elif item["type"] == "missing":
            message = "is missing; it has no default"
        else:
            message = _said(item)
        before = faults[where].message if where in faults else message
        if before != message and not _is_unquoted(item):
            message = f"{before}, or {_requirement(item)}"
        faults[where] = Fault(where, message, line_of(where, lines))
    # Where one branch of a union names a wrong part, that the whole is no other branch says less.
    return [
        fault
        for where, fault in faults.items()
        if kinds[where] not in NEEDED or not any(each.startswith(f"{where}.") for each in faults)
    ]


def _is_unquoted(item: Mapping[str, Any]) -> bool:
    """Returns whether a text is needed, and YAML has made something else of a word of the file."""
    is_word = isinstance(item.get("input"), bool | int | float | None)
    return is_word and item["type"] in ("string_type", UNQUOTED)


def _location(loc: tuple[int | str, ...], content: object) -> tuple[int | str, ...]:
    """Returns pydantic's location without the parts that name a branch of a union."""
    kept: list[int | str] = []
    place: object = content
    for position, part in enumerate(loc):
        if isinstance(place, Mapping):
            last = position == len(loc) - 1
            # A branch is called `constrained-int` or `function-after[...]`, a field has a name.
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
            continue  # the number of an entry; the field of the list has told its type
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)


def _requirement(item: Mapping[str, Any]) -> str:
    if item["type"] in NEEDED:
        return NEEDED[item["type"]]
    if item["type"] in _SIZES:
        return _SIZES[item["type"]].format(**item["ctx"])
    message = str(item["msg"])
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return message[:1].lower() + message[1:]


def _said(item: Mapping[str, Any]) -> str:
    if item["type"] == "value_error":
        return _requirement(item)
    value = item.get("input")
    shown = _shown(value)
    if _is_unquoted(item):
        if value is None or isinstance(value, bool):
            return f"{shown} is not text: {_QUOTED[value]}"
        return f'{shown} is a number, and text is needed; put it in quotes, as in "{shown}"'
    if item["type"] == "string_pattern_mismatch":
        return f"{shown} is not a name; use {_characters(str(value), item['ctx']['pattern'])}"
    return f"{shown} is not allowed; use {_requirement(item)}"


def _characters(name: str, pattern: str) -> str:
    """Returns the characters that a name may have, and a name that has no others."""
    is_dot_allowed = "." in pattern
    kept = re.sub(r"[^A-Za-z0-9._-]" if is_dot_allowed else r"[^A-Za-z0-9_-]", "-", name)
    proposed = kept.strip("._-")[:_LONGEST_NAME]
    dot = ", '.'" if is_dot_allowed else ""
    return (
        f"letters, digits{dot}, '_' and '-', at most {_LONGEST_NAME}, the first a letter or digit, "
        f"as in {proposed or 'digits-v2'}"
    )


def _shown(value: object) -> str:
    """Returns a value as YAML writes it, shortened to one short line."""
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def line_of(where: str, lines: Mapping[str, int]) -> int | None:
    """Returns the line of a field or, if it is not in the file, of the nearest section that is."""
    while where:
        if where in lines:
            return lines[where]
        where = where.rpartition(".")[0]
    return None
