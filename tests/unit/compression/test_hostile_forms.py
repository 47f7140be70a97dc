"""What a header says is checked: names, modes, sizes, summaries, each refused in one line."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from isthmus.compression import header
from isthmus.compression.container import ChunkKind, ContainerReader, ContainerWriter
from isthmus.compression.decompressing import decompress
from isthmus.compression.forms import FolderForm, Sound, SoundsForm, TableForm
from isthmus.compression.header import inspect
from isthmus.errors import DataError
from isthmus.registry import Pair
from isthmus.uses.compress import Compress
from tests import untrained
from tests.using import applied

settings = untrained.settings


def write_images(folder: str, count: int = 2) -> None:
    Path(folder).mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, size=(8, 8)).astype(np.uint8)
        Image.fromarray(pixels).save(f"{folder}/{number}.png")


@pytest.fixture
def pair(here: Path) -> Pair:
    write_images("train", 3)
    write_images("in")
    return untrained.pair_of("train", variant="vqvae")


def compressed(pair: Pair, source: str, **options: Any) -> None:
    use = Compress(**options)
    use.check(pair)
    applied(use, pair, source, "out.isth")


def rewritten(change: dict[str, object], summary: bytes | None = None) -> None:
    """Writes out.isth again with another form, or another summary, and right checksums."""
    with ContainerReader(Path("out.isth"), "out.isth") as reader:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS, zdict=header._USUAL)
        said = json.loads(inflate.decompress(reader.header))
        chunks = list(reader.chunks())
    said["form"].update(change)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS, zdict=header._USUAL)
    with Path("out.isth").open("wb") as file:
        packed = deflate.compress(json.dumps(said).encode()) + deflate.flush()
        writer = ContainerWriter(file, packed)
        for chunk in chunks:
            is_summary = chunk.kind == ChunkKind.SUMMARY
            content = summary if summary is not None and is_summary else chunk.content
            writer.add(ChunkKind(chunk.kind), content)
        writer.finish()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ["1.png", "1.png"]}, "the name '1.png' is there twice"),
        ({"names": ["a.png", "a.png/1.png"]}, "a folder in the name 'a.png/1.png' is a file too"),
        ({"names": ["1.exe", "2.png"]}, "the name '1.exe' has an ending that cannot be written"),
        ({"names": ["1\n\x1b[31m.png", "2.png"]}, r"1\\n\\x1b\[31m.png' has control characters"),
        ({"names": ["x" * 300 + ".png", "2.png"]}, "is longer than 255 bytes"),
        ({"names": [".", "2.png"]}, "the name '.' may lead out of the folder"),
        ({"modes": ["ZZ", "L"]}, "no mode of an image"),
        ({"white": 1e308}, "a white point that is not the pair's"),
        ({"sizes": [[2**14, 2**14], [8, 8]]}, "more pixels than one in good faith has"),
        ({"evil\n\x1b": 1}, r"evil\?\?"),
    ],
)
def test_a_header_that_no_compression_writes_is_refused_in_one_line(pair, settings, change, said):
    compressed(pair, "in")
    rewritten(change)
    with pytest.raises(DataError, match=rf"^out\.isth: its header is damaged.*{said}") as caught:
        decompress("out.isth", "again", settings, pair=pair)
    assert str(caught.value).isprintable()
    assert not Path("again").exists()


def test_a_damaged_summary_is_told_with_the_name_of_the_file(pair, settings):
    compressed(pair, "in")
    rewritten({}, b"{")
    with pytest.raises(DataError, match=r"^out\.isth: its summary is damaged"):
        inspect("out.isth")
    with pytest.raises(DataError, match=r"^out\.isth: its summary is damaged"):
        decompress("out.isth", "again", settings, pair=pair)


@pytest.mark.parametrize("names", [("a.csv", "a.csv"), ("a.csv", "b.wav")])
def test_tables_have_distinct_names_with_known_endings(names):
    files = (TableForm(columns=("a",)),) * 2
    with pytest.raises(ValueError, match=r"is there twice|has an ending that cannot be written"):
        FolderForm(names=names, files=files)


@pytest.mark.parametrize(
    "change", [{"encoding": "utf-8x"}, {"encoding": "a\0b"}, {"encoding": "hex"}, {"delimiter": ""}]
)
def test_a_csv_has_an_encoding_and_a_delimiter_that_there_are(change):
    with pytest.raises(ValueError, match=r"no encoding of texts|at least 1 character"):
        TableForm(columns=("a",), **change)


@pytest.mark.parametrize("names", [("a.wav", "a.wav"), ("a.wav", "b.csv")])
def test_sounds_have_distinct_names_with_known_endings(names):
    sound = Sound(frames=9, channels=1, rate_hz=8000, form="WAV", subtype="PCM_16")
    with pytest.raises(ValueError, match=r"is there twice|has an ending that cannot be written"):
        SoundsForm(is_folder=True, names=names, sounds=(sound, sound), rate_hz=8000, stride=4)


@pytest.mark.parametrize("name", ["a\\b.png", "a\nb.png"])
def test_a_name_that_could_not_be_written_again_is_refused_before_the_work(pair, name):
    write_images("more")
    Path("more/0.png").rename(f"more/{name}")
    with pytest.raises(DataError, match=r"the name 'a\\.*b\.png' .*; rename the file$"):
        compressed(pair, "more")
    assert not Path("out.isth").exists()


def test_names_of_people_and_cameras_are_kept(pair, settings):
    write_images("more")
    name = "Bildschirmfoto um 9.41\u202fAM, Grüße \U0001f468\u200d\U0001f469.PNG"
    Path("more/0.png").rename(f"more/{name}")
    compressed(pair, "more")
    decompress("out.isth", "again", settings, pair=pair)
    assert (Path("again") / name).exists()


def test_a_form_that_is_too_long_to_be_read_is_refused_at_compression(here, settings, monkeypatch):
    steps = pd.DataFrame(np.random.default_rng(0).normal(size=(2000, 2)), columns=["a", "b"])
    steps["t"] = np.arange(2000)
    steps.sample(frac=1, random_state=0).to_csv("steps.csv", index=False)
    columns = ["a", "b"]
    pair = untrained.pair_of(
        "steps.csv", variant="fsq", kind="series", window=20, time="t", columns=columns
    )
    compressed(pair, "steps.csv")
    Path("out.isth").unlink()
    monkeypatch.setattr(header, "MOST_HEADER_BYTES", 3000)
    said = r"^steps\.csv: what is to be kept of its form .* room for 3,000; sort its steps by"
    with pytest.raises(DataError, match=said):
        compressed(pair, "steps.csv")
    assert not Path("out.isth").exists()
