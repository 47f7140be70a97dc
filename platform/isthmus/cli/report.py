"""The command `report`, which makes a page of a file of scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.terminal import err, out

if TYPE_CHECKING:
    from isthmus.spec import Settings

Scores = Annotated[
    Path, typer.Argument(help="A file of scores that detect wrote.", show_default=False)
]
Page = Annotated[
    Path | None,
    typer.Option(
        *("--output", "-o"), help="The page; by default SCORES.html beside it.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing page.")]


def report(scores: Scores, output: Page = None, force: Force = False) -> None:
    """Make one HTML page of what detect found: scores, the strangest rows, drift of the input.

    The page needs no network. It reads the input and the pair again; what is not there any more is
    left out, and the page says so.

    Example: isthmus report scores.csv -o page.html
    """
    from isthmus.errors import UsageError
    from isthmus.jobs.report import page_beside
    from isthmus.spec import Settings

    page = output or page_beside(scores)
    if page.exists() and not force:
        raise UsageError(f"{page} exists already; choose another with -o, or add --force")
    write_report(scores, page, Settings.from_environment())


def check_report(page: Path, scores: Path) -> None:
    """Refuses a page that could not be written, before the work."""
    from isthmus.errors import UsageError
    from isthmus.report import check_page

    if page == scores:
        raise UsageError(f"{page} is the output of the scores too; give the page another name")
    check_page(page)


def write_report(scores: Path, page: Path, settings: "Settings") -> None:
    """Makes the page and prints where it is, and what it lacks."""
    from isthmus.jobs.report import report as run

    with err.status("making the page"):
        result = run(scores, page, settings)
    for lack in result.lacks:
        err.print(lack)
    what = "steps" if result.is_of_steps else "rows"
    out.print(f"{result.anomalies:,} anomalies in {result.rows:,} {what}: {result.page}")
