"""Does a job for one file of an input, as one part of its results; a cluster's workers do this."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus import own_process
from isthmus.data import Files, Provenance, UseOptions, sidecar_path
from isthmus.data.outputs.parts_folder import PartsFolder
from isthmus.data.outputs.rejected import REJECTED_SCHEMA
from isthmus.data.outputs.results import table_beside
from isthmus.errors import IsthmusError
from isthmus.execution.inputs import InputPart
from isthmus.execution.task import Task
from isthmus.execution.use import Use
from isthmus.registry import Device, Pair
from isthmus.registry.carried import CarriedPair


@dataclass(frozen=True)
class PartsPlan:
    """The work of all parts: the job, the files, and the folder of the outputs.

    Attributes:
        use: The job.
        source: The input, as messages call it.
        files: The files.
        names: The name of the part of each file.
        noted: The notes of each part's provenance besides the pair and the job.
        output: The folder of the parts.
        options: The options for reading the input.
    """

    use: Use
    source: str
    files: Files
    names: tuple[str, ...]
    noted: tuple[Mapping[str, object], ...]
    output: PartsFolder
    options: UseOptions

    @property
    def counts(self) -> tuple[str, ...]:
        """The names of the counts in a part's provenance, which are known only when it is done."""
        return ("rows", *self.use.COUNTS, "rejected")

    @property
    def tables(self) -> Mapping[str, pa.Schema]:
        """The tables that lie beside an output, by name, with their columns."""
        return {"rejected": REJECTED_SCHEMA, **self.use.TABLES_BESIDE}


@dataclass(frozen=True)
class PartOutcome:
    """The outcome of one part: its counts, or the reason why it failed.

    Attributes:
        number: The position of its file.
        counts: The counts, by the names of the plan.
        fault: The reason why the file cannot be worked on; empty if it can.
    """

    number: int
    counts: Mapping[str, int] = field(default_factory=dict)
    fault: str = ""


class PartWorker:
    """Does the parts of a plan; an actor of Ray's loads the pair once."""

    def __init__(self, pair: CarriedPair, device: Device, plan: PartsPlan) -> None:
        self._pair = pair.load(device)
        own_process.settle()
        self._plan = plan

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Does the parts with the numbers in a batch; returns what came of each, as JSON."""
        found = [asdict(self._outcome(int(number))) for number in batch["number"]]
        return {"outcome": np.array([json.dumps(each) for each in found], dtype=np.object_)}

    def _outcome(self, number: int) -> PartOutcome:
        try:
            return do_part(self._pair, self._plan, number)
        except IsthmusError as error:
            return PartOutcome(number, fault=str(error))


def do_part(pair: Pair, plan: PartsPlan, number: int) -> PartOutcome:
    """Does one file; its part appears whole, after its provenance and the tables beside it.

    Whoever does it again, because a process was killed, writes the same part.

    Raises:
        DataError: If the file cannot be read, or the part cannot be written.
    """
    name = plan.names[number]
    one = plan.use.OUTPUT.one_of(plan.files, number)
    with plan.output.staging() as folder:
        staged = folder / Path(name).name
        part = InputPart(one, plan.noted[number])
        result = plan.use.work(Task(pair, plan.source, staged, plan.options, part=part))
        for table in plan.tables:
            if table_beside(staged, table).exists():
                plan.output.put(table_beside(staged, table), hidden_name(name, table))
        counts = {count: int(getattr(result, count)) for count in plan.counts}
        note = sidecar_path(staged)
        provenance = Provenance.from_json(note.read_text(encoding="utf-8"))
        assert provenance is not None  # noqa: S101 (just written)
        counted = replace(provenance, extra={**provenance.extra, **counts})
        note.write_text(counted.to_json() + "\n", encoding="utf-8")
        plan.output.put(note, sidecar_name(name))
        plan.output.put(staged, name)
    return PartOutcome(number, counts)


def sidecar_name(part: str) -> str:
    """Returns the name of the file that holds the provenance of a part."""
    return sidecar_path(Path(part)).as_posix()


def hidden_name(part: str, table: str) -> str:
    """Returns the name of a table beside a part, until those of all parts are put together.

    It is hidden, because such tables are no results of their own.
    """
    return f".{table}/{part}.csv"
