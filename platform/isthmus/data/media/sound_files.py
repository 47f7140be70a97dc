"""Rows of sound files, shape (C, window): windows of samples, all channels beside one another."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from isthmus.data.columns.labels import folder_labels
from isthmus.data.kinds import UseOptions
from isthmus.data.media.outputs import open_array, whole_targets
from isthmus.data.media.readable import SetAside, read_headers
from isthmus.data.media.samples import (
    FORMATS,
    SampleReader,
    SoundHeader,
    check_format,
    read_header,
)
from isthmus.data.media.sound_output import SoundOutput
from isthmus.data.media.windows_in_parts import count_windows, cut_in_parts
from isthmus.data.outputs.output import (
    ARRAY_OUTPUT_ENDINGS,
    check_ending,
    check_folder,
    is_array_output,
)
from isthmus.data.outputs.provenance import Provenance
from isthmus.data.rows import Block, Labels, Rejected, WriteBlock, rows_in_a_block
from isthmus.data.storage.files import Files
from isthmus.errors import DataError
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind

SOUND_ENDINGS = tuple(FORMATS)
"""The endings of sound files, in lower case."""
DEFAULT_WINDOW = 1024
# Where files may be shorter than it: long enough for the spectrum of a syllable.
_PADDED_WINDOW_S = 0.25
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SoundFiles:
    """The rows of sound files, read a file, or a part of a long one, at a time.

    Attributes:
        files: The files.
        schema: The schema of the rows.
        headers: The header of each file.
        rate_hz: The sample rate of the rows; files of another are resampled.
        stride: Samples from the start of one window to that of the next.
        labels: The label of each file, if they are asked for.
        aside: The files that are set aside; `None` if a file that cannot be read is an error.
    """

    files: Files
    schema: RowSchema
    headers: tuple[SoundHeader, ...]
    rate_hz: int
    stride: int
    labels: Labels | None = None
    aside: SetAside | None = None

    @cached_property
    def count(self) -> int:
        """The number of windows."""
        window = self.schema.shape[1]
        lengths = (max(window, header.frames_at(self.rate_hz)) for header in self.headers)
        return sum(count_windows(length, window, self.stride) for length in lengths)

    def blocks(self, *, carry: bool = False) -> Iterator[Block]:
        """Reads the windows of each file in order; sounds have nothing to carry.

        Raises:
            DataError: At the block of a file that is damaged, or holds NaN, unless such files are
                set aside; the windows before the damage are then read.
        """
        if self.aside is not None and self.aside.rejected:
            yield self._none_but(self.aside.rejected, 0)
        paths = self.files.paths()
        for position in range(len(paths)):
            try:
                yield from self._blocks_of(position, paths)
            except DataError as error:
                if self.aside is None:
                    raise
                rejected = self.aside.rejection(position, self.files, error)
                yield self._none_but((rejected,), position)

    def _none_but(self, rejected: tuple[Rejected, ...], position: int) -> Block:
        """Returns a block of no windows, with files that are set aside."""
        return Block(
            np.empty((0, *self.schema.shape), dtype=np.float32),
            {"file": np.empty(0, dtype=np.str_), "start_s": np.empty(0)},
            part=position,
            rejected=rejected,
        )

    def _blocks_of(self, position: int, paths: Sequence[Path]) -> Iterator[Block]:
        channels, window = self.schema.shape
        # The samples of a block, and not its windows alone, are to fit.
        at_once = rows_in_a_block((channels, max(window, self.stride)))
        name = self.files.names[position]
        with closing(self._reader(paths, position)) as reader:
            length = max(window, reader.length)
            parts = cut_in_parts(reader.read_mirrored, length, window, self.stride, at_once)
            for starts, values in parts:
                n = len(starts)
                yield Block(
                    values,
                    {"file": np.full(n, name), "start_s": starts / self.rate_hz},
                    labels=None if self.labels is None else np.repeat(self.labels[position], n),
                    groups=np.full(n, _group(name)),
                    starts=starts,
                    lengths=np.full(n, reader.length),
                    part=position,
                )

    def _reader(self, paths: Sequence[Path], position: int) -> SampleReader:
        called, header = self.files.called(position), self.headers[position]
        return SampleReader(paths[position], called, header, self.rate_hz)

    def check_output(self, output: Path) -> None:
        """Refuses a folder with other things in it, or a file that cannot hold such sound.

        Raises:
            DataError: Naming what is possible.
        """
        if is_array_output(output):
            return
        if self.files.is_folder:
            check_folder(output, self.files.names)
            targets = [output / name for name in self.files.names]
        else:
            check_ending(output, (*SOUND_ENDINGS, *ARRAY_OUTPUT_ENDINGS), "audio")
            targets = [output]
        checked = set()
        for target, header in zip(targets, self.headers, strict=True):
            kind = (target.suffix, header.form, header.subtype, header.channels, header.rate_hz)
            if kind not in checked:
                check_format(target, header)
                checked.add(kind)

    @contextmanager
    def open_output(self, output: Path, provenance: Provenance) -> Iterator[WriteBlock]:
        """Gives a function that writes windows as files of the same names, or to npz as they are.

        Windows are blended where they overlap. Each file has the sample rate, length, format and
        tags of the one that it takes the place of.
        """
        self.check_output(output)
        if is_array_output(output):
            with open_array(output, provenance, self.count, self.schema.shape) as write:
                yield write
        else:
            with whole_targets(self.files, output, provenance) as targets:
                open_reader = partial(self._reader, self.files.paths())
                writer = SoundOutput(targets, self.headers, self.rate_hz, open_reader)
                with closing(writer):
                    yield writer.write
                    writer.finish()
            writer.report_clipped(output)


def open_sound_files(files: Files, spec: DataSpec) -> tuple[SoundFiles, DataSpec]:
    """Opens sound files to train on.

    Returns:
        The rows, and the spec with `window` and `stride`.

    Raises:
        DataError: If a file is damaged or too short, or the files differ in rate or channels.
    """
    pads = spec.short_files == "pad"
    headers = read_headers(files, read_header).headers
    first = headers[0]
    _refuse_differing(files, headers, "sample rates", lambda h: f"{h.rate_hz} Hz", "resample")
    _refuse_differing(files, headers, "channels", lambda h: f"{h.channels}", "mix or convert")
    if spec.sample_rate_hz is not None and spec.sample_rate_hz != first.rate_hz:
        raise DataError(
            f"{files.name}: sounds have {first.rate_hz} Hz, and data.sample_rate_hz is "
            f"{spec.sample_rate_hz}; leave it out, or resample them"
        )
    window = spec.window or _default_window(first.rate_hz, pads=pads)
    spec = spec.model_copy(
        update={
            "window": window,
            "stride": spec.stride or window // 2,
            "sample_rate_hz": first.rate_hz,
            "short_files": "pad" if pads else "refuse",
        }
    )
    schema = RowSchema(
        kind=DataKind.AUDIO, shape=(first.channels, window), sample_rate_hz=first.rate_hz
    )
    labels = folder_labels(files.names, spec.labels, files.name)
    return _windows_of(files, schema, headers, first.rate_hz, spec, labels), spec


def open_sound_files_like(
    files: Files, data: DataSpec, schema: RowSchema, options: UseOptions
) -> SoundFiles:
    """Opens sound files for a trained pair.

    Args:
        files: One file or several.
        data: The settled data section that the pair was trained with.
        schema: The schema of its training rows.
        options: Whether files of another sample rate are resampled, and whether files that cannot
            be read are set aside.

    Raises:
        DataError: If a file is damaged or too short, or has channels or a rate that the pair does
            not take.
    """
    channels, window = schema.shape
    rate_hz = schema.sample_rate_hz
    if options.blends:
        data = data.model_copy(update={"stride": max(1, window // 2), "short_files": "pad"})

    def check(header: SoundHeader, name: str) -> None:
        _refuse_other_channels(name, header, channels)
        if rate_hz is not None and not options.resample:
            _refuse_other_rate(name, header, rate_hz)
        if data.short_files != "pad":
            _refuse_too_short(name, header, window, rate_hz or header.rate_hz, is_trained=True)

    readable = read_headers(files, read_header, check, sets_aside=options.set_aside)
    files, headers = readable.files, readable.headers
    if rate_hz is None:  # the pair was trained before rates were kept
        _refuse_differing(files, headers, "sample rates", lambda h: f"{h.rate_hz} Hz", "resample")
        rate_hz = headers[0].rate_hz
    elif options.resample:
        _report_resampled(files, headers, rate_hz)
    known = RowSchema(kind=DataKind.AUDIO, shape=schema.shape, sample_rate_hz=rate_hz)
    rows = _windows_of(files, known, headers, rate_hz, data, None)
    return replace(rows, aside=readable.aside)


def _windows_of(
    files: Files,
    schema: RowSchema,
    headers: tuple[SoundHeader, ...],
    rate_hz: int,
    spec: DataSpec,
    labels: Labels | None,
) -> SoundFiles:
    window = schema.shape[1]
    if spec.short_files != "pad":
        lengths = [header.frames_at(rate_hz) for header in headers]
        shortest = int(np.argmin(lengths))
        _refuse_too_short(files.called(shortest), headers[shortest], window, rate_hz)
    return SoundFiles(files, schema, headers, rate_hz, spec.stride or window // 2, labels)


def _default_window(rate_hz: int, *, pads: bool) -> int:
    return 2 ** round(math.log2(_PADDED_WINDOW_S * rate_hz)) if pads else DEFAULT_WINDOW


def _refuse_too_short(
    name: str, header: SoundHeader, window: int, rate_hz: int, *, is_trained: bool = False
) -> None:
    length = header.frames_at(rate_hz)
    if length < window and is_trained:
        raise DataError(
            f"{name}: has {length} samples, and the model takes windows of {window}; remove it"
        )
    if length < window:
        raise DataError(
            f"{name}: has {length} samples, fewer than data.window={window}; remove it, or set "
            f"data.window to at most {length}"
        )


def _group(name: str) -> np.int64:
    """Returns a number for a file that stays the same when others are added."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.int64(int.from_bytes(digest[:8], "little", signed=True))


