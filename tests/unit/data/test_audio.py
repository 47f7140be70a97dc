"""Sounds: windows of samples, channels and rates that are held to, and files written back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from isthmus.data import Provenance, Rows, RowSource, UseOptions, collect, open_input, open_rows
from isthmus.data import rows as rows_module
from isthmus.data.media.samples import FORMATS
from isthmus.data.media.sound_files import SOUND_ENDINGS
from isthmus.errors import DataError
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind, ScalingMode

RNG = np.random.default_rng(0)
TRAINED = DataSpec(path="trained on other sounds", kind=DataKind.AUDIO, window=256, stride=128)


def read(**fields: Any) -> Rows:
    return collect(open_rows(DataSpec(**fields))[0])


def write(source: RowSource, output: Path, provenance: Provenance, factor: float = 1) -> None:
    """Writes the windows of a source again, multiplied by a factor."""
    with source.open_output(output, provenance) as write_block:
        for block in source.blocks():
            write_block(block, block.values * np.float32(factor))


def mono(window: int = 256, rate_hz: int | None = 8000, channels: int = 1) -> RowSchema:
    shape = (channels, window)
    return RowSchema(kind=DataKind.AUDIO, shape=shape, sample_rate_hz=rate_hz)


def save(
    path: Path,
    samples: int = 3000,
    rate_hz: int = 8000,
    channels: int = 1,
    subtype: str | None = None,
) -> np.ndarray[Any, Any]:
    """Writes noise, louder than which no format of whole numbers can hold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = RNG.uniform(-0.9, 0.9, size=(samples, channels))
    soundfile.write(str(path), sound, rate_hz, subtype, format=FORMATS[path.suffix])
    return sound


def load(path: str | Path) -> np.ndarray[Any, Any]:
    """Reads a file, shape (T, C)."""
    return np.asarray(soundfile.read(str(path), dtype="float32", always_2d=True)[0])


def test_a_folder_of_sounds_becomes_windows(in_tmp: Path) -> None:
    save(in_tmp / "f" / "one" / "a.wav")
    save(in_tmp / "f" / "two" / "b.flac")
    source, spec = open_rows(DataSpec(path="f", labels="folder"))
    assert spec.scaling is ScalingMode.NONE
    assert (spec.window, spec.stride) == (1024, 512)
    assert source.schema == mono(1024)
    rows = collect(source)
    assert source.count == len(rows) == 10
    assert rows.values.shape == (10, 1, 1024)
    assert rows.labels is not None
    assert rows.labels.tolist() == ["one"] * 5 + ["two"] * 5
    assert np.array_equal(rows.values[5, 0], load("f/two/b.flac")[:1024, 0])
    assert rows.index["file"][5] == "two/b.flac"
    assert rows.index["start_s"][4] == (3000 - 1024) / 8000


def test_every_window_says_its_file_and_where_in_it_it_begins(in_tmp: Path) -> None:
    save(in_tmp / "f" / "a.wav", 1000)
    save(in_tmp / "f" / "b.wav", 600)
    rows = read(path="f", window=256, stride=256)
    assert rows.groups is not None
    assert rows.starts is not None
    assert rows.lengths is not None
    assert len(set(rows.groups[:4].tolist())) == len(set(rows.groups[4:].tolist())) == 1
    assert rows.groups[0] != rows.groups[4]
    assert rows.starts.tolist() == [0, 256, 512, 744, 0, 256, 344]
    assert rows.lengths.tolist() == [1000] * 4 + [600] * 3
    (in_tmp / "f" / "a.wav").unlink()
    alone = read(path="f", window=256).groups
    assert alone is not None
    assert alone[0] == rows.groups[4], "a file is of the same group whatever lies beside it"


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_kept(channels: int, in_tmp: Path, provenance: Provenance) -> None:
    save(in_tmp / "a.wav", channels=channels)
    source, _ = open_rows(DataSpec(path="a.wav"))
    rows = collect(source)
    assert rows.values.shape == (5, channels, 1024)
    assert np.array_equal(rows.values[0], load("a.wav")[:1024].T)
    write(source, in_tmp / "out.wav", provenance)
    assert np.allclose(load("out.wav"), load("a.wav"), atol=1e-4)


