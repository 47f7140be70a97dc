"""Rows of features as a pair predicts them: from its symbols, in float64."""

from __future__ import annotations

from copy import deepcopy
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.compression.symbols import CodedSymbols, NumbersOf, Symbols
from isthmus.core import CodedAutoencoder
from isthmus.errors import DataError
from isthmus.kinds import facts_of
from isthmus.registry import Pair

Floats = NDArray[np.float64]

_VALUES_AT_ONCE = 1 << 18
# Beyond this, a value could overflow the weights' sums; no net predicts it anyway.
_LARGEST = 1e15


class PairRows:
    """Predicts rows (N, F) of features by a pair's reconstruction of them.

    Of series and sounds, rows are steps: they are cut into windows that follow one another, the
    last one filled up by its last step. The modules compute in float64 on the CPU, so that other
    machines differ in the last of 53 bits only.
    """

    def __init__(
        self,
        pair: Pair,
        module: CodedAutoencoder,
        unit: float = 1.0,
        quality: float | None = None,
    ) -> None:
        """Takes the pair.

        Args:
            pair: The pair, with code tables.
            module: The pair's module.
            unit: The value of 1 of the rows in the pair's own unit.
            quality: From 0 to 100, of a pair of several rates; by default the variant's usual.

        Raises:
            UsageError: If the pair has no such quality.
        """
        module.check_quality(quality)
        self._quality = quality
        self._module = deepcopy(module).cpu().double().eval()
        self._coded = CodedSymbols(pair.code_tables)
        self._shape = pair.manifest.plan.row_shape
        self._is_windows = facts_of(pair.manifest.plan.kind).are_windows
        centre = pair.manifest.rows_taken.centre
        self._centre = np.zeros(1) if centre is None else np.array(centre)
        self._unit = unit

    def encode(self, rows: Floats) -> tuple[bytes, Floats]:
        """Returns the symbols of rows (N, F) as bytes, and what they predict, (N, F)."""
        values = torch.from_numpy(self._windows(_filled(rows) * self._unit - self._centre))
        parts = []
        with torch.inference_mode():
            for first in range(0, len(values), self._at_once()):
                some = values[first : first + self._at_once()]
                parts.append(self._module.symbols(some, self._quality))
        streams = [torch.cat(each).numpy() for each in zip(*parts, strict=True)]
        coded = self._coded.to_bytes(streams, self._numbers_of(len(values)))
        return coded, self._predicted(streams, len(rows))

    def decode(self, latents: bytes, rows: int) -> Floats:
        """Returns what symbols predict for so many rows, (rows, F).

        Raises:
            DataError: If the bytes are not those of so many rows.
        """
        numbers_of = self._numbers_of(self._count(rows))
        return self._predicted(
            self._coded.from_bytes(latents, self._module.streams, numbers_of), rows
        )

    def _predicted(self, streams: list[Symbols], rows: int) -> Floats:
        parts = []
        try:
            with torch.inference_mode():
                for first in range(0, len(streams[0]), self._at_once()):
                    some = slice(first, first + self._at_once())
                    batch = [torch.from_numpy(each[some]) for each in streams]
                    parts.append(self._module.rows_of(batch, self._quality).double())
        except ValueError as error:
            raise DataError(f"the symbols of a chunk are damaged: {error}") from error
        return (self._steps(torch.cat(parts), rows) + self._centre) / self._unit

    def _numbers_of(self, rows: int) -> NumbersOf:
        def numbers_of(before: object) -> Symbols:
            with torch.inference_mode():
                decoded = [torch.from_numpy(each) for each in before]  # type: ignore[attr-defined]
                return self._module.table_numbers(decoded, rows).numpy()

        return numbers_of

    def _at_once(self) -> int:
        return max(1, _VALUES_AT_ONCE // prod(self._shape))

    # -- rows and windows -----------------------------------------------------------------------

    def _count(self, rows: int) -> int:
        return -(-rows // self._shape[-1]) if self._is_windows else rows

    def _windows(self, rows: Floats) -> Floats:
        """Returns rows (N, F) in the pair's own shape."""
        if not self._is_windows:
            return np.ascontiguousarray(rows.reshape(len(rows), *self._shape))
        window = self._shape[-1]
        missing = self._count(len(rows)) * window - len(rows)
        whole = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
        return np.ascontiguousarray(whole.reshape(-1, window, rows.shape[1]).transpose(0, 2, 1))

    def _steps(self, values: Tensor, rows: int) -> Floats:
        if not self._is_windows:
            return np.asarray(values.numpy().reshape(rows, -1))
        channels = self._shape[0]
        return np.asarray(values.numpy().transpose(0, 2, 1).reshape(-1, channels)[:rows])


def _filled(rows: Floats) -> Floats:
    """Returns rows without missing and huge values: a column's mean stands in for them."""
    usable = np.abs(rows) < _LARGEST  # which no NaN is
    counts = np.maximum(usable.sum(axis=0), 1)
    means = np.where(usable, rows, 0.0).sum(axis=0) / counts
    return np.where(usable, rows, means)
