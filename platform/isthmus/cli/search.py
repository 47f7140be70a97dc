"""The command `search`, which finds the rows of an index that are nearest to those of a file."""

from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.terminal import out

if TYPE_CHECKING:
    from isthmus.embedding.searching import SearchResult
    from isthmus.registry import Device

Index = Annotated[
    str, typer.Option("--index", help="What isthmus embed --index wrote: a folder, or s3://.")
]
Row = Annotated[
    str, typer.Option("--row", help="The rows to look for: a file, a folder or a glob.")
]
Count = Annotated[int, typer.Option("--k", "-k", help="How many neighbours each row gets.")]
ByMetric = Annotated[
    Literal["l2", "cosine"] | None,
    typer.Option(
        "--metric", help="l2 (Euclidean) or cosine; by default the index's own.", show_default=False
    ),
]
OfModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The pair that encodes the rows; by default the index's own.",
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", help="Write the neighbours to a csv, parquet or npz.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
OnDevice = Annotated[
    str, typer.Option("--device", help="auto, cpu or gpu; auto is a GPU if there is one.")
]
_MOST_PRINTED = 50


def search(
    index: Index,
    row: Row,
    k: Count = 10,
    metric: ByMetric = None,
    model: OfModel = None,
    output: Output = None,
    force: Force = False,
    device: OnDevice = "auto",
    as_json: AsJson = False,
) -> None:
    """Find the embedded rows that are nearest to the rows of a file.

    Example: isthmus search --index latents.parquet.index --row new.npz
    """
    from isthmus.cli.progress import rows_progress
    from isthmus.embedding.searching import search as run
    from isthmus.execution.destinations import destination
    from isthmus.spec import Settings

    if output is not None:
        with destination(output) as place:
            place.refuse_existing(force=force)
    with rows_progress("searching") as on_rows:
        result = run(
            *(index, row, Settings.from_environment(), on_rows),
            k=k,
            metric=metric,
            model=model,
            output=output,
            device=cast("Device", device),
        )
    if as_json:
        columns = {name: column.tolist() for name, column in result.columns.items()}
        print_json({**vars(result), "columns": columns})
    else:
        _print(result)


def _print(result: "SearchResult") -> None:
    from isthmus.cli.tables import Rows

    where = "" if result.output is None else f": {result.output}"
    out.print(
        f"{result.k:,} nearest of each of {result.rows:,} rows, {result.metric} distance, by "
        f"{result.model} (pair {result.pair_id}){where}"
    )
    if not result.columns:
        return
    table = Rows(headers=list(result.columns))
    found = list(zip(*(column.tolist() for column in result.columns.values()), strict=True))
    for line in found[:_MOST_PRINTED]:
        table.add(*(f"{each:.4g}" if isinstance(each, float) else str(each) for each in line))
    table.show()
    if len(found) > _MOST_PRINTED:
        out.print(f"... {len(found) - _MOST_PRINTED:,} more; --output FILE has them all")
