"""Codes a column of whole numbers with the predictor and the tables that take the fewest bits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isthmus.compression.bounded.adaptive import (
    MOST_SYMBOLS,
    Alphabet,
    Contexts,
    SymbolDecoder,
    SymbolEncoder,
    alphabet_of,
    cost_bits,
    size_classes,
    symbols_of,
)
from isthmus.compression.bounded.bit_fields import FieldReader, FieldWriter
from isthmus.compression.bounded.pair_prediction import FloatPrediction, RoundedPrediction
from isthmus.compression.bounded.predictors import (
    PAIR_PREDICTORS,
    SEGMENT,
    NeighbourWeights,
    Predictor,
    differences,
    filtered,
    fitted_filter,
    fitted_neighbours,
    summed,
    unfiltered,
)
from isthmus.errors import DataError

Whole = NDArray[np.int64]
Labels = NDArray[np.uint8]

_MOST_WORDS = 1 << 12
_LABELS = 12
_MOST_LABELS = 128  # of earlier columns that are tried, two for each: the nearest ones
_BLOCKS = (16, 32, 64)  # sizes of blocks with a size class each; the order is that in files
_MANTISSAS = (3, 9)
_NO_CONTEXT = 0
_ORDERLESS_BITS = 0.3
_SAMPLE = 4096
_ORDERS = {Predictor.LEVEL: 0, Predictor.PREVIOUS: 1, Predictor.LINE: 2, Predictor.CURVE: 3}
_DAMAGED = "it is damaged"


@dataclass
class EarlierColumns:
    """The columns that are coded already, from which later columns are predicted.

    Attributes:
        numbers: Their whole numbers, each (N,), with a level at rows that have none.
        labels: Classes of their rows, each (N,): of the level, and of how far off the prediction
            was.
    """

    numbers: list[Whole] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)
    _usable: list[int] = field(default_factory=list)

    def usable(self) -> list[int]:
        """Returns the columns whose numbers are small enough for sums of products."""
        return self._usable

    def add(self, k: Whole, rest: Whole, level: int, regular: NDArray[np.bool_]) -> None:
        """Adds a column of which a prediction left `rest`."""
        full = np.full(len(regular), level, np.int64)
        full[regular] = k
        if np.abs(full).max(initial=0) < 2**31:
            self._usable.append(len(self.numbers))
        self.numbers.append(full)
        edges = np.unique(np.sort(k)[len(k) * np.arange(1, _LABELS) // _LABELS] if len(k) else k)
        near, off = (np.full(len(regular), _LABELS, np.uint8) for _ in range(2))
        near[regular] = np.searchsorted(edges, k, side="right")
        sizes = np.where(rest < 0, -rest, rest)
        top = max(1, int(np.sort(sizes)[len(sizes) // 2])) if len(sizes) else 1
        steps = np.minimum(sizes // max(1, top // 4), 1 << _LABELS)
        off[regular] = np.minimum(np.frexp(steps.astype(np.float64))[1], _LABELS - 1)
        self.labels += [near, off]


@dataclass(frozen=True)
class _Choice:
    """The residuals of a column after a predictor, and what the decoder must know to undo it."""

    predictor: Predictor
    words: Whole | None
    level: int
    rest: Whole
    cost: float
    filter_weights: Whole | None = None
    neighbours: NeighbourWeights | None = None


def write_column(
    k: Whole,
    regular: NDArray[np.bool_],
    earlier: EarlierColumns,
    prediction: RoundedPrediction | None,
    fields: FieldWriter,
    symbols: SymbolEncoder,
) -> Predictor:
    """Codes the whole numbers of a column as what costs least.

    Args:
        k: The numbers, shape (R,), of the regular rows.
        regular: Whether each row is regular, shape (N,).
        earlier: The columns before, to which this one is added.
        prediction: The pair's prediction for the N rows, or `None`.
        fields: The writer of the column's plan.
        symbols: The encoder of its symbols.

    Returns:
        What the column is predicted from.
    """
    rows = np.flatnonzero(regular)
    predicted = None if prediction is None else prediction.k[rows]
    choice = min(_choices(k, rows, earlier, predicted), key=lambda each: each.cost)
    fields.number(0 if choice.words is None else len(choice.words))
    if choice.words is not None:
        _write_words(choice.words, fields, symbols)
    fields.numbers([choice.predictor, choice.level])
    if choice.predictor in PAIR_PREDICTORS and prediction is not None:
        prediction.write(fields)
    if choice.filter_weights is not None:
        fields.number(choice.filter_weights.shape[1])
        fields.numbers(choice.filter_weights.ravel())
    if choice.neighbours is not None:
        weights = choice.neighbours
        fields.numbers([len(weights.numbers), weights.shift, weights.bias])
        fields.numbers([*weights.numbers, *weights.weights])
    _write_rest(choice.rest, rows, earlier, fields, symbols)
    ranks = k if choice.words is None else np.searchsorted(choice.words, k)
    earlier.add(ranks, choice.rest, choice.level, regular)
    return choice.predictor


def read_column(
    regular: NDArray[np.bool_],
    earlier: EarlierColumns,
    prediction: FloatPrediction | None,
    fields: FieldReader,
    symbols: SymbolDecoder,
) -> Whole:
    """Returns the whole numbers, shape (R,), of a column that `write_column` coded.

    Raises:
        DataError: If the bytes are damaged.
    """
    rows = np.flatnonzero(regular)
    words = _read_words(fields.count(_MOST_WORDS), fields, symbols)
    predictor = _predictor(fields.number())
    level = fields.number()
    if not -(2**63) <= level < 2**63:
        raise DataError(f"a chunk has a level of {level}; {_DAMAGED}")
    predicted = None
    if predictor in PAIR_PREDICTORS:
        if prediction is None:
            raise DataError("a chunk needs the predictions of its pair, and has no latents")
        predicted = prediction.read(fields)[rows]
    undo_filter = from_others = None
    if predictor is Predictor.FILTER:
        order = fields.count(min(len(rows), 64))
        count = order * -(-len(rows) // SEGMENT)
        undo_filter = np.array([fields.small() for _ in range(count)], np.int64).reshape(-1, order)
    if predictor is Predictor.NEIGHBOURS:
        from_others = _read_neighbours(fields, len(earlier.numbers))
    rest = _read_rest(rows, earlier, fields, symbols)
    if undo_filter is not None:
        ranks = unfiltered(rest, undo_filter) + level
    elif from_others is not None:
        ranks = rest + from_others.predicted(earlier.numbers, rows)
    elif predicted is not None:
        center = predicted if words is None else _nearest_words(words, predicted)
        ranks = center + (rest if predictor is Predictor.PAIR else summed(rest, 1))
    else:
        ranks = summed(rest, _ORDERS[predictor]) + level
    earlier.add(ranks, rest, level, regular)
    if words is None:
        return ranks
    if len(ranks) and not 0 <= ranks.min() <= ranks.max() < len(words):
        raise DataError(f"a chunk has a word that its list does not have; {_DAMAGED}")
    return words[ranks]


def _choices(
    k: Whole, rows: NDArray[np.intp], earlier: EarlierColumns, predicted: Whole | None
) -> list[_Choice]:
    """Returns the ways to code a column, at least one."""
    found = _choices_in(k, rows, earlier, predicted, None, 0.0)
    distinct = np.unique(k) if len(k) else k
    if 1 < len(distinct) <= min(_MOST_WORDS, len(k) // 2):
        listed = cost_bits(np.diff(distinct)) + 64
        if len(distinct) <= int(distinct[-1]) - int(distinct[0]):  # else ranks are the numbers
            ranks = np.searchsorted(distinct, k)
            center = None if predicted is None else _nearest_words(distinct, predicted)
            found += _choices_in(ranks, rows, earlier, center, distinct, listed)
    return found


def _choices_in(
    k: Whole,
    rows: NDArray[np.intp],
    earlier: EarlierColumns,
    predicted: Whole | None,
    words: Whole | None,
    listed: float,
) -> list[_Choice]:
    def choice(predictor: Predictor, rest: Whole, level: int, more: float = 0.0) -> _Choice:
        return _Choice(predictor, words, level, rest, cost_bits(rest) + listed + more)

    first = int(k[0]) if len(k) else 0
    middle = int(np.sort(k)[len(k) // 2]) if len(k) else 0
    found = [choice(Predictor.LEVEL, k - middle, middle)]
    for predictor in (Predictor.PREVIOUS, Predictor.LINE, Predictor.CURVE):
        found.append(choice(predictor, differences(k - first, _ORDERS[predictor]), first))
    # Rows without an order differ more from the row before than from their level.
    in_order = found[1].cost < found[0].cost + _ORDERLESS_BITS * len(k)
    weights = fitted_filter(k - middle) if in_order and len(k) else None
    if weights is not None:
        rest = filtered(k - middle, weights)
        cost = cost_bits(rest) + listed + 14 * weights.size
        found.append(_Choice(Predictor.FILTER, words, middle, rest, cost, filter_weights=weights))
    for regression in fitted_neighbours(k, earlier.numbers, earlier.usable(), rows):
        rest = k - regression.predicted(earlier.numbers, rows)
        cost = cost_bits(rest) + listed + 36 * len(regression.numbers)
        found.append(
            _Choice(Predictor.NEIGHBOURS, words, middle, rest, cost, neighbours=regression)
        )
    if predicted is not None:
        found.append(choice(Predictor.PAIR, k - predicted, middle))
        found.append(choice(Predictor.PAIR_AND_PREVIOUS, differences(k - predicted, 1), middle))
    return found


# -- the numbers that a prediction leaves -------------------------------------------------------


def _write_rest(
    rest: Whole,
    rows: NDArray[np.intp],
    earlier: EarlierColumns,
    fields: FieldWriter,
    symbols: SymbolEncoder,
) -> None:
    alphabet = min(
        (alphabet_of(rest, mantissa) for mantissa in _MANTISSAS),
        key=lambda each: (each.size > MOST_SYMBOLS, cost_bits(rest, each.mantissa)),
    )
    mantissa = alphabet.mantissa
    fields.numbers([mantissa, alphabet.low, alphabet.high, alphabet.size_class])
    mode = _context_mode(rest, rows, earlier, mantissa)
    fields.number(mode)
    if mode < 0:
        classes = _block_classes(rest, _BLOCKS[-mode - 1])
        steps = np.diff(classes, prepend=classes[:1])
        small = alphabet_of(steps, 3)
        fields.numbers([int(classes[0]), small.low, small.high, small.size_class])
        symbols.put(steps, small)
        contexts: Contexts | None = _spread(classes, _BLOCKS[-mode - 1], len(rest))
    else:
        contexts = _label_contexts(mode, earlier, rows)
    symbols.put(rest, alphabet, contexts)


def _read_rest(
    rows: NDArray[np.intp], earlier: EarlierColumns, fields: FieldReader, symbols: SymbolDecoder
) -> Whole:
    mantissa = fields.count(16)
    alphabet = Alphabet(mantissa, fields.small(), fields.small(), fields.count(127))
    mode = fields.number()
    if mode < 0:
        block = _BLOCKS[min(-mode, len(_BLOCKS)) - 1]
        first = fields.count(127)
        small = Alphabet(3, fields.small(), fields.small(), fields.count(127))
        steps = symbols.take(-(-len(rows) // block), small)
        contexts: Contexts | None = _spread(
            np.clip(np.cumsum(steps) + first, 0, 127), block, len(rows)
        )
    else:
        if mode > len(earlier.labels):
            raise DataError(f"a chunk has a context of a later column; {_DAMAGED}")
        contexts = _label_contexts(mode, earlier, rows)
    return symbols.take(len(rows), alphabet, contexts)


def _context_mode(
    rest: Whole, rows: NDArray[np.intp], earlier: EarlierColumns, mantissa: int
) -> int:
    """Returns the contexts that save most: 0 none, n the n-th labels, -n the n-th size of block."""
    if len(rest) < 64:
        return _NO_CONTEXT
    alone = cost_bits(rest, mantissa)
    best, most = _NO_CONTEXT, 0.0
    for number, block in enumerate(_BLOCKS, start=1):
        classes = _block_classes(rest, block)
        saved = alone - _laplace_bits(rest, classes, block) - cost_bits(np.diff(classes)) - 40
        if saved > most:
            best, most = -number, saved
    some = slice(None, None, max(1, len(rest) // _SAMPLE))
    symbols = symbols_of(rest[some], mantissa)
    symbols -= symbols.min()
    plain = _table_bits(symbols, np.zeros(len(symbols), np.uint8))
    scale = len(rest) / len(symbols)
    last = len(earlier.labels)
    for number in range(max(0, last - _MOST_LABELS) + 1, last + 1):
        labels = earlier.labels[number - 1]
        saved = (plain - _table_bits(symbols, labels[rows[some]])) * scale - 8
        if saved > most:
            best, most = number, saved
    return best


def _table_bits(symbols: Whole, labels: Labels) -> float:
    """Returns about how many bits symbols need with a learned table for each label."""
    size = int(symbols.max()) + 1
    kinds = int(labels.max()) + 1
    counts = np.bincount(labels * np.int64(size) + symbols, minlength=kinds * size)
    counts = counts.reshape(kinds, size).astype(np.float64)
    logs = np.log2(np.maximum(counts, 1))
    totals = counts.sum(axis=1)
    bits = totals @ np.log2(np.maximum(totals, 1)) - (counts * logs).sum()
    learned = (counts > 0).sum() * 0.5 * np.log2(len(symbols) / kinds + 1)
    return float(bits + learned)


def _laplace_bits(rest: Whole, classes: Whole, block: int) -> float:
    """Returns about how many bits numbers need if each block's mean size is known."""
    sizes = np.abs(rest).astype(np.float64)
    mean = 2.0 ** ((np.repeat(classes, block)[: len(rest)] - 6) / 2)
    # Of a two-sided geometric distribution of that mean.
    decay = np.log2((1 + mean) / mean)
    return float((np.log2(1 + mean) + sizes * decay + (rest != 0)).sum())


