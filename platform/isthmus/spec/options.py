"""Defines options of a variant that depend on the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from isthmus.spec.data import DataSpec
from isthmus.spec.model import SpecModel
from isthmus.spec.rows import RowSchema


class DataAwareOptions(SpecModel):
    """Options of a variant whose limits and defaults depend on the job's data section.

    `refusals` and `settled` are called before the data are read, where `kind` and `scaling` may be
    `auto`, and again when they are known.
    """

    def refusals(self, data: DataSpec) -> Mapping[str, str]:
        """Returns which options do not suit such data, by name: why, and what to do."""
        return {}

    def refusals_once_scaled(self, data: DataSpec, scale: float) -> Mapping[str, str]:
        """Returns which options do not suit the training rows themselves, in the same form.

        Args:
            data: The data section with every `auto` resolved.
            scale: The number of data units in a scaled unit; the largest, if features differ.
        """
        return {}

    def settled(self, data: DataSpec) -> Self:
        """Returns the options with every `auto` that depends on the data resolved."""
        return self

    def settled_once_read(self, data: DataSpec, schema: RowSchema) -> Self:
        """Returns the same, now that the training rows are known.

        Args:
            data: The data section with every `auto` resolved.
            schema: The schema of the training rows, with their ranges.
        """
        return self.settled(data)
