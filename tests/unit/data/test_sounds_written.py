"""Sounds that are put together again: fading windows, lengths below a window, tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from isthmus.data import Provenance, collect, open_input, open_rows
from isthmus.data import rows as rows_module
from isthmus.data.media.samples import FORMATS
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from tests.unit.data.test_audio import RNG, TRAINED, load, mono, save, write


def test_windows_fade_into_one_another_where_they_overlap(
    in_tmp: Path, provenance: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(in_tmp / "a.wav", 40, subtype="FLOAT")
    source, _ = open_rows(DataSpec(path="a.wav", window=20, stride=10))
    monkeypatch.setattr(rows_module, "_NUMBERS_IN_A_BLOCK", 20)  # a window a block
    with source.open_output(in_tmp / "out.wav", provenance) as write_block:
        for number, block in enumerate(source.blocks()):
            write_block(block, np.full_like(block.values, number))
    written = load("out.wav")[:, 0]
    assert written[:10].tolist() == [0] * 10
    assert written[-10:].tolist() == [2] * 10
    assert np.allclose(written.reshape(4, 10).mean(axis=1), [0, 0.5, 1.5, 2])
    steps = np.diff(written[9:31])
    assert steps.min() > 0
    assert steps.max() < 0.2, "there is no seam where a window begins or ends"


@pytest.mark.parametrize("samples", [1, 255, 256])
def test_a_sound_shorter_than_a_window_is_padded_and_comes_back_at_its_length(
    samples: int, in_tmp: Path, provenance: Provenance
) -> None:
    save(in_tmp / "f" / "long.wav", 700)
    save(in_tmp / "f" / "short.wav", samples)
    padding = TRAINED.model_copy(update={"short_files": "pad"})
    source = open_input(padding, "f", mono())
    rows = collect(source)
    assert len(rows) == source.count == 6
    assert np.array_equal(rows.values[5, 0, :samples], load("f/short.wav")[:, 0])
    mirrored = load("f/short.wav")[::-1, 0][: 256 - samples]
    assert np.array_equal(rows.values[5, 0, samples : samples + len(mirrored)], mirrored)
    write(source, in_tmp / "out", provenance)
    assert np.allclose(load("out/short.wav"), load("f/short.wav"), atol=1e-4)
    if samples < 256:
        said = f"has {samples} samples, and the model takes windows of 256; remove it"
        with pytest.raises(DataError, match=said):
            open_input(TRAINED, "f", mono())


def test_training_pads_short_sounds_where_it_is_asked_to_and_its_windows_are_longer(
    in_tmp: Path,
) -> None:
    save(in_tmp / "f" / "a.wav", 500, rate_hz=16000)
    save(in_tmp / "f" / "b.wav", 9000, rate_hz=16000)
    source, spec = open_rows(DataSpec(path="f", short_files="pad"))
    assert (spec.window, spec.stride, spec.sample_rate_hz) == (4096, 2048, 16000)
    assert len(collect(source)) == source.count == 5


def test_a_sample_rate_that_is_not_that_of_the_sounds_is_refused(in_tmp: Path) -> None:
    save(in_tmp / "a.wav")
    with pytest.raises(DataError, match=r"have 8000 Hz, and data\.sample_rate_hz is 16000; leave"):
        open_rows(DataSpec(path="a.wav", sample_rate_hz=16000))


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg", ".mp3", ".aiff"])
def test_the_tags_of_a_file_are_kept(ending: str, in_tmp: Path, provenance: Provenance) -> None:
    save(in_tmp / "f" / f"plain{ending}")
    sound = RNG.uniform(-0.5, 0.5, size=3000)
    name = str(in_tmp / "f" / f"tagged{ending}")
    with soundfile.SoundFile(name, "w", 8000, 1, format=FORMATS[ending]) as file:
        file.title, file.artist = "Words", "Nobody"
        file.write(sound)
    source, _ = open_rows(DataSpec(path="f"))
    write(source, in_tmp / "out", provenance)
    with soundfile.SoundFile(in_tmp / "out" / f"tagged{ending}") as file:
        assert file.copy_metadata().items() >= {"title": "Words", "artist": "Nobody"}.items()


def test_a_tag_that_a_format_does_not_have_is_left_out(
    in_tmp: Path, provenance: Provenance
) -> None:
    with soundfile.SoundFile(in_tmp / "a.flac", "w", 8000, 1) as file:
        file.license = "free"
        file.write(RNG.uniform(-0.5, 0.5, size=3000))
    source, _ = open_rows(DataSpec(path="a.flac"))
    write(source, in_tmp / "out.wav", provenance)
    assert len(load("out.wav")) == 3000
