"""Defines the `training.start_from` section: the pair whose weights a training starts with."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from isthmus.spec.model import SpecModel

_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9_-]+|/[0-9]+)?")


class StartSpec(SpecModel):
    """The `training.start_from` section. A job file may write the name of the pair alone."""

    model: str = Field(min_length=1)
    """The registered pair: `NAME/VERSION`, `NAME@ALIAS`, or `NAME` for its champion. The run
    records the version that it was when training began."""
    otherwise: Literal["refuse", "scratch"] = "refuse"
    """The behaviour while there is no such pair. `refuse`: the job is not run. `scratch`: training
    starts from random weights, as in the first run of a schedule that names its own champion."""

    @field_validator("model")
    @classmethod
    def _names_a_pair(cls, value: str) -> str:
        if _REFERENCE.fullmatch(value) is None:
            raise ValueError(
                f'"{value}" names no pair; write NAME@ALIAS or NAME/VERSION, as in digits@champion'
            )
        return value
