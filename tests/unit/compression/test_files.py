"""Every kind of input is compressed to one file, and written again in its own form."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from isthmus.compression.decompressing import DecompressResult, decompress
from isthmus.compression.header import inspect
from isthmus.data import open_input, read_provenance
from isthmus.errors import DataError, ModelNotFound, RegistryError, UsageError
from isthmus.registry import Pair
from isthmus.spec import Settings
from isthmus.uses.compress import Compress, CompressResult
from tests import untrained
from tests.using import applied

settings = untrained.settings
RNG = np.random.default_rng(0)


def compressed(pair: Pair, source: str, output: str = "out.isth", **more: Any) -> CompressResult:
    use = Compress()
    use.check(pair)
    return applied(use, pair, source, output, **more)


def again(pair: Pair, output: str, settings: Settings, **more: Any) -> DecompressResult:
    return decompress("out.isth", output, settings, pair=pair, **more)


def places_of_chunks() -> list[int]:
    return [found.start() for found in re.finditer(b"ISCH", Path("out.isth").read_bytes())]


def damage(path: str, at: int, content: bytes = b"\xff") -> None:
    whole = bytearray(Path(path).read_bytes())
    whole[at : at + len(content)] = bytes(each ^ 0x55 for each in whole[at : at + len(content)])
    Path(path).write_bytes(bytes(whole))


@pytest.mark.parametrize("variant", ["vqvae", "residual_vq", "fsq", "hyperprior"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_array_comes_back_as_its_reconstruction(here, settings, variant, dtype):
    rows = RNG.normal(size=(5000, 6)).astype(dtype)
    np.savez("rows.npz", x=rows, other=np.arange(3))
    pair = untrained.pair_of("rows.npz", variant=variant)
    told: list[tuple[int, int | None]] = []
    result = compressed(pair, "rows.npz", on_rows=lambda *each: told.append(each))
    assert (result.rows, result.size_bytes) == (5000, Path("out.isth").stat().st_size)
    assert told[-1] == (5000, 5000)
    back = again(pair, "again.npz", settings)
    assert (back.rows, back.lost, back.damages) == (5000, 0, ())
    found = np.load("again.npz")["x"]
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_allclose(found, pair.reconstruct(rows), rtol=1e-5, atol=1e-5)
    assert inspect("out.isth").rows == 5000


def test_the_file_and_what_comes_of_it_name_the_pair(here, settings):
    np.save("rows.npy", RNG.normal(size=(50, 6)).astype("f4"))
    pair = untrained.pair_of("rows.npy", variant="fsq")
    compressed(pair, "rows.npy")
    again(pair, "again.npy", settings)
    for path, job in (("out.isth", "compress"), ("again.npy", "decompress")):
        said = read_provenance(Path(path))
        assert said is not None
        assert (said.pair_id, said.extra["job"]) == (pair.manifest.pair_id, job)
    found = inspect("out.isth")
    assert (found.header.pair_id, found.header.source) == (pair.manifest.pair_id, "rows.npy")
    assert found.damages == ()


@pytest.mark.parametrize("output", ["again.csv", "again.parquet", "again.npz"])
def test_a_table_with_categories_comes_back_with_its_columns(here, settings, output):
    frame = untrained.plant_frame(RNG, 300)
    frame.to_csv("plant.csv", index=False, sep=";")
    pair = untrained.pair_of("plant.csv", variant="fsq", categories=["colour"])
    compressed(pair, "plant.csv")
    again(pair, output, settings)
    if output.endswith(".npz"):
        assert np.load(output)["x"].shape == (300, 4)
        return
    found = pd.read_csv(output, sep=";") if output.endswith("csv") else pd.read_parquet(output)
    assert list(found) == list(frame)
    assert set(found["colour"]) <= {"red", "green"}
    (block,) = open_input(pair.manifest.data, "plant.csv", pair.manifest.rows_taken).blocks()
    made = pair.reconstruct(block.values)[:, :2]
    np.testing.assert_allclose(found[["flow", "heat"]], made, rtol=1e-3, atol=1e-5)


def test_a_folder_becomes_one_file_and_a_folder_again(here, settings):
    for number in range(3):
        Path("in/sub").mkdir(parents=True, exist_ok=True)
        untrained.plant_frame(RNG, 20 + number)[["flow", "heat"]].to_parquet(
            f"in/{'sub/' * (number == 2)}{number}.parquet"
        )
    pair = untrained.pair_of("in", variant="fsq")
    assert compressed(pair, "in").rows == 63
    assert inspect("out.isth").files == 3
    again(pair, "again", settings)
    assert [len(pd.read_parquet(f"again/{name}.parquet")) for name in ("0", "1", "sub/2")] == [
        *(20, 21, 22)
    ]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_images_come_back_with_their_names_sizes_and_modes(here, settings, mode):
    Path("in").mkdir()
    for number in range(4):
        noise = RNG.integers(0, 256, size=(10 + number, 12, 3)).astype(np.uint8)
        Image.fromarray(noise).convert(mode).save(f"in/{number}.png")
    pair = untrained.pair_of("in", variant="vqvae", image_size=[8, 8])
    Path("in/2.png").write_bytes(b"\x89PNG, and nothing after it")
    result = compressed(pair, "in")
    assert (result.rows, result.rejected) == (3, 1)
    again(pair, "again", settings)
    names = sorted(path.name for path in Path("again").glob("*.png"))
    assert names == ["0.png", "1.png", "3.png"]
    for number in (0, 1, 3):
        with Image.open(f"again/{number}.png") as image:
            assert (image.mode, image.size) == (mode, (12, 10 + number))


def test_images_of_an_array_come_back_in_its_type(here, settings):
    np.save("rows.npy", RNG.integers(0, 256, size=(30, 8, 8, 3)).astype(np.uint8))
    pair = untrained.pair_of("rows.npy", variant="vqvae", kind="images")
    compressed(pair, "rows.npy")
    again(pair, "again.npy", settings)
    found = np.load("again.npy")
    assert (found.dtype, found.shape) == (np.dtype("u1"), (30, 8, 8, 3))


def test_series_come_back_step_by_step_in_their_own_order(here, settings):
    steps = pd.DataFrame(RNG.normal(size=(210, 2)), columns=["a", "b"])
    steps["id"] = np.tile(["x", "y"], 105)
    steps.to_csv("steps.csv", index=False)
    pair = untrained.pair_of(
        "steps.csv", variant="fsq", kind="series", window=20, series_id="id", columns=["a", "b"]
    )
    compressed(pair, "steps.csv")
    again(pair, "again.csv", settings)
    found = pd.read_csv("again.csv")
    assert len(found) == 210
    assert inspect("out.isth").rows == 12
    for name in ("x", "y"):
        own = (steps["id"] == name).to_numpy()
        window = steps.loc[own, ["a", "b"]].to_numpy()[:20].T[None]
        made = pair.reconstruct(window.astype("f4"))[0].T
        np.testing.assert_allclose(found[own].to_numpy()[:20], made, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", [300, 4000])
def test_sounds_come_back_with_their_rate_and_length(here, settings, length):
    Path("in").mkdir()
    soundfile.write("in/long.wav", RNG.uniform(-0.5, 0.5, 5000), 8000)
    pair = untrained.pair_of("in", variant="fsq", window=512)
    soundfile.write("in/other.wav", RNG.uniform(-0.5, 0.5, length + 512), 8000)
    compressed(pair, "in")
    again(pair, "again", settings)
    found = soundfile.info("again/other.wav")
    assert (found.frames, found.samplerate, found.subtype) == (length + 512, 8000, "PCM_16")
    assert soundfile.info("again/long.wav").frames == 5000


# -- what is damaged ------------------------------------------------------------------------------


def test_a_damaged_chunk_is_an_error_with_its_place_or_costs_only_its_rows(here, settings):
    rows = RNG.normal(size=(9000, 6)).astype("f4")
    np.save("rows.npy", rows)
    pair = untrained.pair_of("rows.npy", variant="fsq")
    compressed(pair, "rows.npy")
    damage("out.isth", places_of_chunks()[1] + 100)
    with pytest.raises(DataError, match=r"out\.isth: is damaged at byte [0-9,]+: the checksum of"):
        again(pair, "again.npy", settings)
    assert not Path("again.npy").exists()
    result = again(pair, "again.npy", settings, salvage=True)
    assert (result.rows, result.lost) == (9000, 4096)
    assert any("the checksum of chunk 1 is wrong" in each for each in result.damages)
    is_lost = np.isnan(np.load("again.npy")).any(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(is_lost), np.arange(4096, 8192))
    assert inspect("out.isth").damages


def test_a_file_that_is_cut_off_is_salvaged_up_to_there(here, settings):
    np.save("rows.npy", RNG.normal(size=(9000, 6)).astype("f4"))
    pair = untrained.pair_of("rows.npy", variant="fsq")
    compressed(pair, "rows.npy")
    whole = Path("out.isth").read_bytes()
    Path("out.isth").write_bytes(whole[: places_of_chunks()[2]])
    with pytest.raises(DataError, match="it is cut off"):
        again(pair, "again.npy", settings)
    result = again(pair, "again.npy", settings, salvage=True)
    assert result.rows == 8192
    assert any("it is cut off" in each for each in result.damages)


def test_images_that_are_lost_are_grey(here, settings):
    Path("in").mkdir()
    for number in range(3):
        noise = RNG.integers(0, 256, size=(8, 8)).astype(np.uint8)
        Image.fromarray(noise).save(f"in/{number}.png")
    pair = untrained.pair_of("in", variant="vqvae")
    compressed(pair, "in")
    damage("out.isth", places_of_chunks()[0] + 40)
    with pytest.raises(DataError, match="checksum of chunk 0"):
        again(pair, "again", settings)
    assert again(pair, "again", settings, salvage=True).lost == 3
    assert np.asarray(Image.open("again/1.png")).tolist() == np.full((8, 8), 128).tolist()


# -- what is refused ------------------------------------------------------------------------------


def test_pairs_that_cannot_compress_are_refused_in_one_line(here):
    np.save("rows.npy", RNG.normal(size=(50, 6)).astype("f4"))
    with pytest.raises(UsageError, match="the latent of the variant plain is not of whole numbers"):
        Compress().check(untrained.pair_of("rows.npy"))
    pair = untrained.pair_of("rows.npy", variant="fsq")
    with pytest.raises(UsageError, match="quality=50: the variant fsq has one rate"):
        Compress(quality=50).check(pair)
    with pytest.raises(UsageError, match="quality: Input should be less than or equal to 100"):
        Compress(quality=101)
    pair.code_tables = ()
    with pytest.raises(UsageError, match="registered without code tables; train it again"):
        Compress().check(pair)


def test_another_pair_and_an_unknown_one_are_refused(here, settings):
    np.save("rows.npy", RNG.normal(size=(50, 6)).astype("f4"))
    pair = untrained.pair_of("rows.npy", variant="fsq")
    compressed(pair, "rows.npy")
    with pytest.raises(ModelNotFound, match="was compressed by plant/1, and no version in the reg"):
        decompress("out.isth", "again.npy", settings)
    pair.manifest = pair.manifest.model_copy(update={"pair_id": "f" * 16})
    with pytest.raises(RegistryError, match="leave --model out"):
        again(pair, "again.npy", settings)


def test_other_files_are_refused(here, settings):
    np.save("rows.npy", RNG.normal(size=(50, 6)).astype("f4"))
    for path, said in (("rows.npy", "is no compressed file"), ("gone", "no such file")):
        with pytest.raises(DataError, match=said):
            inspect(path)


def test_an_inspection_is_read_by_programs_and_fits_a_terminal(here, isthmus, settings):
    np.save("rows.npy", RNG.normal(size=(50, 6)).astype("f4"))
    compressed(untrained.pair_of("rows.npy", variant="fsq"), "rows.npy")
    told = json.loads(isthmus("inspect", "out.isth", "--json").out)
    assert (told["rows"], told["header"]["variant"], told["damages"]) == (50, "fsq", [])
    shown = isthmus("inspect", "out.isth").out
    assert "plant/1, fsq (pair 0123456789abcdef)" in shown
    assert max(map(len, shown.splitlines())) <= 80
