"""The field of a job file that names a corruption; it imports no torch."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, GetJsonSchemaHandler, PlainSerializer, ValidationError
from pydantic_core import CoreSchema

from isthmus.declarations import declaration, plugin_names
from isthmus.errors import nearest
from isthmus.plugins import full_name
from isthmus.spec import PluginSpec
from isthmus.spec.faults import faults_of

UNNAMED = ("auto", "none")
"""The values of the field that are not the name of a corruption."""


@cache
def declared(name: str, variable: str) -> Any:
    """Returns what a corruption declares: a class variable or its class of options."""
    return declaration("corruptions", name).value(variable)


def _checked(given: PluginSpec) -> PluginSpec:
    names = plugin_names("corruptions")
    name = full_name("corruptions", given.name)
    if name is None:
        if given.name not in UNNAMED:
            raise ValueError(f'no corruption "{given.name}"; {nearest(given.name, names)}')
        if given.options:
            raise ValueError(f"{given.name} takes no options; name one of {', '.join(names)}")
        return given
    config = declared(name, "Config")
    if given.options and not config.model_fields:
        raise ValueError(f"{given.name} takes no options; leave out {', '.join(given.options)}")
    try:
        options = config.model_validate(dict(given.options))
    except ValidationError as error:
        faults = faults_of(error, config, "", dict(given.options), {})
        raise ValueError("; ".join(map(str, faults))) from error
    return PluginSpec(name=name, options=options.model_dump(mode="json"))


def _as_in_the_file(named: PluginSpec) -> str | dict[str, Any]:
    return {"name": named.name, **named.options} if named.options else named.name


class _Schema:
    """Makes the JSON schema of the field, with the options of all corruptions, once it is wanted.

    Most processes that read the field, such as the workers of a training, never want it.
    """

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> Any:
        return dict(_schema(plugin_names("corruptions")))


@cache
def _schema(names: tuple[str, ...]) -> dict[str, Any]:
    """Returns the JSON schema: a name, or a name with the options of that corruption."""
    choices: list[dict[str, Any]] = [{"enum": [*names, *UNNAMED]}]
    for name in names:
        config = declared(name, "Config").model_json_schema()
        config["properties"] = {"name": {"const": name}, **config.get("properties", {})}
        choices.append({**config, "required": ["name"], "title": name})
    return {"anyOf": choices}


CorruptionField = Annotated[
    PluginSpec,
    AfterValidator(_checked),
    PlainSerializer(_as_in_the_file),
    _Schema(),
]
"""A corruption by name, or by name and options: `{name: poisson_gaussian, read_noise: 0.02}`."""
