"""Reads the rows of a request: the body becomes a file, which is read with a file's checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from isthmus import uses
from isthmus.data import Block, Files, RangeWatch, RowSource, UseOptions, open_files
from isthmus.errors import DataError, IsthmusError
from isthmus.registry import Pair
from isthmus.serve.forms import form_of, rows_of_json
from isthmus.serve.media_types import ENDINGS, JSON, RECORDS_ENDING
from isthmus.serve.messages import Asked

_CALLED = "request"
# A zipped body may hold a thousand times its size; rows are float32.
_MOST_NUMBERS_IN_ROWS = 2**28


class TooLarge(IsthmusError):
    """A request holds more rows than one request may."""


@dataclass(frozen=True, eq=False)
class RequestRows:
    """The rows of a request.

    Attributes:
        form: The media type of the body.
        was_records: Whether they are JSON objects by column, and not lists.
        source: The opened file.
        blocks: The rows.
    """

    form: str
    was_records: bool
    source: RowSource
    blocks: Sequence[Block]

    @property
    def count(self) -> int:
        """The number of rows."""
        return sum(len(block.values) for block in self.blocks)


def write_body(asked: Asked, folder: Path) -> tuple[str, Files]:
    """Writes the body of a request to a file.

    Returns:
        The media type of the body, and the file.

    Raises:
        UnknownForm: If the media type is not read here.
        NotJson: If the body should be JSON and is not.
        DataError: If it is empty.
    """
    form = form_of(asked.content_type, asked.body)
    if not asked.body:
        raise DataError(f"{_CALLED}: the body is empty (0 bytes); send rows")
    if form == JSON:
        path = rows_of_json(asked.body, folder)
    else:
        path = folder / f"{_CALLED}{ENDINGS[form]}"
        path.write_bytes(asked.body)
    return form, Files(_CALLED, (path.name,), (str(path),), is_folder=False)


def read_request(asked: Asked, pair: Pair, folder: Path) -> RequestRows:
    """Reads the rows of a request, and checks them as those of a file.

    Raises:
        IsthmusError: If they cannot be read, or do not fit the pair.
    """
    form, files = write_body(asked, folder)
    schema = pair.manifest.rows_taken
    # What is at fault is told, and nothing set aside: the caller is there to hear it.
    source = open_files(pair.manifest.data, files, schema, UseOptions())
    use = uses.get(asked.verb)
    indicators = pair.manifest.data.indicators
    watch = RangeWatch(schema, _CALLED, indicators=indicators, may_leave=use.MAY_LEAVE)
    refuse_too_many((source.count or 0) * prod(source.schema.shape))
    blocks: list[Block] = []
    numbers = 0
    for block in source.blocks(carry=use.OUTPUT.CARRIES):
        numbers += block.values.size
        refuse_too_many(numbers)
        watch.look(block.values)
        blocks.append(block)
    if not blocks:
        raise DataError(f"{_CALLED}: no row of it is left; send rows without missing values")
    watch.report()
    was_records = form == JSON and files.ending() == RECORDS_ENDING
    return RequestRows(form, was_records, source, blocks)


def refuse_too_many(numbers: int) -> None:
    """Refuses a request of more numbers than fit beside those of other requests."""
    if numbers > _MOST_NUMBERS_IN_ROWS:
        raise TooLarge(
            f"{_CALLED}: holds {numbers:,} numbers, and one request may hold "
            f"{_MOST_NUMBERS_IN_ROWS:,}; send fewer rows at once, or use the command on a file"
        )
