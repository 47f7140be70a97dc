"""The job of rows that Python holds: its data section names the file that they are kept in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus.data.prepared.keeping import keep_rows
from isthmus.errors import Fault, SpecError
from isthmus.jobs.specs import load_job_file
from isthmus.spec import JobSpec, Settings


def job_on_rows(
    job: str | Path | Mapping[str, object] | JobSpec,
    rows: Any,
    overrides: Sequence[str],
    settings: Settings,
) -> JobSpec | Mapping[str, object]:
    """Returns a job whose `data.path` is a file of the rows, whatever it was.

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
    path = str(keep_rows(rows, settings.home / "data"))
    if isinstance(job, str | Path):
        return load_job_file(job, [*overrides, f"data.path={json.dumps(path)}"])
    if isinstance(job, JobSpec):
        return job.model_copy(update={"data": job.data.model_copy(update={"path": path})})
    section = job.get("data", {})
    assert isinstance(section, Mapping)  # noqa: S101 (as was looked at)
    return {**job, "data": {**section, "path": path}}
