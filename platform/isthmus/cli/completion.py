"""Completes commands in the shell: offers pairs, versions, aliases, fields of a job, and names.

A key press must not wait, so MLflow, which takes a second to import, is not: a local store is read
with sqlite3, without creating it, and a server is asked over HTTP. Whatever fails offers nothing.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.request import urlopen

_TIMEOUT_S = 1.0
_MOST_VERSIONS = 50
_HALF = "-encoder"
_Aliases = dict[str, list[str]]


def _silent(offer: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """Offers what begins as the typed text does; nothing if the store is away or not as expected.

    A traceback would be written into the line that is being typed.
    """

    @wraps(offer)
    def offered(incomplete: str) -> list[str]:
        try:
            found = offer(incomplete)
        except Exception:  # noqa: BLE001
            return []
        return [each for each in found if each.startswith(incomplete)]

    return offered


@_silent
def pairs(incomplete: str) -> list[str]:
    """Offers the names of pairs."""
    return sorted(_aliases())


@_silent
def versions(incomplete: str) -> list[str]:
    """Offers `NAME/VERSION`: the names first, and the versions of one that is written out."""
    return _of_pairs(incomplete, with_aliases=False)


@_silent
def references(incomplete: str) -> list[str]:
    """Offers `NAME@ALIAS` and `NAME/VERSION`."""
    return _of_pairs(incomplete, with_aliases=True)


@_silent
def aliases(incomplete: str) -> list[str]:
    """Offers the aliases that are in use, and champion."""
    return sorted({"champion", *(each for found in _aliases().values() for each in found)})


@_silent
def schedules(incomplete: str) -> list[str]:
    """Offers the names of the schedules in this folder's schedules file."""
    from isthmus_pipelines.schedules import DEFAULT_FILE, read_schedules

    return [entry.schedule.name for entry in read_schedules(DEFAULT_FILE)]


@_silent
def fields(incomplete: str) -> list[str]:
    """Offers the dotted fields of a job file, and the values of one that has few."""
    from isthmus.spec import JobSpec

    name, has_value, _ = incomplete.partition("=")
    found = dict(_fields_of(JobSpec, ""))
    if has_value:
        return [f"{name}={value}" for value in found.get(name, [])]
    return [f"{each}=" for each in found]


def plugins(room: str) -> Callable[[str], list[str]]:
    """Returns what offers the names of a room's plugins, such as those of `variants`."""

    @_silent
    def names(incomplete: str) -> list[str]:
        from isthmus.declarations import plugin_names

        return list(plugin_names(room))

    return names


def _of_pairs(incomplete: str, *, with_aliases: bool) -> list[str]:
    found = _aliases()
    name = incomplete.partition("/")[0].partition("@")[0]
    offered = [f"{pair}@{alias}" for pair, all_ in found.items() for alias in all_]
    offered = offered if with_aliases else []
    if name in found and (incomplete != name or len(found) == 1):
        return [*offered, *(f"{name}/{version}" for version in _versions(name))]
    return [*sorted(found), *offered]


def _fields_of(section: Any, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """Yields each dotted field below a section, with its values if they are few."""
    from enum import Enum
    from typing import Literal, get_args, get_origin

    from pydantic import BaseModel

    from isthmus.declarations import plugin_names

    rooms = {"variant": "variants", "net": "nets", "scoring": "scores"}
    for name, field in section.model_fields.items():
        choices = get_args(field.annotation) or (field.annotation,)
        if get_origin(field.annotation) is Literal:
            choices = (field.annotation,)
        values: list[str] = list(plugin_names(rooms[name])) if name in rooms else []
        sections = [each for each in choices if isinstance(each, type)]
        for each in choices:
            if get_origin(each) is Literal:
                values += [str(value) for value in get_args(each)]
            elif isinstance(each, type) and issubclass(each, Enum):
                values += [str(value.value) for value in each]
            elif each is bool:
                values += ["true", "false"]
        yield f"{prefix}{name}", values
        for each in sections:
            if issubclass(each, BaseModel) and name not in rooms:
                yield from _fields_of(each, f"{prefix}{name}.")


def _store() -> str:
    from isthmus.spec import Settings

    return Settings.from_environment().tracking_uri


def _aliases() -> _Aliases:
    """Returns the aliases of each pair, by its name."""
    uri = _store()
    if uri.startswith(("http://", "https://")):
        answer = _asked(uri, "registered-models/search?max_results=1000")
        models = answer.get("registered_models", [])
        rows = [
            (model["name"], alias.get("alias"))
            for model in models
            for alias in model.get("aliases") or [{}]
        ]
    else:
        rows = _read(
            uri,
            "SELECT m.name, a.alias FROM registered_models m "
            "LEFT JOIN registered_model_aliases a ON a.name = m.name",
        )
    found: _Aliases = {}
    for name, alias in rows:
        if name.endswith(_HALF):
            kept = found.setdefault(name.removesuffix(_HALF), [])
            kept += [alias] if alias else []
    return found


def _versions(name: str) -> list[int]:
    """Returns the newest versions of a pair, newest first."""
    uri = _store()
    if uri.startswith(("http://", "https://")):
        wanted = f"name%3D%27{name}{_HALF}%27"
        query = f"model-versions/search?filter={wanted}&max_results={_MOST_VERSIONS}"
        found = _asked(uri, query).get("model_versions", [])
        return sorted((int(each["version"]) for each in found), reverse=True)
    rows = _read(
        uri,
        "SELECT version FROM model_versions WHERE name = ? AND current_stage != "
        "'Deleted_Internal' ORDER BY version DESC LIMIT ?",
        f"{name}{_HALF}",
        _MOST_VERSIONS,
    )
    return [version for (version,) in rows]


def _read(uri: str, query: str, *values: object) -> list[Any]:
    """Reads from a local store, which is never created; of other databases nothing is read."""
    file = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or not file.is_file():
        return []
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=0.2)) as store:
        return store.execute(query, values).fetchall()


def _asked(uri: str, query: str) -> Any:
    with urlopen(f"{uri.rstrip('/')}/api/2.0/mlflow/{query}", timeout=_TIMEOUT_S) as answer:  # noqa: S310
        return json.load(answer)
