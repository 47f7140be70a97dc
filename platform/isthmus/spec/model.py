"""The base of everything that a job file may say."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class SpecModel(BaseModel):
    """Base of every part of a job file: frozen, and unknown fields are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
