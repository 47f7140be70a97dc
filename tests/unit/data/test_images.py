"""Folders of images: reading, resizing, labels, and files written back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isthmus.data import (
    Provenance,
    check_reconstructions_output,
    read_input,
    read_rows,
    write_reconstructions,
)
from isthmus.errors import DataError
from isthmus.spec import DataSpec
from isthmus.types import DataKind, ScalingMode

RNG = np.random.default_rng(0)


def save(path: Path, mode: str = "L", size: tuple[int, int] = (12, 10)) -> Path:
    """Writes a picture of random pixels, `size` being height and width."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "I;16":
        image = Image.fromarray(RNG.integers(0, 65536, size=size).astype(np.uint16))
    else:
        bands = {"L": (), "1": (), "P": (3,), "LA": (2,)}.get(mode, (len(mode),))
        pixels = RNG.integers(0, 256, size=(*size, *bands)).astype(np.uint8)
        image = Image.fromarray(pixels)
        if image.mode != mode and mode in ("CMYK",):
            image = Image.fromarray(pixels[..., :3]).convert("CMYK")
        elif image.mode != mode:
            image = image.quantize() if mode == "P" else image.convert(mode)
    image.save(path)
    return path


def folder_of_grey(root: Path, count: int = 4) -> Path:
    for number in range(count):
        save(root / "pictures" / f"{number}.png")
    return root / "pictures"


def test_a_folder_is_read_with_the_folders_below_it(in_tmp: Path) -> None:
    for name in ("a/1.png", "a/2.PNG", "b/deep/3.jpg", "b/4.jpeg", ".hidden/5.png", "._6.png"):
        save(in_tmp / "f" / name)
    (in_tmp / "f" / "notes.txt").write_text("not an image")
    rows, spec = read_rows(DataSpec(path="f", labels="folder"))
    assert (spec.kind, spec.scaling) == (DataKind.IMAGES, ScalingMode.MINMAX)
    assert rows.values.shape == (4, 1, 12, 10)
    assert rows.layout.index()["file"].tolist() == [
        "a/1.png",
        "a/2.PNG",
        "b/4.jpeg",
        "b/deep/3.jpg",
    ]
    assert rows.labels is not None
    assert rows.labels.tolist() == ["a", "a", "b", "b"]
    only_a = DataSpec(path="f", labels="folder", keep_labels=("a", "b"))
    assert len(read_rows(only_a)[0]) == 4


def test_pixels_are_0_to_255(in_tmp: Path) -> None:
    folder = folder_of_grey(in_tmp)
    rows, _ = read_rows(DataSpec(path=str(folder)))
    assert np.array_equal(rows.values[0, 0], np.asarray(Image.open(folder / "0.png")))


def test_one_coloured_image_makes_all_of_three_channels(in_tmp: Path) -> None:
    folder = folder_of_grey(in_tmp)
    save(folder / "z.png", "RGB")
    rows, _ = read_rows(DataSpec(path=str(folder)))
    assert rows.values.shape == (5, 3, 12, 10)
    assert np.array_equal(rows.values[0, 0], rows.values[0, 2])


def test_images_of_unequal_size_are_resized_if_a_size_is_set(
    in_tmp: Path, provenance: Provenance
) -> None:
    folder = folder_of_grey(in_tmp)
    save(folder / "big.png", size=(40, 30))
    rows, spec = read_rows(DataSpec(path=str(folder), image_size=(8, 6)))
    assert rows.values.shape == (5, 1, 8, 6)
    rows = read_input(spec, str(folder), (1, 8, 6))
    write_reconstructions(rows, rows.values, in_tmp / "out", provenance)
    assert Image.open(in_tmp / "out" / "big.png").size == (30, 40)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
def test_a_png_is_written_back_in_its_mode(mode: str, in_tmp: Path, provenance: Provenance) -> None:
    for number in range(3):
        save(in_tmp / "f" / f"{number}.png", mode)
    rows, _ = read_rows(DataSpec(path="f"))
    write_reconstructions(rows, rows.values, in_tmp / "out", provenance)
    for number in range(3):
        before = Image.open(in_tmp / "f" / f"{number}.png")
        after = Image.open(in_tmp / "out" / f"{number}.png")
        assert after.mode == mode
        if mode != "P":  # a palette is made anew
            assert np.array_equal(np.asarray(before), np.asarray(after))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpg_is_written_back_in_its_mode(mode: str, in_tmp: Path, provenance: Provenance) -> None:
    for number in range(3):
        save(in_tmp / "f" / f"{number}.jpg", mode)
    rows, _ = read_rows(DataSpec(path="f"))
    write_reconstructions(rows, rows.values, in_tmp / "out", provenance)
    assert Image.open(in_tmp / "out" / "0.jpg").mode == mode


