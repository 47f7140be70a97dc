"""Reads a job file: YAML, then `--set` overrides, then every fault at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from isthmus.errors import Fault, SpecError, nearest
from isthmus.spec.job import JobSpec, PluginSpec

ConfigLookup = Callable[[str], type[BaseModel]]


@dataclass(frozen=True)
class Catalog:
    """The variants and nets that exist, so that this room need not import them.

    Attributes:
        variants: Names of the variants.
        nets: Names of the nets; `auto` is understood besides.
        variant_config: Gives a variant's `Config` class by name.
        net_config: Gives a net's `Config` class by name.
    """

    variants: Sequence[str]
    nets: Sequence[str]
    variant_config: ConfigLookup
    net_config: ConfigLookup


def load_job(path: str | Path, overrides: Sequence[str], catalog: Catalog) -> JobSpec:
    """Reads and checks a job file.

    Args:
        path: The YAML file.
        overrides: `training.epochs=5`, dotted names with YAML values.
        catalog: The variants and nets to check against.

    Raises:
        SpecError: With every fault, each with its line.
    """
    path = Path(path)
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(
            [Fault("", "no such file; give the path of a job file (YAML)")], source
        ) from None
    except IsADirectoryError:
        raise SpecError(
            [Fault("", "is a folder; give the path of a job file (YAML)")], source
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Fault("", f"cannot be read as text ({error})")], source) from None
    content, lines, duplicates = _parse_yaml(text, source)
    faults = [Fault(where, message, lines.get(where)) for where, message in duplicates]
    for override in overrides:
        where = _apply_override(content, override, source)
        lines.pop(where, None)
    return _check(content, catalog, source, lines, faults)


def parse_job(content: Mapping[str, Any] | JobSpec, catalog: Catalog) -> JobSpec:
    """Checks a job given from Python as a mapping (or a spec, whose options are then checked).

    Raises:
        SpecError: With every fault.
    """
    plain = content.model_dump() if isinstance(content, JobSpec) else dict(content)
    return _check(plain, catalog, "", {}, [])


def job_schema(catalog: Catalog) -> dict[str, Any]:
    """The JSON schema of a job file, for editors to complete from and check against."""
    schema = JobSpec.model_json_schema()
    definitions = schema["$defs"]
    definitions.pop("PluginSpec", None)
    for field, names, lookup in (
        ("variant", catalog.variants, catalog.variant_config),
        ("net", catalog.nets, catalog.net_config),
    ):
        choices: list[dict[str, Any]] = [
            {"enum": sorted(names) + (["auto"] if field == "net" else [])}
        ]
        for name in sorted(names):
            config = lookup(name).model_json_schema()
            definitions.update(config.pop("$defs", {}))
            config["properties"] = {"name": {"const": name}, **config.get("properties", {})}
            config["required"] = ["name", *config.get("required", [])]
            config["title"] = name
            choices.append(config)
        described = schema["properties"][field]
        schema["properties"][field] = {
            "description": described.get("description", ""),
            "default": JobSpec.model_fields[field].default.name,
            "anyOf": choices,
        }
    schema["properties"]["data"] = {
        "description": schema["properties"]["data"].get("description", ""),
        "anyOf": [{"type": "string"}, {"$ref": "#/$defs/DataSpec"}],
    }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Isthmus training job"
    return schema


class _LineLoader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, with `1e-3` a number, as everyone who writes it means."""


