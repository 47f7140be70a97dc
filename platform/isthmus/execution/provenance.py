"""The provenance of a job's output: what its file and MLflow record about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from isthmus.data import Provenance, UseOptions, content_sha256, read_provenance
from isthmus.data.storage.files import is_in_s3
from isthmus.registry import Pair
from isthmus.spec import Settings
from isthmus.spec.secrets import without_password
from isthmus.tracking import OutputRecord, OutputRecorder, this_host

HOST_OF_S3 = "S3"
"""The name that records give to the machine of an output in S3."""


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


class Recording:
    """Records one output of a job in MLflow."""

    def __init__(self, pair: Pair, job: str, recorder: OutputRecorder) -> None:
        """Creates it; nothing is recorded yet."""
        self._pair, self._job, self._recorder = pair, job, recorder

    def of(self, path: Path, address: str, rows: int) -> OutputRecord | None:
        """Returns the record of an output that is written.

        Args:
            path: The path of the output on this machine.
            address: The place that it is brought to: the same path, or an address in S3.
            rows: The number of rows.

        Returns:
            `None` if somebody has replaced or removed it since.
        """
        said = read_provenance(path)
        try:
            sha256 = content_sha256(path)
        except OSError:
            return None
        if said is None:
            return None
        goes_to_s3 = is_in_s3(address)
        return OutputRecord(
            job=self._job,
            path=address if goes_to_s3 else str(path.absolute()),
            host=HOST_OF_S3 if goes_to_s3 else this_host(),
            sha256=sha256,
            source=_absolute(str(said.extra.get("input", ""))),
            rows=rows,
            pair_id=said.pair_id,
            model=said.model,
            created=said.created,
        )

    def record(self, found: OutputRecord | None) -> None:
        """Records it, with the pair's halves; `None` is not recorded."""
        if found is not None:
            self._recorder.record(found, list(self._pair.manifest.models.values()))


@contextmanager
def recording(pair: Pair, job: str, settings: Settings) -> Iterator[Recording]:
    """Yields what records a written output in MLflow.

    The store is opened during the work. If it cannot be written to, the output remains valid, and a
    log line reports the failure.
    """
    recorder = OutputRecorder(settings)
    try:
        yield Recording(pair, job, recorder)
    finally:
        recorder.cancel()


def _absolute(source: str) -> str:
    return str(Path(source).absolute()) if Path(source).exists() else source
