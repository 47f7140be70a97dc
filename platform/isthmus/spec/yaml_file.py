"""Reads a YAML file and keeps the line of every field, for messages that name it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from isthmus.errors import Fault, SpecError, first_line
from isthmus.spec.yaml_size import MOST_BYTES, check_size


def read_yaml(
    path: Path, fields: str
) -> tuple[dict[str, Any], dict[str, int], list[tuple[str, str]]]:
    """Reads a file that holds a mapping.

    Args:
        path: The file.
        fields: The names of the fields that the file needs, for the message: `name and data`.

    Returns:
        The content; the line of each dotted name; and the dotted names that the file gives twice,
        with a message each.

    Raises:
        SpecError: If the file cannot be read, is not YAML, is too large, or holds no mapping.
    """
    source = str(path)
    try:
        with path.open("rb") as file:
            # One byte more than is allowed tells that a file is too long, however long it is.
            text = file.read(MOST_BYTES + 1).decode("utf-8")
    except FileNotFoundError:
        raise SpecError([Fault("", "no such file; give the path of a YAML file")], source) from None
    except IsADirectoryError:
        raise SpecError([Fault("", "is a folder; give the path of a YAML file")], source) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Fault("", f"cannot be read as text ({error})")], source) from None
    return _parse_yaml(text, source, fields)


def parse_value(text: str) -> Any:
    """Returns the value that a text means in YAML: `5` is a number, `[a, b]` a list.

    Raises:
        yaml.YAMLError: If the text is not YAML.
        SpecError: If the value is too large or nested too deeply.
    """
    check_size(text, "")
    return _construct(LineLoader(text))[1]


def in_yaml(value: object) -> str:
    """Returns a text, a number or a list of them on one line, as `read_yaml` reads it again.

    PyYAML's own writer leaves texts without quotes that `LineLoader` takes for numbers, as 1e5.
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_yaml, value))}]"
    plain = _dumped(value, None)
    try:
        is_read_again = _construct(LineLoader(f"[{plain}]"))[1] == [value]
    except yaml.YAMLError:
        is_read_again = False
    return plain if is_read_again else _dumped(value, '"')


def _dumped(value: object, style: str | None) -> str:
    text = yaml.safe_dump(value, default_style=style, width=float("inf"), allow_unicode=True)
    return text.removesuffix("...\n").strip()


class LineLoader(yaml.SafeLoader):
    """A loader of YAML 1.1 that reads numbers as everyone who writes them means.

    `1e-3` is a number. `010`, `12:30` and `2026-01-31` are texts, where YAML 1.1 sees 8, 750 and a
    date. A key is the name of a field or a column, and so always a text: `{on: 1}` has the key
    "on".
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Builds a mapping whose plain keys are texts."""
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag in _NO_TEXT:
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


_NO_TEXT = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "null", "int", "float")}


_NUMBERS = {
    "tag:yaml.org,2002:float": re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)"
        r"|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    "tag:yaml.org,2002:int": re.compile(
        r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)$",
    ),
}
_REPLACED = {*_NUMBERS, "tag:yaml.org,2002:timestamp"}
LineLoader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] not in _REPLACED]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _NUMBERS.items():
    LineLoader.add_implicit_resolver(_tag, _pattern, list("-+0123456789."))


def _parse_yaml(
    text: str, source: str, fields: str
) -> tuple[dict[str, Any], dict[str, int], list[tuple[str, str]]]:
    """Returns the content, the line of each dotted name, and the names given twice."""
    try:
        check_size(text, source)
        root, content = _construct(LineLoader(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        problem = error.problem or "is not YAML"
        raise SpecError([Fault("", f"is not YAML: {problem}", line)], source) from None
    except yaml.YAMLError as error:
        raise SpecError([Fault("", f"is not YAML: {first_line(error)}")], source) from None
    if content is None:
        raise SpecError([Fault("", f"is empty; it needs at least {fields}")], source)
    if not isinstance(content, dict):
        what = "text" if isinstance(content, str) else type(content).__name__
        raise SpecError([Fault("", f"holds a {what}; it needs fields such as {fields}")], source)
    lines: dict[str, int] = {}
    twice: list[tuple[str, str]] = []
    if root is not None:
        _collect_lines(root, "", lines, twice)
    return content, lines, twice


def _construct(loader: LineLoader) -> tuple[yaml.Node | None, Any]:
    """Returns the tree of a document and its value.

    Raises:
        yaml.YAMLError: If the text is not YAML, or a tag does not fit its value, as in `!!int a`.
    """
    root = loader.get_single_node()
    try:
        return root, loader.construct_document(root) if root is not None else None
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        # PyYAML lets its own errors out where a value is not what its tag says.
        raise yaml.YAMLError("a value does not fit its tag, or is too long a number") from error


def _collect_lines(
    node: yaml.Node, prefix: str, lines: dict[str, int], twice: list[tuple[str, str]]
) -> None:
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[f"{prefix}.{number}"] = item.start_mark.line + 1
            _collect_lines(item, f"{prefix}.{number}", lines, twice)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        where = f"{prefix}.{key.value}" if prefix else str(key.value)
        if where in seen:
            twice.append((where, f"stands twice, first on line {lines[where]}; keep one"))
        seen.add(where)
        lines[where] = key.start_mark.line + 1
        _collect_lines(value, where, lines, twice)
