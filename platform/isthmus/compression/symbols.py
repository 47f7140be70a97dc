"""Codes streams of whole numbers as bytes by a range coder with integer tables, and back.

A stream's symbols are grouped by their tables, so that one call codes all symbols of a table. A
symbol outside of its table is coded as the table's escape, and after the groups as raw bits.

The probabilities that the coder gets are whole multiples of 2**-16 in float64, whose sums and
products it computes without rounding: the same bytes come of the same symbols everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import constriction
import numpy as np
from numpy.typing import NDArray

from isthmus.core.integer_tables import TOTAL, IntTable
from isthmus.errors import DataError

Symbols = NDArray[np.int64]
NumbersOf = Callable[[Sequence[Symbols]], Symbols]
"""A function that returns which table each symbol of the next stream has, given those before it."""

_model, _queue = constriction.stream.model, constriction.stream.queue
_WORD = np.dtype("<u4")
# An escaped symbol is coded in limbs of 16 bits, as many as it needs.
_LIMB_BITS, _MOST_LIMBS = 16, 4
_BITS_OF_LIMBS = 2
_LIMB = _model.Uniform(1 << _LIMB_BITS)
_LIMBS = _model.Uniform(_MOST_LIMBS)


class CodedSymbols:
    """Codes streams with the tables of one pair.

    The coder's own models are made when a table is first used.
    """

    def __init__(self, tables: Sequence[IntTable]) -> None:
        """Takes the tables of all streams."""
        self._tables = tables
        self._models: dict[int, _Model] = {}

    def to_bytes(self, streams: Sequence[Symbols], numbers_of: NumbersOf) -> bytes:
        """Codes streams, each of any shape.

        Args:
            streams: The streams, int64.
            numbers_of: Returns which table each symbol of the next stream has, in its shape.
        """
        coder = _queue.RangeEncoder()
        for index, stream in enumerate(streams):
            flat = np.ascontiguousarray(stream, dtype=np.int64).ravel()
            escaped = [np.empty(0, dtype=np.uint64)]
            for model, places in self._groups(numbers_of(streams[:index])):
                distances = _distances(flat[places], model.offset)
                is_escaped = distances >= model.symbols
                coded = np.where(is_escaped, np.uint64(model.symbols), distances)
                coder.encode(coded.astype(np.int32), model.of_coder)
                if is_escaped.any():
                    escaped.append(distances[is_escaped])
            _encode_raw(coder, np.concatenate(escaped))
        return bytes(coder.get_compressed().astype(_WORD).tobytes())

    def bits(self, streams: Sequence[Symbols], numbers_of: NumbersOf) -> list[NDArray[np.float64]]:
        """Returns the bits that each symbol of each stream needs, in the stream's shape.

        The arguments are those of `to_bytes`, whose bytes are as long but for parts of a word.
        """
        found = []
        for index, stream in enumerate(streams):
            flat = np.ascontiguousarray(stream, dtype=np.int64).ravel()
            needed = np.empty(flat.size)
            for model, places in self._groups(numbers_of(streams[:index])):
                distances = _distances(flat[places], model.offset)
                is_escaped = distances >= model.symbols
                coded = np.where(is_escaped, np.uint64(model.symbols), distances)
                limbs = np.where(is_escaped, _limbs_needed(_folded(distances)), 0)
                of_limbs = _LIMB_BITS * limbs + _BITS_OF_LIMBS * is_escaped
                needed[places] = model.bits[coded.astype(np.int64)] + of_limbs
            found.append(needed.reshape(stream.shape))
        return found

    def from_bytes(self, coded: bytes, streams: int, numbers_of: NumbersOf) -> list[Symbols]:
        """Decodes streams, each in the shape of its table numbers.

        Raises:
            DataError: If the bytes are none that `to_bytes` gives.
        """
        if len(coded) % _WORD.itemsize:
            raise DataError("its coded symbols are cut off; restore the file")
        words = np.frombuffer(coded, dtype=_WORD).astype(np.uint32)
        coder = _queue.RangeDecoder(words)
        found: list[Symbols] = []
        try:
            for _ in range(streams):
                numbers = numbers_of(found)
                found.append(self._decoded(coder, numbers).reshape(numbers.shape))
        except AssertionError as error:  # the coder's own, of bits that no symbol has
            raise DataError("its coded symbols are damaged; restore the file") from error
        if not coder.maybe_exhausted():
            raise DataError("its coded symbols do not end where they should; restore the file")
        return found

    def _decoded(self, coder: constriction.stream.queue.RangeDecoder, numbers: Symbols) -> Symbols:
        flat = np.empty(numbers.size, dtype=np.int64)
        escaped: list[tuple[_Model, Symbols]] = []
        for model, places in self._groups(numbers):
            count = len(flat[places]) if isinstance(places, slice) else len(places)
            found = coder.decode(model.of_coder, count)
            flat[places] = _from_distances(found.astype(np.uint64), model.offset)
            beyond = np.flatnonzero(found == model.symbols)
            if len(beyond):
                escaped.append((model, beyond if isinstance(places, slice) else places[beyond]))
        raw = _decode_raw(coder, sum(len(places) for _, places in escaped))
        for model, places in escaped:
            flat[places] = _from_distances(raw[: len(places)], model.offset)
            raw = raw[len(places) :]
        return flat

    def _groups(self, numbers: Symbols) -> Iterator[tuple[_Model, Symbols | slice]]:
        """Yields each table that is used and the places of its symbols, both in rising order."""
        flat = numbers.ravel()
        if not flat.size:
            return
        least, most = int(flat.min()), int(flat.max())
        if not 0 <= least <= most < len(self._tables):
            raise DataError(
                f"tables {least} to {most} are asked for, and the pair has {len(self._tables)}; "
                "decompress with the pair that compressed"
            )
        if least == most:
            yield self._model(least), slice(None)
            return
        # Numbers of 16 bits are sorted by their digits, which is many times faster.
        small = flat.astype(np.uint16) if most < 1 << 16 else flat
        order = np.argsort(small, kind="stable")
        counts = np.bincount(flat)
        ends = np.cumsum(counts)
        for number in np.flatnonzero(counts):
            yield self._model(int(number)), order[ends[number] - counts[number] : ends[number]]

    def _model(self, number: int) -> _Model:
        if number not in self._models:
            table = self._tables[number]
            shares = table.frequencies / np.float64(TOTAL)
            of_coder = _model.Categorical(shares, perfect=False)
            self._models[number] = _Model(table.offset, table.symbols, of_coder, table.bits())
        return self._models[number]


@dataclass(frozen=True)
class _Model:
    """A table as the coder takes it: its symbols from 0, then the escape."""

    offset: int
    symbols: int
    of_coder: constriction.stream.model.Categorical
    bits: NDArray[np.float64]


# A symbol's distance from its table's first one, modulo 2**64: what is below it is far above.


def _distances(symbols: Symbols, offset: int) -> NDArray[np.uint64]:
    return symbols.view(np.uint64) - np.uint64(offset % 2**64)


def _from_distances(distances: NDArray[np.uint64], offset: int) -> Symbols:
    return (distances + np.uint64(offset % 2**64)).view(np.int64)


def _encode_raw(
    coder: constriction.stream.queue.RangeEncoder, distances: NDArray[np.uint64]
) -> None:
    if not len(distances):
        return
    folded = _folded(distances)
    limbs = _limbs_needed(folded)
    coder.encode((limbs - 1).astype(np.int32), _LIMBS)
    for limb in range(_MOST_LIMBS):
        part = folded[limbs > limb] >> np.uint64(limb * _LIMB_BITS)
        if len(part):
            coder.encode((part & np.uint64(0xFFFF)).astype(np.int32), _LIMB)


def _decode_raw(coder: constriction.stream.queue.RangeDecoder, count: int) -> NDArray[np.uint64]:
    folded = np.zeros(count, dtype=np.uint64)
    if not count:
        return folded
    limbs = coder.decode(_LIMBS, count) + 1
    for limb in range(_MOST_LIMBS):
        places = np.flatnonzero(limbs > limb)
        if len(places):
            part = coder.decode(_LIMB, len(places)).astype(np.uint64)
            folded[places] |= part << np.uint64(limb * _LIMB_BITS)
    return _unfolded(folded)


def _limbs_needed(folded: NDArray[np.uint64]) -> NDArray[np.int64]:
    limbs = np.ones(len(folded), dtype=np.int64)
    for limb in range(1, _MOST_LIMBS):
        limbs += folded >> np.uint64(limb * _LIMB_BITS) != 0
    return limbs


# Distances 0, -1, 1, -2, ... are numbered 0, 1, 2, 3, ..., so that near ones need few bits.


def _folded(distances: NDArray[np.uint64]) -> NDArray[np.uint64]:
    signed = distances.view(np.int64)
    return ((signed << 1) ^ (signed >> 63)).view(np.uint64)


def _unfolded(folded: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (folded >> np.uint64(1)) ^ (np.uint64(0) - (folded & np.uint64(1)))
