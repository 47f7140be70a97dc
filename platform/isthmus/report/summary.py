"""Summarises the scores of a file for a page, in one pass and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.report.scores_file import ScoreBlock, ScoresFile
from isthmus.report.series_steps import MOST_STEPS_APART

_MOST_SAMPLED = 100_000


@dataclass(frozen=True, eq=False)
class ScoresSummary:
    """The scores of a file.

    Attributes:
        rows: The number of rows.
        anomalies: The number of those that are anomalies.
        sample: At most 100,000 of the rows, drawn at random, in order, without what names them.
        positions: Shape (n,). The positions of these rows in the file.
        strangest: The rows with the highest scores, the strangest first.
        strangest_positions: Shape (K,). The positions of these.
    """

    rows: int
    anomalies: int
    sample: ScoreBlock
    positions: NDArray[np.int64]
    strangest: ScoreBlock
    strangest_positions: NDArray[np.int64]

    @property
    def is_sampled(self) -> bool:
        """Whether the sample has fewer rows than the file."""
        return len(self.sample) < self.rows


def summarise(file: ScoresFile, most_strange: int, seed: int = 0) -> ScoresSummary | None:
    """Reads a file of scores once.

    Args:
        file: The file.
        most_strange: The number of strangest rows that are kept.
        seed: The seed that draws the sample.

    Returns:
        The summary; `None` if there are no rows.
    """
    generator = np.random.default_rng(seed)
    rows = anomalies = 0
    sample: _Kept | None = None
    strange: _Kept | None = None
    most_kept = most_strange * (MOST_STEPS_APART * 2 if file.is_of_steps else 1)
    for block in file.blocks():
        positions = np.arange(rows, rows + len(block))
        rows += len(block)
        anomalies += int(block.anomalies.sum())
        keys = generator.random(len(block))
        bare = ScoreBlock(block.scores, block.p_values, block.anomalies, {}, {})
        sample = _lowest(sample, _Kept(bare, positions, keys), _MOST_SAMPLED)
        # A score that is NaN is no normal row's; but steps of series may have none at all.
        unknown = np.where(block.anomalies, np.inf, -np.inf)
        ranks = -np.where(np.isnan(block.scores), unknown, block.scores)
        strange = _lowest(strange, _Kept(block, positions, ranks), most_kept)
    if sample is None or strange is None or not rows:
        return None
    if file.is_of_steps:
        strange = _apart(strange, most_strange)
    in_order = np.argsort(sample.positions)
    return ScoresSummary(
        rows,
        anomalies,
        sample.block.part(in_order),
        sample.positions[in_order],
        strange.block,
        strange.positions,
    )


@dataclass(frozen=True, eq=False)
class _Kept:
    block: ScoreBlock
    positions: NDArray[np.int64]
    keys: NDArray[np.float64]


def _lowest(kept: _Kept | None, more: _Kept, most: int) -> _Kept:
    """Returns the entries with the lowest keys, in the order of their keys."""
    keys = more.keys if kept is None else np.concatenate([kept.keys, more.keys])
    order = np.argsort(keys, kind="stable")[:most]
    if kept is None:
        return _Kept(more.block.part(order), more.positions[order], keys[order])
    positions = np.concatenate([kept.positions, more.positions])
    block = _joined(kept.block, more.block)
    return _Kept(block.part(order), positions[order], keys[order])


def _apart(kept: _Kept, most: int) -> _Kept:
    """Returns the first of the entries, without the neighbours of those before them."""
    chosen: list[int] = []
    for place, position in enumerate(kept.positions):
        if len(chosen) < most and all(
            abs(position - kept.positions[other]) >= MOST_STEPS_APART for other in chosen
        ):
            chosen.append(place)
    places = np.array(chosen)
    return _Kept(kept.block.part(places), kept.positions[places], kept.keys[places])


def _joined(one: ScoreBlock, other: ScoreBlock) -> ScoreBlock:
    return ScoreBlock(
        np.concatenate([one.scores, other.scores]),
        np.concatenate([one.p_values, other.p_values]),
        np.concatenate([one.anomalies, other.anomalies]),
        {name: np.concatenate([one.index[name], other.index[name]]) for name in one.index},
        {
            name: np.concatenate([one.explained[name], other.explained[name]])
            for name in one.explained
        },
    )


class ScoresBeside:
    """Gives the scores that belong to the blocks of an input, in its order."""

    def __init__(self, file: ScoresFile) -> None:
        """Begins at the first row."""
        self._blocks: Iterator[ScoreBlock] = file.blocks()
        self._rest: ScoreBlock | None = None

    def take(self, count: int) -> ScoreBlock | None:
        """Returns the scores of the next rows; `None` if there are fewer."""
        while self._rest is None or len(self._rest) < count:
            more = next(self._blocks, None)
            if more is None:
                return None
            self._rest = more if self._rest is None else _joined(self._rest, more)
        found, self._rest = self._rest.part(slice(count)), self._rest.part(slice(count, None))
        return found

    @property
    def is_at_end(self) -> bool:
        """Whether all rows were taken."""
        return not (self._rest is not None and len(self._rest)) and next(self._blocks, None) is None