def _refuse_differing(
    files: Files,
    headers: Sequence[SoundHeader],
    what: str,
    shown: Callable[[SoundHeader], str],
    remedy: str,
) -> None:
    first = shown(headers[0])
    for name, header in zip(files.names, headers, strict=True):
        if shown(header) != first:
            raise DataError(
                f"{files.name}: {what} differ: {files.names[0]} has {first} and {name} "
                f"{shown(header)}; {remedy} them to one"
            )


def _refuse_other_channels(name: str, header: SoundHeader, channels: int) -> None:
    if header.channels != channels:
        raise DataError(
            f"{name}: has {_channels(header.channels)} and the pair was trained on "
            f"{_channels(channels)}; convert it, or train a pair on such files"
        )


def _channels(count: int) -> str:
    return {1: "1 channel (mono)", 2: "2 channels (stereo)"}.get(count, f"{count} channels")


def _refuse_other_rate(name: str, header: SoundHeader, rate_hz: int) -> None:
    if header.rate_hz != rate_hz:
        raise DataError(
            f"{name}: has {header.rate_hz} Hz and the pair was trained on {rate_hz} Hz; give "
            "--resample to have it resampled"
        )


def _report_resampled(files: Files, headers: Sequence[SoundHeader], rate_hz: int) -> None:
    others = sorted({header.rate_hz for header in headers if header.rate_hz != rate_hz})
    if others:
        count = sum(header.rate_hz != rate_hz for header in headers)
        rates = ", ".join(str(rate) for rate in others)
        _logger.warning(
            "%s: %d of %d file(s) are resampled from %s to %d Hz",
            files.name, count, len(files), rates, rate_hz,
        )  # fmt: skip
