"""Rows to the content of a chunk, and back, by a pair whose latent is whole numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.compression.symbols import CodedSymbols, Symbols
from isthmus.core import CodedAutoencoder
from isthmus.data.rows import FloatArray
from isthmus.errors import DataError, UsageError
from isthmus.registry import Pair

OnRows = Callable[[int, int], None]
MOST_ROWS_IN_A_CHUNK = 4096
"""The most rows of a chunk, and so what a damaged chunk costs; fewer of large rows."""
_NUMBERS_IN_A_CHUNK = 2**22
_NUMBERS_AT_ONCE = 2**18
_START = struct.Struct("<IQI")


class Coder:
    """Codes rows with the autoencoder and the integer tables of one pair."""

    def __init__(self, pair: Pair, quality: float | None = None) -> None:
        """Takes the pair.

        Args:
            pair: The pair.
            quality: From 0 to 100; by default the variant's usual.

        Raises:
            UsageError: If the pair cannot compress, or not with that quality.
        """
        module = pair.module
        if not isinstance(module, CodedAutoencoder):
            raise UsageError(
                f"{pair.reference} cannot compress: the latent of the variant "
                f"{pair.manifest.plan.variant.name} is not of whole numbers; train a pair of the "
                "variant fsq, vqvae, residual_vq or hyperprior"
            )
        if not pair.code_tables:
            raise UsageError(
                f"{pair.reference} cannot compress: it was registered without code tables; train "
                "it again"
            )
        module.check_quality(quality)
        self._module, self._device, self._quality = module, pair.device, quality
        self._coded = CodedSymbols(pair.code_tables)
        self.row_shape = pair.manifest.plan.row_shape
        self.rows_in_a_chunk = rows_in_a_chunk(self.row_shape)

    def encode(self, values: FloatArray, on_rows: OnRows | None = None) -> bytes:
        """Codes at most `rows_in_a_chunk` rows, shape (n, *row_shape)."""
        parts = []
        with torch.inference_mode():
            for rows in self._batches(len(values)):
                batch = torch.from_numpy(values[rows]).to(self._device)
                parts.append(self._module.symbols(batch, self._quality))
                if on_rows:
                    on_rows(rows.stop, len(values))
        streams = [torch.cat(each).cpu().numpy() for each in zip(*parts, strict=True)]
        return self._coded.to_bytes(
            streams, numbers_of_tables(self._module, len(values), self._device)
        )

    def bits(self, values: FloatArray) -> list[NDArray[np.float64]]:
        """Returns the bits that the symbols of rows need, one array (n, S_k) for each stream.

        Args:
            values: Any number of rows, shape (n, *row_shape).
        """
        parts = []
        with torch.inference_mode():
            for rows in self._batches(len(values)):
                batch = torch.from_numpy(values[rows]).to(self._device)
                streams = [
                    each.cpu().numpy() for each in self._module.symbols(batch, self._quality)
                ]
                numbers = numbers_of_tables(self._module, len(batch), self._device)
                parts.append(self._coded.bits(streams, numbers))
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def symbols(self, coded: bytes, rows: int) -> list[Symbols]:
        """Decodes the streams of symbols of some rows.

        Raises:
            DataError: If the bytes are not those of so many rows.
        """
        return self._coded.from_bytes(
            coded, self._module.streams, numbers_of_tables(self._module, rows, self._device)
        )

    def decode(self, coded: bytes, rows: int) -> FloatArray:
        """Decodes rows, shape (rows, *row_shape).

        Raises:
            DataError: If the bytes are not those of so many rows.
        """
        if not 0 < rows <= self.rows_in_a_chunk:
            raise DataError(
                f"a chunk is to have {rows:,} rows, and at most {self.rows_in_a_chunk:,} are in one"
            )
        streams = self.symbols(coded, rows)
        made = np.empty((rows, *self.row_shape), dtype=np.float32)
        try:
            with torch.inference_mode():
                for place in self._batches(rows):
                    of_rows = [torch.from_numpy(each[place]).to(self._device) for each in streams]
                    made[place] = self._module.rows_of(of_rows, self._quality).cpu().numpy()
        except ValueError as error:
            raise DataError(f"its symbols are damaged: {error}") from error
        return made

    def _batches(self, rows: int) -> Iterator[slice]:
        at_once = max(1, _NUMBERS_AT_ONCE // prod(self.row_shape))
        for first in range(0, rows, at_once):
            yield slice(first, min(first + at_once, rows))


def numbers_of_tables(
    module: CodedAutoencoder, rows: int, device: torch.device
) -> Callable[[Sequence[Symbols]], Symbols]:
    """Returns a function of the decoded streams: which table each symbol of the next one has.

    Args:
        module: The autoencoder.
        rows: The number of rows whose symbols they are.
        device: The device of the autoencoder.
    """

    def numbers_of(before: Sequence[Symbols]) -> Symbols:
        with torch.inference_mode():
            decoded = [torch.from_numpy(each).to(device) for each in before]
            return module.table_numbers(decoded, rows).cpu().numpy()

    return numbers_of


def rows_in_a_chunk(row_shape: tuple[int, ...]) -> int:
    """Returns how many rows of a shape a chunk has at most."""
    return max(1, min(MOST_ROWS_IN_A_CHUNK, _NUMBERS_IN_A_CHUNK // prod(row_shape)))


def chunk_of(part: int, first: int, rows: int, coded: bytes) -> bytes:
    """Returns the content of a chunk: which rows they are, and what they were coded as.

    Args:
        part: The position of their file among those of the archive.
        first: The number of the first row in it.
        rows: The number of rows.
        coded: The bytes that the rows were coded as.
    """
    return _START.pack(part, first, rows) + coded


def opened_chunk(content: bytes) -> tuple[int, int, int, bytes]:
    """Returns the part, the first row, the number of rows, and what they were coded as.

    Raises:
        DataError: If it is too short to say so.
    """
    if len(content) < _START.size:
        raise DataError("a chunk is too short to be of rows")
    return (*_START.unpack_from(content), content[_START.size :])
