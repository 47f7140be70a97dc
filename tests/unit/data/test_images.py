"""Files of images: reading, resizing, depth, labels, and files written back as they were."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from isthmus.data import Provenance, Rows, RowSource, collect, open_input, open_rows
from isthmus.data import rows as rows_module
from isthmus.data.media.pixels import IMAGE_ENDINGS, read_header
from isthmus.errors import DataError
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind


def read(**fields: Any) -> Rows:
    return collect(open_rows(DataSpec(**fields))[0])


def write(source: RowSource, output: Path, provenance: Provenance, change: float = 0) -> None:
    """Writes the rows of a source again, all values changed by so much."""
    with source.open_output(output, provenance) as write_block:
        for block in source.blocks():
            write_block(block, block.values + np.float32(change))


def grey(size: tuple[int, int] = (12, 10), white: float | None = 255) -> RowSchema:
    return RowSchema(kind=DataKind.IMAGES, shape=(1, *size), white=white)


def pixels(path: str | Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image)


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
    rows = read(path="f", labels="folder")
    assert rows.values.shape == (4, 1, 12, 10)
    assert rows.index["file"].tolist() == ["a/1.png", "a/2.PNG", "b/4.jpeg", "b/deep/3.jpg"]
    assert rows.labels is not None
    assert rows.labels.tolist() == ["a", "a", "b", "b"]


def test_the_schema_says_the_size_the_channels_and_what_white_is(in_tmp: Path) -> None:
    source, _ = open_rows(DataSpec(path=str(folder_of_grey(in_tmp))))
    assert source.schema == grey()
    assert source.count == 4


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_each_format_is_read_and_written_back(
    ending: str, in_tmp: Path, provenance: Provenance
) -> None:
    for number in range(3):
        save(in_tmp / "f" / f"{number}{ending}", "RGB")
    source, _ = open_rows(DataSpec(path="f"))
    assert source.schema.shape == (3, 12, 10)
    write(source, in_tmp / "out", provenance)
    for number in range(3):
        before, after = pixels(f"f/{number}{ending}"), pixels(f"out/{number}{ending}")
        if ending.startswith(".j"):
            assert np.abs(before.astype(int) - after).mean() < 10
        else:
            assert np.array_equal(before, after)


def test_the_same_rows_come_in_small_blocks(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = open_rows(DataSpec(path=str(folder_of_grey(in_tmp, 7))))
    whole = collect(source)
    monkeypatch.setattr(rows_module, "_NUMBERS_IN_A_BLOCK", 3 * 120)
    blocks = list(source.blocks())
    assert [len(block.values) for block in blocks] == [3, 3, 1]
    assert np.array_equal(np.concatenate([block.values for block in blocks]), whole.values)
    assert [name for block in blocks for name in block.index["file"]] == list(whole.index["file"])


def test_no_more_than_a_block_is_decoded_before_it_is_asked_for(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of_grey(in_tmp, 7)
    source, _ = open_rows(DataSpec(path=str(folder)))
    (folder / "6.png").write_bytes((folder / "6.png").read_bytes()[:80])
    monkeypatch.setattr(rows_module, "_NUMBERS_IN_A_BLOCK", 3 * 120)
    blocks: Iterator[Any] = source.blocks()
    next(blocks), next(blocks)
    with pytest.raises(DataError, match=r"6\.png: is damaged or no image"):
        next(blocks)


def test_pixels_are_0_to_255(in_tmp: Path) -> None:
    folder = folder_of_grey(in_tmp)
    assert np.array_equal(read(path=str(folder)).values[0, 0], pixels(folder / "0.png"))


def test_one_coloured_image_makes_all_of_three_channels(in_tmp: Path) -> None:
    folder = folder_of_grey(in_tmp)
    save(folder / "z.png", "RGB")
    rows = read(path=str(folder))
    assert rows.values.shape == (5, 3, 12, 10)
    assert np.array_equal(rows.values[0, 0], rows.values[0, 2])


def test_images_of_unequal_size_are_resized_if_a_size_is_set(
    in_tmp: Path, provenance: Provenance
) -> None:
    folder = folder_of_grey(in_tmp)
    save(folder / "big.png", size=(40, 30))
    source, spec = open_rows(DataSpec(path=str(folder), image_size=(8, 6)))
    assert collect(source).values.shape == (5, 1, 8, 6)
    write(open_input(spec, str(folder), source.schema), in_tmp / "out", provenance)
    assert Image.open(in_tmp / "out" / "big.png").size == (30, 40)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
def test_a_png_is_written_back_in_its_mode(mode: str, in_tmp: Path, provenance: Provenance) -> None:
    for number in range(3):
        save(in_tmp / "f" / f"{number}.png", mode)
    write(open_rows(DataSpec(path="f"))[0], in_tmp / "out", provenance)
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
    write(open_rows(DataSpec(path="f"))[0], in_tmp / "out", provenance)
    assert Image.open(in_tmp / "out" / "0.jpg").mode == mode


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_one_transparent_colour_stays_transparent(
    mode: str, in_tmp: Path, provenance: Provenance
) -> None:
    image = Image.open(save(in_tmp / "a.png", mode))
    image.load()
    colour = image.getpixel((3, 4))
    image.save("a.png", transparency=bytes([0] * 9 + [255]) if mode == "P" else colour)
    before = Image.open("a.png").convert("RGBA").getchannel("A")
    assert before.getextrema() == (0, 255)
    write(open_rows(DataSpec(path="a.png"))[0], in_tmp / "out.png", provenance, change=9)
    after = Image.open("out.png").convert("RGBA").getchannel("A")
    assert np.array_equal(np.asarray(before), np.asarray(after))


def test_a_colour_profile_stays(in_tmp: Path, provenance: Provenance) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(save(in_tmp / "a.png", "RGB")).save("a.png", icc_profile=profile)
    write(open_rows(DataSpec(path="a.png"))[0], in_tmp / "out.png", provenance)
    assert Image.open("out.png").info["icc_profile"] == profile


def test_pixels_beyond_the_range_are_clipped(in_tmp: Path, provenance: Provenance) -> None:
    source, _ = open_rows(DataSpec(path=str(folder_of_grey(in_tmp))))
    write(source, in_tmp / "dark", provenance, change=-300)
    write(source, in_tmp / "bright", provenance, change=300)
    assert pixels("dark/0.png").max() == 0
    assert pixels("bright/0.png").min() == 255


# -- depth --------------------------------------------------------------------------------------


def deep_colour(path: Path, channels: int = 3) -> np.ndarray[Any, Any]:
    """Writes a png of 16 bits a channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.integers(0, 65536, size=(12, 10, channels)).astype(np.uint16)
    path.write_bytes(imagecodecs.png_encode(values))
    return values


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_of_16_bits_is_read_whole_and_written_back(
    channels: int, in_tmp: Path, provenance: Provenance
) -> None:
    values = deep_colour(in_tmp / "f" / "a.png", channels)
    source, _ = open_rows(DataSpec(path="f"))
    assert source.schema.white == 65535
    rows = collect(source)
    assert np.array_equal(rows.values[0], np.moveaxis(values[..., :3], -1, 0))
    write(source, in_tmp / "out", provenance)
    content = (in_tmp / "out" / "a.png").read_bytes()
    assert np.array_equal(imagecodecs.png_decode(content), values)
    assert json.loads(Image.open("out/a.png").info["pair"])["pair_id"] == "pair-7"