@pytest.mark.parametrize("stride", [50, 100, 700], ids=["overlapping", "beside", "with gaps"])
@pytest.mark.parametrize("samples", [100, 1009, 1400])
def test_a_long_file_is_read_and_written_in_parts(
    samples: int,
    stride: int,
    in_tmp: Path,
    provenance: Provenance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save(in_tmp / "a.wav", samples, channels=2, subtype="FLOAT")
    source, _ = open_rows(DataSpec(path="a.wav", window=100, stride=stride))
    whole = collect(source)
    monkeypatch.setattr(rows_module, "_NUMBERS_IN_A_BLOCK", 600)
    blocks = list(source.blocks())
    assert max(len(block.values) for block in blocks) <= 3
    assert np.array_equal(np.concatenate([block.values for block in blocks]), whole.values)
    assert whole.starts is not None
    starts = [start for block in blocks for start in block.starts]
    assert starts == whole.starts.tolist()
    assert starts[-1] == samples - 100, "the end is covered"
    sound = load("a.wav")
    assert all(np.array_equal(row.T, sound[at : at + 100])
               for row, at in zip(whole.values, starts, strict=True))  # fmt: skip
    write(source, in_tmp / "out.wav", provenance)
    # Samples that no window covers stay as they were.
    assert np.allclose(load("out.wav"), sound, atol=1e-6)


def test_memory_does_not_grow_with_a_file(
    in_tmp: Path, provenance: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tracemalloc

    save(in_tmp / "a.wav", 2_000_000)  # 8 MB as float32, 16 MB as windows
    monkeypatch.setattr(rows_module, "_NUMBERS_IN_A_BLOCK", 2**16)
    source, _ = open_rows(DataSpec(path="a.wav"))
    tracemalloc.start()
    write(source, in_tmp / "out.wav", provenance)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 6e6


# -- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", SOUND_ENDINGS)
@pytest.mark.parametrize("channels", [1, 2])
def test_each_format_is_read_and_written_back(
    ending: str, channels: int, in_tmp: Path, provenance: Provenance
) -> None:
    save(in_tmp / "f" / "sub" / f"a{ending}", channels=channels)
    save(in_tmp / "f" / f"b{ending}", 5000, channels=channels)
    source, _ = open_rows(DataSpec(path="f"))
    assert source.count == 14
    write(source, in_tmp / "out", provenance)
    for name in (f"sub/a{ending}", f"b{ending}"):
        before, after = soundfile.info(f"f/{name}"), soundfile.info(f"out/{name}")
        assert (after.format, after.subtype) == (before.format, before.subtype)
        assert (after.samplerate, after.channels) == (before.samplerate, channels)
        assert len(load(f"out/{name}")) == len(load(f"f/{name}"))
        if ending not in (".mp3", ".ogg"):
            assert np.allclose(load(f"f/{name}"), load(f"out/{name}"), atol=1e-4)
    assert (in_tmp / "out" / "pair.json").is_file()


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "FLOAT"), ("a.flac", "PCM_24")],
)
def test_files_are_written_back_as_their_samples_were_stored(
    name: str, subtype: str, in_tmp: Path, provenance: Provenance
) -> None:
    save(in_tmp / name, subtype=subtype)
    source = open_input(TRAINED, name, mono())
    write(source, in_tmp / f"out-{name}", provenance)
    assert soundfile.info(f"out-{name}").subtype == subtype
    assert np.allclose(load(name), load(f"out-{name}"), atol=1e-4)


