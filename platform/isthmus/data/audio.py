"""Audio: wav and flac files, mixed to one channel and cut into windows of samples."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.array_layout import save_array
from isthmus.data.labels import folder_labels
from isthmus.data.output import check_ending, check_folder, whole_file, whole_folder
from isthmus.data.provenance import Provenance
from isthmus.data.rows import FloatArray, IndexArray, Rows
from isthmus.data.storage import (
    ARRAY_ENDINGS,
    AUDIO_ENDINGS,
    Source,
    folder_of,
    list_files,
)
from isthmus.data.windows import cut_windows, merge_windows, window_starts
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind, Shape

DEFAULT_WINDOW = 1024
_CUT_OFF = re.compile(r"^data : (\d+) \(should be", re.MULTILINE)
_STREAM_BYTES = 0x7FFF0000


@dataclass(frozen=True)
class Clip:
    """One file of sound.

    Attributes:
        name: Relative to its folder.
        frames: Samples of each channel.
        rate_hz: Samples a second.
        subtype: How a sample is stored: "PCM_16", "FLOAT".
    """

    name: str
    frames: int
    rate_hz: int
    subtype: str


def read_audio(source: Source, spec: DataSpec) -> tuple[Rows, DataSpec]:
    """Reads windows of shape (1, window), and fills in `window` and `stride`.

    The windows of a file stay together in one split; of a single file they are split by time.

    Raises:
        DataError: If a file is damaged, too short, or of another sample rate.
    """
    window = spec.window or DEFAULT_WINDOW
    spec = spec.model_copy(update={"window": window, "stride": spec.stride or window // 2})
    return _read_files(source, spec, window, spec.labels), spec


def read_audio_like(source: Source, data: DataSpec, row_shape: Shape) -> Rows:
    """Reads windows of the shape (1, window) that a trained pair needs.

    Raises:
        DataError: If a file is damaged, too short, or of another sample rate.
    """
    return _read_files(source, data, row_shape[1], None)


def _read_files(source: Source, spec: DataSpec, window: int, labels: str | None) -> Rows:
    names = list_files(source, AUDIO_ENDINGS, "audio")
    folder = folder_of(source)
    clips = tuple(_read_clip(folder, name, source) for name in names)
    _refuse_unlike(clips, window, source)
    stride = spec.stride or window // 2
    starts_of = [window_starts(clip.frames, window, stride) for clip in clips]
    clip_of_row = np.repeat(np.arange(len(clips)), [len(starts) for starts in starts_of])
    values = np.empty((len(clip_of_row), 1, window), dtype=np.float32)
    first = 0
    for clip, starts in zip(clips, starts_of, strict=True):
        signal = _read_samples(folder, clip, source)
        values[first : first + len(starts)] = cut_windows(signal[:, None], starts, window)
        first += len(starts)
    starts = np.concatenate(starts_of)
    by_clip = folder_labels(names, labels, source.name)
    layout = AudioLayout(folder, clips, clip_of_row, starts, is_single=source.path.is_file())
    return Rows(
        values,
        DataKind.AUDIO,
        layout,
        labels=None if by_clip is None else by_clip[clip_of_row],
        groups=None if len(clips) == 1 else _groups(names)[clip_of_row],
        starts=starts if len(clips) == 1 else None,
    )


def _groups(names: Sequence[str]) -> IndexArray:
    """A number for each file that stays the same when others are added."""
    digests = [hashlib.sha256(name.encode()).digest()[:8] for name in names]
    return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)


def _read_clip(folder: Path, name: str, source: Source) -> Clip:
    import soundfile

    called = source.called(name)
    try:
        info = soundfile.info(str(folder / name), verbose=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{called}: is damaged or no audio file; replace or remove it") from error
    cut_off = _CUT_OFF.search(info.extra_info) if info.format == "WAV" else None
    # libsndfile reads what is left and says nothing; a stream claims 2 GiB or more on purpose.
    if cut_off and int(cut_off.group(1)) < _STREAM_BYTES:
        raise DataError(f"{called}: is cut off before its end; copy it again or remove it")
    if info.frames == 0:
        raise DataError(f"{called}: holds no samples; remove it")
    return Clip(name, info.frames, info.samplerate, info.subtype)


def _refuse_unlike(clips: Sequence[Clip], window: int, source: Source) -> None:
    first = clips[0]
    for clip in clips:
        if clip.rate_hz != first.rate_hz:
            raise DataError(
                f"{source.name}: sample rates differ: {first.name} has {first.rate_hz} Hz and "
                f"{clip.name} {clip.rate_hz} Hz; resample them to one rate"
            )
    shortest = min(clips, key=lambda clip: clip.frames)
    if shortest.frames < window:
        raise DataError(
            f"{source.called(shortest.name)}: has {shortest.frames} samples, fewer than "
            f"data.window={window}; remove it, or set data.window to at most {shortest.frames}"
        )


def _read_samples(folder: Path, clip: Clip, source: Source) -> FloatArray:
    """Shape (T,): the mean of all channels."""
    import soundfile

    called = source.called(clip.name)
    try:
        samples, _ = soundfile.read(str(folder / clip.name), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{called}: is damaged; replace or remove it") from error
    if len(samples) != clip.frames:
        raise DataError(f"{called}: is cut off before its end; copy it again or remove it")
    mono: FloatArray = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise DataError(f"{called}: holds NaN or infinite samples; correct or remove it")
    return mono


@dataclass(frozen=True, eq=False)
class AudioLayout:
    """Windows of audio files: averaged where they overlap, and written to files of the same names.

    Attributes:
        folder: Where the files lie.
        clips: The files.
        clip_of_row: Shape (N,). Position in `clips` of each window's file.
        starts: Shape (N,). First sample of each window within its file.
        is_single: Whether the input was one file, not a folder.
    """

    folder: Path
    clips: tuple[Clip, ...]
    clip_of_row: IndexArray
    starts: IndexArray
    is_single: bool

    def take(self, kept: IndexArray) -> AudioLayout:
        """The layout of only these windows."""
        return replace(self, clip_of_row=self.clip_of_row[kept], starts=self.starts[kept])

    def index(self) -> Mapping[str, NDArray[Any]]:
        """`file` of each window, and `start_s`, where it begins in it, in seconds."""
        names = np.array([clip.name for clip in self.clips])
        return {
            "file": names[self.clip_of_row],
            "start_s": self.starts / self.clips[0].rate_hz,
        }

    def check_output(self, output: Path) -> None:
        """Refuses a folder with other things in it, or for one file an ending of no audio."""
        if output.suffix.lower() in ARRAY_ENDINGS:
            return
        if self.is_single:
            check_ending(output, (*AUDIO_ENDINGS, *ARRAY_ENDINGS), "audio")
        else:
            check_folder(output)

    def write(self, values: FloatArray, output: Path, provenance: Provenance) -> None:
        """Writes windows (N, 1, window) as mono files of the same names, or to npz as they are."""
        self.check_output(output)
        if output.suffix.lower() in ARRAY_ENDINGS:
            save_array(values, "x", output, provenance, self.index())
        elif self.is_single:
            with whole_file(output, provenance) as temporary:
                self._write_clip(0, values, temporary)
        else:
            with whole_folder(output, provenance) as folder:
                for position in np.unique(self.clip_of_row):
                    self._write_clip(position, values, folder / self.clips[position].name)

    def _write_clip(self, position: int, values: FloatArray, target: Path) -> None:
        import soundfile

        clip = self.clips[position]
        of_clip = np.flatnonzero(self.clip_of_row == position)
        merged = merge_windows(values[of_clip], self.starts[of_clip], clip.frames)[:, 0]
        target.parent.mkdir(parents=True, exist_ok=True)
        form = target.suffix.lstrip(".").upper()
        subtype = clip.subtype if soundfile.check_format(form, clip.subtype) else None
        soundfile.write(str(target), np.clip(merged, -1, 1), clip.rate_hz, subtype, format=form)
