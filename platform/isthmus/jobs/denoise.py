"""Denoise a file: every row through the bottleneck and back, written in the form it came in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from isthmus.data import check_reconstructions_output, read_input, write_reconstructions
from isthmus.jobs.provenance import provenance_of
from isthmus.registry import load
from isthmus.spec import Settings


@dataclass(frozen=True)
class DenoiseResult:
    """What was written.

    Attributes:
        rows: How many were denoised.
        output: Where they are.
        model: The pair's name and version, `digits/3`.
        pair_id: The pair that made it; the output names it too.
    """

    rows: int
    output: Path
    model: str
    pair_id: str


def denoise(
    model: str,
    source: str,
    output: str | Path,
    settings: Settings,
    on_rows: Callable[[int, int], None] | None = None,
) -> DenoiseResult:
    """Denoises a file or folder with a registered pair.

    Args:
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        source: npz, npy, csv, parquet, or a folder of images or sounds; local or `s3://`.
        output: Where the result goes; it appears whole or not at all.
        settings: Where the registry is.
        on_rows: Told (rows done, rows in all) as the work goes on.

    Raises:
        ModelNotFound: If there is no such pair.
        DataError: If the file is not what the pair was trained on.
        RegistryError: If the pair is damaged.
    """
    pair = load(model, settings)
    rows = read_input(pair.manifest.data, source, pair.manifest.plan.row_shape)
    check_reconstructions_output(rows, Path(output))
    denoised = pair.denoise(rows.values, on_rows=on_rows)
    write_reconstructions(rows, denoised, Path(output), provenance_of(pair, source, job="denoise"))
    return DenoiseResult(len(rows.values), Path(output), pair.reference, pair.manifest.pair_id)