def test_grey_of_16_bits_with_transparency_is_read_whole(
    in_tmp: Path, provenance: Provenance
) -> None:
    values = RNG.integers(0, 65536, size=(12, 10, 2)).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in values)
    Path("a.png").write_bytes(png(10, 12, zlib.compress(lines), colour=4, bits=16))
    source, _ = open_rows(DataSpec(path="a.png"))
    assert source.schema == grey(white=65535)
    assert np.array_equal(collect(source).values[0, 0], values[..., 0])
    write(source, in_tmp / "out.png", provenance)
    written = imagecodecs.png_decode(Path("out.png").read_bytes())
    assert np.array_equal(written, values[..., [0, 0, 0, 1]])
    again = collect(
        open_input(DataSpec(path="other", kind=DataKind.IMAGES), "out.png", grey(white=65535))
    )
    assert np.array_equal(again.values[0, 0], values[..., 0])


def test_files_of_8_bits_are_scaled_for_a_pair_of_16_and_scaled_back(
    in_tmp: Path, provenance: Provenance, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of_grey(in_tmp)
    data = DataSpec(path="trained on other images", kind=DataKind.IMAGES)
    source = open_input(data, str(folder), grey(white=65535))
    assert np.allclose(collect(source).values[0, 0], pixels(folder / "0.png") * 257.0)
    assert len(caplog.messages) == 1
    assert "4 of 4 image(s) have 8 bits a channel (white is 255); they are scaled to 16 bits" in (
        caplog.text
    )
    write(source, in_tmp / "out", provenance)
    assert np.array_equal(pixels("out/0.png"), pixels(folder / "0.png"))


def test_files_of_16_bits_are_scaled_for_a_pair_of_8_and_scaled_back(
    in_tmp: Path, provenance: Provenance
) -> None:
    save(in_tmp / "a.png", "I;16")
    source = open_input(DataSpec(path="other", kind=DataKind.IMAGES), "a.png", grey())
    values = collect(source).values
    assert 250 < values.max() <= 255
    write(source, in_tmp / "out.png", provenance)
    assert Image.open("out.png").mode == "I;16"
    # Through float32, a value of 16 bits is itself again.
    assert np.array_equal(pixels("out.png"), pixels("a.png"))


def test_a_folder_of_both_depths_goes_to_the_deeper_and_that_is_said_once(
    in_tmp: Path, provenance: Provenance, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of_grey(in_tmp)
    save(folder / "deep.png", "I;16")
    source, _ = open_rows(DataSpec(path=str(folder)))
    assert source.schema.white == 65535
    rows = collect(source)
    assert np.allclose(rows.values[0, 0], pixels(folder / "0.png") * 257.0)
    assert np.array_equal(rows.values[4, 0], pixels(folder / "deep.png"))
    assert len([m for m in caplog.messages if "4 of 5 image(s) have 8 bits" in m]) == 1
    write(source, in_tmp / "out", provenance)
    for name in ("0.png", "deep.png"):
        assert np.array_equal(pixels(in_tmp / "out" / name), pixels(folder / name))


def test_a_pair_of_digits_takes_small_pngs_from_black_to_white(
    in_tmp: Path, provenance: Provenance
) -> None:
    for number in range(3):
        save(in_tmp / "f" / f"{number}.png", size=(8, 8))
    source = open_input(
        DataSpec(path="sklearn:digits", kind=DataKind.IMAGES), "f", grey((8, 8), white=16)
    )
    assert 15 < collect(source).values.max() <= 16, "white is 16 in sklearn's digits"
    write(source, in_tmp / "out", provenance)
    assert np.array_equal(pixels("out/1.png"), pixels("f/1.png"))


def test_a_pair_that_knows_no_white_point_takes_pixels_as_they_are(in_tmp: Path) -> None:
    folder = folder_of_grey(in_tmp)
    source = open_input(DataSpec(path="other", kind=DataKind.IMAGES), str(folder), grey(white=None))
    assert np.array_equal(collect(source).values[0, 0], pixels(folder / "0.png"))


# -- what is refused ----------------------------------------------------------------------------


def png(width: int, height: int, data: bytes, colour: int = 0, bits: int = 8) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_png_of_2_to_the_31_pixels_is_refused_by_its_header(in_tmp: Path) -> None:
    Path("a.png").write_bytes(png(2**16, 2**15, zlib.compress(bytes(10**6))))
    with pytest.raises(DataError, match=r"^a\.png: has far too many pixels, and an image may"):
        read(path="a.png")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("height", "expected"),
    [
        (123_666_653 // 17, r"^a\.png: is damaged or no image; replace or remove it$"),
        (2**27 // 17 + 1, r"^a\.png: has 134,217,737 pixels, and an image may have 134,217,728; "),
    ],
)
def test_a_small_png_of_many_pixels_is_refused_before_they_are_in_memory(
    height: int, expected: str, in_tmp: Path
) -> None:
    Path("a.png").write_bytes(png(17, height, zlib.compress(bytes(400)), bits=16))
    tracemalloc.start()
    with pytest.raises(DataError, match=expected):
        read(path="a.png")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.filterwarnings("error")
def test_an_image_of_90_million_pixels_is_opened_without_a_warning_of_pillow(in_tmp: Path) -> None:
    Path("a.png").write_bytes(png(10_000, 9_000, zlib.compress(bytes(1251 * 9_000)), bits=1))
    assert read_header(Path("a.png"), "a.png").size == (9_000, 10_000)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_png_whose_header_lies_is_damaged(bits: int, in_tmp: Path) -> None:
    Path("a.png").write_bytes(png(9_000, 9_000, zlib.compress(bytes(1000)), 2, bits))
    with pytest.raises(DataError, match=r"^a\.png: is damaged or no image; replace or remove it$"):
        read(path="a.png", image_size=(8, 8))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.float32, "pixels of mode F, which do not say"), (np.int32, "pixels of mode I, which do")],
)
def test_pixels_without_a_white_point_are_refused(
    dtype: type[np.generic], expected: str, in_tmp: Path
) -> None:
    Image.fromarray(RNG.uniform(0, 9, size=(8, 8)).astype(dtype)).save("a.tif")
    with pytest.raises(DataError, match=expected):
        read(path="a.tif")


