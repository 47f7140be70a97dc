"""The endings of all files that can be read."""

from __future__ import annotations

from functools import cache


@cache
def all_endings() -> tuple[str, ...]:
    """Returns the endings of all files that some kind of data is read from, in lower case."""
    from isthmus.data import arrays, kinds, tables

    of_kinds = (kinds.get(name).ENDINGS for name in kinds.names())
    return (*arrays.endings(), *tables.endings(), *(each for one in of_kinds for each in one))
