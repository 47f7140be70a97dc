"""The retraining schedules: reads `schedules.yaml`, serves it on a cron, or runs one entry now."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from isthmus.errors import Fault, SpecError, UsageError, nearest
from isthmus.extras import importing
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
        # Prefect reads a sixth field as seconds, and other programs as the year.
        if len(value.split()) != 5 or not _is_accepted(value, "UTC"):
            raise ValueError(
                f'"{value}" is no cron of Prefect\'s; write five fields: minute, hour, day of '
                "month, month, day of week, as in 0 3 * * *"
            )
        if _never_comes(value):
            raise ValueError(f'"{value}" names a day that never comes; choose another')
        return value

    @field_validator("timezone")
    @classmethod
    def _is_a_timezone(cls, value: str) -> str:
        if not value or not _is_accepted("0 3 * * *", value):
            raise ValueError(f'"{value}" is no time zone; use UTC or one as Europe/Berlin')
        return value


def _is_accepted(cron: str, timezone: str) -> bool:
    """Returns whether Prefect, which runs the schedules, accepts a cron in a time zone."""
    # Imported here, because commands that read no schedule need not wait for Prefect.
    with importing("schedule", needed_by="isthmus schedule"):
        from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=cron, timezone=timezone)
    except ValueError:
        return False
    return True


def _never_comes(cron: str) -> bool:
    """Returns whether Prefect's server finds no time for a cron, as for `0 3 31 2 *`."""
    from prefect.server.schemas.schedules import CronSchedule

    try:
        return not asyncio.run(CronSchedule(cron=cron, timezone="UTC").get_dates(n=1))
    except ValueError:
        return True


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

    from isthmus_pipelines.retrain import retrain

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