def _block_classes(rest: Whole, block: int) -> Whole:
    sizes = np.abs(rest).astype(np.float64)
    means = np.add.reduceat(sizes, np.arange(0, len(rest), block))
    lengths = np.minimum(block, len(rest) - np.arange(0, len(rest), block))
    return size_classes(means / lengths)


def _spread(classes: Whole, block: int, count: int) -> Contexts:
    spread = np.repeat(classes, block)[:count].astype(np.uint8)
    return Contexts(spread, are_size_classes=True)


def _label_contexts(mode: int, earlier: EarlierColumns, rows: NDArray[np.intp]) -> Contexts | None:
    return None if mode == _NO_CONTEXT else Contexts(earlier.labels[mode - 1][rows])


# -- lists of the values that there are ---------------------------------------------------------


def _write_words(words: Whole, fields: FieldWriter, symbols: SymbolEncoder) -> None:
    gaps = np.diff(words)
    alphabet = alphabet_of(gaps, 3)
    fields.numbers([int(words[0]), alphabet.low, alphabet.high, alphabet.size_class])
    symbols.put(gaps, alphabet)


def _read_words(count: int, fields: FieldReader, symbols: SymbolDecoder) -> Whole | None:
    if count == 0:
        return None
    first = fields.number()
    alphabet = Alphabet(3, fields.small(), fields.small(), fields.count(127))
    gaps = symbols.take(count - 1, alphabet)
    if not -(2**63) <= first < 2**63:
        raise DataError(f"a chunk has a word of more than 64 bits; {_DAMAGED}")
    return np.concatenate([[np.int64(first)], first + np.cumsum(gaps)])


def _nearest_words(words: Whole, predicted: Whole) -> Whole:
    """Returns the ranks of the words that are nearest to predictions."""
    after = np.clip(np.searchsorted(words, predicted), 1, len(words) - 1)
    is_before = predicted - words[after - 1] <= words[after] - predicted
    return after - is_before


def _predictor(number: int) -> Predictor:
    try:
        return Predictor(number)
    except ValueError as error:
        raise DataError(f"a chunk has the predictor {number}; {_DAMAGED}") from error


def _read_neighbours(fields: FieldReader, columns: int) -> NeighbourWeights:
    count, shift, bias = fields.count(64), fields.count(32), fields.number()
    numbers = [fields.count(3 * columns - 1) for _ in range(count)]
    weights = [fields.small() for _ in range(count)]
    if not -(2**62) <= bias < 2**62:
        raise DataError(f"a chunk has a bias of {bias}; {_DAMAGED}")
    return NeighbourWeights(np.array(numbers, np.int64), np.array(weights, np.int64), bias, shift)
