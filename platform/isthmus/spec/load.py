"""Reads a job file, applies the `--set` overrides, and finds all faults at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from isthmus.errors import Fault, SpecError, nearest
from isthmus.spec.candidates import search_faults, set_field, set_search
from isthmus.spec.faults import faults_of, line_of
from isthmus.spec.job import JobSpec, PluginSpec
from isthmus.spec.tuning import parse_search
from isthmus.spec.yaml_file import parse_value, read_yaml

ConfigLookup = Callable[[str], type[BaseModel]]
# The fields that may leave the choice to the kind of the data.
_CAN_BE_AUTO = ("net", "scoring")


@dataclass(frozen=True)
class Catalog:
    """The variants, nets and scores that exist, so that this package need not import them.

    Attributes:
        variants: The names of the variants.
        nets: The names of the nets, without `auto`, which a job file may name too.
        scores: The names of the scores, also without `auto`.
        variant_config: A function that returns the `Config` class of a variant, by name.
        net_config: A function that returns the `Config` class of a net, by name.
        score_config: A function that returns the `Config` class of a score, by name.
    """

    variants: Sequence[str]
    nets: Sequence[str]
    scores: Sequence[str]
    variant_config: ConfigLookup
    net_config: ConfigLookup
    score_config: ConfigLookup

    @property
    def axes(self) -> tuple[tuple[str, Sequence[str], ConfigLookup], ...]:
        """The fields of a job file that name a plugin: the field, the names and the options."""
        return (
            ("variant", self.variants, self.variant_config),
            ("net", self.nets, self.net_config),
            ("scoring", self.scores, self.score_config),
        )


def load_job(
    path: str | Path, overrides: Sequence[str], catalog: Catalog, search: Sequence[str] = ()
) -> JobSpec:
    """Reads and checks a job file.

    Args:
        path: The YAML file.
        overrides: Dotted names with YAML values, `training.epochs=5`.
        catalog: The variants, nets and scores that exist.
        search: Ranges for `isthmus tune`, which are added to those of the file or replace them:
            `latent_dim=choice:8,16,32`.

    Raises:
        SpecError: If the job has faults. The error holds all of them, each with its line.
    """
    source = str(path)
    content, lines, duplicates = read_yaml(Path(path), "name and data")
    faults = [Fault(where, message, lines.get(where)) for where, message in duplicates]
    for override in overrides:
        where = _apply_override(content, override, source)
        lines.pop(where, None)
    for where, values in parse_search(search).items():
        set_search(content, where, values)
        lines.pop(f"tuning.search.{where}", None)
    return _check(content, catalog, source, lines, faults)


def parse_job(content: Mapping[str, Any] | JobSpec, catalog: Catalog) -> JobSpec:
    """Checks a job that Python code gives as a mapping, or the options of one given as a spec.

    Raises:
        SpecError: If the job has faults. The error holds all of them.
    """
    # What the job does not say stays unsaid: it may depend on the data.
    if isinstance(content, JobSpec):
        content = content.model_dump(exclude_unset=True)
    return _check(dict(content), catalog, "", {}, [])


def job_schema(catalog: Catalog) -> dict[str, Any]:
    """Returns the JSON schema of job files, with which editors complete and check them."""
    schema = JobSpec.model_json_schema()
    definitions = schema["$defs"]
    definitions.pop("PluginSpec", None)
    for field, names, lookup in catalog.axes:
        choices: list[dict[str, Any]] = [
            {"enum": sorted(names) + (["auto"] if field in _CAN_BE_AUTO else [])}
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


def _apply_override(content: dict[str, Any], override: str, source: str) -> str:
    """Applies `NAME=VALUE` to a job's content; returns the dotted name."""
    where, separator, text = override.partition("=")
    where = where.strip()
    if not separator or not where:
        raise SpecError(
            [Fault("--set", f'"{override}" is not NAME=VALUE, as in training.epochs=5')], source
        )
    try:
        value = parse_value(text)
    except yaml.YAMLError:
        value = text
    set_field(content, where, value)
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
        faults.extend(faults_of(error, JobSpec, "", content, lines))
    resolved: dict[str, PluginSpec] = {}
    for field, names, lookup in catalog.axes:
        plugin = _check_plugin(field, content.get(field), names, lookup, lines, faults)
        if plugin is not None:
            resolved[field] = plugin
    if not faults and spec is not None:
        spec = spec.model_copy(update=resolved)
        faults = search_faults(spec, lambda job: _check(dict(job), catalog, "", {}, []), lines)
    if faults or spec is None:
        order = {where: number for number, where in enumerate(lines)}
        faults.sort(
            key=lambda fault: (fault.line is None, fault.line or 0, order.get(fault.where, 0))
        )
        raise SpecError(faults, source)
    return spec


def _check_plugin(
    field: str,
    value: object,
    names: Sequence[str],
    lookup: ConfigLookup,
    lines: Mapping[str, int],
    faults: list[Fault],
) -> PluginSpec | None:
    """Checks the variant, the net or the score of a job; adds its faults to the given list.

    Returns:
        The plugin with all its options, or `None` if it has a fault.
    """
    try:
        plugin = PluginSpec.model_validate(value) if value is not None else None
    except ValidationError:
        return None  # the check of the job has found the same fault
    if plugin is None:
        plugin = JobSpec.model_fields[field].default
    if field in _CAN_BE_AUTO and plugin.name == "auto":
        if plugin.options:
            option = next(iter(plugin.options))
            where = f"{field}.{option}"
            faults.append(
                Fault(
                    where,
                    f"auto takes no options; name the {field}: {', '.join(sorted(names))}",
                    line_of(where, lines),
                )
            )
        return plugin
    if plugin.name not in names:
        valid = [*names, "auto"] if field in _CAN_BE_AUTO else list(names)
        where = f"{field}.name" if f"{field}.name" in lines else field
        faults.append(
            Fault(
                field,
                f'no {field} "{plugin.name}"; {nearest(plugin.name, valid)}',
                line_of(where, lines),
            )
        )
        return None
    config = lookup(plugin.name)
    try:
        options = config.model_validate(dict(plugin.options)).model_dump(mode="json")
    except ValidationError as error:
        faults.extend(faults_of(error, config, f"{field}.", dict(plugin.options), lines))
        return None
    return PluginSpec.model_validate({"name": plugin.name, **options})
