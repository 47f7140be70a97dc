"""Reads whole sources, and writes values back in their form, as the jobs do block by block."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data import Provenance, Rows, RowSource, UseOptions, collect, open_input, open_rows
from isthmus.data.opening import read_opened
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import Shape


@dataclass(frozen=True, eq=False)
class ReadRows(Rows):
    """Rows in memory, and the source that they were read from."""

    source: RowSource | None = None


def schema_of(data: DataSpec, shape: Shape, **known: Any) -> RowSchema:
    """Returns what an old pair knows of the rows that it was trained on."""
    return RowSchema(kind=data.kind, shape=shape, features=data.feature_names, **known)


def open_like(data: DataSpec, path: str, shape: Shape, **known: Any) -> RowSource:
    """Opens an input for a pair that takes rows of a shape."""
    return open_input(data, path, schema_of(data, shape, **known), UseOptions())


def read_like(data: DataSpec, path: str, shape: Shape, **known: Any) -> ReadRows:
    """Reads an input for a pair that takes rows of a shape."""
    source = open_like(data, path, shape, **known)
    return _with_source(collect(source), source)


def read_to_train(spec: DataSpec) -> tuple[ReadRows, DataSpec]:
    """Reads the rows of a data section, as `read_rows` does."""
    source, resolved = open_rows(spec)
    return _with_source(read_opened(source, resolved), source), resolved


def write_back(rows: ReadRows, values: Any, output: Path, provenance: Provenance) -> None:
    """Writes values in the form that rows came in."""
    assert rows.source is not None
    rows.source.check_output(output)
    done = 0
    with rows.source.open_output(output, provenance) as write:
        for block in rows.source.blocks(carry=True):
            part = np.asarray(values[done : done + len(block.values)], dtype=np.float32)
            write(block, part)
            done += len(part)


def _with_source(rows: Rows, source: RowSource) -> ReadRows:
    return ReadRows(**{f.name: getattr(rows, f.name) for f in fields(Rows)}, source=source)
