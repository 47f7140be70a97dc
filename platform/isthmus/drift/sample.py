"""A sample of the rows of a stream, drawn while they pass, in bounded memory."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from isthmus.types import Shape

Floats = NDArray[np.float32]
_MOST_ROWS = 2_000
_MOST_BYTES = 32 << 20
_FLOAT_BYTES = 4


class RowSample:
    """Keeps at most 2,000 rows and 32 MiB of a stream, each row with the same probability."""

    def __init__(self, row_shape: Shape, seed: int = 0) -> None:
        """Creates an empty sample; the seed draws the rows."""
        self._most = max(1, min(_MOST_ROWS, _MOST_BYTES // (_FLOAT_BYTES * prod(row_shape))))
        self._generator = np.random.default_rng(seed)
        self._rows: Floats = np.empty((0, *row_shape), dtype=np.float32)
        self._keys = np.empty(0)
        self._flags = np.empty(0, dtype=bool)

    def look(self, values: Floats, flags: NDArray[np.bool_]) -> None:
        """Looks at the next rows of the stream.

        Args:
            values: Shape (n, *row_shape).
            flags: Shape (n,). Whatever is to be known of each row; here, whether it is an anomaly.
        """
        # The rows with the lowest of random keys are a uniform sample, whatever the length of the
        # stream, and they stay in the order of the stream.
        keys = self._generator.random(len(values))
        is_full = len(self._keys) >= self._most
        chosen = np.flatnonzero(keys < self._keys.max()) if is_full else np.arange(len(values))
        if len(chosen) > self._most:
            chosen = np.sort(chosen[np.argpartition(keys[chosen], self._most)[: self._most]])
        if not len(chosen):
            return
        all_keys = np.concatenate([self._keys, keys[chosen]])
        kept = np.arange(len(all_keys))
        if len(kept) > self._most:
            kept = np.sort(np.argpartition(all_keys, self._most)[: self._most])
        self._keys = all_keys[kept]
        self._rows = np.concatenate([self._rows, values[chosen]])[kept]
        self._flags = np.concatenate([self._flags, flags[chosen]])[kept]

    @property
    def rows(self) -> Floats:
        """The rows that were drawn, shape (M, *row_shape), in the order of the stream."""
        return self._rows

    @property
    def flags(self) -> NDArray[np.bool_]:
        """The flags of these rows, shape (M,)."""
        return self._flags
