"""Audio: sound files, cut into windows of samples, shape (C, window)."""

from __future__ import annotations

from isthmus.data.kinds import Kind, UseOptions
from isthmus.data.media.sound_files import (
    SOUND_ENDINGS,
    open_sound_files,
    open_sound_files_like,
)
from isthmus.data.rows import RowSource
from isthmus.data.storage.files import Files
from isthmus.kinds import KindFacts
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import LevelUnit, ScalingMode


class Audio(Kind):
    """Sound files; the windows of a file know where in it they begin."""

    ENDINGS = SOUND_ENDINGS
    SUMMARY = "windows of sound files"
    FACTS = KindFacts(
        words="windows of {shape} samples",
        place="sample",
        shown_as="sounds",
        are_windows=True,
        split_by="file",
        fields=("window", "stride", "sample_rate_hz"),
        scaling=ScalingMode.NONE,
        # As dense is for series. Of noise `tests/benchmarks/denoise_audio.py` measures the net on
        # speech of held-out speakers.
        net="dense",
        noisy_net="spectral_mask",
        score="kernel_denoising",
        level_in=LevelUnit.SNR_DB,  # the loudness of sounds differs by 40 times from file to file
        noise_filter="a Wiener filter",
        noise_measure="si_sdr",
    )

    @classmethod
    def open(cls, files: Files, spec: DataSpec) -> tuple[RowSource, DataSpec]:
        """Opens sound files to train on, and settles `window` and `stride`."""
        return open_sound_files(files, spec)

    @classmethod
    def open_like(
        cls, files: Files, data: DataSpec, schema: RowSchema, options: UseOptions
    ) -> RowSource:
        """Opens sound files for a trained pair, resampled if that is asked for."""
        return open_sound_files_like(files, data, schema, options)
