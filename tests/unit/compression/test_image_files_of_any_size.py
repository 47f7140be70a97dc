"""A folder of photos of any size becomes one file, and photos again; damage costs a region."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from isthmus.compression import forms, regions
from isthmus.compression.decompressing import decompress
from isthmus.compression.forms import ImagesForm
from isthmus.compression.header import inspect
from isthmus.data import open_input
from isthmus.errors import DataError
from isthmus.registry import Pair
from isthmus.uses.compress import Compress
from isthmus.variants import hyperprior
from tests import untrained
from tests.using import applied

settings = untrained.settings
SIZES = {"a.png": (40, 61), "b.png": (600, 30), "c.png": (9, 8)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        Image.new("RGB", (8, 8), (0, 100 * number, 255)).save(folder / f"{number}.png")
    net = {"name": "compressive", "fine_channels": 8, "coarse_channels": 8}
    options = {"name": "hyperprior", "hidden": 8, "hyper_dim": 4}
    made = untrained.pair_of(str(folder), net=net, variant=options, patch=8)
    made.module.scaling.fit(torch.tensor(0.0), torch.tensor(255.0))
    return made


@pytest.fixture
def photos(here: Path) -> Path:
    folder = here / "photos"
    folder.mkdir()
    write_photos(folder)
    return folder


def write_photos(folder: Path) -> None:
    for name, size in SIZES.items():
        down, across = np.mgrid[: size[0], : size[1]]
        waves = np.stack([np.sin(down / 9 + k) * np.cos(across / 7) for k in range(3)], axis=-1)
        Image.fromarray((127 + 100 * waves).astype(np.uint8)).save(folder / name)


def compressed(pair: Pair, source: str, output: str = "out.isth", **options: Any) -> int:
    use = Compress(**options)
    use.check(pair)
    applied(use, pair, source, output)
    return Path(output).stat().st_size


def pixels(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(Image.open(path), dtype=np.float64)


def test_photos_of_several_sizes_come_back_by_name_in_their_sizes(photos, pair, settings):
    compressed(pair, str(photos), quality=100)
    found = decompress("out.isth", "again", settings, pair=pair)
    assert (found.rows, found.lost) == (3, 0)
    for name, size in SIZES.items():
        made = pixels(Path("again") / name)
        assert made.shape == (*size, 3)
        assert np.abs(made - pixels(photos / name)).mean() < 8
    said = inspect("out.isth")
    assert (said.rows, said.damages) == (3, ())
    values = 3 * sum(height * width for height, width in SIZES.values())
    assert said.bits_per_value == pytest.approx(8 * said.size_bytes / values)


def test_quality_sets_the_size_of_one_photo(photos, pair, settings):
    one = str(photos / "a.png")
    low, high = (compressed(pair, one, f"{q}.isth", quality=q) for q in (0, 100))
    assert low < high
    decompress("100.isth", "again.png", settings, pair=pair)
    assert pixels(Path("again.png")).shape == (40, 61, 3)


def test_a_file_says_its_quality_and_is_decoded_by_it_whatever_is_usual_later(
    photos, pair, settings, monkeypatch
):
    compressed(pair, str(photos / "a.png"))
    assert inspect("out.isth").header.quality == 75
    decompress("out.isth", "now.png", settings, pair=pair)
    monkeypatch.setattr(hyperprior, "_USUAL_QUALITY", 10.0)
    decompress("out.isth", "later.png", settings, pair=pair)
    assert np.array_equal(pixels(Path("now.png")), pixels(Path("later.png")))


def test_a_damaged_region_is_grey_when_it_is_salvaged_and_refused_otherwise(photos, pair, settings):
    compressed(pair, str(photos))
    whole = bytearray(Path("out.isth").read_bytes())
    chunks = [found.start() for found in re.finditer(b"ISCH", whole)]
    # The regions are a, the two of b, and c; then the summary and the end.
    assert len(chunks) == 6
    whole[chunks[2] + 45] ^= 0x55
    Path("out.isth").write_bytes(bytes(whole))
    with pytest.raises(DataError, match="is damaged at byte"):
        decompress("out.isth", "again", settings, pair=pair)
    assert not Path("again").exists()
    found = decompress("out.isth", "again", settings, pair=pair, salvage=True)
    assert (found.rows, found.lost) == (3, 1)
    lost = pixels(Path("again") / "b.png")
    assert np.abs(lost[:440] - pixels(photos / "b.png")[:440]).mean() < 12
    assert np.ptp(lost[-8:]) < np.ptp(pixels(photos / "b.png")[-8:])


def without_first_chunk() -> None:
    """Damages the first chunk of out.isth, which is all of the photo a."""
    whole = bytearray(Path("out.isth").read_bytes())
    whole[whole.index(b"ISCH") + 45] ^= 0x55
    Path("out.isth").write_bytes(bytes(whole))


def test_a_photo_whose_only_region_is_lost_is_grey_and_the_others_are_kept(photos, pair, settings):
    compressed(pair, str(photos), quality=100)
    without_first_chunk()
    found = decompress("out.isth", "again", settings, pair=pair, salvage=True)
    assert (found.rows, found.lost) == (3, 1)
    assert np.ptp(pixels(Path("again") / "a.png")) < 20
    for name in ("b.png", "c.png"):
        assert np.abs(pixels(Path("again") / name) - pixels(photos / name)).mean() < 8


def test_salvage_fills_in_no_more_than_a_multiple_of_what_is_left(
    photos, pair, settings, monkeypatch
):
    compressed(pair, str(photos))
    without_first_chunk()
    monkeypatch.setattr(regions, "_MOST_NUMBERS_FILLED", 100)
    with pytest.raises(DataError, match="hardly anything of it is left"):
        decompress("out.isth", "again", settings, pair=pair, salvage=True)
    assert not Path("again").exists()


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("output", ["again.jpg", "again.bmp"])
def test_a_photo_that_a_phone_turned_is_shown_as_before(here, pair, settings, turn, output):
    down, across = np.mgrid[:48, :80]
    photo = Image.fromarray(np.stack([3 * across, 5 * down, 0 * down], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    photo.save("turned.jpg", exif=exif, quality=95)
    compressed(pair, "turned.jpg", quality=100)
    assert ("orientations" in inspect("out.isth").header.model_dump_json()) == (turn != 1)
    decompress("out.isth", output, settings, pair=pair)
    shown = [ImageOps.exif_transpose(Image.open(each)) for each in ("turned.jpg", output)]
    assert shown[0].size == shown[1].size
    assert np.abs(np.subtract(*(np.asarray(each, dtype=float) for each in shown))).mean() < 12


@pytest.mark.parametrize(
    ("mode", "back"), [("1", "L"), ("L", "L"), ("LA", "L"), ("P", "RGB"), ("RGBA", "RGB")]
)
def test_modes_come_back_as_the_docs_say(here, pair, settings, mode, back):
    Image.new("RGB", (20, 10), (200, 10, 10)).convert(mode).save("photo.png")
    compressed(pair, "photo.png")
    decompress("out.isth", "again.png", settings, pair=pair)
    assert Image.open("again.png").mode == back


def test_a_photo_has_any_size_up_to_a_bound_that_is_told_with_its_name(
    photos, pair, settings, monkeypatch
):
    Image.new("1", (8300, 8300)).save(photos / "large.png")
    source = open_input(pair.manifest.data, str(photos), pair.manifest.rows_taken)
    form = forms.form_of(source, "photos")
    assert isinstance(form, ImagesForm)
    assert form.sizes[-1] == (8300, 8300)
    monkeypatch.setattr(forms, "MOST_NUMBERS", 2**27)
    with pytest.raises(DataError, match=r"photos/large\.png: has 8,300 x 8,300 pixels"):
        compressed(pair, str(photos))
    assert not Path("out.isth").exists()


def test_rows_that_are_no_image_files_are_refused(here, pair, settings):
    np.save("rows.npy", np.zeros((2, 3, 8, 8), dtype=np.float32))
    with pytest.raises(DataError, match="compresses image files"):
        compressed(pair, "rows.npy")
    assert not Path("out.isth").exists()
