"""Scores one file of an input as one part of its results; a cluster's workers do this."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data import Files, Provenance, UseOptions, rejected_path, sidecar_path
from isthmus.data.parts_folder import PartsFolder
from isthmus.errors import IsthmusError
from isthmus.jobs.controls import Control
from isthmus.jobs.detect import detect_with
from isthmus.jobs.inputs import InputPart
from isthmus.jobs.points import calibration_of
from isthmus.jobs.provenance import how_read
from isthmus.registry import Device, Pair
from isthmus.registry.carried import CarriedPair

COUNTS = ("rows", "anomalies", "rejected")
"""What the provenance of a part says besides that which is known before it is scored."""
REJECTED_FOLDER = ".rejected"
"""The folder of the rows of each part that are set aside; hidden, because they are no results."""
RANGES_FOLDER = ".ranges"
"""The folder of the ranges of each part, until they are put together."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a detection.

    Attributes:
        options: What is asked for of the input.
        allow_unseen: Whether a row with a category that training did not have may be normal.
        control: The rate of false alarms that is kept.
    """

    options: UseOptions
    allow_unseen: bool
    control: Control

    def of_all(self, pair: Pair) -> dict[str, object]:
        """Returns what the provenance says of it; parts that say otherwise are not kept."""
        control = self.control.said(pair, calibration_of(pair))
        return {**control, **how_read(self.options), **self.of_part()}

    def of_part(self) -> dict[str, object]:
        """Returns what the provenance of a part says of it that not every detection's says."""
        return {"allow_unseen": self.allow_unseen, "set_aside": self.options.set_aside}


@dataclass(frozen=True)
class PartsPlan:
    """What is to be scored, and where to.

    Attributes:
        source: The input, as messages call it.
        files: Its files.
        names: The name of the part of each file.
        noted: What the provenance of each part says besides the pair and the job.
        output: The folder of the parts.
        asked: What is asked of the detection.
    """

    source: str
    files: Files
    names: tuple[str, ...]
    noted: tuple[Mapping[str, object], ...]
    output: PartsFolder
    asked: Asked


@dataclass(frozen=True)
class PartOutcome:
    """What came of one part.

    Attributes:
        number: The position of its file.
        rows: Number of scored rows.
        anomalies: Number of anomalies among them.
        rejected: Number of rows that are set aside.
        fault: Why the file cannot be scored; empty if it is.
    """

    number: int
    rows: int = 0
    anomalies: int = 0
    rejected: int = 0
    fault: str = ""


class PartScorer:
    """Scores the files of a plan; an actor of Ray's loads the pair once."""

    def __init__(self, pair: CarriedPair, device: Device, plan: PartsPlan) -> None:
        self._pair = pair.load(device)
        self._plan = plan

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Scores the files with the numbers in a batch; returns what came of each, as JSON."""
        found = [asdict(self._outcome(int(number))) for number in batch["number"]]
        return {"outcome": np.array([json.dumps(each) for each in found], dtype=np.object_)}

    def _outcome(self, number: int) -> PartOutcome:
        try:
            return score_part(self._pair, self._plan, number)
        except IsthmusError as error:
            return PartOutcome(number, fault=str(error))


def score_part(pair: Pair, plan: PartsPlan, number: int) -> PartOutcome:
    """Scores one file; its part appears whole, after its provenance and its rejected rows.

    Whoever scores it again, because a process was killed, writes the same part.

    Raises:
        DataError: If the file cannot be read, or the part cannot be written.
    """
    name = plan.names[number]
    one = replace(
        plan.files,
        names=(plan.files.names[number],),
        addresses=(plan.files.addresses[number],),
        is_folder=True,
    )
    with plan.output.staging() as folder:
        staged = folder / Path(name).name
        result = detect_with(
            *(pair, plan.source, staged),
            options=plan.asked.options,
            allow_unseen=plan.asked.allow_unseen,
            control=plan.asked.control,
            part=InputPart(one, plan.noted[number]),
        )
        if result.rejected:
            plan.output.put(rejected_path(staged), rejected_name(name))
        if result.points is not None:
            plan.output.put(result.points.ranges_output, ranges_name(name))
        counts = {count: getattr(result, count) for count in COUNTS}
        note = sidecar_path(staged)
        provenance = Provenance.from_json(note.read_text(encoding="utf-8"))
        assert provenance is not None  # noqa: S101 (just written)
        counted = replace(provenance, extra={**provenance.extra, **counts})
        note.write_text(counted.to_json() + "\n", encoding="utf-8")
        plan.output.put(note, sidecar_name(name))
        plan.output.put(staged, name)
    return PartOutcome(number, **counts)


def sidecar_name(part: str) -> str:
    """Returns the name of the file that holds the provenance of a part."""
    return sidecar_path(Path(part)).as_posix()


def rejected_name(part: str) -> str:
    """Returns the name of the file that holds the rows of a part that are set aside."""
    return f"{REJECTED_FOLDER}/{part}.csv"


def ranges_name(part: str) -> str:
    """Returns the name of the file that holds the ranges of anomalous steps of a part."""
    return f"{RANGES_FOLDER}/{part}.csv"
