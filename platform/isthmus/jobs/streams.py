"""A stream of rows whose false discovery rate is kept over all its batches: its state in a file."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from isthmus.core.discoveries import OnlineDiscoveries, online_rows_needed
from isthmus.errors import DataError, UsageError
from isthmus.registry import Pair
from isthmus.spec import SpecModel

_logger = logging.getLogger(__name__)


class StreamState(SpecModel):
    """What the state file of a stream holds, as JSON."""

    format_version: Literal[1] = 1
    """The format of the file."""
    method: Literal["LORD++"] = "LORD++"
    """The procedure."""
    pair_id: str
    """The pair whose p-values the stream is of."""
    model: str
    """The name and version of the pair."""
    level: float = Field(gt=0, lt=1)
    """The false discovery rate that is kept."""
    tested: int = Field(ge=0)
    """The number of rows so far."""
    discoveries: int = Field(ge=0)
    """The number of discoveries so far."""
    first: int | None = None
    """The place of the first discovery in the stream, counted from 1."""
    recent: tuple[int, ...] = ()
    """The places of the latest discoveries."""


@contextmanager
def open_stream(file: Path, pair: Pair, level: float) -> Iterator[OnlineDiscoveries]:
    """Yields a stream as its file left it, or a new one; stores it again if no error comes.

    No other process can use the file meanwhile.

    Raises:
        DataError: If the file is damaged, or is that of another pair or level.
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
        stream = _read(file, pair, level)
        _refuse_hopeless(stream, pair)
        yield stream
        _write(file, pair, stream)
        _report_spent(stream, pair, file)
    finally:
        lock.release()


def _read(file: Path, pair: Pair, level: float) -> OnlineDiscoveries:
    if not file.exists():
        return OnlineDiscoveries(level)
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
    if state.level != level:
        raise DataError(
            f"{file}: keeps a false discovery rate of {state.level:g}, not {level:g}; use --level "
            f"{state.level:g}, or name a new file to begin a new stream"
        )
    return OnlineDiscoveries(level, state.tested, state.discoveries, state.first, state.recent)


def _is_consistent(state: StreamState) -> bool:
    places = [*([] if state.first is None else [state.first]), *state.recent]
    is_ordered = list(state.recent) == sorted(set(state.recent))
    is_within = all(1 <= place <= state.tested for place in places)
    return is_ordered and is_within and bool(places) == (state.discoveries > 0)


def _write(file: Path, pair: Pair, stream: OnlineDiscoveries) -> None:
    state = StreamState(
        pair_id=pair.manifest.pair_id,
        model=pair.reference,
        level=stream.level,
        tested=stream.tested,
        discoveries=stream.discoveries,
        first=stream.first,
        recent=tuple(stream.recent),
    )
    try:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(state.model_dump_json(indent=2) + "\n")
        Path(name).replace(file)
    except OSError as error:
        raise DataError(
            f"{file}: cannot be written ({error.strerror}), so the stream does not know of this "
            "batch; free the disk and detect the batch again"
        ) from error


def _refuse_hopeless(stream: OnlineDiscoveries, pair: Pair) -> None:
    """Refuses a new stream in which not even the first row could be a discovery."""
    calibration = pair.detector.calibration
    if not stream.tested and stream.next_level < calibration.least_rate:
        raise UsageError(
            f"an online false discovery rate of {stream.level:g} needs at least "
            f"{online_rows_needed(stream.level)} calibration rows, and {pair.reference} has "
            f"{calibration.rows}; train on more rows, or use --control fdr"
        )


def _report_spent(stream: OnlineDiscoveries, pair: Pair, file: Path) -> None:
    """Warns if no row can be a discovery any more: levels only fall between discoveries."""
    least = pair.detector.calibration.least_rate
    if stream.next_level < least:
        _logger.warning(
            "%s: after %d rows a p-value must be below %.2g, and the smallest of %d calibration "
            "rows is %.2g: nothing more can be found in this stream; train on more rows, or use "
            "--control fdr for each batch",
            *(file, stream.tested, stream.next_level, pair.detector.calibration.rows, least),
        )
