"""Decides which rows are anomalies, with a bound on the rate of false alarms."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.core.calibration import DEFAULT_RATE, Calibration
from isthmus.core.discoveries import (
    DEFAULT_LEVEL,
    OnlineDiscoveries,
    PValueTally,
    check_control,
    too_coarse,
)
from isthmus.data.outputs.results import Columns
from isthmus.data.outputs.spooled import SpooledColumns, spooled_columns
from isthmus.detection.streams import open_stream, scored_by
from isthmus.errors import UsageError
from isthmus.registry import Pair

_logger = logging.getLogger(__name__)
ControlName = Literal["rate", "fdr", "online"]
CONTROLS: tuple[ControlName, ...] = ("rate", "fdr", "online")
Append = Callable[[Columns], None]
Mask = NDArray[np.bool_]
# The column of rows that are anomalies whatever they score, while a file waits for its end.
_CERTAIN = "isthmus.certain"


@dataclass(frozen=True)
class Control:
    """The error rate that a detection keeps.

    Attributes:
        name: `rate` keeps the share of normal rows that are flagged; `fdr` keeps the share of
            normal rows among those that are flagged in the file, by Benjamini and Hochberg;
            `online` keeps that share over all files of a stream, by alpha-investing.
        rate: The false-alarm rate; by default that which the pair was calibrated for.
        level: The false discovery rate; by default 0.1.
        state: The file that holds the state of the stream.
    """

    name: ControlName = "rate"
    rate: float | None = None
    level: float | None = None
    state: Path | None = None

    def __post_init__(self) -> None:
        """Refuses what does not go together.

        Raises:
            UsageError: Naming the option.
        """
        check_control(self.name, CONTROLS, self.rate, self.level)
        if (self.state is not None) != (self.name == "online"):
            raise UsageError(
                "the control online needs a state file, and no other has one: use "
                "--control online --state FILE"
            )

    @property
    def false_discovery_rate(self) -> float:
        """The level, or its default."""
        return DEFAULT_LEVEL if self.level is None else self.level

    def threshold_of(self, pair: Pair, calibration: Calibration) -> float:
        """Returns the score that anomalies exceed; NaN if a score alone does not tell.

        Args:
            pair: The pair.
            calibration: The scores of normal rows by the pair, or of single steps of normal series.

        Raises:
            UsageError: If the pair's calibration rows cannot resolve the rate.
        """
        if self.name != "rate":
            return math.nan
        if self.rate is None:
            return calibration.threshold
        calibration.check_rate(self.rate, pair.reference, scored_by(pair, calibration))
        return calibration.threshold_at(self.rate)

    def rule_of(self, pair: Pair, calibration: Calibration) -> str:
        """Returns what makes a row an anomaly, in words, for a summary.

        Raises:
            UsageError: If the pair's calibration rows cannot resolve the rate.
        """
        if self.name != "rate":
            among = "in the file" if self.name == "fdr" else "over the stream"
            return f"false discovery rate {self.false_discovery_rate:g} {among}"
        rule = f"score above {self.threshold_of(pair, calibration):.4g}"
        if self.rate is None and calibration.rate > DEFAULT_RATE:
            rule += (
                f", a false-alarm rate of {calibration.rate:.2g}, as "
                f"{calibration.size(f'calibration {scored_by(pair, calibration)}')} tell no "
                "smaller one"
            )
        return rule

    def said(self, pair: Pair, calibration: Calibration) -> dict[str, object]:
        """Returns what the provenance of the results says of the control."""
        if self.name == "rate":
            rate = calibration.rate if self.rate is None else self.rate
            threshold = self.threshold_of(pair, calibration)
            return {"threshold": threshold, "false_alarm_rate": rate}
        return {"control": self.name, "false_discovery_rate": self.false_discovery_rate}


def control_of(
    name: str, rate: float | None = None, level: float | None = None, state: Path | None = None
) -> Control:
    """Returns the control of that name.

    Raises:
        UsageError: If there is none, or something does not go with it.
    """
    # Other names are refused by the control itself.
    return Control(cast("ControlName", name), rate, level, state)


class Decisions(ABC):
    """Adds the column `anomaly` to blocks of scored rows, and appends them to the results.

    Attributes:
        anomalies: The number of anomalies, once all rows are appended.
        threshold: The score that anomalies exceed; NaN if a score alone does not tell.
        rule: The rule that makes a row an anomaly, in words, for a summary.
    """

    _append: Append

    def __init__(self, pair: Pair, calibration: Calibration, control: Control) -> None:
        """Begins with no row.

        Raises:
            UsageError: If the pair's calibration rows cannot resolve the rate.
        """
        self.anomalies = 0
        self.threshold = control.threshold_of(pair, calibration)
        self.rule = control.rule_of(pair, calibration)
        self._calibration, self._control = calibration, control

    @contextmanager
    def appending(self, append: Append) -> Iterator[None]:
        """Appends the rows by a function; all are appended when the context ends."""
        self._append = append
        yield
        self._finish()

    @abstractmethod
    def add(self, columns: Columns, certain: Mask | None = None) -> None:
        """Takes a block's columns; rows that are `certain` are anomalies whatever they score."""

    def _finish(self) -> None:  # noqa: B027 (most decisions let no row wait)
        """Appends the rows that waited for the last one."""

    def _write(self, columns: Columns, is_anomaly: Mask, certain: Mask | None) -> None:
        if certain is not None:
            is_anomaly = is_anomaly | certain
        labelled = {}
        for name, column in columns.items():
            labelled[name] = column
            if name == "p_value":
                labelled["anomaly"] = is_anomaly
        self._append(labelled)
        self.anomalies += int(is_anomaly.sum())


