"""Denoise on files: a folder of photos in which one is damaged, a table in which a row is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import isthmus as package
from isthmus.errors import DataError, UsageError
from isthmus.registry import register_pair
from isthmus.spec import Settings
from isthmus.types import DataKind
from tests import untrained

settings = untrained.settings


@pytest.fixture(scope="module")
def pair(settings: Settings):
    """Takes pictures of 8 x 8 pixels."""
    trained = untrained.untrained_pair(
        "photos", settings, shape=(1, 8, 8), kind=DataKind.IMAGES, net="conv"
    )
    return package.load(f"photos/{register_pair(trained, settings).version}", settings=settings)


@pytest.fixture
def photos(here: Path) -> list[str]:
    """Four pictures, of which the third is damaged."""
    generator = np.random.default_rng(0)
    Path("photos/trip").mkdir(parents=True)
    names = ["photos/a.png", "photos/b.png", "photos/trip/c.png", "photos/trip/d.png"]
    for name in names:
        Image.fromarray(generator.integers(0, 255, (8, 8), dtype=np.uint8)).save(name)
    content = Path(names[2]).read_bytes()
    Path(names[2]).write_bytes(content[: len(content) // 2])
    return names


def test_a_damaged_photo_of_a_folder_is_set_aside_with_its_reason(pair, photos):
    result = pair.denoise("photos", "clean")
    assert (result.rows, result.rejected) == (3, 1)
    found = sorted(path.relative_to("clean").as_posix() for path in Path("clean").rglob("*.png"))
    assert found == ["a.png", "b.png", "trip/d.png"]
    rejected = pd.read_csv("clean.rejected.csv")
    assert list(rejected["file"]) == ["trip/c.png"]
    with Image.open("clean/a.png") as clean:
        expected = pair.denoise(np.asarray(Image.open("photos/a.png"), dtype=np.float32)[None])
        np.testing.assert_allclose(np.asarray(clean), np.clip(np.rint(expected[0]), 0, 255), atol=1)


def test_strict_stops_at_the_damaged_photo_and_leaves_nothing(pair, photos):
    with pytest.raises(DataError, match=r"photos/trip/c\.png"):
        pair.denoise("photos", "clean", strict=True)
    assert [path.name for path in Path.cwd().iterdir()] == ["photos"]


def test_of_an_array_every_row_keeps_its_place(pair, here):
    rows = np.random.default_rng(0).normal(size=(20, 8, 8)).astype(np.float32)
    rows[7, 0, 0] = np.nan
    np.save("noisy.npy", rows)
    with pytest.raises(DataError, match=r"noisy\.npy"):
        pair.denoise("noisy.npy", "clean.npy")
    assert not Path("clean.npy").exists()


def test_arrays_come_back_as_arrays_and_a_path_needs_an_output(pair, photos):
    rows = np.zeros((3, 8, 8), dtype=np.float32)
    told: list[int] = []
    assert pair.denoise(rows, lambda done, _: told.append(done)).shape == (3, 8, 8)
    assert told == [3]
    assert pair.detect(rows).scores.shape == (3,)
    with pytest.raises(UsageError, match=r"denoise of a file needs an output"):
        pair.denoise("photos")
    with pytest.raises(AttributeError, match="embroider"):
        pair.embroider("photos", "clean")
    with pytest.raises(UsageError, match="device is that of load"):
        pair.denoise("photos", "clean", device="cpu")


@pytest.fixture(scope="module")
def of_patches(settings: Settings):
    """Was trained on patches of 16 x 16 pixels, and takes photos of any size."""
    trained = untrained.untrained_pair(
        *("patches", settings),
        shape=(1, 16, 16),
        kind=DataKind.IMAGES,
        data={"path": "photos", "kind": "images", "patch": 16},
        variant="denoising",
        latent_dim="auto",
        net={"name": "dncnn", "depth": 3, "channels": 4},
    )
    return package.load(f"patches/{register_pair(trained, settings).version}", settings=settings)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.usefixtures("ray_session")
def test_photos_of_several_sizes_come_back_in_their_sizes_here_and_from_a_cluster(of_patches, here):
    generator = np.random.default_rng(0)
    sizes = {"a.png": (40, 24), "b.png": (33, 57), "trip/c.png": (16, 16)}
    Path("photos/trip").mkdir(parents=True)
    for name, size in sizes.items():
        pixels = generator.integers(0, 255, size, dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/{name}")
    result = of_patches.denoise("photos", "local")
    assert result.rows == 3
    assert of_patches.denoise("photos", "parts", address="auto").parts == 3
    for name, size in sizes.items():
        local = np.asarray(Image.open(f"local/{name}"))
        assert local.shape == size
        np.testing.assert_array_equal(local, np.asarray(Image.open(f"parts/{name}")))
        noisy = np.asarray(Image.open(f"photos/{name}"), dtype=np.float32)[None]
        expected = np.clip(np.rint(of_patches.denoise(noisy)[0]), 0, 255)
        np.testing.assert_allclose(local, expected, atol=1)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.usefixtures("ray_session")
def test_a_cluster_denoises_a_folder_of_photos_a_part_each(pair, photos):
    Path(photos[2]).unlink()
    pair.denoise("photos", "local")
    result = pair.denoise("photos", "clean", address="auto")
    assert (result.parts, result.rows, result.rejected) == (3, 3, 0)
    for name in ("a.png", "b.png", "trip/d.png"):
        parts, local = Image.open(f"clean/{name}"), Image.open(f"local/{name}")
        np.testing.assert_array_equal(np.asarray(parts), np.asarray(local))
    with pytest.raises(UsageError, match="--form is for tables of results"):
        pair.denoise("photos", "csvs", address="auto", form="csv")
