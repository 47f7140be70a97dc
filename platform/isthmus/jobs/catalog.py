"""The catalog of what a job may name, with what each declares; it imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isthmus import plugins
from isthmus.declarations import declaration, plugin_names
from isthmus.spec import Catalog

_ROOMS: dict[str, plugins.Room] = {"variant": "variants", "net": "nets", "scoring": "scores"}
"""The room of each field that names a plugin."""


def catalog() -> Catalog:
    """Returns the variants, nets and scores that a job file may name.

    Raises:
        UsageError: If an installed package offers one whose name is taken.
    """
    for room in plugins.ROOMS:
        plugins.refuse_collisions(room)
    return _catalog()


def _catalog() -> Catalog:
    return Catalog(
        variants=plugin_names("variants"),
        nets=plugin_names("nets"),
        scores=plugin_names("scores"),
        variant_config=lambda name: declared("variants", name, "Config"),
        net_config=lambda name: declared("nets", name, "Config"),
        score_config=lambda name: declared("scores", name, "Config"),
        net_sizes=lambda name: declared("nets", name, "SIZES"),
        full_name=lambda field, name: plugins.full_name(_ROOMS[field], name),
        with_files=_with_files,
    )


@contextmanager
def _with_files(paths: Sequence[Path]) -> Iterator[Catalog]:
    """Yields the catalog with the plugins of some files, which are imported."""
    with plugins.using([plugins.PluginFile.read(each) for each in paths]):
        yield _catalog()


def declared(room: str, name: str, variable: str) -> Any:
    """Returns what a variant, net or score declares, without importing it: that takes seconds."""
    return declaration(room, name).value(variable)
