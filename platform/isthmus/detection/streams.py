"""A stream of rows whose false discovery rate is kept over all its batches: its state in a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from isthmus.core import Calibration
from isthmus.core.calibration import readable
from isthmus.core.discoveries import OnlineDiscoveries
from isthmus.data.outputs.output import whole_file
from isthmus.errors import DataError, UsageError
from isthmus.registry import Pair
from isthmus.spec import SpecModel

_logger = logging.getLogger(__name__)


class StreamState(SpecModel):
    """The content of a stream's state file, which is JSON."""

    format_version: Literal[1] = 1
    """The format of the file."""
    method: Literal["GAI++"] = "GAI++"
    """The procedure."""
    pair_id: str
    """The pair whose p-values the stream is of."""
    model: str
    """The name and version of the pair."""
    scored: Literal["rows", "steps"]
    """The unit that has a p-value: a row, which may be a window of a series, or a single step."""
    calibration_rows: int = Field(ge=0)
    """The number of normal rows or steps that the p-values compare with."""
    level: float = Field(gt=0, lt=1)
    """The false discovery rate that is kept."""
    wealth: float = Field(ge=0)
    """The alpha-wealth that is left to be spent on the levels of rows."""
    tested: int = Field(ge=0)
    """The number of rows so far."""
    discoveries: int = Field(ge=0)
    """The number of discoveries so far."""


@contextmanager
def open_stream(
    file: Path, pair: Pair, calibration: Calibration, level: float
) -> Iterator[OnlineDiscoveries]:
    """Yields a stream as its file left it, or a new one; stores it again if no error comes.

    No other process can use the file meanwhile.

    Args:
        file: The state file.
        pair: The pair.
        calibration: The scores of normal rows by the pair, or of single steps of normal series.
        level: The false discovery rate.

    Raises:
        DataError: If the file is damaged, or is that of another pair, calibration or level.
        UsageError: If it is in use, or the pair has too few calibration rows for any discovery.
    """
    lock = FileLock(f"{file}.lock", timeout=0)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UsageError(f"{file}: another detection is using it; wait until that ends") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror}; name another file") from None
    try:
        stream = _read(file, pair, calibration, level)
        _refuse_hopeless(stream, pair, calibration)
        yield stream
        _write(file, pair, calibration, stream)
        _report_spent(stream, calibration, file)
    finally:
        lock.release()


def _read(file: Path, pair: Pair, calibration: Calibration, level: float) -> OnlineDiscoveries:
    smallest = calibration.least_rate
    if not file.exists():
        return OnlineDiscoveries(level, smallest)
    try:
        state = StreamState.model_validate(json.loads(file.read_text(encoding="utf-8")))
        is_whole = _is_consistent(state)
    except (OSError, ValueError, RecursionError, ValidationError):
        is_whole = False
    if not is_whole:
        raise DataError(
            f"{file}: is damaged, or no state of a stream; restore it, or name a new file to begin "
            "a new stream"
        )
    if state.pair_id != pair.manifest.pair_id:
        raise DataError(
            f"{file}: belongs to {state.model} (pair {state.pair_id}), and {pair.reference} is "
            f"pair {pair.manifest.pair_id}; name a new file to begin a new stream"
        )
    _refuse_other_calibration(file, state, pair, calibration)
    if state.level != level:
        raise DataError(
            f"{file}: keeps a false discovery rate of {state.level:g}, not {level:g}; use --level "
            f"{state.level:g}, or name a new file to begin a new stream"
        )
    return OnlineDiscoveries(level, smallest, state.wealth, state.tested, state.discoveries)


def scored_by(pair: Pair, calibration: Calibration) -> Literal["rows", "steps"]:
    """Returns what a calibration is of: rows, windows among them, or steps of series."""
    return "steps" if calibration is pair.detector.point_calibration else "rows"


def _refuse_other_calibration(
    file: Path, state: StreamState, pair: Pair, calibration: Calibration
) -> None:
    scored, rows = scored_by(pair, calibration), calibration.rows
    if (state.scored, state.calibration_rows) == (scored, rows):
        return
    # A series' rows are its windows.
    advice = {"rows": "use --per window", "steps": "leave out --per window and --explain"}
    again = advice[state.scored] if state.scored != scored else "use the calibration it began with"
    raise DataError(
        f"{file}: compares {state.scored} with {state.calibration_rows} calibration "
        f"{state.scored}, and this detection {scored} with {rows}; {again}, or name a new file to "
        "begin a new stream"
    )


def _is_consistent(state: StreamState) -> bool:
    earned = state.level * max(1, state.discoveries)
    return state.discoveries <= state.tested and state.wealth <= earned * (1 + 1e-9)


def _write(file: Path, pair: Pair, calibration: Calibration, stream: OnlineDiscoveries) -> None:
    state = StreamState(
        pair_id=pair.manifest.pair_id,
        model=pair.reference,
        scored=scored_by(pair, calibration),
        calibration_rows=calibration.rows,
        level=stream.level,
        wealth=stream.wealth,
        tested=stream.tested,
        discoveries=stream.discoveries,
    )
    advice = "the stream does not know of this batch: free the disk and detect the batch again"
    with whole_file(file, None, advice) as beside:
        beside.write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _refuse_hopeless(stream: OnlineDiscoveries, pair: Pair, calibration: Calibration) -> None:
    """Refuses a new stream in which not even the first row could be a discovery."""
    if not stream.tested and stream.is_spent:
        raise UsageError(
            f"an online false discovery rate of {stream.level:g} needs at least "
            f"{readable(1 / stream.level - 1)} calibration rows, and {pair.reference} has "
            f"{calibration.size()}; ask for {stream.smallest:.2g} or more, or train "
            "on more rows"
        )


def _report_spent(stream: OnlineDiscoveries, calibration: Calibration, file: Path) -> None:
    if stream.is_spent:
        _logger.warning(
            "%s: after %d rows and %d discoveries the stream has spent its level, and finds "
            "nothing more, as the smallest p-value of %s is %.2g; train on more "
            "rows, or use --control fdr for each batch",
            *(file, stream.tested, stream.discoveries, calibration.size("calibration rows")),
            stream.smallest,
        )
