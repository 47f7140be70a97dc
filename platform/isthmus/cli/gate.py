"""`gate`: how a version stands beside today's champion and PCA, as a table or in numbers."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.terminal import err, out

if TYPE_CHECKING:
    from rich.table import Table

    from isthmus.promotion import Verdict

_COLOURED = {"passed": "passed", "refused": "[red]refused[/red]"}


def gate(
    model: Annotated[str, typer.Argument(help="NAME/VERSION.", show_default=False)],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the numbers as JSON, for programs.")
    ] = False,
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
        typer.echo(json.dumps(verdict.numbers(), indent=2))
    else:
        _show(verdict)
    if not verdict.may_be_champion:
        raise typer.Exit(1)


def _show(verdict: "Verdict") -> None:
    if verdict.obstacle:
        out.print(str(verdict), markup=False)
        return
    against = f" against {verdict.champion}" if verdict.champion else ""
    out.print(
        f"[bold]{verdict.challenger}[/bold]{against}, on {verdict.rows:,} held-out rows: "
        f"{verdict.outcome}"
    )
    out.print(_table(verdict))
    if verdict.remark:
        out.print(f"  {verdict.remark}", markup=False)
    if verdict.outcome == "undecided" and not verdict.may_be_champion:
        name, _, version = verdict.challenger.partition("/")
        out.print(
            "So few rows cannot tell. If these figures convince you: "
            f"isthmus promote {name} {version} --undecided"
        )


def _table(verdict: "Verdict") -> "Table":
    from rich.table import Table

    from isthmus.promotion import words

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("check", "this version", "beside", "difference", "asked for", ""):
        table.add_column(column, no_wrap=True)
    for check in verdict.checks:
        said = _COLOURED.get(check.verdict, f"[yellow]{check.verdict}[/yellow]")
        table.add_row(check.name, *words.cells(check), f"{said}{words.power(check)}")
    return table
