"""The provenance of a job's output: what its file and MLflow record about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from isthmus.data import Provenance, UseOptions, content_sha256, read_provenance
from isthmus.jobs.inputs import InputPart
from isthmus.registry import Pair
from isthmus.spec import Settings
from isthmus.spec.secrets import without_password
from isthmus.tracking import OutputRecord, OutputRecorder, this_host


def provenance_of(pair: Pair, source: str, **extra: object) -> Provenance:
    """Returns the provenance of an output: the pair, the input, the time, and any extra entries."""
    return Provenance(
        pair_id=pair.manifest.pair_id,
        model=pair.reference,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        extra={"input": without_password(source), **extra},
    )


def how_read(options: UseOptions | None) -> dict[str, object]:
    """Returns the entries that say how the input is to be read once more, if not as usual."""
    found: dict[str, object] = {}
    if options is not None and options.resample:
        found["resample"] = True
    if options is not None and options.query is not None:
        found["query"] = options.query
    return found


def provenance_of_detection(
    pair: Pair,
    source: str,
    control: Mapping[str, object],
    options: UseOptions,
    part: InputPart | None,
) -> Provenance:
    """Returns the provenance of scores.

    Args:
        pair: The pair that scores.
        source: The input.
        control: The entries about the rate that is kept, as `Control.said` returns them.
        options: The options that the input is read with.
        part: The part of the input that is scored, if not all of it is.
    """
    said = {**control, **how_read(options), **({} if part is None else part.noted)}
    return provenance_of(pair, source, job="detect", **said)


@contextmanager
def recorded(pair: Pair, job: str, settings: Settings) -> Iterator[Callable[[Path, int], None]]:
    """Yields a function that records a written output and its number of rows in MLflow.

    The store is opened during the work. If it cannot be written to, the output remains valid, and a
    log line reports the failure.
    """
    recorder = OutputRecorder(settings)

    def record(output: Path, rows: int) -> None:
        said = read_provenance(output)
        if said is None:
            return  # replaced or removed since, by somebody else
        try:
            sha256 = content_sha256(output)
        except OSError:
            return
        found = OutputRecord(
            job=job,
            path=str(output.absolute()),
            host=this_host(),
            sha256=sha256,
            source=_absolute(str(said.extra.get("input", ""))),
            rows=rows,
            pair_id=said.pair_id,
            model=said.model,
            created=said.created,
        )
        recorder.record(found, list(pair.manifest.models.values()))

    try:
        yield record
    finally:
        recorder.cancel()


def _absolute(source: str) -> str:
    return str(Path(source).absolute()) if Path(source).exists() else source
