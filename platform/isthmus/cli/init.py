"""The command `init`, which drafts a job file for data."""

import re
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli import completion
from isthmus.cli.terminal import err, out
from isthmus.errors import DataError

_MOST_NAMES = 8
_Data = Annotated[
    str | None,
    typer.Argument(
        help="A file, a folder or a glob of tables, arrays, images or sounds; local, s3://, a "
        "database, or a set such as sklearn:digits.",
        show_default=False,
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="JOB.yaml",
        help="The job file to write; by default it is named after the data.",
        show_default=False,
    ),
]
_Query = Annotated[
    str | None,
    typer.Option(help="The query whose rows are read, for a database.", show_default=False),
]
_Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="data.FIELD=VALUE",
        help="A field of the data section for the job file: data.encoding=latin-1. Repeatable.",
        autocompletion=completion.fields,
    ),
]


def init(
    data: _Data = None,
    output: _Output = None,
    query: _Query = None,
    overrides: _Overrides = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing job file.")] = False,
    examples: Annotated[
        bool, typer.Option("--list", help="List the example jobs, and the sets to try.")
    ] = False,
) -> None:
    """Look at data and write a job file for them, with comments; isthmus validate accepts it.

    Example: isthmus init measurements.csv
    """
    if examples:
        _list_examples()
        return
    if data is None:
        raise typer.BadParameter("give a file or a folder of data, or --list")
    from isthmus.drafts import draft_job, name_of, refuse_existing, save

    path = output or Path(f"{name_of(data)}.yaml")
    refuse_existing(path, replace_existing=force)
    with err.status("looking at the data"):
        try:
            draft = draft_job(data, query, overrides or ())
        except DataError as error:
            raise _with_own_flag(error) from error
    save(draft, path, replace_existing=force)
    rows = "" if draft.rows is None else f", {draft.rows:,} {draft.counted}"
    out.print(f"[bold]{path}[/bold] is written: {draft.kind}{rows}", soft_wrap=True)
    for guess in draft.guesses:
        out.paragraph(f"  {guess}")
    if draft.left_out:
        shown = ", ".join(draft.left_out[:_MOST_NAMES])
        more = len(draft.left_out) - _MOST_NAMES
        out.print(
            f"  left out: {shown}{f' and {more} more' if more > 0 else ''}; the file says why",
            markup=False,
        )
    out.print(f"Next: isthmus train {path}", markup=False)


def _with_own_flag(error: DataError) -> DataError:
    """Returns an error that advises a field of the data section, with the flag that gives it here.

    There is no job file yet in which it could be set.
    """
    advised = re.search(r"set (data\.\w+)", str(error))
    if advised is None:
        return error
    return DataError(f"{error}; here, add --set {advised[1]}=VALUE to isthmus init")


def _list_examples() -> None:
    from isthmus.data.arrays.sklearn import SETS
    from isthmus_pipelines.examples import example_jobs

    out.print("Example jobs; isthmus train PATH runs one:")
    for job in example_jobs():
        out.print(f"  {job.path}\n    {job.description}", markup=False)
    out.print("Small sets to try, which need no file:")
    for name in SETS:
        out.print(f"  isthmus init sklearn:{name}")