def test_a_tif_of_16_bits_in_colour_is_refused_with_png_as_the_way(in_tmp: Path) -> None:
    pixels_HWC = RNG.integers(0, 65536, size=(8, 8, 3)).astype("<u2")
    tags = [(256, 8), (257, 8), (258, 16), (259, 1), (262, 2), (273, 128), (277, 3), (278, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    content = struct.pack("<2sHI", b"II", 42, 8) + directory
    Path("a.tif").write_bytes(content.ljust(128, b"\0") + pixels_HWC.tobytes())
    with pytest.raises(DataError, match=r"^a\.tif: is colour of 16 bits, read from png only"):
        read(path="a.tif")


def test_a_file_of_another_format_than_its_ending_says_is_no_image(in_tmp: Path) -> None:
    Image.new("L", (8, 8)).save("a.gif")
    Path("a.gif").rename("a.png")
    with pytest.raises(DataError, match=r"a\.png: is damaged or no image"):
        read(path="a.png")


def test_images_of_unequal_size_are_refused(in_tmp: Path) -> None:
    folder = folder_of_grey(in_tmp)
    save(folder / "9.png", size=(9, 10))
    with pytest.raises(DataError, match=r"0\.png is 12x10 and 9\.png 9x10 .*set data\.image_size"):
        read(path=str(folder))
    with pytest.raises(DataError, match=r"9\.png: is 9x10 .* and the model takes 12x10"):
        open_input(DataSpec(path="other", kind=DataKind.IMAGES), str(folder), grey())


def test_a_grey_pair_takes_colour_files_that_are_grey(in_tmp: Path) -> None:
    folder = folder_of_grey(in_tmp)
    Image.open(folder / "0.png").convert("RGB").save("grey.png")
    data = DataSpec(path="other", kind=DataKind.IMAGES)
    assert collect(open_input(data, "grey.png", grey())).values.shape == (1, 1, 12, 10)
    save(in_tmp / "colour.png", "RGB")
    with pytest.raises(DataError, match=r"colour\.png: is a colour image"):
        collect(open_input(data, "colour.png", grey()))


def test_further_pages_of_a_tif_are_left_out_and_that_is_said(
    in_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    page = Image.open(save(in_tmp / "page.png"))
    page.save("a.tif", save_all=True, append_images=[page, page])
    assert read(path="a.tif").values.shape == (1, 1, 12, 10)
    assert "1 file(s) hold more than one image, of which the first is read" in caplog.text


# -- what is written ----------------------------------------------------------------------------


def test_the_pair_is_named_in_the_folder_and_in_each_png(
    in_tmp: Path, provenance: Provenance
) -> None:
    write(open_rows(DataSpec(path=str(folder_of_grey(in_tmp))))[0], in_tmp / "out", provenance)
    assert json.loads((in_tmp / "out" / "pair.json").read_text())["pair_id"] == "pair-7"
    image = Image.open(in_tmp / "out" / "0.png")
    image.load()
    assert json.loads(image.info["pair"])["model"] == "digits/3"


def test_earlier_results_are_replaced_and_other_files_are_not(
    in_tmp: Path, provenance: Provenance
) -> None:
    folder = folder_of_grey(in_tmp)
    source, _ = open_rows(DataSpec(path=str(folder)))
    for _ in range(2):
        write(source, in_tmp / "out", provenance)
    assert sorted(path.name for path in in_tmp.iterdir()) == ["out", "pictures"]
    with pytest.raises(DataError, match="holds other files"):
        source.check_output(folder)


def test_nothing_is_left_of_an_output_that_fails_half_way(
    in_tmp: Path, provenance: Provenance
) -> None:
    source, _ = open_rows(DataSpec(path=str(folder_of_grey(in_tmp))))
    block = next(source.blocks())

    def fail() -> None:
        with source.open_output(in_tmp / "out", provenance) as write_block:
            write_block(block, block.values)
            raise RuntimeError("the job failed")

    with pytest.raises(RuntimeError, match="the job failed"):
        fail()
    assert [path.name for path in in_tmp.iterdir()] == ["pictures"]


def test_the_results_of_a_folder_are_no_single_file(in_tmp: Path) -> None:
    source, _ = open_rows(DataSpec(path=str(folder_of_grey(in_tmp))))
    with pytest.raises(DataError, match=r"out\.png: is a file's name"):
        source.check_output(Path("out.png"))


def test_one_image_is_one_row_and_one_file_again(in_tmp: Path, provenance: Provenance) -> None:
    folder = folder_of_grey(in_tmp)
    source = open_input(DataSpec(path="other", kind=DataKind.IMAGES), str(folder / "2.png"), grey())
    assert collect(source).values.shape == (1, 1, 12, 10)
    write(source, in_tmp / "clean.png", provenance)
    assert np.array_equal(pixels("clean.png"), pixels(folder / "2.png"))
    with pytest.raises(DataError, match=r"clean: no ending; an image can be written as \.png"):
        source.check_output(in_tmp / "clean")


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA"])
@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_one_image_can_be_written_in_each_format(
    ending: str, mode: str, in_tmp: Path, provenance: Provenance
) -> None:
    save(in_tmp / "a.png", mode)
    write(open_rows(DataSpec(path="a.png"))[0], in_tmp / f"out{ending}", provenance)
    assert Image.open(f"out{ending}").size == (10, 12)


def test_an_image_of_16_bits_is_refused_as_a_jpg_before_the_work_is_done(in_tmp: Path) -> None:
    save(in_tmp / "a.png", "I;16")
    source, _ = open_rows(DataSpec(path="a.png"))
    with pytest.raises(DataError, match=r"out\.jpg: a 16-bit image cannot be a jpg; name a \.png"):
        source.check_output(Path("out.jpg"))


def test_a_folder_goes_to_npz_by_the_ending(in_tmp: Path, provenance: Provenance) -> None:
    write(open_rows(DataSpec(path=str(folder_of_grey(in_tmp))))[0], in_tmp / "o.npz", provenance)
    with np.load("o.npz") as archive:
        assert archive["x"].shape == (4, 1, 12, 10)
        assert archive["file"].tolist() == ["0.png", "1.png", "2.png", "3.png"]
