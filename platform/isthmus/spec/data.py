"""The `data` section of a job file: the place of the rows, and how they are read and split."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from isthmus.spec.faults import UNQUOTED
from isthmus.spec.model import SpecModel
from isthmus.spec.secrets import without_password
from isthmus.types import DataKind, ScalingMode


def _quoted(value: object) -> object:
    """Refuses true and false as a label: pydantic would take them for the numbers 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError(UNQUOTED, "Input should be a label in quotes")
    return value


Label = Annotated[int | str, BeforeValidator(_quoted)]
Unit = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class DataSpec(SpecModel):
    """The `data` section: where the rows are, and how they are split and scaled."""

    path: Annotated[str, Field(min_length=1)] | Annotated[tuple[str, ...], Field(min_length=1)]
    """A file, a folder, a glob, a list of these, `s3://bucket/key` or `s3://bucket/prefix/`, a
    database (`postgresql://user@host/name`, `sqlite:///file.db`), or a set that scikit-learn
    ships: `sklearn:digits`. The password of a database is never stored."""
    query: str | None = None
    """The query whose rows are read, where `path` is a database: `SELECT a, b FROM readings`."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """The sign between the cells of a csv; found by looking at its first rows by default."""
    header: Literal["auto", "none"] = "auto"
    """`none` if a csv has no line with the names of its columns; they are then f0, f1, ..."""
    decimal: Annotated[str, Field(min_length=1, max_length=1)] = "."
    """The decimal sign of numbers that are texts, as all of a csv are."""
    thousands: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """The sign between the thousands of numbers that are texts, if they have one."""
    missing_values: tuple[str, ...] = ()
    """Texts and numbers of a table that mean a missing value, such as `["?", "-999"]`, beside the
    empty cell, and NA, NaN and null among numbers."""
    encoding: str = "utf-8"
    """The encoding of a csv: utf-8, latin-1, utf-16."""
    partitions: bool = False
    """Whether the folders of a table's files are columns: `year=2024/part-0.parquet`."""
    time: str | None = None
    """The column with the time of each step of a series: dates, or seconds. Steps are sorted by
    it, and no window crosses a gap."""
    time_format: str | None = None
    """The format of the dates in the column of time, for strptime: "%d/%m/%Y %H:%M". By default
    it is found where one date tells the day from the month; 2024-12-31 needs none."""
    series_id: str | None = None
    """The column that tells several series in one table apart; no window crosses two."""
    kind: DataKind | Literal["auto"] = "auto"
    """The kind of a row. `auto`: images for files of images, audio for files of sounds, series if
    `window`, `time` or `series_id` is given, images for an array of three or four axes, else
    tabular."""
    key: str | None = None
    """The array of an npz that holds the rows; by default `x`, `X`, `data`, or the only one."""
    columns: tuple[str, ...] | None = None
    """Columns of a csv or parquet to use, in this order; by default all that `exclude` leaves."""
    exclude: tuple[str, ...] = ()
    """Columns to leave out: identifiers, texts, timestamps."""
    categories: tuple[str, ...] | Mapping[str, tuple[str, ...]] = ()
    """Columns of a csv or parquet that hold categories, texts or codes: each value becomes a
    feature of its own, 0 or 1. A list of columns, or the values of each, `{size: [S, M, L]}`."""
    units: Mapping[str, Unit] = {}
    """The units of columns of a table, or of a series' channels: `{flow: l/s, temperature: degC}`.
    By default those that the file states: the metadata `unit` or `units` of a column of parquet
    and Arrow, the attribute `units` of HDF5 and Zarr, `attrs["units"]` of a frame of pandas. A
    file that states another unit when the pair is used is warned about."""
    paired_path: str | None = Field(
        default=None, validation_alias=AliasChoices("paired_path", "second")
    )
    """A second file or folder of the same layout: other noisy measurements of the same rows, in
    the same order. `noise2noise` learns from both. Job files once called it `second`."""
    clean_path: str | None = None
    """The clean versions of the rows of `path`, which hold noise: files of images and of sounds of
    the same names (their endings may differ), other rows in the same order. `denoising` then learns
    to turn the one into the other, and adds no noise of its own."""
    labels: str | None = None
    """Column (csv, parquet) or array (npz) with a label for each row. Never trained on."""
    keep_labels: tuple[Label, ...] | None = None
    """Train only on rows with one of these labels: the normal rows, for anomaly detection."""
    missing: Literal["refuse", "mean", "drop"] = "refuse"
    """The treatment of NaN: refuse the file, fill in the mean of the training rows (and do so
    again when the model is used), or drop the row."""
    scaling: ScalingMode | Literal["auto"] = "auto"
    """`auto`: minmax for images, none for audio, standard for tabular and series."""
    image_size: (
        tuple[Annotated[int, Field(ge=4, le=4096)], Annotated[int, Field(ge=4, le=4096)]] | None
    ) = None
    """Height and width in pixels that images are resized to. Where their sizes differ, this is
    needed, or `patch`."""
    patch: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Height and width in pixels of the patches that training cuts out of images of any size, at
    random places and anew in each epoch. The pair then takes images of any size. It is for the
    variants that denoise, and for nets that take any size."""
    augment: tuple[Literal["flip", "turn"], ...] = ()
    """The random changes of each training patch: `flip` mirrors it, left to right and upside down,
    and `turn` turns it by quarter turns. By default there are none. Photos gain from both, if
    their noise looks the same from all sides."""
    patches_per_epoch: Annotated[int, Field(ge=1, le=2**31)] | Literal["auto"] = "auto"
    """The number of patches that an epoch draws. `auto`: as many as cover all training images once,
    and at least 2,048."""
    window: int | None = Field(default=None, ge=4, le=1_048_576)
    """Length of a window. Of a series in steps: by default 128, or what is left of it after
    halving until each held-out part has windows. Of audio in samples: by default 1024, and where
    short files are padded the power of two nearest to a quarter of a second."""
    stride: int | None = Field(default=None, ge=1)
    """Steps from one window's start to the next; by default half a window. Where this is left out,
    a series trains on windows that overlap more, up to some 20,000 of them."""
    sample_rate_hz: int | None = Field(default=None, ge=1)
    """Samples a second of audio. Files of sounds say it themselves, so it may be left out; where it
    is given, files of another rate are refused."""
    short_files: Literal["refuse", "pad", "auto"] = "auto"
    """The treatment of a sound that is shorter than a window: refuse it, or pad it with its
    mirror image. `auto`: pad it for variants that learn to remove noise, else refuse it."""
    validation_fraction: float = Field(default=0.1, gt=0.0, lt=0.9)
    """Share of the rows for early stopping, which choose the epoch."""
    calibration_fraction: Annotated[float, Field(ge=0.0, lt=0.9)] | Literal["auto"] = "auto"
    """Share of the rows whose scores turn those of new rows into p-values; nothing is trained or
    chosen on them. `auto`: 0.1, and none of tables and images that would give fewer than 100 such
    rows: there, models trained on parts of the rows score the other parts. 0, and `auto` with
    `patch`: the rows for early stopping calibrate too, and the false-alarm rate is only roughly
    kept."""
    test_fraction: float = Field(default=0.1, gt=0.0, lt=0.9)
    """Share of the rows that training never sees; champions and challengers meet on them."""

    keep_held_out: bool = True
    """Whether a sample of the rows that training never sees (at most 10,000 rows and 64 MiB) is
    stored with the version, so that it can be judged anywhere. `false`, for rows that may not be
    stored: the gate then reads `path` again, and refuses to judge if it has changed. The run's
    pictures and the model's input example still show some rows."""

    @property
    def shown_path(self) -> str:
        """The path as messages, runs and cards show it."""
        if isinstance(self.path, str):
            return self.path
        more = f" and {len(self.path) - 1} more" if len(self.path) > 1 else ""
        return f"{self.path[0]}{more}"

    @property
    def place(self) -> str:
        """The kind of place that the rows are in: `local`, `s3`, `postgresql`."""
        scheme, separator, _ = self.shown_path.partition("://")
        return scheme if separator else "local"

    @property
    def partner_field(self) -> str:
        """The name of the field that says so: `clean_path` or `paired_path`."""
        return "clean_path" if self.clean_path else "paired_path"

    @property
    def partner_path(self) -> str | None:
        """The path of each row's second view: its clean version, or another noisy measurement."""
        return self.clean_path or self.paired_path

    @property
    def calibration_share(self) -> float:
        """The share of calibration rows: 0 until `auto` is settled, as in pairs of before then."""
        return 0.0 if self.calibration_fraction == "auto" else self.calibration_fraction

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The names of a row's features, or a series' channels, after the data were read."""
        if self.columns is None or not isinstance(self.categories, Mapping):
            return self.columns
        values = self.categories
        return tuple(
            feature
            for name in self.columns
            for feature in ([f"{name}={v}" for v in values[name]] if name in values else [name])
        )

    @property
    def indicators(self) -> tuple[bool, ...] | None:
        """Whether each feature indicates a category's value; `None` without categories."""
        if self.columns is None or not isinstance(self.categories, Mapping) or not self.categories:
            return None
        values = self.categories
        return tuple(name in values for name in self.columns for _ in values.get(name, (name,)))

    @field_validator("path", "paired_path", "clean_path", mode="after")
    @classmethod
    def _keeps_no_password(cls, path: str | tuple[str, ...] | None) -> object:
        if path is None or isinstance(path, str):
            return path and without_password(path)
        return tuple(without_password(each) for each in path)

    @field_validator("encoding", mode="after")
    @classmethod
    def _is_an_encoding(cls, encoding: str) -> str:
        try:
            found = codecs.lookup(encoding).name
        except LookupError:
            raise ValueError(
                f'no encoding "{encoding}"; use utf-8, latin-1, cp1252, utf-16'
            ) from None
        return "utf-8" if found in ("utf-8", "utf-8-sig", "ascii") else encoding

    @field_validator("time_format", mode="after")
    @classmethod
    def _is_a_time_format(cls, form: str | None) -> str | None:
        try:
            is_format = form is None or ("%" in form and bool(datetime.strptime("", form)))
        except ValueError as error:
            is_format = "does not match" in str(error)
        if not is_format:
            raise ValueError(f'"{form}" is no format of strptime; write it as "%d/%m/%Y %H:%M"')
        return form

    @model_validator(mode="after")
    def _has_times_of_a_format(self) -> DataSpec:
        if self.time_format is not None and self.time is None:
            raise ValueError("time_format needs time: name the column that holds the dates")
        return self

    @model_validator(mode="after")
    def _tells_thousands_from_decimals(self) -> DataSpec:
        if self.thousands == self.decimal:
            raise ValueError(f'thousands and decimal are both "{self.decimal}"; change one')
        return self

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> DataSpec:
        held_out = self.validation_fraction + self.test_fraction
        names = "validation_fraction + test_fraction"
        if self.calibration_share:
            held_out += self.calibration_share
            names = f"calibration_fraction + {names}"
        if held_out >= 0.95:
            raise ValueError(
                f"{names} = {held_out:g} leaves too little to train on; keep the sum below 0.95"
            )
        return self

    @model_validator(mode="after")
    def _keeps_labels_only_with_labels(self) -> DataSpec:
        if (
            self.keep_labels is not None
            and self.labels is None
            and not self.shown_path.startswith("sklearn:")
        ):
            raise ValueError("keep_labels needs labels: name the column or array that holds them")
        return self
