"""Units of columns: those of a job or of the training file are kept, and others are told."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import zarr

from isthmus.data import collect, open_input, open_rows
from isthmus.data.frames import Frame
from isthmus.data.prepared.keeping import keep_rows
from isthmus.errors import DataError
from isthmus.spec import DataSpec

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(200, 2))


def arrow(key: str = "unit", **units: str) -> pa.Table:
    """A table of `flow` and `heat` whose fields state units."""
    fields = [
        pa.field(name, pa.float64(), metadata={key: units[name]} if name in units else None)
        for name in ("flow", "heat")
    ]
    return pa.table(list(VALUES.T), schema=pa.schema(fields))


def write_parquet(units: dict[str, str], path: str) -> None:
    pq.write_table(arrow(**units), path)


def write_feather(units: dict[str, str], path: str) -> None:
    feather.write_feather(arrow("units", **units), path)


def write_frame(units: dict[str, str], path: str) -> None:
    keep = pd.DataFrame(VALUES, columns=["flow", "heat"])
    keep.attrs["units"] = units
    Path(path).write_bytes(keep_rows(keep, Path("kept")).path.read_bytes())


def write_by_pandas(units: dict[str, str], path: str) -> None:
    frame = pd.DataFrame(VALUES, columns=["flow", "heat"])
    frame.attrs["units"] = units
    frame.to_parquet(path)


TABLES = [
    pytest.param(write_parquet, "parquet", id="parquet"),
    pytest.param(write_feather, "feather", id="feather"),
    pytest.param(write_frame, "parquet", id="frame of pandas"),
    pytest.param(write_by_pandas, "parquet", id="parquet of pandas"),
]


def warnings_at(spec: DataSpec, path: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Reads a file for a pair that is trained with the data section."""
    source, settled = open_rows(spec)
    collect(source)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        collect(open_input(settled, path, source.schema))
    return list(caplog.messages)


@pytest.mark.parametrize(("write", "ending"), TABLES)
@pytest.mark.parametrize("kind", ["tabular", "series"])
def test_a_unit_that_a_file_states_is_kept_and_another_is_told_with_both(
    write: Callable[[dict[str, str], str], None],
    ending: str,
    kind: str,
    in_tmp: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    train, same, other, none = (f"{name}.{ending}" for name in ("train", "same", "other", "none"))
    write({"flow": "l/s"}, train)
    write({"flow": " l/s ", "heat": "kW"}, same)
    write({"flow": "m3/h"}, other)
    write({}, none)
    spec = DataSpec(path=train, kind=kind)
    assert open_rows(spec)[0].schema.units == ("l/s", None)
    assert warnings_at(spec, same, caplog) == []
    assert warnings_at(spec, none, caplog) == []
    (line,) = warnings_at(spec, other, caplog)
    assert line == (
        f'{other}: states another unit than the rows of training have ("flow" in "m3/h", and not '
        'in "l/s"); convert the values, or correct the stated unit'
    )


@pytest.mark.parametrize("kind", ["tabular", "series"])
def test_the_unit_of_the_job_goes_before_that_of_the_file_and_is_for_any_format(
    kind: str, in_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pd.DataFrame(VALUES, columns=["flow", "heat"]).to_csv("train.csv", index=False)
    write_parquet({"flow": "m3/h"}, "new.parquet")
    spec = DataSpec(path="train.csv", kind=kind, units={"flow": " l/s "})
    assert open_rows(spec)[0].schema.units == ("l/s", None)
    assert warnings_at(spec, "train.csv", caplog) == []
    (line,) = warnings_at(spec, "new.parquet", caplog)
    assert '("flow" in "m3/h", and not in "l/s")' in line
    of_file = DataSpec(path="new.parquet", kind=kind, units={"flow": "l/s"})
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        rows = collect(open_rows(of_file)[0])
    assert rows.schema.units == ("l/s", None)
    assert "states another unit" not in caplog.text


@pytest.mark.parametrize("units", [{"flwo": "l/s"}, {"colour": "nm"}, {"id": "1"}])
def test_a_unit_of_something_else_than_a_trained_column_of_numbers_is_refused(
    units: dict[str, str], in_tmp: Path
) -> None:
    frame = pd.DataFrame(VALUES, columns=["flow", "heat"])
    frame.assign(id=range(200), colour=["red", "blue"] * 100).to_csv("train.csv", index=False)
    spec = DataSpec(path="train.csv", exclude=("id",), categories=("colour",), units=units)
    with pytest.raises(DataError) as caught:
        open_rows(spec)
    (name,) = units
    assert f'data.units names "{name}", which is no column of numbers' in str(caught.value)
    assert "The columns of numbers are: flow, heat" in str(caught.value)


def test_units_are_those_of_the_numbers_beside_categories(in_tmp: Path) -> None:
    frame = pd.DataFrame(VALUES, columns=["flow", "heat"])
    frame.insert(0, "colour", ["red", "blue"] * 100)
    frame.to_csv("train.csv", index=False)
    spec = DataSpec(path="train.csv", categories=("colour",), units={"heat": "kW"})
    assert open_rows(spec)[0].schema.units == (None, None, None, "kW")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("train.npy", "data.units cannot name any"),
        ("images.npy", "data.units is for tables"),
    ],
)
def test_units_of_what_has_no_named_columns_are_refused(path: str, said: str, in_tmp: Path) -> None:
    np.save("train.npy", VALUES)
    np.save("images.npy", RNG.random((20, 8, 8)))
    with pytest.raises(DataError, match=said):
        open_rows(DataSpec(path=path, units={"flow": "l/s"}))


