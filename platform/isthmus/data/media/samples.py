"""The samples of one sound file, read and written part by part, at a sample rate of choice.

Shapes: samples_TC is (T, C), samples by channels, in [-1, 1] unless the file holds floats.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data.rows import FloatArray
from isthmus.errors import DataError
from isthmus.extras import importing

FORMATS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".mp3": "MP3",
    ".aiff": "AIFF",
    ".aif": "AIFF",
}
"""libsndfile's name of the format of each ending."""

_KINDS_OF_WAV = ("WAV", "WAVEX", "RF64")
_FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
# libsndfile reads what is left of a file that is cut off, and says so in its log alone.
_CLAIMED_BYTES = re.compile(r"^ ?(?:data|SSND) : (\d+) \(should be", re.MULTILINE)
_CUT_OFF = re.compile(
    r"does not match value from 'ds64'|without an End-Of-Stream flag|Junk after the last page"
)
_STREAM_BYTES = 0x7FFF0000
# The longest block of silence in the tightest format, flac, has 5,041 samples for a byte.
_MOST_SAMPLES_A_BYTE = 8192
_PART_FRAMES = 2**16


@dataclass(frozen=True, slots=True)
class SoundHeader:
    """The properties of a sound file that are known before its samples are decoded.

    Attributes:
        frames: The number of samples of each channel.
        channels: The number of channels.
        rate_hz: The number of samples a second.
        form: libsndfile's name of its format: "WAV", "FLAC".
        subtype: The storage format of a sample: "PCM_16", "FLOAT", "VORBIS".
    """

    frames: int
    channels: int
    rate_hz: int
    form: str
    subtype: str

    def frames_at(self, rate_hz: int) -> int:
        """Returns the number of samples of each channel at another rate, rounded."""
        return (2 * self.frames * rate_hz + self.rate_hz) // (2 * self.rate_hz)


def sound_library() -> Any:
    """Returns the module `soundfile`, through which libsndfile reads and writes sounds.

    Raises:
        MissingExtra: If it is not installed.
    """
    with importing("sound", needed_by="a sound file"):
        import soundfile
    return soundfile


def read_header(path: Path, name: str) -> SoundHeader:
    """Reads what a file says about itself.

    Args:
        path: The file.
        name: The name for messages.

    Raises:
        DataError: If it is no sound, is cut off, or holds nothing.
    """
    soundfile = sound_library()
    with _reading(name, "is damaged or no audio file; replace or remove it"):
        info = soundfile.info(str(path), verbose=True)
    if _is_cut_off(info.extra_info):
        raise DataError(f"{name}: is cut off before its end; copy it again or remove it")
    if info.frames == 0:
        raise DataError(f"{name}: holds no samples; remove it")
    if info.frames > _MOST_SAMPLES_A_BYTE * path.stat().st_size:
        raise DataError(
            f"{name}: is damaged: it claims {info.frames} samples, which so small a file cannot "
            "hold; replace or remove it"
        )
    return SoundHeader(info.frames, info.channels, info.samplerate, info.format, info.subtype)


def _is_cut_off(log: str) -> bool:
    claimed = _CLAIMED_BYTES.search(log)
    # A stream, whose length nobody knew when it began, claims 2 GiB or more on purpose.
    is_short = claimed is not None and int(claimed.group(1)) < _STREAM_BYTES
    return is_short or _CUT_OFF.search(log) is not None


class SampleReader:
    """Reads the samples of a file in order, resampled to a rate where the file has another.

    Args:
        path: The file.
        name: The name for messages.
        header: The header that `read_header` found.
        rate_hz: The rate at which samples are given.
    """

    def __init__(self, path: Path, name: str, header: SoundHeader, rate_hz: int) -> None:
        self.name = name
        self.length = header.frames_at(rate_hz)
        """The number of samples of each channel that there are to read."""
        self._header = header
        self._frames_left = header.frames
        self._given = 0
        self._resampled = np.empty((0, header.channels), dtype=np.float32)
        self._resampler = _resampler(header.rate_hz, rate_hz, header.channels, name)
        with _reading(name, "is damaged; replace or remove it"):
            self._file = sound_library().SoundFile(str(path))
        self.tags: Mapping[str, str] = self._file.copy_metadata()
        """The tags of the file: title, artist, date, comment."""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def read(self, count: int) -> FloatArray:
        """Returns the next samples, shape (T, C), where T is `count` or what is left.

        Raises:
            DataError: If the file is damaged or cut off, or holds NaN.
        """
        count = min(count, self.length - self._given)
        self._given += count
        if self._resampler is None:
            return self._read_file(count)
        parts = [self._resampled]
        while sum(len(part) for part in parts) < count and self._frames_left:
            part = self._read_file(min(_PART_FRAMES, self._frames_left))
            parts.append(self._resampler.resample_chunk(part, last=self._frames_left == 0))
        whole = np.concatenate(parts)
        self._resampled = whole[count:]
        # What rounding leaves open at the very end is silence.
        return _as_long_as(whole[:count], count)

    def read_mirrored(self, count: int) -> FloatArray:
        """Returns the next samples, shape (count, C), to and fro if there are not so many left.

        Silence after a noisy sound would be what no net has learned from.

        Raises:
            DataError: As in `read`.
        """
        samples_TC = self.read(count)
        return np.pad(samples_TC, ((0, count - len(samples_TC)), (0, 0)), mode="symmetric")

    def _read_file(self, count: int) -> FloatArray:
        with _reading(self.name, "is damaged; replace or remove it"):
            samples_TC: FloatArray = self._file.read(count, dtype="float32", always_2d=True)
        if len(samples_TC) != count:
            raise DataError(f"{self.name}: is cut off before its end; copy it again or remove it")
        if not np.isfinite(samples_TC).all():
            raise DataError(f"{self.name}: holds NaN or infinite samples; correct or remove it")
        self._frames_left -= count
        return samples_TC


