"""The commands `variants`, `nets` and `scores`, which list what a job file can choose from."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.tables import Rows
from isthmus.cli.terminal import out

if TYPE_CHECKING:
    from isthmus.jobs.choices import Room

Name = Annotated[
    str | None,
    typer.Argument(help="Show the options and the paper of this one.", show_default=False),
]


def variants(name: Name = None, as_json: AsJson = False) -> None:
    """List the variants of autoencoders: how they learn, when to choose which, and the paper.

    Example: isthmus variants vqvae
    """
    _show("variants", name, as_json)


def nets(name: Name = None, as_json: AsJson = False) -> None:
    """List the nets: for which data they are, when to choose which, and the paper.

    Example: isthmus nets conv
    """
    _show("nets", name, as_json)


def scores(name: Name = None, as_json: AsJson = False) -> None:
    """List the anomaly scores: what each measures, when to choose which, and the paper.

    Example: isthmus scores neighbours
    """
    _show("scores", name, as_json)


def _show(what: "Room", name: str | None, as_json: bool) -> None:
    from isthmus.jobs.choices import FIELDS, choice, choices, options

    if as_json and name is None:
        print_json(choices(what))
        return
    if name is None:
        table = Rows((what[:-1], "what it is, and when to choose it", "data", "paper"), prose=1)
        for found in choices(what):
            table.add(found.name, found.summary, found.data, found.paper)
        table.show()
        return
    found = choice(what, name)
    if as_json:
        print_json({**asdict(found), "options": options(what, name)})
        return
    out.print(f"[bold]{found.name}[/bold]:", end=" ")
    out.paragraph(f"{found.summary}\n")
    for paragraph in found.about.split("\n\n"):
        out.paragraph(f"{' '.join(paragraph.split())}\n")
    out.paragraph(f"Takes {', '.join(found.kinds)}. In a job file:\n")
    out.print(f"{FIELDS[what]}: {{name: {found.name}}}\n", markup=False)
    table = Rows(("option", "default", "what it does"), prose=2)
    for option in options(what, name):
        explanation = " ".join(option.explanation.split())
        table.add(option.name, str(option.default), explanation)
    table.show()
