"""Patches of images of any size: split by image, cut to train on and to judge by, written back."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from isthmus.data import (
    Provenance,
    RowSource,
    UseOptions,
    fingerprint,
    open_input,
    open_partner,
    open_rows,
    read_rows,
    split_patches,
)
from isthmus.data.patches import PatchSplit, TrainingPatches, WholeImages, whole_images
from isthmus.data.patches.cutting import PatchPlaces, places_on_a_grid
from isthmus.errors import DataError
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind

RNG = np.random.default_rng(0)
SIZES = [(20, 30), (24, 24), (40, 16), (17, 23), (30, 20), (32, 32)]


def picture(path: Path, size: tuple[int, int], mode: str = "L") -> np.ndarray[Any, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = (3,) if mode == "RGB" else ()
    kind, most = (np.uint16, 65536) if mode == "I;16" else (np.uint8, 256)
    pixels = RNG.integers(0, most, (*size, *bands)).astype(kind)
    Image.fromarray(pixels).save(path)
    return pixels


def photos(folder: Path, mode: str = "L", count: int = 12) -> list[np.ndarray[Any, Any]]:
    return [
        picture(folder / f"{number:02}.png", SIZES[number % len(SIZES)], mode)
        for number in range(count)
    ]


def spec(path: str = "photos", **fields: Any) -> DataSpec:
    return DataSpec(**{"path": path, "patch": 16, **fields})


def split(data: DataSpec, seed: int = 0) -> PatchSplit:
    source, resolved = open_rows(data)
    return split_patches(source, open_partner(resolved, source.schema), resolved, seed)


def images_of(patches: TrainingPatches) -> list[np.ndarray[Any, Any]]:
    return [patches.views[0][number] for number in patches.numbers]


def is_cut_out_of(patch: np.ndarray[Any, Any], images: list[np.ndarray[Any, Any]]) -> bool:
    side = patch.shape[-1]
    return any(
        (image[:, top : top + side, left : left + side] == patch).all()
        for image in images
        for top in range(image.shape[1] - side + 1)
        for left in range(image.shape[2] - side + 1)
    )


# -- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "dtype", "channels"),
    [("L", np.uint8, 1), ("RGB", np.uint8, 3), ("I;16", np.uint16, 1)],
)
def test_images_of_any_size_are_kept_whole_in_the_bytes_that_they_need(
    in_tmp: Path, mode: str, dtype: Any, channels: int
) -> None:
    pixels = photos(in_tmp / "photos", mode)
    images = split(spec()).train.views[0]
    assert images.pixels.dtype == dtype
    assert images.pixels.size == sum(each.size for each in pixels)
    for number, each in enumerate(pixels):
        wanted = each[None] if each.ndim == 2 else np.moveaxis(each, -1, 0)
        assert images[number].shape[0] == channels
        np.testing.assert_array_equal(images[number], wanted)


def test_arrays_are_cut_into_patches_too(in_tmp: Path) -> None:
    stack = RNG.random((9, 20, 30)).astype(np.float32)
    np.savez("stack.npz", x=stack)
    images = split(spec("stack.npz")).train.views[0]
    np.testing.assert_array_equal(images[3][0], stack[3])
    colour = RNG.integers(0, 256, (9, 3, 20, 22), dtype=np.uint8)
    Path("arrays").mkdir()
    np.save("arrays/a.npy", colour)
    np.save("arrays/b.npy", np.moveaxis(colour, 1, -1)[:4, :17, :19])
    images = split(spec("arrays", kind="images")).train.views[0]
    assert images.sizes.tolist() == [[20, 22]] * 9 + [[17, 19]] * 4
    np.testing.assert_array_equal(images[10], colour[1, :, :17, :19])


def test_many_pixels_go_to_a_file_that_other_processes_have_and_that_goes_when_closed(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = photos(in_tmp / "photos")
    monkeypatch.setattr(whole_images, "_MOST_BYTES_IN_MEMORY", 1500)
    train = split(spec()).train
    images = train.views[0]
    assert isinstance(images.pixels, np.memmap)
    file = Path(str(images.pixels.filename))
    travelled = pickle.dumps(train)
    assert len(travelled) < 3000  # the name of the file, and not its pixels
    for each in (images, pickle.loads(travelled).views[0], images.in_memory()):
        np.testing.assert_array_equal(each[11][0], pixels[11])
    assert not isinstance(images.in_memory().pixels, np.memmap)
    train.close()
    assert not file.exists()


def test_an_image_without_room_for_a_patch_is_refused_with_the_largest_patch(in_tmp: Path) -> None:
    photos(in_tmp / "photos")
    picture(in_tmp / "photos" / "small.png", (40, 12))
    with pytest.raises(DataError, match=r"^photos/small.png: is 40x12 .* lower it to 12, or leave"):
        open_rows(spec())
    np.save("small.npy", np.zeros((20, 12, 40), np.uint8))
    with pytest.raises(DataError, match=r"^small.npy: is 12x40 .* data.patch: 16; lower it to 12"):
        open_rows(spec("small.npy"))


def test_images_that_differ_in_size_name_both_ways_out(in_tmp: Path) -> None:
    photos(in_tmp / "photos")
    with pytest.raises(DataError, match=r"data.image_size to resize .* data.patch to train a deno"):
        open_rows(DataSpec(path="photos"))


def test_fields_without_effect_on_the_kind_of_data_are_refused_all_at_once(in_tmp: Path) -> None:
    photos(in_tmp / "photos")
    with pytest.raises(DataError) as caught:
        open_rows(spec(window=64, stride=8, time="when", delimiter=";", exclude=("id",)))
    assert str(caught.value) == (
        "photos: data.window and data.stride are for series and audio, data.time is for series, "
        "data.delimiter and data.exclude are for tables, and this is images; leave them out"
    )
    Path("t.csv").write_text("a,b\n" + "1,2\n" * 20)
    with pytest.raises(
        DataError, match=r"^t.csv: data.image_size and data.patch are for images, a"
    ):
        open_rows(spec("t.csv", image_size=(8, 8)))
    with pytest.raises(DataError, match=r"data.window is for .* set data.kind: series$"):
        open_rows(DataSpec(path="t.csv", kind="tabular", window=8))


# -- the split ---------------------------------------------------------------------------------


def test_all_patches_of_an_image_are_in_one_part(in_tmp: Path) -> None:
    photos(in_tmp / "photos", count=30)
    found = split(spec(test_fraction=0.2, validation_fraction=0.2, calibration_fraction=0.1))
    images = found.train.views[0]
    trained = images_of(found.train)
    held_out = [images[number] for number in set(range(30)) - set(found.train.numbers.tolist())]
    parts = (found.validation, found.calibration, found.test)
    assert all(len(part.values) for part in parts)
    for part in parts:
        for patch in part.values:
            assert is_cut_out_of(patch, held_out)
            assert not is_cut_out_of(patch, trained)
    contents = [set(part.contents.tolist()) for part in parts]
    assert not set.intersection(*contents)
    assert not set(found.trained_contents.tolist()) & set.union(*contents)


def test_the_split_goes_by_content_so_that_added_images_change_no_part(in_tmp: Path) -> None:
    photos(in_tmp / "photos", count=40)
    before = split(spec())
    photos(in_tmp / "photos" / "more", count=20)
    after = split(spec())
    assert set(before.test.contents.tolist()) <= set(after.test.contents.tolist())
    assert set(before.trained_contents.tolist()) <= set(after.trained_contents.tolist())
    assert split(spec(), seed=1).trained_contents.tolist() != after.trained_contents.tolist()


def test_few_images_have_one_in_each_part_and_too_few_are_refused(in_tmp: Path) -> None:
    photos(in_tmp / "photos", count=3)
    found = split(spec())
    assert (len(found.train.numbers), found.calibration_fraction) == (1, 0)
    assert all(len(part.values) for part in (found.validation, found.test))
    Path("photos/02.png").unlink()
    with pytest.raises(DataError, match=r"2 different image\(s\), of which 3 are needed: one each"):
        split(spec())


def test_scaling_is_measured_on_the_images_that_are_trained_on(in_tmp: Path) -> None:
    photos(in_tmp / "photos", count=30)
    found = split(spec())
    values = np.concatenate([image.ravel() for image in images_of(found.train)]).astype(float)
    assert found.moments.seen == len(values)
    np.testing.assert_allclose(found.moments.mean, values.mean())
    np.testing.assert_allclose(found.moments.squares, values.var() * len(values))


def test_images_of_one_colour_are_refused(in_tmp: Path) -> None:
    np.save("flat.npy", np.full((5, 20, 20), 7, np.uint8))
    with pytest.raises(DataError, match="different image"):
        split(spec("flat.npy"))
    Path("flat").mkdir()
    for side in range(20, 26):
        np.save(f"flat/{side}.npy", np.full((1, side, side), 7, np.uint8))
    with pytest.raises(DataError, match="every value is 7; there is nothing to learn"):
        split(spec("flat", kind="images"))


def test_whole_images_of_one_size_have_the_fingerprint_of_these_rows(in_tmp: Path) -> None:
    np.save("a.npy", RNG.integers(0, 256, (12, 20, 20), dtype=np.uint8))
    rows, _ = read_rows(DataSpec(path="a.npy"))
    assert split(spec("a.npy")).fingerprint == fingerprint(rows)


# -- where patches lie -------------------------------------------------------------------------


def of_sizes(*sizes: tuple[int, int]) -> WholeImages:
    count = sum(height * width for height, width in sizes)
    return WholeImages(1, np.array(sizes), np.arange(count, dtype=np.float32))


def test_held_out_patches_are_spread_over_the_image_without_overlap() -> None:
    places = places_on_a_grid(of_sizes((40, 70), (16, 20)), np.array([0, 1]), 16)
    assert places.images.tolist() == [0] * 8 + [1]
    assert places.tops.tolist() == [0] * 4 + [24] * 4 + [0]
    assert places.lefts.tolist() == [0, 18, 36, 54] * 2 + [2]


def test_held_out_patches_of_many_images_are_thinned_out_evenly() -> None:
    places = places_on_a_grid(of_sizes(*[(64, 64)] * 100), np.arange(0, 100, 2), 16, most=100)
    assert len(places) == 100
    assert len(set(places.images.tolist())) == 50
    assert set(places.images.tolist()) <= set(range(0, 100, 2))


def patches(*sizes: tuple[int, int], **fields: Any) -> TrainingPatches:
    images = of_sizes(*sizes)
    return TrainingPatches((images,), **{"numbers": np.arange(len(sizes)), "patch": 8, **fields})


def test_an_epoch_covers_large_images_more_often_and_every_place_in_them() -> None:
    drawn = patches((8, 8), (40, 40), count=2600).draw(0)
    assert np.bincount(drawn.images).tolist() == [100, 2500]
    large = drawn.take(np.flatnonzero(drawn.images == 1))
    assert set(large.tops.tolist()) == set(large.lefts.tolist()) == set(range(33))
    assert abs(large.tops.mean() - 16) < 1
    assert np.abs(np.corrcoef(drawn.images, np.arange(2600))[0, 1]) < 0.1  # in random order


@pytest.mark.parametrize(
    ("augment", "ways"),
    [((), [0]), (("flip",), [0, 1, 2, 3]), (("turn",), [0, 3, 5, 6]),
     (("flip", "turn"), list(range(8)))],
)  # fmt: skip
def test_patches_are_laid_only_in_the_ways_that_the_job_names(
    augment: tuple[str, ...], ways: list[int]
) -> None:
    drawn = patches((20, 20), count=400, augment=augment).draw(0)
    assert sorted(set(drawn.ways.tolist())) == ways


WAYS: list[tuple[int, Callable[[Any], Any]]] = [
    (0, lambda x: x), (1, np.fliplr), (2, np.flipud), (4, np.transpose),
    (4 | 2, np.rot90), (1 | 2, lambda x: np.rot90(x, 2)), (4 | 1, lambda x: np.rot90(x, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("way", "laid"), WAYS, ids=[str(way) for way, _ in WAYS])
def test_a_patch_is_mirrored_and_turned_as_its_way_says(
    way: int, laid: Callable[[Any], Any]
) -> None:
    places = PatchPlaces(*(np.array([each]) for each in (0, 3, 5, way)))
    made = patches((20, 20), count=1).cut(places)[0, 0]
    whole = np.arange(400, dtype=np.float32).reshape(20, 20)
    np.testing.assert_array_equal(made, laid(whole[3:11, 5:13]))


# -- clean versions ----------------------------------------------------------------------------


def with_clean(in_tmp: Path, ending: str = "png") -> None:
    """Photos whose clean versions are brighter by 1, in the other order."""
    for number, pixels in enumerate(photos(in_tmp / "photos")):
        clean = in_tmp / "clean" / f"{number:02}.{ending}"
        clean.parent.mkdir(exist_ok=True)
        Image.fromarray(np.minimum(pixels, 254) + 1).save(clean)


def test_clean_images_are_found_by_name_and_cut_at_the_same_place_and_in_the_same_way(
    in_tmp: Path,
) -> None:
    with_clean(in_tmp, "bmp")
    picture(in_tmp / "clean" / "00-more.png", (9, 9))  # has no noisy version
    found = split(spec(clean_path="clean", augment=("flip", "turn")))
    assert found.train.shape == (2048, 2, 1, 16, 16)
    cut = found.train.cut(found.train.draw(0))
    np.testing.assert_array_equal(cut[:, 1], np.minimum(cut[:, 0], 254) + 1)
    for part in (found.validation, found.test):
        np.testing.assert_array_equal(part.partners, np.minimum(part.values, 254) + 1)


def test_clean_images_that_are_missing_or_of_another_size_are_named(in_tmp: Path) -> None:
    with_clean(in_tmp)
    picture(in_tmp / "clean" / "03.png", (40, 40))
    with pytest.raises(
        DataError, match=r"^clean: 03.png is 40x40 \(height x width\), and 03.png of photos 17x23"
    ):
        split(spec(clean_path="clean"))
    Path("clean/03.png").unlink()
    with pytest.raises(DataError, match=r"^clean: has no clean version of 03.png of photos;"):
        split(spec(clean_path="clean"))
    picture(in_tmp / "clean" / "04.bmp", (17, 23))
    with pytest.raises(DataError, match=r"^clean: has more than one file called 04, so that"):
        split(spec(clean_path="clean"))


def test_clean_arrays_are_found_by_their_place(in_tmp: Path) -> None:
    noisy = RNG.random((12, 20, 20), dtype=np.float32)
    np.save("noisy.npy", noisy)
    np.save("clean.npy", noisy + 2)
    cut = split(spec("noisy.npy", clean_path="clean.npy")).validation
    assert cut.partners is not None
    np.testing.assert_array_equal(cut.partners, cut.values + 2)
    np.save("clean.npy", noisy[:11])
    with pytest.raises(DataError, match=r"clean.npy: 11 images, and noisy.npy has 12; both must"):
        split(spec("noisy.npy", clean_path="clean.npy"))


# -- a trained pair in use ---------------------------------------------------------------------


def used(path: str, channels: int = 1, white: float | None = 255, **options: Any) -> RowSource:
    schema = RowSchema(kind=DataKind.IMAGES, shape=(channels, 16, 16), white=white)
    settled = spec(kind="images", scaling="minmax")
    return open_input(settled, path, schema, UseOptions(**options))


def written(source: RowSource, output: Path, provenance: Provenance, change: float = 0) -> None:
    with source.open_output(output, provenance) as write_block:
        for block in source.blocks():
            write_block(block, block.values + np.float32(change))


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_images_of_any_size_come_back_under_their_names_in_size_mode_and_depth(
    in_tmp: Path, provenance: Provenance, mode: str
) -> None:
    photos(in_tmp / "photos", mode)
    picture(in_tmp / "photos" / "deep" / "tiny.png", (3, 5), mode)  # smaller than a patch
    white = 65535 if mode == "I;16" else 255
    source = used("photos", 3 if mode == "RGB" else 1, white)
    written(source, Path("out"), provenance)
    names = sorted(str(path.relative_to("photos")) for path in Path("photos").rglob("*.png"))
    assert sorted(str(path.relative_to("out")) for path in Path("out").rglob("*.png")) == names
    for name in names:
        with Image.open(f"photos/{name}") as before, Image.open(f"out/{name}") as after:
            assert after.mode == before.mode
            np.testing.assert_array_equal(np.asarray(after), np.asarray(before))


def test_a_block_holds_images_of_one_size_only(in_tmp: Path) -> None:
    for number, size in enumerate([(8, 9), (8, 9), (9, 8), (8, 9)]):
        picture(in_tmp / "photos" / f"{number}.png", size)
    blocks = list(used("photos").blocks())
    assert [block.values.shape for block in blocks] == [(2, 1, 8, 9), (1, 1, 9, 8), (1, 1, 8, 9)]
    assert [file for block in blocks for file in block.index["file"]] == [
        f"{number}.png" for number in range(4)
    ]


def test_a_damaged_image_is_set_aside_among_images_of_any_size(in_tmp: Path) -> None:
    photos(in_tmp / "photos", count=4)
    whole = Path("photos/02.png").read_bytes()
    Path("photos/02.png").write_bytes(whole[: len(whole) // 2])
    blocks = list(used("photos", set_aside=True).blocks())
    assert sum(len(block.values) for block in blocks) == 3
    assert [each.file for block in blocks for each in block.rejected] == ["02.png"]


def test_one_array_is_written_of_images_of_one_size_only(
    in_tmp: Path, provenance: Provenance
) -> None:
    pixels = np.stack([picture(in_tmp / "alike" / f"{n}.png", (20, 23)) for n in range(3)])
    written(used("alike"), Path("alike.npz"), provenance, 1)
    with np.load("alike.npz") as archive:
        np.testing.assert_array_equal(archive["x"][:, 0], pixels + 1.0)
    photos(in_tmp / "photos")
    with pytest.raises(
        DataError, match=r"^out.npz: one array holds images of one size, and 00.png is 20x30 and 01"
    ):
        used("photos").check_output(Path("out.npz"))


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((4, 40, 50), 1), ((4, 1, 5, 6), 1), ((4, 40, 50, 1), 1), ((4, 3, 9, 7), 3),
     ((4, 9, 7, 3), 3)],
)  # fmt: skip
def test_arrays_of_any_size_come_back_in_their_shape(
    in_tmp: Path, provenance: Provenance, shape: tuple[int, ...], channels: int
) -> None:
    array = RNG.integers(0, 256, shape, dtype=np.uint8)
    np.save("in.npy", array)
    source = used("in.npy", channels)
    (block,) = source.blocks()
    assert block.values.shape[:2] == (4, channels)
    written(source, Path("out.npy"), provenance)
    np.testing.assert_array_equal(np.load("out.npy"), array)


def test_arrays_that_are_no_images_of_the_pair_are_refused_with_what_is(in_tmp: Path) -> None:
    np.save("in.npy", np.zeros((4, 256), np.uint8))
    with pytest.raises(DataError, match=r"any size, of shape \(N, 1, H, W\) or \(N, H, W\)$"):
        used("in.npy")
    with pytest.raises(DataError, match=r"any size, of shape \(N, 3, H, W\) or \(N, H, W, 3\)$"):
        used("in.npy", 3)
