"""Windows of sound files, written again as files: they fade into one another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isthmus.data.media.samples import SampleReader, SampleWriter, SoundHeader
from isthmus.data.media.windows_in_parts import Merger
from isthmus.data.rows import Block, FloatArray

_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _FileUnderway:
    """A file of which windows are being written.

    Attributes:
        part: The position of the file among those of the input.
        reader: The reader of the samples as they were, for those that no window covers.
        merger: The merger of the windows.
        writer: The writer of the new samples.
    """

    part: int
    reader: SampleReader
    merger: Merger
    writer: SampleWriter

    def write(self, merged_TC: FloatArray, *, last: bool) -> None:
        """Writes the next samples; those that no window covers stay as they were."""
        before_TC = self.reader.read(len(merged_TC))
        self.writer.write(np.where(np.isnan(merged_TC), before_TC, merged_TC), last=last)

    def close(self) -> None:
        """Closes the files."""
        self.reader.close()
        self.writer.close()


class SoundOutput:
    """Writes windows, which come file after file, as files; one of them is open at a time.

    Args:
        targets: The file to write for each file of the input.
        headers: The header of each file of the input.
        rate_hz: The sample rate of the windows.
        open_reader: Opens a file of the input.
    """

    def __init__(
        self,
        targets: Sequence[Path],
        headers: Sequence[SoundHeader],
        rate_hz: int,
        open_reader: Callable[[int], SampleReader],
    ) -> None:
        self._targets = targets
        self._headers = headers
        self._rate_hz = rate_hz
        self._open_reader = open_reader
        self._underway: _FileUnderway | None = None
        self._clipped = 0
        self._clipping_subtype = ""

    def write(self, block: Block, values: FloatArray) -> None:
        """Takes the next windows of a file, shape (n, C, window).

        Raises:
            DataError: If the place cannot be written to.
        """
        if not len(values):
            return
        if self._underway is None or self._underway.part != block.part:
            self.finish()
            self._underway = self._begin(block.part)
        assert block.starts is not None  # noqa: S101 (every block of sounds has them)
        merged_TC = self._underway.merger.add(values, block.starts)
        self._underway.write(merged_TC, last=False)

    def finish(self) -> None:
        """Writes what is left of the file under way."""
        if self._underway is None:
            return
        self._underway.write(self._underway.merger.finish(), last=True)
        writer = self._underway.writer
        if writer.clipped:
            self._clipped += writer.clipped
            self._clipping_subtype = writer.subtype
        self.close()

    def close(self) -> None:
        """Closes the files that are open."""
        if self._underway is not None:
            self._underway.close()
            self._underway = None

    def report_clipped(self, output: Path) -> None:
        """Logs how many samples were outside the range of the format, if there are any."""
        if self._clipped:
            _logger.warning(
                "%s: %d sample(s) beyond -1 to 1 are clipped, since %s holds no others; only a "
                "wav of floats does",
                output, self._clipped, self._clipping_subtype,
            )  # fmt: skip

    def _begin(self, part: int) -> _FileUnderway:
        reader = self._open_reader(part)
        target, header = self._targets[part], self._headers[part]
        writer = SampleWriter(target, header, self._rate_hz, reader.tags)
        return _FileUnderway(part, reader, Merger(reader.length), writer)