def write_hdf5(path: str, values: np.ndarray, units: object) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = values
        if units is not None:
            file["x"].attrs["units"] = units


def write_zarr(path: str, values: np.ndarray, units: object) -> None:
    array = zarr.open_group(path, mode="w").create_array("x", data=values)
    if units is not None:
        array.attrs["units"] = units


def write_one_zarr(path: str, values: np.ndarray, units: object) -> None:
    array = zarr.create_array(path, data=values, overwrite=True)
    if units is not None:
        array.attrs["units"] = units


@pytest.mark.parametrize(
    ("write", "ending"),
    [(write_hdf5, "h5"), (write_zarr, "zarr"), (write_one_zarr, "zarr")],
    ids=["HDF5", "Zarr", "one array of Zarr"],
)
@pytest.mark.parametrize("kind", ["tabular", "series"])
@pytest.mark.parametrize("units", ["m s-1", ["m s-1", "K"]], ids=["one of all", "one of each"])
def test_the_units_of_an_array_are_its_attribute(
    write: Callable[[str, np.ndarray, object], None],
    ending: str,
    kind: str,
    units: str | list[str],
    in_tmp: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = {"train": units, "other": ["km h-1", "K"], "none": None, "wrong": 3}
    for name, each in given.items():
        write(f"{name}.{ending}", VALUES, each)
    spec = DataSpec(path=f"train.{ending}", kind=kind)
    kept = open_rows(spec)[0].schema.units
    assert kept == ("m s-1", "m s-1" if isinstance(units, str) else "K")
    for name in ("train", "none", "wrong"):
        assert warnings_at(spec, f"{name}.{ending}", caplog) == []
    (line,) = warnings_at(spec, f"other.{ending}", caplog)
    assert 'column 0 in "km h-1", and not in "m s-1"' in line
    assert ("column 1" in line) == isinstance(units, str)


def test_a_channel_of_one_axis_has_the_unit_of_its_array(in_tmp: Path) -> None:
    write_hdf5("train.h5", VALUES[:, 0], "\u00b0C".encode("latin-1"))
    schema = open_rows(DataSpec(path="train.h5", kind="series"))[0].schema
    assert schema.units == ("\u00b0C",)
    assert json.loads(schema.model_dump_json())["units"] == ["\u00b0C"]


def test_a_file_of_a_folder_in_another_unit_is_told_by_its_name(
    in_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder, second in (("train", "l/s"), ("new", "m3/h")):
        Path(folder).mkdir()
        write_parquet({"flow": "l/s"}, f"{folder}/a.parquet")
        write_parquet({"flow": second}, f"{folder}/b.parquet")
    spec = DataSpec(path="train/")
    (line,) = warnings_at(spec, "new/", caplog)
    assert line.startswith("new/b.parquet: states another unit")
    with caplog.at_level(logging.WARNING):
        collect(open_rows(DataSpec(path="new/"))[0])
    assert "new/b.parquet: states another unit" in caplog.text


def test_many_columns_in_other_units_are_one_line(
    in_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, unit in (("train", "K"), ("new", "degC")):
        write_hdf5(f"{name}.h5", RNG.normal(size=(50, 8)), unit)
    (line,) = warnings_at(DataSpec(path="train.h5"), "new.h5", caplog)
    assert line.count('in "degC"') == 5
    assert "; and 3 more)" in line


def test_the_units_of_an_arrow_table_in_memory_are_kept() -> None:
    table = Frame(arrow(flow="l/s")).table()
    assert table.schema.field("flow").metadata == {b"units": b"l/s"}
    assert table.schema.field("heat").metadata is None


@pytest.mark.parametrize("missing", [None, float("nan")], ids=["None", "NaN"])
def test_a_missing_unit_in_the_attrs_of_a_frame_is_no_unit(missing: object) -> None:
    frame = pd.DataFrame(VALUES, columns=["flow", "heat"])
    frame.attrs["units"] = {"flow": missing, "heat": "kW"}
    schema = Frame(frame).table().schema
    assert schema.field("flow").metadata is None
    assert schema.field("heat").metadata == {b"units": b"kW"}


def test_a_parquet_with_attrs_of_too_many_levels_states_no_units(in_tmp: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    pq.write_table(arrow().replace_schema_metadata({"PANDAS_ATTRS": deep}), "train.parquet")
    rows = collect(open_rows(DataSpec(path="train.parquet"))[0])
    assert rows.schema.units is None
    assert rows.values.shape == (200, 2)
