"""The commands `delete` and `prune`, which remove versions that nothing needs."""

import re
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli import completion
from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.numbers import whole_number
from isthmus.cli.terminal import err, out
from isthmus.errors import UsageError
from isthmus.progress.counting import counted

if TYPE_CHECKING:
    from isthmus.upkeep import Pruned

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def delete(
    model: Annotated[
        str,
        typer.Argument(
            help="NAME/VERSION.", show_default=False, autocompletion=completion.versions
        ),
    ],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a version: both halves and their files. History and lineage show it as deleted.

    A version is kept that has an alias, has made an output, or that another one is mapped to, or a
    run starts from that is not finished.

    Example: isthmus delete digits/3
    """
    from isthmus import upkeep
    from isthmus.spec import Settings

    settings = Settings.from_environment()
    name = upkeep.delete(model, settings, is_dry_run=True)
    _confirm(f"Delete {name}, its encoder and its decoder?", "delete", model, yes)
    upkeep.delete(model, settings)
    if as_json:
        print_json({"deleted": name})
        return
    out.print(f"{name} is deleted")


def prune(
    name: Annotated[
        str,
        typer.Argument(
            help="The pair's name.", show_default=False, autocompletion=completion.pairs
        ),
    ],
    keep: Annotated[
        int, typer.Option(help="Keep that many of the newest versions.", parser=whole_number)
    ] = 20,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Keep what is younger, as in 90d, 12w or 36h."),
    ] = None,
    runs: Annotated[
        bool,
        typer.Option(
            "--runs",
            help="Delete old runs too, failed ones included, with artifacts and checkpoints.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be deleted.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete the old versions of a pair that nothing needs, and name those that are kept.

    Versions are kept that have an alias, are next in rollback, made an output on record, that a
    kept version is mapped to, or a run starts from that is not finished.

    Example: isthmus prune digits --keep 20 --older-than 90d --dry-run
    """
    from isthmus import upkeep
    from isthmus.spec import Settings

    settings = Settings.from_environment()
    age = _age(older_than)

    def run(is_dry_run: bool) -> "Pruned":
        return upkeep.prune(
            name, settings, keep=keep, older_than=age, runs=runs, is_dry_run=is_dry_run
        )

    with err.status("asking the registry"):
        found = run(True)
    if not dry_run and (found.deleted or found.runs):
        if not yes and not as_json:
            _show(found)
        _confirm("Delete them?", "prune", name, yes)
        with err.status("deleting"):
            found = run(False)
    if as_json:
        print_json(found)
        return
    _show(found)


def _show(found: "Pruned") -> None:
    for each in found.spared:
        out.paragraph(str(each))
    if not (found.deleted or found.runs):
        out.print(f"{found.name} has no version to delete", markup=False)
        return
    would = "would be deleted" if found.is_dry_run else "deleted"
    if found.deleted:
        out.paragraph(
            f"{counted(len(found.deleted), 'versions')} {would}: {', '.join(found.deleted)}"
        )
    if found.runs:
        out.paragraph(f"{counted(len(found.runs), 'runs')} {would}: {', '.join(found.runs)}")
    if found.runs and not found.is_dry_run:
        out.paragraph("MLflow keeps the records of deleted runs; mlflow gc removes them for good")


def _confirm(question: str, command: str, what: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"isthmus {command} {what} asks before it deletes, and there is no terminal to ask in; "
            "add --yes"
        )
    typer.confirm(question, abort=True, err=True)


def _age(text: str | None) -> timedelta | None:
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,5})([hdw])", text)
    if found is None:
        raise typer.BadParameter(f'--older-than "{text}" is no age; write 90d, 12w or 36h')
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
