"""`gate`: how a version stands beside today's champion and PCA, as a table or in numbers."""

from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli import completion
from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.tables import Rows
from isthmus.cli.terminal import err, out

if TYPE_CHECKING:
    from isthmus.promotion import Verdict

_STYLES = {"refused": "red", "undecided": "yellow"}


def gate(
    model: Annotated[
        str,
        typer.Argument(
            help="NAME/VERSION.", show_default=False, autocompletion=completion.versions
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Compare a version with today's champion and PCA, as promote would; changes nothing.

    Exits with 1 if promote would not make it champion: it is refused, or so few rows cannot tell.

    Example: isthmus gate digits/3
    """
    from isthmus.promotion import judge_reference
    from isthmus.spec import Settings

    settings = Settings.from_environment()
    with err.status("asking the registry") as status:
        verdict = judge_reference(model, settings, on_step=status.update)
    if as_json:
        print_json(verdict.numbers())
    else:
        _show(verdict)
    if not verdict.may_be_champion:
        raise typer.Exit(1)


def _show(verdict: "Verdict") -> None:
    from isthmus.promotion import words

    if verdict.obstacle:
        out.paragraph(str(verdict))
        return
    against = f" against {verdict.champion}" if verdict.champion else ""
    out.paragraph(
        f"{verdict.outcome}: {verdict.challenger}{against}, on {verdict.rows:,} held-out rows"
    )
    table = Rows(("verdict", "check", "this version", "beside", "difference", "asked for"), lead=2)
    for check in verdict.checks:
        said = f"{check.verdict}{words.power(check)}"
        table.add(said, check.name, *words.cells(check), verdict=_STYLES.get(check.verdict, ""))
    table.show()
    if verdict.remark:
        out.paragraph(verdict.remark)
    if verdict.outcome == "undecided" and not verdict.may_be_champion:
        name, _, version = verdict.challenger.partition("/")
        out.paragraph("So few rows cannot tell. If these figures convince you:")
        out.print(f"  isthmus promote {name} {version} --undecided")
