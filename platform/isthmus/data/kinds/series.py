"""Series: the columns of a table or array are channels, cut into windows of time steps.

No window crosses from one series to another, a gap in time, or a step that cannot be read.
"""

from __future__ import annotations

from isthmus.data.columns.quality import refuse_empty_columns
from isthmus.data.kinds import Kind, UseOptions
from isthmus.data.kinds.tabular import (
    is_array,
    open_arrays,
    open_arrays_like,
    open_tables,
    open_tables_like,
)
from isthmus.data.rows import RowSource
from isthmus.data.steps.series_rows import series_rows
from isthmus.data.storage.files import Files
from isthmus.errors import DataError
from isthmus.kinds import KindFacts
from isthmus.spec import DataSpec, RowSchema
from isthmus.types import DataKind, ScalingMode


class Series(Kind):
    """Windows of shape (C, T): C channels, T time steps."""

    SUMMARY = "windows of the columns of a table or an array"
    FACTS = KindFacts(
        words="windows of {shape} (channels, steps)",
        feature="channel",
        place="step",
        shown_as="curves",
        are_windows=True,
        from_tables=True,
        split_by="time",
        fields=("window", "stride", "time", "time_format", "series_id"),
        scaling=ScalingMode.STANDARD,
        # Measured on metrics (windows of 64) and speech (1024), at equal latents and epochs,
        # `temporal` has 0.7 to 1.1 times the test error of dense, but takes at least 15 times as
        # long, and dense trained for that long is as good or better.
        net="dense",
        score="kernel_denoising",  # measured on the NAB files; see tabular.py
        noise_filter="a Wiener filter",
        noise_measure="si_sdr",
    )

    @classmethod
    def open(cls, files: Files, spec: DataSpec) -> tuple[RowSource, DataSpec]:
        """Opens windows to train on, and settles what the section leaves open."""
        of_steps = _of_steps(spec)
        if is_array(files):
            _refuse_columns_of_arrays(files, spec)
            steps, settled = open_arrays(files, of_steps, may_have_one_axis=True)
        else:
            extra = _extra(spec)
            steps, settled = open_tables(files, of_steps, extra=extra)
        spec = spec.model_copy(update={"key": settled.key, "columns": settled.columns})
        rows = series_rows(steps, spec, files.name, step_s=None, is_training=True)
        spec = spec.model_copy(update={"window": rows.schema.shape[1]})
        if spec.missing == "mean":
            refuse_empty_columns(rows.signal_TC, spec.columns, files.name)
        # Files that come later are read alike, whatever their own dates would tell.
        return rows, spec.model_copy(update={"time_format": rows.time_format})

    @classmethod
    def open_like(
        cls, files: Files, data: DataSpec, schema: RowSchema, options: UseOptions
    ) -> RowSource:
        """Opens windows for a trained pair."""
        channels, window = schema.shape
        data = data.model_copy(update={"window": window})
        of_steps = schema.model_copy(update={"kind": DataKind.TABULAR, "shape": (channels,)})
        if is_array(files):
            _refuse_no_names(files, data)
            steps = open_arrays_like(
                *(files, _of_steps(data), of_steps),
                may_have_one_axis=True,
                sets_aside=options.set_aside,
            )
        else:
            steps = open_tables_like(
                *(files, _of_steps(data), of_steps),
                extra=_extra(data),
                sets_aside=options.set_aside,
            )
        return series_rows(
            *(steps, data, files.name),
            step_s=schema.time_step_s,
            is_training=options.begins_as_training,
            is_trained=True,
            let_short=options.let_short,
            sets_aside=options.set_aside,
        )


def _of_steps(spec: DataSpec) -> DataSpec:
    """Returns the section by which single steps are read: none is left out, because windows are."""
    missing = "mean" if spec.missing == "drop" else spec.missing
    return spec.model_copy(update={"missing": missing, "keep_labels": None})


def _extra(spec: DataSpec) -> tuple[str, ...]:
    return tuple(name for name in (spec.time, spec.series_id) if name is not None)


def _refuse_no_names(files: Files, data: DataSpec) -> None:
    """Refuses arrays for a pair that finds times or series by the names of their columns."""
    named = _extra(data)
    if named:
        raise DataError(
            f'{files.name}: an array has no columns with names, and the model needs "{named[0]}"; '
            "give a csv or parquet"
        )


def _refuse_columns_of_arrays(files: Files, spec: DataSpec) -> None:
    if spec.time or spec.series_id:
        raise DataError(
            f"{files.name}: an array has no columns with names, so data.time and data.series_id "
            "cannot name any; leave them out, or use a csv or parquet"
        )
