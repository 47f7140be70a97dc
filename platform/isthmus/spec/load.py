"""Reads a job file, applies the `--set` overrides, and finds all faults at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from isthmus.errors import Fault, SpecError, UsageError, nearest
from isthmus.spec.candidates import search_faults, set_field, set_search
from isthmus.spec.faults import faults_of, line_of
from isthmus.spec.job import JobSpec, PluginSpec
from isthmus.spec.size import SizeName, Sizes
from isthmus.spec.tuning import parse_search
from isthmus.spec.yaml_file import parse_value, read_yaml

ConfigLookup = Callable[[str], type[BaseModel]]
FullName = Callable[[str, str], str | None]
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
        net_sizes: A function that returns the sizes of a net by name, `None` if it has one size.
        full_name: A function that returns the name that a plugin has outside its job, given the
            field and the name; `None` if there is no such plugin.
        with_files: A function that adds the plugins of a job's files in a block, given their paths.
    """

    variants: Sequence[str]
    nets: Sequence[str]
    scores: Sequence[str]
    variant_config: ConfigLookup
    net_config: ConfigLookup
    score_config: ConfigLookup
    net_sizes: Callable[[str], Sizes | None]
    full_name: FullName = lambda _, name: name
    with_files: Callable[[Sequence[Path]], AbstractContextManager[Catalog]] | None = None

    def of_job(self, content: Mapping[str, Any], source: str) -> AbstractContextManager[Catalog]:
        """Returns the catalog with the plugins of the files that a job names, for a block.

        Args:
            content: The job.
            source: The path of the job file; empty if there is none.

        Raises:
            UsageError: If a file has no plugins, or one of a name that is taken.
        """
        paths = plugin_paths(content, source)
        return nullcontext(self) if self.with_files is None else self.with_files(paths)

    @property
    def axes(self) -> tuple[tuple[str, Sequence[str], ConfigLookup], ...]:
        """The fields of a job file that name a plugin: the field, the names and the options."""
        return (
            ("variant", self.variants, self.variant_config),
            ("net", self.nets, self.net_config),
            ("scoring", self.scores, self.score_config),
        )


def plugin_paths(content: Mapping[str, Any], source: str) -> tuple[Path, ...]:
    """Returns the files with plugins that a job names, relative to the current folder.

    Args:
        content: The job; a field that is no list of paths names none.
        source: The path of the job file; empty if there is none.
    """
    given = content.get("plugins") or ()
    paths = (given,) if isinstance(given, str) else given
    if not isinstance(paths, list | tuple) or not all(isinstance(each, str) for each in paths):
        return ()
    folder = Path(source).parent
    return tuple(folder / Path(each).expanduser() for each in paths)


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
        where = apply_override(content, override, source)
        lines.pop(where, None)
    for where, values in parse_search(search).items():
        set_search(content, where, values)
        lines.pop(f"tuning.search.{where}", None)
    return _check(content, catalog, source, lines, faults)


def change_job(
    content: Mapping[str, Any], overrides: Sequence[str], catalog: Catalog
) -> tuple[JobSpec, tuple[str, ...]]:
    """Applies overrides to the job of a run.

    Args:
        content: The job, in the form of a job file.
        overrides: Dotted names with YAML values, `training.epochs=5`.
        catalog: The variants, nets and scores that exist.

    Returns:
        The changed job, and the dotted names that were given.

    Raises:
        SpecError: If the changed job has faults.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(content))
    names = tuple(apply_override(changed, override, "") for override in overrides)
    return _check(changed, catalog, "", {}, []), names


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
            if field == "net" and (sizes := catalog.net_sizes(name)) is not None:
                config["x-sizes"] = sizes.model_dump(mode="json")
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
    of_files = schema["properties"]["plugins"]
    schema["properties"]["plugins"] = {
        **{key: of_files.pop(key) for key in ("description", "default")},
        "anyOf": [{"type": "string"}, of_files],
    }
    # What may be written as a name alone.
    definitions["TrainingSpec"]["properties"]["start_from"]["anyOf"].insert(0, {"type": "string"})
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Isthmus training job"
    return schema


def apply_override(content: dict[str, Any], override: str, source: str) -> str:
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
    try:
        with catalog.of_job(content, source) as whole:
            resolved = _checked_plugins(content, whole, lines, faults)
            if not faults and spec is not None:
                found = {"plugins": tuple(map(str, plugin_paths(content, source)))}
                spec = spec.model_copy(update={**resolved, **(found if spec.plugins else {})})
                faults += search_faults(
                    spec, lambda job: _check(dict(job), whole, "", {}, []), lines
                )
    except UsageError as error:
        if isinstance(error, SpecError):
            raise
        faults.append(Fault("plugins", str(error), line_of("plugins", lines)))
    if faults or spec is None:
        order = {where: number for number, where in enumerate(lines)}
        faults.sort(
            key=lambda fault: (fault.line is None, fault.line or 0, order.get(fault.where, 0))
        )
        raise SpecError(faults, source)
    return spec


def _checked_plugins(
    content: Mapping[str, Any],
    catalog: Catalog,
    lines: Mapping[str, int],
    faults: list[Fault],
) -> dict[str, PluginSpec]:
    """Returns the plugins that a job names, with all their options; adds faults to the list."""
    resolved: dict[str, PluginSpec] = {}
    for field, names, lookup in catalog.axes:
        full_name = partial(catalog.full_name, field)
        value = _sized(content, catalog) if field == "net" else content.get(field)
        plugin = _check_plugin(field, value, names, lookup, full_name, lines, faults)
        if plugin is not None:
            resolved[field] = plugin
    return resolved


def _sized(content: Mapping[str, Any], catalog: Catalog) -> object:
    """Returns the net of a job, with the options of the job's size that it does not say itself."""
    value = content.get("net")
    try:
        net = PluginSpec.model_validate(value)
    except ValidationError:
        return value
    sizes = catalog.net_sizes(net.name) if net.name in catalog.nets else None
    size = content.get("size", "medium")
    if sizes is None or size not in get_args(SizeName):
        return value
    return {"name": net.name, **sizes.named(size).options, **net.options}


def _check_plugin(
    field: str,
    value: object,
    names: Sequence[str],
    lookup: ConfigLookup,
    full_name: Callable[[str], str | None],
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
    name = full_name(plugin.name)
    if name is None or (name == plugin.name and name not in names and "@" not in name):
        where = f"{field}.name" if f"{field}.name" in lines else field
        faults.append(Fault(field, _unknown(field, plugin.name, names), line_of(where, lines)))
        return None
    config = lookup(name)
    try:
        options = config.model_validate(dict(plugin.options)).model_dump(mode="json")
    except ValidationError as error:
        faults.extend(faults_of(error, config, f"{field}.", dict(plugin.options), lines))
        return None
    return PluginSpec.model_validate({"name": name, **options})


def _unknown(field: str, name: str, names: Sequence[str]) -> str:
    short, is_of_file, key = name.partition("@")
    if is_of_file:
        return (
            f'"{short}" is of a file whose sha256 began with {key}, and none of plugins is that; '
            "put the file back as it was, or start a new run"
        )
    valid = [*names, "auto"] if field in _CAN_BE_AUTO else list(names)
    return f'no {field} "{name}"; {nearest(name, valid)}'
