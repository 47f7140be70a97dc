"""Parses whole numbers of the command line, with an error that names the given value."""

from __future__ import annotations

import typer

from isthmus.errors import printable


def whole_number(text: str) -> int:
    """Returns a text as a whole number above 0.

    Raises:
        typer.BadParameter: If it is none.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise typer.BadParameter(f'"{printable(text)}" is no whole number above 0')
    return number
