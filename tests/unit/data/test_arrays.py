"""npz and npy: the array that is chosen, the form that results go back to, bundled sets."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isthmus.data import Provenance, collect, open_rows
from isthmus.data.array_rows import ArrayRows
from isthmus.data.arrays import LoadedArray
from isthmus.data.prepared.storing import store_split
from isthmus.errors import DataError
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind, ScalingMode
from tests.reading import read_like, read_to_train, write_back

RNG = np.random.default_rng(0)
DIGITS = DataSpec(path="sklearn:digits", kind=DataKind.IMAGES, scaling=ScalingMode.MINMAX)


def test_of_several_arrays_the_usual_name_is_taken(in_tmp: Path) -> None:
    np.savez("t.npz", other=np.zeros(3), X=RNG.normal(size=(5, 2)), y=[0, 1, 0, 1, 0])
    rows, spec = read_to_train(DataSpec(path="t.npz", labels="y"))
    assert rows.values.shape == (5, 2)
    assert spec.key == "X"
    assert rows.labels is not None
    assert rows.labels.tolist() == [0, 1, 0, 1, 0]


def test_rows_can_be_written_to_in_memory_and_do_not_change_the_file(in_tmp: Path) -> None:
    for dtype in (np.float32, np.float64):
        np.save("t.npy", np.arange(12, dtype=dtype).reshape(4, 3))
        rows, _ = read_to_train(DataSpec(path="t.npy"))
        rows.values[:] = 0
        assert np.load("t.npy").max() == 11


def test_the_only_array_beside_the_labels_is_taken(in_tmp: Path) -> None:
    np.savez("t.npz", signal=RNG.normal(size=(5, 2)), y=np.arange(5))
    assert read_to_train(DataSpec(path="t.npz", labels="y"))[1].key == "signal"


def test_keep_labels_keeps_the_normal_rows_of_an_npz(in_tmp: Path) -> None:
    np.savez("t.npz", X=np.arange(12.0).reshape(6, 2), y=np.array([0.0, 1, 0, 1, 0, 0]))
    rows, _ = read_to_train(DataSpec(path="t.npz", labels="y", keep_labels=(0,)))
    assert rows.values[:, 0].tolist() == [0, 4, 8, 10]


def test_digits_are_images_with_their_target_as_labels() -> None:
    rows, spec = read_to_train(DataSpec(path="sklearn:digits"))
    assert rows.values.shape == (1797, 1, 8, 8)
    assert (spec.kind, spec.scaling) == (DataKind.IMAGES, ScalingMode.MINMAX)
    assert rows.labels is not None
    assert set(rows.labels.tolist()) == set(range(10))
    sevens, _ = read_to_train(DataSpec(path="sklearn:digits", keep_labels=(7,)))
    assert len(sevens) == (rows.labels == 7).sum()


@pytest.mark.parametrize(("name", "shape"), [("wine", (178, 13)), ("iris", (150, 4))])
def test_bundled_tables_name_their_columns(name: str, shape: tuple[int, int]) -> None:
    rows, spec = read_to_train(DataSpec(path=f"sklearn:{name}"))
    assert rows.values.shape == shape
    assert spec.columns is not None
    assert len(spec.columns) == shape[1]
    assert np.array_equal(read_to_train(spec)[0].values, rows.values)
    assert np.array_equal(read_like(spec, f"sklearn:{name}", shape[1:]).values, rows.values)


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 1, 8, 8), (5, 8, 8, 1), (5, 64)], ids=str)
@pytest.mark.parametrize("ending", [".npz", ".npy"])
def test_a_model_of_digits_takes_arrays_of_any_form_and_gives_back_the_same(
    shape: tuple[int, ...], ending: str, in_tmp: Path, provenance: Provenance
) -> None:
    array = RNG.uniform(0, 16, size=shape)
    if ending == ".npy":
        np.save("t.npy", array)
    else:
        np.savez("t.npz", noisy=array)
    rows = read_like(DIGITS, f"t{ending}", (1, 8, 8))
    assert rows.values.shape == (5, 1, 8, 8)
    output = in_tmp / f"o{ending}"
    write_back(rows, rows.values, output, provenance)
    loaded: Any = np.load(output)
    restored = loaded if ending == ".npy" else loaded["noisy"]
    assert restored.shape == shape
    assert restored.dtype == array.dtype
    assert np.allclose(restored, array, atol=1e-6)
    if ending == ".npz":
        assert json.loads(str(loaded["pair"]))["pair_id"] == "pair-7"
    assert json.loads((in_tmp / f"o{ending}.pair.json").read_text())["pair_id"] == "pair-7"


@pytest.mark.parametrize(
    ("shape", "row_shape"),
    [
        ((6, 10, 12), (1, 10, 12)),
        ((6, 10, 12, 3), (3, 10, 12)),
        ((6, 3, 10, 12), (3, 10, 12)),
        ((6, 1, 8, 8), (1, 8, 8)),
        ((6, 4, 4, 1), (1, 4, 4)),
    ],
    ids=str,
)
def test_arrays_of_three_or_four_axes_are_images(
    shape: tuple[int, ...], row_shape: tuple[int, ...], in_tmp: Path
) -> None:
    np.savez("t.npz", x=RNG.integers(0, 256, size=shape).astype(np.uint8))
    rows, spec = read_to_train(DataSpec(path="t.npz"))
    assert spec.kind is DataKind.IMAGES
    assert rows.values.shape[1:] == row_shape
    assert rows.values.max() > 200
    assert rows.values.flags.c_contiguous


def test_pixels_of_eight_bits_are_rounded_and_clipped(in_tmp: Path, provenance: Provenance) -> None:
    np.savez("t.npz", x=RNG.integers(0, 256, size=(4, 5, 6)).astype(np.uint8), y=np.arange(4))
    rows, _ = read_to_train(DataSpec(path="t.npz"))
    values = np.full_like(rows.values, 99.7)
    values[0], values[1] = -3, 300
    write_back(rows, values, in_tmp / "o.npz", provenance)
    with np.load("o.npz") as archive:
        assert archive["x"].dtype == np.uint8
        assert archive["x"][:3, 0, 0].tolist() == [0, 255, 100]
        assert archive["y"].tolist() == [0, 1, 2, 3], "arrays beside are carried along"


def test_images_of_an_array_are_resized_there_and_back(
    in_tmp: Path, provenance: Provenance
) -> None:
    np.save("t.npy", RNG.uniform(size=(4, 20, 30)).astype(np.float32))
    rows, spec = read_to_train(DataSpec(path="t.npy", image_size=(8, 10)))
    assert rows.values.shape == (4, 1, 8, 10)
    np.save("u.npy", np.ones((2, 16, 16), dtype=np.float32))
    rows = read_like(spec, "u.npy", (1, 8, 10))
    write_back(rows, rows.values, in_tmp / "o.npy", provenance)
    assert np.array_equal(np.load("o.npy"), np.load("u.npy"))


def test_a_flat_array_is_no_image_to_train_on(in_tmp: Path) -> None:
    np.save("t.npy", RNG.normal(size=(5, 64)))
    with pytest.raises(DataError, match=r"has shape \(5, 64\); images need \(N, height, width\)"):
        read_to_train(DataSpec(path="t.npy", kind=DataKind.IMAGES))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.uint8, np.uint16]),
        hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=5),
        elements=st.integers(0, 255),
    ),
    channels_last=st.booleans(),
)
def test_what_is_written_back_unchanged_equals_the_input(
    array: np.ndarray[Any, Any], channels_last: bool, in_tmp: Path, provenance: Provenance
) -> None:
    np.save("t.npy", array)
    kind, shape = DataKind.TABULAR, array.shape[1:]
    if array.ndim > 2:
        kind = DataKind.IMAGES
        shape = (1, *shape) if array.ndim == 3 else shape
        if array.ndim == 4 and channels_last:
            shape = (shape[2], *shape[:2])
    rows = read_like(DataSpec(path="t.npy", kind=kind), "t.npy", shape)
    write_back(rows, rows.values, in_tmp / "o.npy", provenance)
    restored = np.load("o.npy")
    assert restored.dtype == array.dtype
    assert np.array_equal(restored, array)


# -- arrays that claim more than there is -----------------------------------------------------

CLAIMED = (2**34, 8)


def write_claim(name: str, shape: tuple[int, ...], key: str | None) -> None:
    """Writes an array of fill values, of which nothing is stored."""
    chunks = (min(1024, shape[0]), min(1024, shape[1]))
    fields: dict[str, Any] = {"shape": shape, "chunks": chunks, "dtype": "f4"}
    if name.endswith(".h5"):
        h5py = pytest.importorskip("h5py")
        with h5py.File(name, "w") as file:
            file.create_dataset(key or "x", **fields)
        return
    zarr = pytest.importorskip("zarr")
    if key is None:
        zarr.create_array(store=name, **fields)
    else:
        zarr.open_group(name, mode="w").create_array(key, **fields)


@pytest.mark.parametrize(("name", "key"), [("t.h5", "x"), ("t.zarr", None), ("t.zarr", "x")])
@pytest.mark.parametrize("shape", [CLAIMED, (8, 2**34)], ids=["rows", "columns"])
def test_an_array_that_claims_what_its_file_does_not_store_is_refused_before_it_is_read(
    name: str, key: str | None, shape: tuple[int, int], in_tmp: Path
) -> None:
    write_claim(name, shape, key)
    with pytest.raises(DataError, match=r"claims shape .*, 512 GiB, and stores [\d,]+ bytes of it"):
        read_to_train(DataSpec(path=name, kind="tabular"))
    rows = np.arange(12.0).reshape(6, 2)
    np.save("t.npy", rows)
    _, resolved = read_to_train(DataSpec(path="t.npy"))
    with pytest.raises(DataError, match="512 GiB"):
        read_like(resolved, name, (2,))


@pytest.mark.parametrize("name", ["t.h5", "t.zarr"])
def test_an_array_with_few_stored_rows_that_a_disk_holds_is_opened(name: str, in_tmp: Path) -> None:
    write_claim(name, (2**25 + 2**20, 8), "x")
    stored = RNG.normal(size=(8192, 8)).astype(np.float32)
    if name == "t.h5":
        with pytest.importorskip("h5py").File(name, "r+") as file:
            file["x"][: len(stored)] = stored
    else:
        pytest.importorskip("zarr").open_group(name)["x"][: len(stored)] = stored
    source, _ = open_rows(DataSpec(path=name))
    assert np.array_equal(next(iter(source.blocks())).values[: len(stored)], stored)


@pytest.mark.parametrize("name", ["t.h5", "t.zarr"])
def test_an_array_whose_chunks_are_written_is_opened_however_small_they_are(
    name: str, in_tmp: Path
) -> None:
    count, rows = 9, 2**20
    fields: dict[str, Any] = {"shape": (count * rows, 32), "chunks": (rows, 32), "dtype": "f4"}
    if name == "t.h5":
        h5py = pytest.importorskip("h5py")
        twice = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        for _ in range(2):
            twice.set_deflate(9)
        chunk = zlib.compress(zlib.compress(bytes(4 * 32 * rows), 9), 9)
        with h5py.File(name, "w") as file:
            array = file.create_dataset("x", dcpl=twice, **fields)
            for number in range(count):
                array.id.write_direct_chunk((number * rows, 0), chunk)
    else:
        array = pytest.importorskip("zarr").create_array(name, **fields)
        array[0] = 1
        for number in range(1, count):
            shutil.copytree(f"{name}/c/0", f"{name}/c/{number}")
    source, _ = open_rows(DataSpec(path=name, kind="tabular"))
    assert source.count == count * rows


def rows_of_zeros(count: int) -> ArrayRows:
    """Rows that take no memory until they are copied."""
    array = np.broadcast_to(np.zeros(4, np.float32), (count, 4))
    schema = RowSchema(kind=DataKind.TABULAR, shape=(4,))
    return ArrayRows(LoadedArray(array), None, "t.npy", DataSpec(path="t.npy"), schema)


def test_rows_that_no_disk_holds_are_refused_before_they_are_copied(in_tmp: Path) -> None:
    with pytest.raises(
        DataError, match=r"^t\.npy: a copy of its .* rows needs .* GiB, and .* left"
    ):
        store_split(rows_of_zeros(2**50), DataSpec(path="t.npy", kind="tabular"), 0)


def test_rows_that_no_memory_holds_are_refused_in_one_line() -> None:
    with pytest.raises(DataError, match=r"rows of shape \(4,\) need .* GiB of memory"):
        collect(rows_of_zeros(2**50))