class SampleWriter:
    """Writes samples in order to a file of the form, rate and length of another.

    Args:
        output: The file; its ending is its format.
        like: The header of the other file.
        rate_hz: The rate of the samples that are given.
        tags: The tags of the file; a tag that its format does not have is left out.
    """

    def __init__(
        self, output: Path, like: SoundHeader, rate_hz: int, tags: Mapping[str, str]
    ) -> None:
        soundfile = sound_library()
        self.clipped = 0
        """The number of samples so far that lay outside [-1, 1], and which the format clipped."""
        self.subtype = ""
        """libsndfile's name of the encoding of a sample in the file."""
        self._output = output
        self._frames_left = like.frames
        self._resampler = _resampler(rate_hz, like.rate_hz, like.channels, output.name)
        form, self.subtype = _form(output, like)
        with _writing(output):
            self._file = soundfile.SoundFile(
                str(output), "w", like.rate_hz, like.channels, self.subtype, format=form
            )
        for name, tag in tags.items():
            with suppress(soundfile.SoundFileError):
                setattr(self._file, name, tag)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def write(self, samples_TC: FloatArray, *, last: bool) -> None:
        """Writes the next samples; after the last the file is as long as the other.

        Raises:
            DataError: If the place cannot be written to.
        """
        if self._resampler is not None:
            samples_TC = self._resampler.resample_chunk(samples_TC, last=last)
        samples_TC = samples_TC[: self._frames_left]
        if last:
            samples_TC = _as_long_as(samples_TC, self._frames_left)
        self._frames_left -= len(samples_TC)
        if self.subtype not in _FLOAT_SUBTYPES:
            self.clipped += int((np.abs(samples_TC) > 1).sum())
            samples_TC = np.clip(samples_TC, -1, 1)
        with _writing(self._output):
            self._file.write(samples_TC)


def check_format(output: Path, like: SoundHeader) -> None:
    """Refuses an output whose format cannot hold the channels or the sample rate of a sound.

    Raises:
        DataError: With the ending that can.
    """
    soundfile = sound_library()
    form, subtype = _form(output, like)
    try:
        soundfile.SoundFile(
            io.BytesIO(), "w", like.rate_hz, like.channels, subtype, format=form
        ).close()
    except (soundfile.SoundFileError, ValueError) as error:
        raise DataError(
            f"{output}: {form} cannot hold {like.channels} channel(s) at {like.rate_hz} Hz; name "
            "a .wav"
        ) from error


def _form(output: Path, like: SoundHeader) -> tuple[str, str]:
    """Returns the format and the subtype of an output, those of the other file where it can."""
    soundfile = sound_library()
    form = FORMATS[output.suffix.lower()]
    if form == "WAV" and like.form in _KINDS_OF_WAV:
        form = like.form
    fits = soundfile.check_format(form, like.subtype)
    return form, like.subtype if fits else soundfile.default_subtype(form)


def _resampler(from_hz: int, to_hz: int, channels: int, name: str) -> Any:
    """Returns a resampler, or `None` if the rates are the same."""
    if from_hz == to_hz:
        return None
    with importing("sound", needed_by=f"{name}: resampling"):
        import soxr
    try:
        return soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32")
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{name}: cannot be resampled from {from_hz} to {to_hz} Hz") from error


def _as_long_as(samples_TC: FloatArray, count: int) -> FloatArray:
    missing = count - len(samples_TC)
    return np.pad(samples_TC, ((0, missing), (0, 0))) if missing > 0 else samples_TC


@contextmanager
def _reading(name: str, message: str) -> Iterator[None]:
    soundfile = sound_library()
    try:
        yield
    except PermissionError:
        raise DataError(f"{name}: may not be read by this user; allow it with chmod") from None
    except (soundfile.SoundFileError, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{name}: {message}") from error


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    soundfile = sound_library()
    try:
        yield
    except soundfile.SoundFileError as error:
        raise DataError(f"{output}: cannot be written ({error}); name another place") from error
