"""The option `--json`, and how values are printed as JSON for programs."""

import json
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON, for programs.")]


def print_json(value: object) -> None:
    """Prints a value as JSON; a number that is NaN or infinite is null."""
    from pydantic_core import to_jsonable_python

    # A number that is not finite has no JSON; pydantic's own writer makes null of it.
    plain = to_jsonable_python(value, inf_nan_mode="null", serialize_unknown=True)
    typer.echo(json.dumps(plain, indent=2, ensure_ascii=False))
