"""Rows in the latent space of a pair, which carry its id so that no other pair decodes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data.given import array_of
from isthmus.errors import DataError, RegistryError

Floats = NDArray[np.float32]
Places = slice | int | Sequence[int] | Sequence[bool] | NDArray[np.integer[Any] | np.bool_]


@dataclass(frozen=True, eq=False)
class Latents:
    """Rows in the latent space of one pair.

    `latents[10:20]` and `latents[places]` are latents of the same pair, and `latents[3]` is one.
    `numpy.asarray(latents)` is their values.

    Attributes:
        values: Shape (N, latent_dim).
        pair_id: The pair that made the latents. The decoders of other pairs refuse them.
    """

    values: Floats
    pair_id: str

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.values)

    def __getitem__(self, rows: Places) -> Latents:
        """Returns the latents of some rows: a slice, a number, numbers, or whether to take each.

        Raises:
            IndexError: If there is no such row.
            TypeError: If `rows` is of both axes: a part of a latent is none.
        """
        if isinstance(rows, tuple):
            raise TypeError("latents are chosen by their rows; for single values use .values")
        chosen = rows if isinstance(rows, slice) else np.atleast_1d(np.asarray(rows))
        if isinstance(chosen, np.ndarray) and not chosen.size:
            chosen = chosen.astype(np.int64)  # an empty list is of floats
        return Latents(array_of(self.values)[chosen], self.pair_id)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Returns the values, for functions of numpy."""
        return np.array(self.values, dtype=dtype, copy=copy)


def values_to_decode(latents: object, pair_id: str, latent_dim: int, takes: str) -> Floats:
    """Returns the values of latents that a decoder may decode, shape (N, latent_dim).

    Args:
        latents: The latents that the caller wants to be decoded.
        pair_id: The id of the pair whose latents the decoder takes.
        latent_dim: The number of values in one of its latents.
        takes: The source of the latents that the decoder takes, in words.

    Raises:
        DataError: If they are an array, which does not say which pair made it, or have another
            shape.
        RegistryError: If another pair made them.
    """
    if not isinstance(latents, Latents):
        raise DataError(
            f"decode takes the Latents that encode returned, and this is of type "
            f"{type(latents).__name__}; for an array of latents of pair {pair_id} give "
            f'isthmus.Latents(array, "{pair_id}")'
        )
    if latents.pair_id != pair_id:
        raise RegistryError(
            f"these latents were made by pair {latents.pair_id}, and {takes}; decode them with "
            "the pair that made them"
        )
    values = array_of(latents.values)
    if values.ndim != 2 or values.shape[1] != latent_dim:
        raise DataError(
            f"latents of shape {values.shape} cannot be decoded; pair {pair_id} takes those of "
            f"shape (N, {latent_dim})"
        )
    return values.astype(np.float32, copy=False)
