"""The retraining schedules: reads `schedules.yaml`, serves it on a cron, or runs one entry now."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from isthmus.errors import Fault, SpecError, UsageError, nearest
from isthmus.jobs.specs import load_job_file
from isthmus.spec import Settings, SpecModel
from isthmus.spec.list_file import read_list
from isthmus.spec.names import ENTRY_NAME

DEFAULT_FILE = Path("pipelines") / "schedules.yaml"


class Schedule(SpecModel):
    """A job that is retrained on a cron."""

    name: str = Field(pattern=ENTRY_NAME)
    """The name of the schedule; `isthmus schedule run NAME` runs it now."""
    job: str = Field(min_length=1)
    """The job file, relative to the schedules file."""
    cron: str
    """The times: minute, hour, day of month, month, day of week, as in `0 3 * * *`."""
    timezone: str = "UTC"
    """The time zone of `cron`, as in `Europe/Berlin`."""
    set: tuple[str, ...] = ()
    """Overrides for the job, `training.epochs=5`."""
    enabled: bool = True
    """Whether `isthmus schedule serve` runs it."""

    @field_validator("cron")
    @classmethod
    def _is_a_cron(cls, value: str) -> str:
        try:
            CronSim(value, datetime.now(UTC))
        except CronSimError:
            raise ValueError(
                f'"{value}" is no cron; write minute, hour, day of month, month, day of week, as '
                "in 0 3 * * *"
            ) from None
        return value

    @field_validator("timezone")
    @classmethod
    def _is_a_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(
                f'"{value}" is no time zone; use UTC or one as Europe/Berlin'
            ) from None
        return value


@dataclass(frozen=True)
class Entry:
    """A schedule and the path of its job file.

    Attributes:
        schedule: The schedule as the file has it.
        job: The path of the job file.
    """

    schedule: Schedule
    job: Path


def read_schedules(path: Path) -> tuple[Entry, ...]:
    """Reads and checks a schedules file and the jobs that it names.

    Raises:
        SpecError: If they have faults; the error holds all of them.
    """
    schedules, _, faults = read_list(path, "schedules", Schedule)
    entries = tuple(Entry(each, path.parent / each.job) for each in schedules)
    names = [each.name for each in schedules]
    faults += [
        Fault("schedules", f'"{name}" stands twice; give each a name of its own')
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    for entry in entries:
        try:
            load_job_file(entry.job, entry.schedule.set)
        except SpecError as error:
            faults += [
                Fault(entry.schedule.name, f"{entry.job}: {fault}") for fault in error.faults
            ]
    if faults:
        raise SpecError(faults, str(path))
    return entries


def find_schedule(name: str, path: Path) -> Entry:
    """Returns one entry of a schedules file.

    Raises:
        UsageError: If there is none of that name.
    """
    entries = read_schedules(path)
    for entry in entries:
        if entry.schedule.name == name:
            return entry
    valid = [entry.schedule.name for entry in entries]
    raise UsageError(f'{path} has no schedule "{name}"; {nearest(name, valid)}')


def serve_schedules(path: Path, settings: Settings) -> None:
    """Serves the enabled schedules with Prefect, one run at a time, until Ctrl-C.

    The caller must set Prefect's API (`stack.scheduler.prefect_api`).

    Raises:
        SpecError: If the file has faults.
        UsageError: If no schedule in it is enabled.
    """
    entries = [entry for entry in read_schedules(path) if entry.schedule.enabled]
    if not entries:
        raise UsageError(f"{path}: no schedule is enabled; set enabled: true on one")
    _let_runs_find(settings)
    from prefect import serve
    from prefect.schedules import Cron

    from pipelines.retrain import retrain

    deployments = [
        retrain.to_deployment(
            entry.schedule.name,
            schedule=Cron(entry.schedule.cron, timezone=entry.schedule.timezone),
            parameters={"job": str(entry.job.absolute()), "overrides": list(entry.schedule.set)},
            description=f"Retrains {entry.job}, and promotes what is better.",
            tags=["isthmus"],
        )
        for entry in entries
    ]
    # Two training runs at once would each have half of the machine and end no sooner.
    serve(*deployments, limit=1, print_starting_message=False)


def _let_runs_find(settings: Settings) -> None:
    """Sets the environment of the runs, which are processes that read their settings from it."""
    os.environ.update(
        ISTHMUS_HOME=str(settings.home),
        ISTHMUS_STORAGE=settings.storage_path,
        MLFLOW_TRACKING_URI=settings.tracking_uri,
        PREFECT_LOGGING_TO_API_ENABLED="true",
        PREFECT_LOGGING_SETUP_ENABLED="true",
    )