@contextmanager
def deciding(pair: Pair, calibration: Calibration, control: Control) -> Iterator[Decisions]:
    """Yields what decides on the rows of one input.

    The state of a stream is stored when the context ends without an error: enter it before the
    results are opened, so that a stream never counts rows of which there are no results.

    Raises:
        DataError: If the state of a stream is damaged, or another's.
        UsageError: If the pair's calibration rows cannot resolve the rate or the level.
    """
    if control.name == "fdr":
        with spooled_columns() as spool:
            yield _OfFile(pair, calibration, control, spool)
    elif control.state is not None:
        level = control.false_discovery_rate
        with open_stream(control.state, pair, calibration, level) as stream:
            yield _OfStream(pair, calibration, control, stream)
    else:
        yield _ByThreshold(pair, calibration, control)


class _ByThreshold(Decisions):
    """Keeps the false-alarm rate: rows above a threshold are anomalies."""

    def add(self, columns: Columns, certain: Mask | None = None) -> None:
        scores = torch.from_numpy(columns["score"])
        is_anomaly = self._calibration.is_anomaly(scores, self._control.rate).numpy()
        self._write(columns, is_anomaly, certain)


class _OfStream(Decisions):
    """Keeps the false discovery rate over a stream of files."""

    def __init__(
        self,
        pair: Pair,
        calibration: Calibration,
        control: Control,
        stream: OnlineDiscoveries,
    ) -> None:
        super().__init__(pair, calibration, control)
        self._stream = stream

    def add(self, columns: Columns, certain: Mask | None = None) -> None:
        self._write(columns, self._stream.test(columns["p_value"]), certain)


class _OfFile(Decisions):
    """Keeps the false discovery rate among the rows of one file, so only its end decides."""

    def __init__(
        self, pair: Pair, calibration: Calibration, control: Control, spool: SpooledColumns
    ) -> None:
        super().__init__(pair, calibration, control)
        self._level, self._spool = control.false_discovery_rate, spool
        self._tally = PValueTally()

    def add(self, columns: Columns, certain: Mask | None = None) -> None:
        self._tally.add(columns["p_value"])
        self._spool.append(columns if certain is None else {**columns, _CERTAIN: certain})

    def _finish(self) -> None:
        cut = self._tally.cut(self._level)
        rows = int(self._tally.counts.sum())
        coarse = None if cut else too_coarse(rows, self._level, self._calibration)
        if coarse is not None:
            _logger.warning("%s", coarse)
        for block in self._spool.blocks():
            columns = {name: column for name, column in block.items() if name != _CERTAIN}
            self._write(columns, columns["p_value"] <= cut, block.get(_CERTAIN))
