"""Computes the rows of several requests together: their pieces are put in line, and split again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.registry import Latents, Pair
from isthmus.serve.messages import Verb
from isthmus.types import Shape

Columns = tuple[NDArray[Any], ...]
"""The results of rows: arrays with an entry for each row."""
# A batch is full with so many numbers, which a small net computes in some milliseconds, or with so
# many requests. A large request is cut, so that small ones need not wait for the whole of it.
_NUMBERS_IN_A_BATCH = 2**18
REQUESTS_IN_A_BATCH = 64


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a request.

    Attributes:
        pair: The pair that works on them: that of the request, whatever has come since.
        verb: The verb of what it does with them.
        values: Shape (n, *row_shape), as a source of rows reads them; for `decode`, latents.
    """

    pair: Pair
    verb: Verb
    values: NDArray[Any]


def rows_in_a_piece(row_shape: Shape) -> int:
    """Returns how many rows are computed at once at most."""
    return max(1, _NUMBERS_IN_A_BATCH // max(1, prod(row_shape)))


def size_of(pieces: Sequence[Piece]) -> int:
    """Returns how much of a batch pieces fill, of `REQUESTS_IN_A_BATCH`."""
    if len(pieces) == 1:
        return 1 if pieces[0].values.size < _NUMBERS_IN_A_BATCH // 2 else REQUESTS_IN_A_BATCH
    per_share = _NUMBERS_IN_A_BATCH / REQUESTS_IN_A_BATCH
    return sum(max(1, ceil(each.values.size / per_share)) for each in pieces)


def compute(pieces: Sequence[Piece]) -> list[Columns | Exception]:
    """Returns what comes of each piece; those alike are computed together.

    An error is that of the pieces it came of: other requests of the batch go on.
    """
    alike: dict[tuple[int, Verb, Shape], list[int]] = {}
    for place, piece in enumerate(pieces):
        key = (id(piece.pair), piece.verb, piece.values.shape[1:])
        alike.setdefault(key, []).append(place)
    found: dict[int, Columns | Exception] = {}
    for places in alike.values():
        together = [pieces[place] for place in places]
        for place, made in zip(places, _computed_together(together), strict=True):
            found[place] = made
    return [found[place] for place in range(len(pieces))]


def _computed_together(pieces: Sequence[Piece]) -> list[Columns | Exception]:
    first = pieces[0]
    lengths = [len(each.values) for each in pieces]
    values = first.values
    if len(pieces) > 1:
        values = np.concatenate([each.values for each in pieces])
    try:
        made = _FUNCTIONS[first.verb](first.pair, values)
    except Exception as error:  # noqa: BLE001 (it is raised in each of the requests)
        return [error] * len(pieces)
    ends = np.cumsum(lengths)
    return [
        tuple(column[end - length : end] for column in made)
        for end, length in zip(ends, lengths, strict=True)
    ]


def _detect(pair: Pair, values: NDArray[Any]) -> Columns:
    found = pair.detect(values, as_read=True)
    return (found.scores, found.p_values, found.anomalies)


def _denoise(pair: Pair, values: NDArray[Any]) -> Columns:
    return (pair.denoise(values, as_read=True),)


def _embed(pair: Pair, values: NDArray[Any]) -> Columns:
    return (pair.encode(values, as_read=True).values,)


def _decode(pair: Pair, values: NDArray[Any]) -> Columns:
    return (pair.decode(Latents(values, pair.manifest.pair_id)),)


_FUNCTIONS: dict[Verb, Callable[[Pair, NDArray[Any]], Columns]] = {
    "detect": _detect,
    "denoise": _denoise,
    "embed": _embed,
    "decode": _decode,
}
