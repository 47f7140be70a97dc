"""The job of rows that Python holds: its data section names the file that they are kept in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isthmus.data.given import is_frame
from isthmus.data.prepared.keeping import keep_rows
from isthmus.errors import DataError, Fault, SpecError, UsageError
from isthmus.jobs.specs import load_job_file
from isthmus.spec import JobSpec, Settings


@contextmanager
def job_on_rows(
    job: str | Path | Mapping[str, object] | JobSpec,
    rows: Any,
    overrides: Sequence[str],
    settings: Settings,
) -> Iterator[JobSpec | Mapping[str, object]]:
    """Provides a job whose `data.path` is a file of the rows, whatever it was.

    If the block refuses the job or the rows, the file is deleted again, unless it was there before,
    and the message is about the rows instead of a file that their owner does not know.

    Args:
        job: A job file's path, its content as a mapping, or a spec.
        rows: A frame, an array or a tensor.
        overrides: Overrides for a job file.
        settings: The settings with the home folder, in which the file is kept.

    Raises:
        SpecError: If the job has faults.
        DataError: If the rows are no rows, or cannot be kept.
    """
    if isinstance(job, Mapping) and not isinstance(job.get("data", {}), Mapping):
        raise SpecError([Fault("data", "is no section; give its fields, or leave it out")], "")
    kept = keep_rows(rows, settings.home / "data")
    try:
        yield _reading(job, str(kept.path), overrides)
    except UsageError as error:
        if kept.is_new:
            kept.path.unlink(missing_ok=True)
        if not isinstance(error, DataError):
            raise
        called = "frame" if is_frame(rows) else "array"
        said = str(error).replace(str(kept.path), called).replace(kept.path.name, called)
        raise DataError(said) from error


def _reading(
    job: str | Path | Mapping[str, object] | JobSpec, path: str, overrides: Sequence[str]
) -> JobSpec | Mapping[str, object]:
    """Returns the job with another `data.path`."""
    if isinstance(job, str | Path):
        return load_job_file(job, [*overrides, f"data.path={json.dumps(path)}"])
    if isinstance(job, JobSpec):
        return job.model_copy(update={"data": job.data.model_copy(update={"path": path})})
    section = job.get("data", {})
    assert isinstance(section, Mapping)  # noqa: S101 (as was looked at)
    return {**job, "data": {**section, "path": path}}
