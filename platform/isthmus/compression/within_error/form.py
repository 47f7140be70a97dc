"""Describes files that are compressed with all of their columns, as the header stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from isthmus.compression.names import Names
from isthmus.compression.within_error.files import AnyExactFile
from isthmus.spec import SpecModel


class ExactForm(SpecModel):
    """Files with all that they hold."""

    form: Literal["exact"] = "exact"
    is_folder: bool
    """Whether they are the files of a folder."""
    names: Names
    """The name of each file."""
    files: tuple[AnyExactFile, ...] = Field(min_length=1)
    """The form of each."""
    max_error: str
    """The maximum error that was asked for."""

    @model_validator(mode="after")
    def _has_a_form_for_each_name(self) -> ExactForm:
        if len(self.names) != len(self.files):
            raise ValueError(f"it has {len(self.names)} names of {len(self.files)} files")
        return self


class ColumnSummary(SpecModel):
    """The predictors and the largest error of a column, over all files."""

    name: str
    """The name of the column."""
    predictors: Mapping[str, Annotated[int, Field(ge=0)]] = {}
    """The number of chunks in which each predictor was used, by the predictor's name."""
    largest_error: Annotated[float, Field(ge=0)] | None = None
    """The largest error of its decoded numbers; `None` for what is no number."""