def test_pixels_beyond_the_range_are_clipped(in_tmp: Path, provenance: Provenance) -> None:
    rows, _ = read_rows(DataSpec(path=str(folder_of_grey(in_tmp))))
    values = np.full_like(rows.values, 300)
    values[0] = -20
    write_reconstructions(rows, values, in_tmp / "out", provenance)
    assert np.asarray(Image.open(in_tmp / "out" / "0.png")).max() == 0
    assert np.asarray(Image.open(in_tmp / "out" / "1.png")).min() == 255


def test_the_pair_is_named_in_the_folder_and_in_each_png(
    in_tmp: Path, provenance: Provenance
) -> None:
    rows, _ = read_rows(DataSpec(path=str(folder_of_grey(in_tmp))))
    write_reconstructions(rows, rows.values, in_tmp / "out", provenance)
    assert json.loads((in_tmp / "out" / "pair.json").read_text())["pair_id"] == "pair-7"
    image = Image.open(in_tmp / "out" / "0.png")
    image.load()
    assert json.loads(image.info["pair"])["model"] == "digits/3"


def test_earlier_results_are_replaced_and_other_files_are_not(
    in_tmp: Path, provenance: Provenance
) -> None:
    folder = folder_of_grey(in_tmp)
    rows, _ = read_rows(DataSpec(path=str(folder)))
    for _ in range(2):
        write_reconstructions(rows, rows.values, in_tmp / "out", provenance)
    assert sorted(path.name for path in in_tmp.iterdir()) == ["out", "pictures"]
    with pytest.raises(DataError, match="holds other files"):
        check_reconstructions_output(rows, folder)


def test_the_results_of_a_folder_are_no_single_file(in_tmp: Path) -> None:
    rows, _ = read_rows(DataSpec(path=str(folder_of_grey(in_tmp))))
    with pytest.raises(DataError, match=r"out\.png: is a file's name"):
        check_reconstructions_output(rows, Path("out.png"))


def test_one_image_is_one_row_and_one_file_again(in_tmp: Path, provenance: Provenance) -> None:
    folder = folder_of_grey(in_tmp)
    _, spec = read_rows(DataSpec(path=str(folder)))
    rows = read_input(spec, str(folder / "2.png"), (1, 12, 10))
    assert rows.values.shape == (1, 1, 12, 10)
    write_reconstructions(rows, rows.values, in_tmp / "clean.png", provenance)
    assert np.array_equal(
        np.asarray(Image.open(in_tmp / "clean.png")), np.asarray(Image.open(folder / "2.png"))
    )
    with pytest.raises(DataError, match=r"clean: no ending; an image can be written as \.png"):
        check_reconstructions_output(rows, in_tmp / "clean")


def test_a_model_of_digits_takes_small_pngs_from_black_to_white(
    in_tmp: Path, provenance: Provenance
) -> None:
    _, spec = read_rows(DataSpec(path="sklearn:digits"))
    for number in range(3):
        save(in_tmp / "f" / f"{number}.png", size=(8, 8))
    rows = read_input(spec, "f", (1, 8, 8))
    assert 15 < rows.values.max() <= 16, "white is 16 in sklearn's digits"
    write_reconstructions(rows, rows.values, in_tmp / "out", provenance)
    assert np.array_equal(
        np.asarray(Image.open(in_tmp / "out" / "1.png")),
        np.asarray(Image.open(in_tmp / "f" / "1.png")),
    )


def test_a_grey_model_takes_colour_files_that_are_grey(in_tmp: Path) -> None:
    folder = folder_of_grey(in_tmp)
    _, spec = read_rows(DataSpec(path=str(folder)))
    Image.open(folder / "0.png").convert("RGB").save("grey.png")
    assert read_input(spec, "grey.png", (1, 12, 10)).values.shape == (1, 1, 12, 10)
    save(in_tmp / "colour.png", "RGB")
    with pytest.raises(DataError, match=r"colour\.png: is a colour image"):
        read_input(spec, "colour.png", (1, 12, 10))


def test_a_folder_goes_to_npz_by_the_ending(in_tmp: Path, provenance: Provenance) -> None:
    rows, _ = read_rows(DataSpec(path=str(folder_of_grey(in_tmp))))
    write_reconstructions(rows, rows.values, in_tmp / "o.npz", provenance)
    with np.load("o.npz") as archive:
        assert archive["x"].shape == (4, 1, 12, 10)
        assert archive["file"].tolist() == ["0.png", "1.png", "2.png", "3.png"]
