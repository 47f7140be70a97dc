"""Denoises a file: encodes and decodes every row, and writes the rows in the form of the input."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from isthmus.data import RangeWatch, UseOptions, open_input, write_behind
from isthmus.data.watching import FAR_OUTSIDE_OF_NOISE
from isthmus.jobs.blocks import OnRows, blocks_of
from isthmus.jobs.inputs import refuse_replaced_input
from isthmus.jobs.provenance import provenance_of, recorded
from isthmus.registry import Device, Pair, load
from isthmus.spec import Settings
from isthmus.spec.secrets import without_password


@dataclass(frozen=True)
class DenoiseResult:
    """The result of a denoising job.

    Attributes:
        rows: Number of denoised rows.
        output: The path of the denoised rows.
        model: The pair's name and version, `digits/3`.
        pair_id: The id of the pair that denoised them, which the output holds too.
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
    *,
    options: UseOptions | None = None,
    device: Device = "auto",
) -> DenoiseResult:
    """Denoises a file or folder with a registered pair.

    Tables and arrays are denoised in blocks, and may be larger than memory; an npz file is held in
    memory as a whole.

    Args:
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        source: An npz, npy, csv or parquet file, or a folder of images or sounds; local or `s3://`.
        output: The path of the result, which appears whole or not at all.
        settings: The settings with the address of the registry.
        on_rows: Called with (rows done, all rows) during the work.
        options: What is asked for of the input, such as resampling.
        device: The device that the pair computes on; `auto` is a GPU if there is one.

    Raises:
        UsageError: If a GPU is asked for and there is none.
        ModelNotFound: If there is no such pair.
        DataError: If the file does not hold the kind of data that the pair was trained on, or if
            the output would replace it.
        RegistryError: If the pair is damaged.
    """
    pair = load(model, settings, device)
    with recorded(pair, "denoise", settings) as record:
        result = denoise_with(pair, source, output, on_rows, options=options)
        record(result.output, result.rows)
    return result


def denoise_with(
    pair: Pair,
    source: str,
    output: str | Path,
    on_rows: OnRows | None = None,
    *,
    options: UseOptions | None = None,
) -> DenoiseResult:
    """Does the same as `denoise`, with a pair that is already loaded."""
    refuse_replaced_input(source, output)
    stream = open_input(pair.manifest.data, source, pair.manifest.rows_taken, options)
    watch = RangeWatch(
        pair.manifest.rows_taken, without_password(source), may_leave=FAR_OUTSIDE_OF_NOISE
    )
    stream.check_output(Path(output))
    rows = 0
    with (
        stream.open_output(Path(output), provenance_of(pair, source, job="denoise")) as write_now,
        write_behind(write_now) as write,
        closing(blocks_of(stream, on_rows, carry=True)) as blocks,
    ):
        for block, on_block_rows in blocks:
            watch.look(block.values)
            write(block, pair.denoise(block.values, on_rows=on_block_rows, as_read=True))
            rows += len(block.values)
    watch.report()
    return DenoiseResult(rows, Path(output), pair.reference, pair.manifest.pair_id)
