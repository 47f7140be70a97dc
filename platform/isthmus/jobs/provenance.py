"""What the files that a job writes say of where they came from, and MLflow of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from isthmus.data import Provenance, content_sha256, read_provenance
from isthmus.registry import Pair
from isthmus.spec import Settings
from isthmus.tracking import OutputRecord, OutputRecorder, this_host


def provenance_of(pair: Pair, source: str, **extra: object) -> Provenance:
    """The pair, the input, the time, and anything else worth saying."""
    return Provenance(
        pair_id=pair.manifest.pair_id,
        model=pair.reference,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        extra={"input": source, **extra},
    )


@contextmanager
def recorded(pair: Pair, job: str, settings: Settings) -> Iterator[Callable[[Path, int], None]]:
    """Gives a function to call with the output and its rows once it is written: MLflow keeps them.

    The store is opened beside the work. Where it cannot be written the results stand, and a line
    says so.
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
