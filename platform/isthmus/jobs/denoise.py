"""Denoise a file: every row through the bottleneck and back, written in the form it came in."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from isthmus.data import open_input, write_behind
from isthmus.jobs.blocks import OnRows, blocks_of
from isthmus.jobs.provenance import provenance_of, recorded
from isthmus.registry import Pair, load
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
    on_rows: OnRows | None = None,
) -> DenoiseResult:
    """Denoises a file or folder with a registered pair.

    Tables and arrays are denoised a block at a time, and may be larger than the memory; an npz is
    held whole.

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
    with recorded(pair, "denoise", settings) as record:
        result = denoise_with(pair, source, output, on_rows)
        record(result.output, result.rows)
    return result


def denoise_with(
    pair: Pair, source: str, output: str | Path, on_rows: OnRows | None = None
) -> DenoiseResult:
    """As `denoise`, with a pair that is loaded."""
    stream = open_input(pair.manifest.data, source, pair.manifest.plan.row_shape)
    stream.check_output(Path(output))
    rows = 0
    with (
        stream.open_output(Path(output), provenance_of(pair, source, job="denoise")) as write_now,
        write_behind(write_now) as write,
        closing(blocks_of(stream, on_rows, carry=True)) as blocks,
    ):
        for block, on_block_rows in blocks:
            write(block, pair.denoise(block.values, on_rows=on_block_rows))
            rows += len(block.values)
    return DenoiseResult(rows, Path(output), pair.reference, pair.manifest.pair_id)
