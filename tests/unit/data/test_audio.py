"""Audio: windows of samples, files that stay together, and files written back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from isthmus.data import Provenance, read_input, read_rows, split_rows, write_reconstructions
from isthmus.spec import DataSpec
from isthmus.types import DataKind, ScalingMode

RNG = np.random.default_rng(0)


def save(
    path: Path, samples: int = 3000, rate_hz: int = 8000, channels: int = 1, subtype: str = "PCM_16"
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = RNG.uniform(-0.9, 0.9, size=(samples, channels))
    soundfile.write(str(path), sound, rate_hz, subtype)


def test_a_folder_of_sound_becomes_windows_of_one_channel(in_tmp: Path) -> None:
    save(in_tmp / "f" / "one" / "a.wav")
    save(in_tmp / "f" / "two" / "b.flac", channels=2)
    rows, spec = read_rows(DataSpec(path="f", labels="folder"))
    assert (spec.kind, spec.scaling) == (DataKind.AUDIO, ScalingMode.NONE)
    assert (spec.window, spec.stride) == (1024, 512)
    assert rows.values.shape == (10, 1, 1024)
    assert rows.groups is not None
    assert len(set(rows.groups.tolist())) == 2
    assert rows.labels is not None
    assert rows.labels.tolist() == ["one"] * 5 + ["two"] * 5
    sound, _ = soundfile.read("f/two/b.flac", dtype="float32")
    assert np.allclose(rows.values[5, 0], sound[:1024].mean(axis=1), atol=1e-6)
    index = rows.layout.index()
    assert index["file"][5] == "two/b.flac"
    assert index["start_s"][4] == (3000 - 1024) / 8000


def test_the_windows_of_a_file_stay_in_one_part_of_the_split(in_tmp: Path) -> None:
    for number in range(80):
        save(in_tmp / "f" / f"{number}.wav", samples=300)
    rows, spec = read_rows(DataSpec(path="f", window=100))
    split = split_rows(rows, spec, seed=3)
    files = rows.layout.index()["file"]
    parts = [set(files[part]) for part in (split.train, split.validation, split.test)]
    assert sum(len(part) for part in parts) == 80


def test_a_single_file_is_split_by_time(in_tmp: Path) -> None:
    save(in_tmp / "a.wav", samples=9000)
    rows, spec = read_rows(DataSpec(path="a.wav", window=256))
    assert rows.ordered
    split = split_rows(rows, spec, seed=0)
    assert split.train.max() < split.validation.min() < split.test.min()


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16")],
)
def test_files_are_written_back_in_their_format(
    name: str, subtype: str, in_tmp: Path, provenance: Provenance
) -> None:
    save(in_tmp / "f" / "sub" / name, subtype=subtype)
    save(in_tmp / "f" / "b.wav")
    _, spec = read_rows(DataSpec(path="f"))
    rows = read_input(spec, "f", (1, 1024))
    write_reconstructions(rows, rows.values, in_tmp / "out", provenance)
    before, _ = soundfile.read(f"f/sub/{name}")
    after, rate_hz = soundfile.read(f"out/sub/{name}")
    assert soundfile.info(f"out/sub/{name}").subtype == subtype
    assert rate_hz == 8000
    assert np.allclose(before, after, atol=1e-4)
    assert (in_tmp / "out" / "pair.json").is_file()


def test_a_wav_that_was_streamed_claims_no_length_and_is_read(in_tmp: Path) -> None:
    save(in_tmp / "a.wav", samples=9000)
    content = bytearray((in_tmp / "a.wav").read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    (in_tmp / "a.wav").write_bytes(content)
    rows, _ = read_rows(DataSpec(path="a.wav"))
    assert rows.layout.index()["start_s"][-1] == (9000 - 1024) / 8000


def test_one_file_is_one_file_again_clipped(in_tmp: Path, provenance: Provenance) -> None:
    save(in_tmp / "a.wav", samples=4000)
    rows, _ = read_rows(DataSpec(path="a.wav"))
    write_reconstructions(rows, rows.values * 10, in_tmp / "o.wav", provenance)
    sound, _ = soundfile.read("o.wav")
    assert len(sound) == 4000
    assert np.abs(sound).max() <= 1.0
