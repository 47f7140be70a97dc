"""The schema of rows, which a pair keeps of the rows that it was trained on."""

from __future__ import annotations

from pydantic import ConfigDict

from isthmus.spec.model import SpecModel
from isthmus.types import DataKind, Shape


class RowSchema(SpecModel):
    """The schema of a source's rows; a pair keeps that of its training rows.

    New rows are checked against it whenever the pair is used.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    kind: DataKind
    """The kind of a row."""
    shape: Shape
    """The shape of a row."""
    features: tuple[str, ...] | None = None
    """The names of a table's features or of a series' channels, in order, if they have names."""
    centre: tuple[float, ...] | None = None
    """The value that is subtracted from each feature in float64 before rows become float32, where
    float32 could not tell the values apart: 20,000,000.4 and 20,000,001.2, say. Rows of the source
    are centred; results that are written back are not."""
    lowest: tuple[float, ...] | None = None
    """The least value of each feature or channel among the training rows, in data units."""
    highest: tuple[float, ...] | None = None
    """The greatest value of each feature or channel among the training rows, in data units."""
    missing_share: tuple[float, ...] | None = None
    """The share of missing values of each feature or channel among the training rows, 0 to 1."""
    quantiles: tuple[tuple[float, float, float], ...] | None = None
    """The 5 %, 50 % and 95 % quantiles of each feature of a table, or each channel of a series,
    among the training rows, or a sample of them, in data units. They tell whether a column comes
    in another unit."""
    units: tuple[str | None, ...] | None = None
    """The unit of each feature or channel, where the job or the training file states it."""
    white: float | None = None
    """The value of a white pixel: 255, 65535 or 1, in the units of the rows."""
    sample_rate_hz: int | None = None
    """The number of samples a second of audio."""
    time_step_s: float | None = None
    """The time between two steps of a series, in seconds, if it has a column of time, and all
    series have the same."""
