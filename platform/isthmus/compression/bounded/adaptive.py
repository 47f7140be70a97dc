"""Whole numbers to bits with tables that are learned from what has been coded before.

A number is a symbol and, for large ones, some bits below it: numbers near 0 have a symbol each, the
others share one with their neighbours, as many of them as a sixteenth of their size or so. The
symbols are coded in rounds that grow with what is known. The tables of a round follow from whole
counts of all earlier rounds, which the decoder has as well, so no table is stored, and no float can
make a difference. Numbers may have contexts, each with counts of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from isthmus.compression.bounded.bit_fields import FieldReader, FieldWriter
from isthmus.errors import DataError

Whole = NDArray[np.int64]

# Frequencies are whole, and their sum is this: exact in float64, as `constriction` wants them.
_TOTAL = 1 << 16
MOST_SYMBOLS = 1 << 11
_FIRST_ROUND = 32
# How many numbers the belief before the first one weighs as, and the one of a context.
_PRIOR_WEIGHT, _CONTEXT_WEIGHT = 16, 8
_ONE = 1 << 62


@dataclass(frozen=True)
class Alphabet:
    """The symbols of whole numbers.

    Attributes:
        mantissa: Numbers below 2**(mantissa + 1) have a symbol each; above, a power of two has
            2**mantissa symbols.
        low: The least symbol.
        high: The greatest symbol.
        size_class: The typical size of the numbers, as the belief before the first one has it:
            about 2**(size_class / 2).
    """

    mantissa: int
    low: int
    high: int
    size_class: int

    @property
    def size(self) -> int:
        """Returns the number of symbols."""
        return self.high - self.low + 1


def alphabet_of(numbers: Whole, mantissa: int) -> Alphabet:
    """Returns the alphabet that fits numbers."""
    if not len(numbers):
        return Alphabet(mantissa, 0, 0, 0)
    symbols = symbols_of(numbers, mantissa)
    return Alphabet(
        mantissa,
        int(symbols.min()),
        int(symbols.max()),
        int(size_classes(_sizes(numbers).mean())),
    )


def size_classes(means: float | NDArray[np.float64]) -> Whole:
    """Returns the classes of numbers whose mean sizes are given, from 0 to 127."""
    classes = np.rint(2 * np.log2(np.maximum(means, 0.125))) + 6
    return np.asarray(np.clip(classes, 0, 127), np.int64)


def symbols_of(numbers: Whole, mantissa: int) -> Whole:
    """Returns the symbols, shape (N,), of whole numbers: of the sign of the number."""
    sizes = _sizes(numbers)
    shift = np.maximum(_bit_lengths(sizes) - (mantissa + 1), 0)
    symbol = (shift << mantissa) + (sizes >> shift.astype(np.uint64)).astype(np.int64)
    return np.where(numbers < 0, -symbol, symbol)


def cost_bits(numbers: Whole, mantissa: int = 3) -> float:
    """Returns about how many bits numbers need, with what it takes to learn their table."""
    if not len(numbers):
        return 0.0
    symbols = symbols_of(numbers, mantissa)
    below = np.maximum((np.abs(symbols) >> mantissa) - 1, 0).sum()
    counts = np.bincount(symbols - symbols.min())
    counts = counts[counts > 0]
    spread = np.log2(len(numbers) / counts) @ counts
    return float(spread + below + len(counts) * 0.5 * np.log2(len(numbers) + 1))


@dataclass(frozen=True)
class Contexts:
    """The contexts of numbers: those of one context have counts of their own.

    Attributes:
        of_numbers: The context of each number, shape (N,), from 0.
        are_size_classes: Whether a context is the `size_class` of its numbers, too.
    """

    of_numbers: NDArray[np.uint8]
    are_size_classes: bool = False


@dataclass
class SymbolEncoder:
    """Codes columns of whole numbers, one after another."""

    fields: FieldWriter
    _coder: Any = field(default_factory=constriction.stream.queue.RangeEncoder)

    def put(self, numbers: Whole, alphabet: Alphabet, contexts: Contexts | None = None) -> None:
        """Appends numbers of an alphabet, shape (N,), with their contexts."""
        symbols = symbols_of(numbers, alphabet.mantissa)
        _put_bits_below(self.fields, numbers, symbols, alphabet.mantissa)
        places = (symbols - alphabet.low).astype(np.int32)
        learned = _Learned(alphabet, contexts)
        for start, stop in _rounds(len(places)):
            for context, where in learned.groups(start, stop):
                table = learned.table(context)
                self._coder.encode(places[where], _model(table))
            learned.learn(places[start:stop], start, stop)

    def finish(self) -> bytes:
        """Returns all symbols that were put, as bytes."""
        return bytes(self._coder.get_compressed().astype("<u4").tobytes())


@dataclass
class SymbolDecoder:
    """Decodes what a `SymbolEncoder` coded."""

    fields: FieldReader
    data: bytes
    _coder: Any = field(init=False)

    def __post_init__(self) -> None:
        whole = self.data[: len(self.data) // 4 * 4]
        words = np.frombuffer(whole, "<u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def take(self, count: int, alphabet: Alphabet, contexts: Contexts | None = None) -> Whole:
        """Returns the next numbers, shape (count,)."""
        places = np.zeros(count, np.int32)
        learned = _Learned(alphabet, contexts)
        for start, stop in _rounds(count):
            for context, where in learned.groups(start, stop):
                table = learned.table(context)
                places[where] = self._coder.decode(_model(table), _length(where, start, stop))
            learned.learn(places[start:stop], start, stop)
        symbols = places.astype(np.int64) + alphabet.low
        return _with_bits_below(self.fields, symbols, alphabet.mantissa)


class _Learned:
    """The counts of the symbols so far, of each context."""

    def __init__(self, alphabet: Alphabet, contexts: Contexts | None) -> None:
        if not 0 < alphabet.size <= MOST_SYMBOLS:
            raise DataError(f"a chunk has a table of {alphabet.size} symbols; it is damaged")
        self._alphabet = alphabet
        self._contexts = None if contexts is None else contexts.of_numbers
        self._are_sizes = contexts is not None and contexts.are_size_classes
        few = self._contexts is None or not len(self._contexts)
        kinds = 1 if few or self._contexts is None else int(self._contexts.max()) + 1
        self._counts = np.zeros((kinds, alphabet.size), np.int64)
        self._of_all: Whole | None = None  # the table of all contexts together, of this round

    def groups(self, start: int, stop: int) -> list[tuple[int, slice | NDArray[np.intp]]]:
        """Returns the contexts of a round with the places of their numbers."""
        if self._contexts is None:
            return [(0, slice(start, stop))]
        here = self._contexts[start:stop]
        order = np.argsort(here, kind="stable")
        kinds, first = np.unique(here[order], return_index=True)
        parts = np.split(order + start, first[1:])
        return [(int(kind), part) for kind, part in zip(kinds, parts, strict=True)]

    def table(self, context: int) -> Whole:
        """Returns the frequencies of the symbols in a context, of the sum `_TOTAL`."""
        counts = self._counts[context] * _TOTAL
        if self._are_sizes:
            prior = laplace(replace(self._alphabet, size_class=context))
            return normalised(counts + prior * _PRIOR_WEIGHT)
        if self._of_all is None:
            prior = laplace(self._alphabet)
            self._of_all = normalised(self._counts.sum(axis=0) * _TOTAL + prior * _PRIOR_WEIGHT)
        known = self._of_all
        return known if len(self._counts) == 1 else normalised(counts + known * _CONTEXT_WEIGHT)

    def learn(self, places: NDArray[np.int32], start: int, stop: int) -> None:
        """Counts the symbols of a round."""
        self._of_all = None
        size = self._counts.shape[1]
        if self._contexts is None:
            self._counts[0] += np.bincount(places, minlength=size)
            return
        flat = self._contexts[start:stop].astype(np.int64) * size + places
        self._counts += np.bincount(flat, minlength=self._counts.size).reshape(self._counts.shape)


def normalised(weights: Whole) -> Whole:
    """Returns frequencies of the sum 2**16, each at least 1, in proportion to whole weights."""
    total = int(weights.sum())
    # A product below 2**63: weights are at most 2**20 counts of 2**16, with what is believed.
    free = _TOTAL - len(weights)
    scale = max(total >> 44, 1)
    if scale > 1:
        weights = weights // scale
        total = int(weights.sum())
    total = max(total, 1)
    frequencies = 1 + weights * free // total
    frequencies[np.argmax(frequencies)] += _TOTAL - int(frequencies.sum())
    return frequencies


@lru_cache(maxsize=4096)
def laplace(alphabet: Alphabet) -> Whole:
    """Returns the frequencies of a two-sided geometric distribution, in whole numbers only."""
    mantissa, mean = alphabet.mantissa, alphabet.size_class
    weights = []
    for symbol in range(alphabet.low, alphabet.high + 1):
        edges = _edge(abs(symbol), mantissa), _edge(abs(symbol) + 1, mantissa)
        share = _beyond(edges[0], mean) - _beyond(edges[1], mean)
        weights.append(share if symbol == 0 else share // 2)
    # Of 62 bits, 40 are enough; the tail goes below no table's share.
    return normalised(np.array([(weight >> 22) + (1 << 20) for weight in weights], np.int64))


@lru_cache(maxsize=1 << 16)
def _beyond(size: int, mean_class: int) -> int:
    """Returns the share, of `_ONE`, of numbers of at least a size."""
    share = _ONE
    for place, power in enumerate(_powers(mean_class)):
        if size >> place & 1:
            share = share * power >> 62
    return share


@lru_cache
def _powers(mean_class: int) -> list[int]:
    """Returns the shares of numbers of at least 1, 2, 4, 8 and so on."""
    # The mean is a / 16: a power of 2, or 1.5 times one.
    half, is_odd = divmod(mean_class, 2)
    a = (3 if is_odd else 2) << half
    powers = [_ONE * a // (a + 16)]
    while len(powers) < 65:
        powers.append(powers[-1] * powers[-1] >> 62)
    return powers


def _edge(symbol: int, mantissa: int) -> int:
    """Returns the least size that has a symbol."""
    shift = max((symbol >> mantissa) - 1, 0)
    return (symbol - (shift << mantissa)) << shift


def _put_bits_below(fields: FieldWriter, numbers: Whole, symbols: Whole, mantissa: int) -> None:
    widths = np.maximum((np.abs(symbols) >> mantissa) - 1, 0)
    if widths.any():
        fields.put(_sizes(numbers), widths)


def _with_bits_below(fields: FieldReader, symbols: Whole, mantissa: int) -> Whole:
    sizes = np.abs(symbols)
    widths = np.maximum((sizes >> mantissa) - 1, 0)
    if not widths.any():
        return symbols
    if widths.max() > 63:
        raise DataError("a chunk has a number of more than 64 bits; it is damaged")
    top = (sizes - (widths << mantissa)).astype(np.uint64) << widths.astype(np.uint64)
    whole: Whole = (top | fields.take(widths)).view(np.int64)
    return np.where(symbols < 0, -whole, whole)


def _rounds(count: int) -> list[tuple[int, int]]:
    edges = [0]
    while edges[-1] < count:
        edges.append(min(count, max(_FIRST_ROUND, edges[-1] + edges[-1] // 2)))
    return list(pairwise(edges))


def _length(where: slice | NDArray[np.intp], start: int, stop: int) -> int:
    return stop - start if isinstance(where, slice) else len(where)


def _model(frequencies: Whole) -> Any:
    if len(frequencies) == 1:  # a table has two symbols at least
        frequencies = np.array([_TOTAL - 1, 1])
    return constriction.stream.model.Categorical(frequencies / _TOTAL, perfect=False)


def _sizes(numbers: Whole) -> NDArray[np.uint64]:
    return np.where(numbers < 0, -numbers, numbers).view(np.uint64)


def _bit_lengths(sizes: NDArray[np.uint64]) -> Whole:
    """Returns the number of bits of each size: exact, as `frexp` of parts below 2**32 is."""
    if not len(sizes) or sizes.max() < 1 << 32:
        return np.frexp(sizes.astype(np.float64))[1].astype(np.int64)
    top = (sizes >> np.uint64(32)).astype(np.float64)
    rest = (sizes & np.uint64(0xFFFFFFFF)).astype(np.float64)
    upper, lower = np.frexp(top)[1].astype(np.int64), np.frexp(rest)[1].astype(np.int64)
    return np.where(top > 0, upper + 32, lower)
