"""The strangest rows of a stream, kept while they pass, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data import Block

_MOST_BYTES = 256 << 20


@dataclass(frozen=True, eq=False)
class StrangeRows:
    """Some rows, the strangest first.

    Attributes:
        positions: Shape (K,). The positions of the rows in the stream.
        scores: Shape (K,).
        block: The rows with what names them.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    block: Block

    def __len__(self) -> int:
        return len(self.scores)

    def names(self) -> list[str]:
        """Returns what each row is called: `row 17`, `a.png`, `b.wav 1.5 s`."""
        return [
            name_of({name: column[place] for name, column in self.block.index.items()})
            for place in range(len(self))
        ]


def name_of(index: dict[str, Any]) -> str:
    """Returns what a row is called, by the columns that name it in a table of results."""
    parts = []
    for name, value in index.items():
        if name in ("file", "first_time"):
            parts.append(str(value))
        elif name == "start_s":
            parts.append(f"{float(value):.6g} s")
        elif name not in ("last_step", "last_time"):
            parts.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(parts)


class Strangest:
    """Keeps the rows with the highest scores."""

    def __init__(self, most: int) -> None:
        """Creates the keeper of at most so many rows; of very large rows, it keeps fewer."""
        self._most = most
        self._done = 0
        self._kept: StrangeRows | None = None

    def look(self, block: Block, scores: NDArray[np.float32]) -> None:
        """Looks at the next rows of the stream and their scores, shape (n,)."""
        most = max(1, min(self._most, _MOST_BYTES // max(1, block.values[:1].nbytes)))
        # A score that is NaN is no normal row's.
        ranks = np.nan_to_num(scores, nan=np.inf, posinf=np.inf)
        least = -np.inf
        if self._kept is not None and len(self._kept) >= most:
            least = float(np.nan_to_num(self._kept.scores, nan=np.inf, posinf=np.inf).min())
        places = np.flatnonzero(ranks > least) if np.isfinite(least) else np.arange(len(ranks))
        places = places[np.argsort(-ranks[places], kind="stable")[:most]]
        if len(places):
            found = StrangeRows(places + self._done, scores[places], _plain(block).take(places))
            self._kept = found if self._kept is None else _merged(self._kept, found, most)
        self._done += len(scores)

    @property
    def rows(self) -> StrangeRows | None:
        """The strangest rows so far, the strangest first; `None` before the first row."""
        return self._kept


def _plain(block: Block) -> Block:
    return Block(block.values, block.index, starts=block.starts)


def _merged(one: StrangeRows, other: StrangeRows, most: int) -> StrangeRows:
    scores = np.concatenate([one.scores, other.scores])
    ranks = np.nan_to_num(scores, nan=np.inf, posinf=np.inf)
    order = np.argsort(-ranks, kind="stable")[:most]
    starts = None
    if one.block.starts is not None and other.block.starts is not None:
        starts = np.concatenate([one.block.starts, other.block.starts])
    joined = Block(
        np.concatenate([one.block.values, other.block.values]),
        {
            name: np.concatenate([column, other.block.index[name]])
            for name, column in one.block.index.items()
        },
        starts=starts,
    )
    return StrangeRows(
        np.concatenate([one.positions, other.positions])[order], scores[order], joined.take(order)
    )