_LineLoader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:float"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_LineLoader.add_implicit_resolver(
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
    text: str, source: str
) -> tuple[dict[str, Any], dict[str, int], list[tuple[str, str]]]:
    """Returns the content, the line of each dotted name, and the names given twice."""
    try:
        loader = _LineLoader(text)
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
        raise SpecError([Fault("", "is empty; it needs at least name and data")], source)
    if not isinstance(content, dict):
        raise SpecError(
            [Fault("", f"holds a {type(content).__name__}; it needs fields such as name and data")],
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


def _apply_override(content: dict[str, Any], override: str, source: str) -> str:
    """Sets one dotted name in `content`; returns the name."""
    where, separator, text = override.partition("=")
    where = where.strip()
    if not separator or not where:
        raise SpecError(
            [Fault("--set", f'"{override}" is not NAME=VALUE, as in training.epochs=5')], source
        )
    try:
        value = yaml.load(text, Loader=_LineLoader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError:
        value = text
    *parents, last = where.split(".")
    place = content
    for parent in parents:
        below = place.get(parent)
        if isinstance(below, str):
            # `variant: vae` with --set variant.beta=4, and `data: file.csv` with data.window=64
            below = {"path" if parent == "data" else "name": below}
        elif not isinstance(below, dict):
            below = {}
        place[parent] = dict(below)
        place = place[parent]
    place[last] = value
    return where


def _check(
    content: dict[str, Any],
    catalog: Catalog,
    source: str,
    lines: Mapping[str, int],
    faults: list[Fault],
) -> JobSpec:
    spec: JobSpec | None = None
    try:
        spec = JobSpec.model_validate(content)
    except ValidationError as error:
        faults.extend(_faults_of(error, JobSpec, "", content, lines))
    resolved: dict[str, PluginSpec] = {}
    for field, names, lookup in (
        ("variant", catalog.variants, catalog.variant_config),
        ("net", catalog.nets, catalog.net_config),
    ):
        plugin = _check_plugin(field, content.get(field), names, lookup, lines, faults)
        if plugin is not None:
            resolved[field] = plugin
    if faults or spec is None:
        order = {where: number for number, where in enumerate(lines)}
        faults.sort(
            key=lambda fault: (fault.line is None, fault.line or 0, order.get(fault.where, 0))
        )
        raise SpecError(faults, source)
    return spec.model_copy(update=resolved)


def _check_plugin(
    field: str,
    value: object,
    names: Sequence[str],
    lookup: ConfigLookup,
    lines: Mapping[str, int],
    faults: list[Fault],
) -> PluginSpec | None:
    """Checks one variant or net; returns it with all its options filled in, or `None`."""
    try:
        plugin = PluginSpec.model_validate(value) if value is not None else None
    except ValidationError:
        return None  # already a fault of the job itself
    if plugin is None:
        plugin = JobSpec.model_fields[field].default
    if field == "net" and plugin.name == "auto":
        if plugin.options:
            option = next(iter(plugin.options))
            where = f"{field}.{option}"
            faults.append(
                Fault(
                    where,
                    f"auto takes no options; name the net: {', '.join(sorted(names))}",
                    _line_of(where, lines),
                )
            )
        return plugin
    if plugin.name not in names:
        valid = [*names, "auto"] if field == "net" else list(names)
        where = f"{field}.name" if f"{field}.name" in lines else field
        faults.append(
            Fault(
                field,
                f'no {field} "{plugin.name}"; {nearest(plugin.name, valid)}',
                _line_of(where, lines),
            )
        )
        return None
    config = lookup(plugin.name)
    try:
        options = config.model_validate(dict(plugin.options)).model_dump(mode="json")
    except ValidationError as error:
        faults.extend(_faults_of(error, config, f"{field}.", dict(plugin.options), lines))
        return None
    return PluginSpec.model_validate({"name": plugin.name, **options})


def _faults_of(
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
        fault = Fault(where, message, _line_of(where, lines))
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
            if part not in place and not last:
                continue
            kept.append(part)
            place = place.get(part)
        elif isinstance(place, (list, tuple)) and isinstance(part, int) and part < len(place):
            kept.append(part)
            place = place[part]
    return tuple(kept)


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
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


def _line_of(where: str, lines: Mapping[str, int]) -> int | None:
    """The line of a field or, if it is not in the file, of the nearest part that is."""
    while where:
        if where in lines:
            return lines[where]
        where = where.rpartition(".")[0]
    return None
