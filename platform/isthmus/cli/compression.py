"""The commands `decompress` and `inspect`, which take a compressed file and need no pair named."""

from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.terminal import out

if TYPE_CHECKING:
    from isthmus.compression.header import Inspection

Compressed = Annotated[
    str, typer.Argument(help="A file that isthmus compress wrote.", show_default=False)
]
Output = Annotated[
    str,
    typer.Argument(help="The path of the rows; of a folder, a folder.", show_default=False),
]
OfModel = Annotated[
    str | None,
    typer.Option(
        "--model", help="The pair; by default the one that the file names.", show_default=False
    ),
]
Salvage = Annotated[
    bool,
    typer.Option("--salvage", help="Decode what is whole of a damaged file, and fill in the rest."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
OnDevice = Annotated[
    str, typer.Option("--device", help="auto, cpu or gpu; auto is a GPU if there is one.")
]


def decompress(
    source: Compressed,
    output: Output,
    model: OfModel = None,
    salvage: Salvage = False,
    force: Force = False,
    device: OnDevice = "auto",
    as_json: AsJson = False,
) -> None:
    """Write the rows of a compressed file in the form that they were compressed from.

    Example: isthmus decompress new.isth again.npz
    """
    from isthmus.cli.progress import rows_progress
    from isthmus.compression.decompressing import decompress as run
    from isthmus.spec import Settings

    asked = (source, output, Settings.from_environment())
    with rows_progress("decompressing") as on_rows:
        result = run(
            *asked, model=model, salvage=salvage, force=force, device=device, on_rows=on_rows
        )
    if as_json:
        print_json(result)
        return
    by = f"by {result.model} (pair {result.pair_id})"
    out.print(f"{result.rows:,} rows decompressed {by}: {result.output}")
    if result.lost:
        out.print(f"  {result.lost:,} of them are lost, and filled in")
    for damage in result.damages:
        out.print(f"  {damage}")


def inspect(file: Compressed, as_json: AsJson = False) -> None:
    """Say what is in a compressed file, and whether it is whole; no pair is needed.

    Example: isthmus inspect new.isth
    """
    from isthmus.compression.header import inspect as run

    found = run(file)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: "Inspection") -> None:
    from isthmus.cli.tables import Rows

    header = found.header
    table = Rows(headers=("", ""), has_header=False, prose=1)
    rows = "unknown" if found.rows is None else f"{found.rows:,}"
    shape = " x ".join(f"{side:,}" for side in header.row_shape)
    if found.any_size:
        shape = "any size"
    table.add("file", f"{found.file}, {found.size_bytes:,} bytes, format {found.format}")
    table.add("pair", f"{header.model}, {header.variant} (pair {header.pair_id})")
    table.add("rows", f"{rows} of {shape}, {header.kind}, in {found.files:,} file(s)")
    table.add("input", header.source)
    table.add("written", f"{header.created}, by isthmus {header.isthmus_version}")
    if header.quality is not None:
        table.add("quality", f"{header.quality:g}")
    if found.bits_per_value is not None:
        table.add("rate", f"{found.bits_per_value:.4g} bits a value")
    table.add("chunks", f"{found.chunks:,}")
    if found.parquet_chunks:
        table.add("", f"{found.parquet_chunks:,} of them parquet and zstd")
    for column in found.columns:
        used = ", ".join(column.predictors)
        error = "" if column.largest_error is None else f", error {column.largest_error:.4g}"
        table.add(column.name, f"predicted from {used}{error}")
    table.add("state", "whole" if not found.damages else "; ".join(found.damages))
    table.show()
