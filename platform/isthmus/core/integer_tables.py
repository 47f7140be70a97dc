"""Integer frequency tables, from which an entropy coder takes the probabilities of symbols.

They are computed once, at the end of training, and stored with the pair. A file can be decoded only
with exactly the probabilities that it was coded with, and whole numbers are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

PRECISION = 16
TOTAL = 1 << PRECISION
"""The sum of a table's frequencies."""
MOST_SYMBOLS = 1 << (PRECISION - 1)
"""The most symbols that a table lists. Beyond that, each would have hardly more than the least
frequency."""


@dataclass(frozen=True, eq=False)
class IntTable:
    """The frequencies of the symbols `offset`, `offset + 1`, ..., in parts of `TOTAL`.

    Attributes:
        offset: The first symbol.
        frequencies: Shape (n + 1,), each at least 1, with the sum `TOTAL`: those of n symbols,
            then that of the escape, which stands for all other symbols.
    """

    offset: int
    frequencies: NDArray[np.int64]

    def __post_init__(self) -> None:
        given = self.frequencies
        if given.ndim != 1 or not 2 <= len(given) <= MOST_SYMBOLS + 1:
            raise ValueError(f"a table of shape {given.shape}; it has 1 to {MOST_SYMBOLS} symbols")
        if not np.issubdtype(given.dtype, np.integer):
            raise ValueError(f"frequencies of type {given.dtype} are no whole numbers")
        if given.min() < 1 or given.sum() != TOTAL:
            raise ValueError(f"frequencies from {given.min()} with the sum {given.sum()}")
        if not -(2**62) <= self.offset <= 2**62:
            raise ValueError(f"the offset {self.offset} is too far from 0")

    @classmethod
    def of_weights(cls, offset: int, weights: ArrayLike) -> IntTable:
        """Makes the table whose frequencies are nearest to being proportional to weights.

        Args:
            offset: The first symbol.
            weights: Shape (n,), counts or probabilities of symbols, none negative. Of more than
                `MOST_SYMBOLS` the table lists those neighbours that weigh most; the others are
                escaped, and their weight is the escape's.

        Raises:
            ValueError: If there are none, or if they are negative or not finite, or all 0.
        """
        given = np.asarray(weights, dtype=np.float64)
        if given.ndim != 1 or not len(given) or not np.isfinite(given).all() or given.min() < 0:
            raise ValueError(f"weights of shape {given.shape} that are no weights")
        first = _heaviest(given)
        kept = given[first : first + MOST_SYMBOLS]
        shares = np.append(kept, given.sum() - kept.sum() if len(kept) < len(given) else 0.0)
        if not shares.sum() > 0:
            raise ValueError("weights that are all 0")
        # Each symbol has 1, because a coder cannot code a symbol of probability 0.
        exact = shares / shares.sum() * (TOTAL - len(shares))
        frequencies = np.floor(exact).astype(np.int64)
        left = TOTAL - len(shares) - int(frequencies.sum())
        most_cut = np.argsort(frequencies - exact, kind="stable")[:left]
        frequencies[most_cut] += 1
        return cls(offset + first, frequencies + 1)

    @property
    def symbols(self) -> int:
        """The number of symbols, without the escape."""
        return len(self.frequencies) - 1

    def bits(self) -> NDArray[np.float64]:
        """Returns the bits that each symbol costs, and the escape, shape (n + 1,)."""
        return PRECISION - np.log2(self.frequencies)


def draw_symbols(tables: Sequence[IntTable], numbers: Tensor, generator: torch.Generator) -> Tensor:
    """Draws symbols as frequent as tables say; never an escape, which stands for no symbol.

    Args:
        tables: The tables.
        numbers: The number of the table of each symbol, int64 of any shape, on the CPU.
        generator: A generator of the CPU.

    Returns:
        The symbols, int64, in the shape of `numbers`.
    """
    drawn = torch.empty_like(numbers)
    for number in torch.unique(numbers).tolist():
        places = numbers == number
        weights = torch.from_numpy(tables[number].frequencies[:-1]).double()
        chosen = torch.multinomial(
            weights, int(places.sum()), replacement=True, generator=generator
        )
        drawn[places] = chosen + tables[number].offset
    return drawn


def _heaviest(weights: NDArray[np.float64]) -> int:
    """Returns where the `MOST_SYMBOLS` neighbours begin that weigh most together."""
    if len(weights) <= MOST_SYMBOLS:
        return 0
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    return int(np.argmax(sums[MOST_SYMBOLS:] - sums[:-MOST_SYMBOLS]))