def test_a_wav_that_was_streamed_claims_no_length_and_is_read(in_tmp: Path) -> None:
    save(in_tmp / "a.wav", samples=9000)
    content = bytearray((in_tmp / "a.wav").read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    (in_tmp / "a.wav").write_bytes(content)
    assert read(path="a.wav").index["start_s"][-1] == (9000 - 1024) / 8000


def loud(path: str, samples: int = 1000) -> np.ndarray[Any, Any]:
    """Writes a wav of floats, some beyond 1."""
    sound = np.linspace(-3, 3, samples, dtype=np.float32)
    soundfile.write(path, sound, 8000, "FLOAT")
    return sound


def test_a_wav_of_floats_beyond_1_is_kept_as_it_is(
    in_tmp: Path, provenance: Provenance, caplog: pytest.LogCaptureFixture
) -> None:
    sound = loud("a.wav")
    source, _ = open_rows(DataSpec(path="a.wav", window=100))
    assert collect(source).values.max() == 3
    write(source, in_tmp / "out.wav", provenance)
    assert np.allclose(load("out.wav")[:, 0], sound, atol=1e-5)
    assert not caplog.messages


def test_samples_that_the_format_clips_are_counted_and_said_once(
    in_tmp: Path, provenance: Provenance, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        save(in_tmp / "f" / f"{number}.wav")
    source, _ = open_rows(DataSpec(path="f"))
    write(source, in_tmp / "out", provenance, factor=10)
    assert np.abs(load("out/0.wav")).max() <= 1
    beyond = sum(int((np.abs(load(f"f/{n}.wav") * np.float32(10)) > 1).sum()) for n in range(3))
    (message,) = caplog.messages
    assert message.endswith(
        f"out: {beyond} sample(s) beyond -1 to 1 are clipped, since PCM_16 holds no others; only a "
        "wav of floats does"
    )


# -- the rate and the channels of a pair --------------------------------------------------------


def test_another_sample_rate_is_refused_with_resampling_as_the_way(in_tmp: Path) -> None:
    save(in_tmp / "f" / "a.wav")
    save(in_tmp / "f" / "b.wav", rate_hz=44100)
    with pytest.raises(
        DataError,
        match=r"^f/b\.wav: has 44100 Hz and the pair was trained on 8000 Hz; give --resample to h",
    ):
        open_input(TRAINED, "f", mono())


@pytest.mark.parametrize(("rate_hz", "samples"), [(44100, 44100), (7999, 3001), (22050, 10_007)])
def test_sounds_are_resampled_if_asked_for_and_written_at_their_own_rate_and_length(
    rate_hz: int,
    samples: int,
    in_tmp: Path,
    provenance: Provenance,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows_module, "_NUMBERS_IN_A_BLOCK", 1000)
    tone_hz = 440
    sound = 0.5 * np.sin(2 * np.pi * tone_hz * np.arange(samples) / rate_hz)
    soundfile.write("a.wav", sound, rate_hz, "FLOAT")
    source = open_input(TRAINED, "a.wav", mono(), UseOptions(resample=True))
    rows = collect(source)
    assert len(rows) == source.count
    expected = 0.5 * np.sin(2 * np.pi * tone_hz * np.arange(256 * 4) / 8000)
    assert np.allclose(rows.values[[2, 4], 0], expected.reshape(4, 256)[[1, 2]], atol=5e-3)
    assert rows.index["start_s"][1] == 128 / 8000
    assert rows.lengths is not None
    assert rows.lengths[0] == round(samples * 8000 / rate_hz)
    write(source, in_tmp / "out.wav", provenance)
    assert soundfile.info("out.wav").samplerate == rate_hz
    written = load("out.wav")[:, 0]
    assert len(written) == samples
    inner = slice(400, -400)
    assert np.allclose(written[inner], sound[inner], atol=5e-3)
    assert f"1 of 1 file(s) are resampled from {rate_hz} to 8000 Hz" in caplog.text


def test_sounds_of_the_same_rate_are_not_resampled(
    in_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(in_tmp / "a.wav")
    rows = collect(open_input(TRAINED, "a.wav", mono(), UseOptions(resample=True)))
    assert np.array_equal(rows.values[0, 0], load("a.wav")[:256, 0])
    assert not caplog.messages


@pytest.mark.parametrize(
    ("found", "trained", "expected"),
    [
        (2, 1, "has 2 channels (stereo) and the pair was trained on 1 channel (mono)"),
        (1, 2, "has 1 channel (mono) and the pair was trained on 2 channels (stereo)"),
    ],
)
def test_other_channels_than_the_pairs_are_refused(
    found: int, trained: int, expected: str, in_tmp: Path
) -> None:
    save(in_tmp / "a.wav", channels=found)
    with pytest.raises(DataError) as caught:
        open_input(TRAINED, "a.wav", mono(channels=trained))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pair_that_knows_no_rate_takes_files_of_one_rate(in_tmp: Path) -> None:
    save(in_tmp / "f" / "a.wav", rate_hz=16000)
    source = open_input(TRAINED, "f", mono(rate_hz=None))
    assert collect(source).index["start_s"][1] == 128 / 16000
    save(in_tmp / "f" / "b.wav", rate_hz=8000)
    with pytest.raises(DataError, match=r"differ: a\.wav has 16000 Hz and b\.wav 8000 Hz"):
        open_input(TRAINED, "f", mono(rate_hz=None))


# -- what is refused ----------------------------------------------------------------------------


def damaged(change: Callable[[bytes], bytes], name: str = "f/a.wav") -> Callable[[], object]:
    def make() -> None:
        save(Path(name), 20_000)
        Path(name).write_bytes(change(Path(name).read_bytes()))

    return make


def not_a_number() -> None:
    sound = np.zeros(9000, dtype=np.float32)
    sound[8000] = np.nan
    soundfile.write("a.wav", sound, 8000, "FLOAT")


def claiming_2_to_the_35_samples(content: bytes) -> bytes:
    flac = bytearray(content)
    flac[21] |= 0x08  # the highest of the 36 bits of the number of samples
    return bytes(flac)


FAULTS: dict[str, tuple[Callable[[], object], dict[str, Any], str]] = {
    "rates that differ": (
        lambda: [save(Path("f/a.wav")), save(Path("f/b.wav"), rate_hz=16000)], {"path": "f"},
        "f: sample rates differ: a.wav has 8000 Hz and b.wav 16000 Hz; resample them to one",
    ),
    "channels that differ": (
        lambda: [save(Path("f/a.wav")), save(Path("f/b.wav"), channels=2)], {"path": "f"},
        "f: channels differ: a.wav has 1 and b.wav 2; mix or convert them to one",
    ),
    **{
        f"a {name} that is cut off": (
            damaged(lambda content: content[: len(content) * 3 // 4], name), {"path": name},
            f"{name}: is cut off before its end; copy it again or remove it",
        )
        for name in ("a.wav", "a.aiff", "a.ogg", "a.mp3")
    },
    "a flac that is cut off": (
        damaged(lambda content: content[:9000], "a.flac"), {"path": "a.flac"},
        "a.flac: is damaged; replace or remove it",
    ),
    "a flac that is damaged within": (
        damaged(lambda content: content[:9000] + bytes(500) + content[9500:], "a.flac"),
        {"path": "a.flac"}, "a.flac: is ",
    ),
    "a flac whose header lies": (
        damaged(claiming_2_to_the_35_samples, "a.flac"), {"path": "a.flac"},
        "a.flac: is damaged: it claims 34359758368 samples, which so small a file cannot hold",
    ),
    "no sound": (
        damaged(lambda _: b"hello"), {"path": "f"},
        "f/a.wav: is damaged or no audio file; replace or remove it",
    ),
    "no samples": (
        lambda: save(Path("a.wav"), 0), {"path": "a.wav"}, "a.wav: holds no samples; remove it",
    ),
    "too short": (
        lambda: save(Path("f/a.wav"), 500), {"path": "f"},
        "f/a.wav: has 500 samples, fewer than data.window=1024; remove it, or set data.window to "
        "at most 500",
    ),
    "NaN": (
        not_a_number, {"path": "a.wav"},
        "a.wav: holds NaN or infinite samples; correct or remove it",
    ),
    "labels that files do not have": (
        lambda: save(Path("f/a.wav")), {"path": "f", "labels": "y"},
        'f: data.labels: "y" is not possible for files; use folder',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.usefixtures("in_tmp")
def test_wrong_sounds_end_in_one_clear_line(case: str) -> None:
    make, fields, expected = FAULTS[case]
    make()
    with pytest.raises(DataError) as caught:
        read(**fields)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_format_that_cannot_hold_the_sound_is_refused_before_the_work_is_done(
    in_tmp: Path,
) -> None:
    save(in_tmp / "a.wav", channels=6, rate_hz=96000)
    source, _ = open_rows(DataSpec(path="a.wav"))
    with pytest.raises(DataError, match=r"out\.mp3: MP3 cannot hold 6 channel\(s\) at 96000 Hz"):
        source.check_output(Path("out.mp3"))
    with pytest.raises(DataError, match=r'out\.png: ending "\.png"; audio can be written as \.wav'):
        source.check_output(Path("out.png"))
    source.check_output(Path("out.flac"))


def test_a_folder_goes_to_npz_by_the_ending(in_tmp: Path, provenance: Provenance) -> None:
    save(in_tmp / "f" / "a.wav")
    save(in_tmp / "f" / "longer.wav", 5000)
    source, _ = open_rows(DataSpec(path="f"))
    write(source, in_tmp / "o.npz", provenance)
    with np.load("o.npz") as archive:
        assert archive["x"].shape == (14, 1, 1024)
        assert archive["file"].tolist() == ["a.wav"] * 5 + ["longer.wav"] * 9
        assert archive["start_s"][1] == 512 / 8000


def test_nothing_is_left_of_an_output_that_fails_half_way(
    in_tmp: Path, provenance: Provenance
) -> None:
    save(in_tmp / "a.wav")
    source, _ = open_rows(DataSpec(path="a.wav"))
    block = next(iter(source.blocks()))

    def fail() -> None:
        with source.open_output(in_tmp / "out.wav", provenance) as write_block:
            write_block(block, block.values)
            raise RuntimeError("the job failed")

    with pytest.raises(RuntimeError, match="the job failed"):
        fail()
    assert [path.name for path in in_tmp.iterdir()] == ["a.wav"]
