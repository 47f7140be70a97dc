"""Files of images and sounds that cannot be read are set aside, if that is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.data import RowSource, UseOptions, open_input
from isthmus.data import rows as rows_module
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind
from tests.unit.data import test_audio as sounds
from tests.unit.data import test_images as images

ASIDE = UseOptions(set_aside=True)
IMAGES = DataSpec(path="trained on other images", kind=DataKind.IMAGES)


def outcome(source: RowSource) -> tuple[list[str], dict[int, tuple[str, str]]]:
    """Reads a source; returns the file of each row, and what is set aside, by its number."""
    files: list[str] = []
    rejected = {}
    for block in source.blocks():
        assert len(block.values) == len(block.index["file"])
        files += [str(file) for file in block.index["file"]]
        rejected |= {each.row: (each.file, each.reason) for each in block.rejected}
    return files, rejected


@pytest.fixture
def pictures(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven files, of which three can be read, in blocks of two."""
    monkeypatch.setattr(rows_module, "_NUMBERS_IN_A_BLOCK", 240)
    for name in ("b", "e", "g"):
        images.save(Path(f"in/{name}.png"))
    Path("in/a.png").write_bytes(b"no image")
    images.save(Path("in/c.png"), size=(12, 11))
    cut = images.save(Path("in/d.png"))
    cut.write_bytes(cut.read_bytes()[:80])
    images.save(Path("in/f.png"), mode="RGB")
    return Path("in")


def test_images_that_cannot_be_read_are_set_aside(pictures: Path) -> None:
    source = open_input(IMAGES, "in", images.grey(), ASIDE)
    files, rejected = outcome(source)
    assert files == ["b.png", "e.png", "g.png"]
    assert {row: file for row, (file, _) in rejected.items()} == {
        0: "a.png",
        2: "c.png",
        3: "d.png",
        5: "f.png",
    }
    reasons = {row: reason for row, (_, reason) in rejected.items()}
    assert "no image" in reasons[0]
    assert reasons[2].startswith("is 12x11 (height x width) and the model takes 12x10")
    assert "damaged" in reasons[3]
    assert reasons[5].startswith("is a colour image")


def test_without_asking_for_it_an_image_that_cannot_be_read_is_refused(pictures: Path) -> None:
    with pytest.raises(DataError, match=r"in/a\.png"):
        open_input(IMAGES, "in", images.grey())


def test_a_folder_of_no_readable_image_is_refused_with_the_first_reason(in_tmp: Path) -> None:
    Path("in").mkdir()
    for name in ("a", "b"):
        Path(f"in/{name}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"in/a\.png: "):
        open_input(IMAGES, "in", images.grey(), ASIDE)


def test_sounds_that_cannot_be_read_are_set_aside(in_tmp: Path) -> None:
    for name in ("b", "f"):
        sounds.save(Path(f"in/{name}.wav"), samples=512)
    Path("in/a.wav").write_bytes(b"no sound")
    sounds.save(Path("in/c.wav"), rate_hz=16000)
    sounds.save(Path("in/d.wav"), samples=100)
    sounds.save(Path("in/e.wav"), channels=2)
    with_nan = np.zeros(512, dtype=np.float32)
    with_nan[400] = np.nan
    sounds.soundfile.write("in/g.wav", with_nan, 8000, "FLOAT")
    source = open_input(sounds.TRAINED, "in", sounds.mono(), ASIDE)
    files, rejected = outcome(source)
    assert files == 3 * ["b.wav"] + 3 * ["f.wav"]
    assert {row: file for row, (file, _) in rejected.items()} == {
        0: "a.wav",
        2: "c.wav",
        3: "d.wav",
        4: "e.wav",
        6: "g.wav",
    }
    reasons = {row: reason for row, (_, reason) in rejected.items()}
    assert "no audio file" in reasons[0]
    assert reasons[2].startswith("has 16000 Hz and the pair was trained on 8000 Hz")
    assert reasons[3].startswith("has 100 samples, and the model takes windows of 256")
    assert reasons[4].startswith("has 2 channels (stereo)")
    assert reasons[6].startswith("holds NaN or infinite samples")
