"""Reads `subscriptions.yaml`: the jobs that run again when a model gets a new champion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from isthmus import uses
from isthmus.errors import DataError, Fault, SpecError
from isthmus.execution.inputs import refuse_replaced_input
from isthmus.spec import SpecModel
from isthmus.spec.list_file import read_list
from isthmus.spec.names import ENTRY_NAME

LONGEST_S = 3600.0


class SubscriptionSpec(SpecModel):
    """A job that follows a model's champion, as an entry of the file."""

    model: str = Field(pattern=ENTRY_NAME)
    """The pair's name."""
    job: str
    """The downstream job that runs on the input: denoise, detect."""
    input: str = Field(min_length=1)
    """The path of the input (npz, npy, csv, parquet or a folder), relative to this file, or an
    `s3://` URL."""
    output: str = Field(min_length=1)
    """The path of the output, relative to this file. Each run replaces the whole output."""
    timeout_s: float = Field(default=LONGEST_S, gt=0.0)
    """The longest run in seconds. A longer one is ended and counts as failed, because the others
    wait for it."""

    @field_validator("job")
    @classmethod
    def _is_a_job(cls, job: str) -> str:
        names = uses.names()
        if job not in names:
            raise ValueError(f"must be {' or '.join(map(repr, names))}")
        return job


@dataclass(frozen=True)
class Subscription:
    """A job that follows a model's champion.

    Attributes:
        model: The pair's name.
        job: The command.
        source: The path of the input.
        output: The path of the output.
        timeout_s: The time in seconds after which a run counts as failed.
    """

    model: str
    job: str
    source: str
    output: Path
    timeout_s: float = LONGEST_S

    def __str__(self) -> str:
        return f"{self.job} {self.source} to {self.output}"


def read_subscriptions(path: Path) -> tuple[Subscription, ...]:
    """Reads a subscriptions file and checks it.

    Raises:
        SpecError: If the file has faults. The message lists all of them.
    """
    entries, lines, faults = read_list(path, "subscriptions", SubscriptionSpec)
    read = tuple(_subscription(each, path.parent) for each in entries)
    outputs: dict[Path, int] = {}
    for number, each in enumerate(read):
        where = f"subscriptions.{number}.output"
        line = lines.get(where)
        try:
            refuse_replaced_input(each.source, each.output)
            uses.get(each.job).OUTPUT.check_name(each.output)
        except DataError as error:
            faults.append(Fault(where, str(error), line))
        if each.output in outputs:
            first = outputs[each.output]
            message = f"{each.output} is that of subscriptions.{first} too; name another"
            faults.append(Fault(where, message, line))
        outputs.setdefault(each.output, number)
    if faults:
        raise SpecError(faults, str(path))
    return read


def _subscription(spec: SubscriptionSpec, folder: Path) -> Subscription:
    is_elsewhere = "://" in spec.input
    source = spec.input if is_elsewhere else str((folder / spec.input).absolute())
    output = (folder / spec.output).absolute()
    return Subscription(spec.model, spec.job, source, output, spec.timeout_s)
