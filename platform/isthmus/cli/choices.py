"""The commands that list what a job file can choose from: `variants`, `nets` and others."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli import completion
from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.tables import Rows
from isthmus.cli.terminal import out

if TYPE_CHECKING:
    from isthmus.plugins import Room
    from isthmus.spec import Sizes


def _argument(room: str) -> Any:
    return typer.Argument(
        help="Show the options and the paper of this one.",
        show_default=False,
        autocompletion=completion.plugins(room),
    )


def variants(
    name: Annotated[str | None, _argument("variants")] = None, as_json: AsJson = False
) -> None:
    """List the variants of autoencoders: how they learn, when to choose which, and the paper.

    Example: isthmus variants vqvae
    """
    _show("variants", name, as_json)


def nets(name: Annotated[str | None, _argument("nets")] = None, as_json: AsJson = False) -> None:
    """List the nets: for which data they are, when to choose which, and the paper.

    Example: isthmus nets conv
    """
    _show("nets", name, as_json)


def scores(
    name: Annotated[str | None, _argument("scores")] = None, as_json: AsJson = False
) -> None:
    """List the anomaly scores: what each measures, when to choose which, and the paper.

    Example: isthmus scores neighbours
    """
    _show("scores", name, as_json)


def corruptions(
    name: Annotated[str | None, _argument("corruptions")] = None, as_json: AsJson = False
) -> None:
    """List the kinds of noise that `variant: denoising` learns to remove.

    Example: isthmus corruptions jpeg
    """
    _show("corruptions", name, as_json)


def _show(what: "Room", name: str | None, as_json: bool) -> None:
    from isthmus.jobs.choices import LINES, automatic, choice, choices, options, sizes

    if as_json and name is None:
        print_json(choices(what))
        return
    if name is None:
        listed = choices(what)
        # Only where there are others: most lists are of Isthmus' own.
        origins = ("from",) if any(each.origin != "isthmus" for each in listed) else ()
        heads = (what[:-1], "what it is, and when to choose it", "data", "paper", *origins)
        table = Rows(heads, prose=1)
        for found in listed:
            origin = (found.origin,) if origins else ()
            table.add(found.name, found.summary, found.data, found.paper, *origin)
        table.show()
        return
    about_auto = automatic(what) if name == "auto" else None
    if about_auto is not None:
        about = " ".join(about_auto.split())
        print_json({"name": name, "about": about}) if as_json else out.paragraph(about)
        return
    found = choice(what, name)
    if as_json:
        known = {"sizes": sizes(name)} if what == "nets" else {}
        print_json({**asdict(found), "options": options(what, name), **known})
        return
    out.print(f"[bold]{found.name}[/bold]:", end=" ")
    out.paragraph(f"{found.summary}\n")
    for paragraph in found.about.split("\n\n"):
        out.paragraph(f"{' '.join(paragraph.split())}\n")
    if found.origin != "isthmus":
        out.paragraph(f"From {found.origin}.\n")
    out.paragraph(f"Takes {', '.join(found.kinds)}. In a job file:\n")
    out.print(f"{LINES[what].format(name=found.name)}\n", markup=False)
    table = Rows(("option", "default", "what it does"), prose=2)
    for option in options(what, name):
        explanation = " ".join(option.explanation.split())
        table.add(option.name, str(option.default), explanation)
    table.show()
    if what == "nets" and (of_net := sizes(name)) is not None:
        _show_sizes(of_net)


def _show_sizes(sizes: "Sizes") -> None:
    """Prints what the sizes of a job mean for a net."""
    table = Rows(("size", "options", "latent_dim", "epochs", "learning rate"), prose=1)
    for name, size in sizes:
        told = ", ".join(f"{option} {value}" for option, value in size.options.items())
        latent = "auto" if size.latent_multiplier == 1 else f"auto x {size.latent_multiplier:g}"
        table.add(name, told or "defaults", latent, str(size.epochs), f"{size.learning_rate:g}")
    out.print()
    table.show()
