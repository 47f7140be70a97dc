"""The commands `variants`, `nets` and `scores`, which list what a job file can choose from."""

from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.terminal import out

if TYPE_CHECKING:
    from rich.table import Table

    from isthmus.jobs.choices import Choice, Room

Name = Annotated[
    str | None,
    typer.Argument(help="Show the options and the paper of this one.", show_default=False),
]


def variants(name: Name = None) -> None:
    """List the variants of autoencoders: how they learn, when to choose which, and the paper.

    Example: isthmus variants vqvae
    """
    _show("variants", name)


def nets(name: Name = None) -> None:
    """List the nets: for which data they are, when to choose which, and the paper.

    Example: isthmus nets conv
    """
    _show("nets", name)


def scores(name: Name = None) -> None:
    """List the anomaly scores: what each measures, when to choose which, and the paper.

    Example: isthmus scores neighbours
    """
    _show("scores", name)


def _show(what: "Room", name: str | None) -> None:
    from rich.markup import escape

    from isthmus.jobs.choices import FIELDS, choice, choices

    if name is not None:
        found = choice(what, name)
        out.print(f"[bold]{found.name}[/bold]: {escape(found.summary)}\n")
        out.print(escape(found.about) + "\n")
        out.print(f"Takes {', '.join(found.kinds)}. In a job file:\n")
        out.print(escape(f"{FIELDS[what]}: {{name: {found.name}}}\n"))
        out.print(_options(found), soft_wrap=False)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(what[:-1], no_wrap=True)
    table.add_column("what it is, and when to choose it", ratio=3)
    table.add_column("data", ratio=1)
    table.add_column("paper", ratio=2)
    for found in choices(what):
        table.add_row(found.name, escape(found.summary), found.data, escape(found.paper))
    out.print(table, soft_wrap=False)


def _options(found: "Choice") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("option", no_wrap=True)
    table.add_column("default", no_wrap=True)
    table.add_column("what it does")
    for option in found.options:
        explanation = " ".join(option.explanation.split())
        table.add_row(option.name, escape(str(option.default)), escape(explanation))
    return table
