"""Whole numbers on the command line; what is none is said by its value."""

from __future__ import annotations

import typer


def whole_number(text: str) -> int:
    """Reads a number above 0.

    Raises:
        typer.BadParameter: Naming what was given instead.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise typer.BadParameter(f'"{text}" is no whole number above 0')
    return number
