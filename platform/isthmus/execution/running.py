"""Runs a downstream job as its command does: loads the pair, works, and records what came out."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

from isthmus import own_process
from isthmus.errors import UsageError
from isthmus.execution.blocks import OnRows
from isthmus.execution.destinations import destination
from isthmus.execution.inputs import refuse_replaced_input
from isthmus.execution.provenance import recording
from isthmus.execution.reference_rows import no_reference_rows, reference_rows
from isthmus.execution.request import Request
from isthmus.execution.task import Task, options_of
from isthmus.execution.use import Use, UseResult
from isthmus.registry import Device, Pair, load
from isthmus.spec import Settings

if TYPE_CHECKING:
    from isthmus.execution.distributed import OnParts


def run(
    use: Use,
    model: str,
    source: str,
    output: str | Path,
    settings: Settings,
    request: Request | None = None,
    *,
    on_rows: OnRows | None = None,
    on_parts: OnParts | None = None,
) -> UseResult:
    """Runs a job with a registered pair.

    Tables, arrays, images and sounds are worked on in blocks, and may be larger than memory.

    Args:
        use: The job, with its own options.
        model: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        source: A file, a folder or a glob of tables, arrays, images or sounds; local or `s3://`.
        output: The path or the address of the result, which appears whole or not at all; with
            `request.address` a folder of parts.
        settings: The settings with the address of the registry.
        request: The request, with the options that all jobs have.
        on_rows: Called with (rows done, all rows) during the work.
        on_parts: Called with (parts done, all parts, rows done) where a cluster does it.

    Raises:
        UsageError: If the output exists and may not be replaced, or if options do not go together.
        ModelNotFound: If there is no such pair.
        DataError: If the input does not hold the kind of data that the pair was trained on, or if
            the output would replace it.
        RegistryError: If the pair is damaged.
        ClusterError: If the cluster does not answer, or gives up.
    """
    request = request or Request()
    if request.address is not None:
        from isthmus.execution.distributed import run_on_cluster  # it imports Ray

        return run_on_cluster(use, model, source, str(output), settings, request, on_parts)
    _check(use, output, request)
    pair = load(model, settings, cast("Device", request.device))
    return _run_checked(use, pair, source, output, settings, request, on_rows)


def run_loaded(
    use: Use,
    pair: Pair,
    source: str,
    output: str | Path,
    settings: Settings,
    request: Request | None = None,
    *,
    on_rows: OnRows | None = None,
) -> UseResult:
    """Does the same as `run` with a pair that is loaded, in this process."""
    request = request or Request()
    _check(use, output, request)
    return _run_checked(use, pair, source, output, settings, request, on_rows)


def _run_checked(
    use: Use,
    pair: Pair,
    source: str,
    output: str | Path,
    settings: Settings,
    request: Request,
    on_rows: OnRows | None,
) -> UseResult:
    """Runs a job whose output and options were checked."""
    own_process.settle()
    pair = use.adapted(pair, settings)
    use.check(pair)
    refuse_replaced_input(source, output)
    rows = reference_rows(pair, settings) if use.NEEDS_HELD_OUT else nullcontext(no_reference_rows)
    with (
        recording(pair, use.name(), settings) as recorder,
        rows as held_out,
        destination(output) as place,
    ):
        task = Task(
            pair, source, place.path, options_of(request), on_rows=on_rows, held_out=held_out
        )
        result = use.work(task).moved_to(place.final)
        found = recorder.of(place.path, place.address, result.rows)
        place.publish()
        recorder.record(found)
    return result


def _check(use: Use, output: str | Path, request: Request) -> None:
    """Refuses what can be refused before the pair is loaded."""
    if request.form is not None:
        raise UsageError("--form is that of parts, with --address; a file's form is its ending")
    with destination(output) as place:
        place.refuse_existing(force=request.force)
        use.OUTPUT.check_name(place.path)
