"""Reads a YAML file and keeps the line of every field, for messages that name it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from isthmus.errors import Fault, SpecError


def read_yaml(
    path: Path, fields: str
) -> tuple[dict[str, Any], dict[str, int], list[tuple[str, str]]]:
    """Reads a file that holds a mapping.

    Args:
        path: The file.
        fields: That it needs, for the message: `name and data`.

    Returns:
        The content; the line of each dotted name; and what stands twice, with a message each.

    Raises:
        SpecError: If it cannot be read, or is not YAML, or holds something else.
    """
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError([Fault("", "no such file; give the path of a YAML file")], source) from None
    except IsADirectoryError:
        raise SpecError([Fault("", "is a folder; give the path of a YAML file")], source) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Fault("", f"cannot be read as text ({error})")], source) from None
    return _parse_yaml(text, source, fields)


class LineLoader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, with `1e-3` a number, as everyone who writes it means."""


LineLoader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:float"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
LineLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)"
        r"|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def _parse_yaml(
    text: str, source: str, fields: str
) -> tuple[dict[str, Any], dict[str, int], list[tuple[str, str]]]:
    """Returns the content, the line of each dotted name, and the names given twice."""
    try:
        loader = LineLoader(text)
        root = loader.get_single_node()
        content = loader.construct_document(root) if root is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        problem = error.problem or "is not YAML"
        raise SpecError([Fault("", f"is not YAML: {problem}", line)], source) from None
    except (yaml.YAMLError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise SpecError([Fault("", f"is not YAML: {first_line}")], source) from None
    if content is None:
        raise SpecError([Fault("", f"is empty; it needs at least {fields}")], source)
    if not isinstance(content, dict):
        raise SpecError(
            [Fault("", f"holds a {type(content).__name__}; it needs fields such as {fields}")],
            source,
        )
    lines: dict[str, int] = {}
    twice: list[tuple[str, str]] = []
    if root is not None:
        _collect_lines(root, "", lines, twice)
    return content, lines, twice


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
