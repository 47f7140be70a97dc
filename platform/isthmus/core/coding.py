"""Autoencoders whose latent is whole numbers, so that rows can be written to a file and read again.

Shapes: x_B... is a batch of rows (B, *row_shape) in data units; symbols_BS is one stream of the
symbols of a batch, int64, of S symbols for each row. Streams are coded one after another, and a
later one may have its probabilities from the earlier ones.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from isthmus.core.autoencoder import Autoencoder, LatentPrior
from isthmus.core.integer_tables import IntTable, draw_symbols
from isthmus.errors import UsageError

# So many numbers are in the tables of an index-coded latent at most; then places share a table.
_MOST_FREQUENCIES = 2**20


class CodedAutoencoder(Autoencoder):
    """An autoencoder whose latent is whole numbers in streams, which an entropy coder writes.

    The symbols that are read from a file must be those that were written, on any machine. So
    whatever tells a symbol's probability is computed in whole numbers: the tables are stored with
    the pair, and `table_numbers` says which of them each symbol has.
    """

    PRIOR: ClassVar[LatentPrior] = "tables"
    TABLES_FROM_ROWS: ClassVar[bool] = True
    """Whether the tables are made from the symbols of training rows. Otherwise the module has
    learned all that they need."""

    @property
    def streams(self) -> int:
        """The number of streams."""
        return 1

    @abstractmethod
    def symbols_of(self, encoded: Tensor, quality: float | None = None) -> list[Tensor]:
        """Rounds encodings of shape (B, latent_dim) to streams of int64, each (B, S_k).

        Args:
            encoded: The output of the encoder.
            quality: From 0 to 100, as `check_quality` lets it; by default the variant's usual.
        """

    @abstractmethod
    def latent_of(self, streams: Sequence[Tensor], quality: float | None = None) -> Tensor:
        """Returns the latent (B, latent_dim) that all streams stand for, which `decode` takes.

        Args:
            streams: The streams, each (B, S_k), of any whole numbers.
            quality: The quality that they were made with.

        Raises:
            ValueError: If there are no such symbols.
        """

    @abstractmethod
    def table_numbers(self, decoded: Sequence[Tensor], rows: int) -> Tensor:
        """Returns which table each symbol of the next stream has, (B, S_k) int64.

        It is computed in whole numbers, or in float64 that holds whole numbers below 2**53: no
        rounding may reach it, because it must be the same on every machine and with every torch.

        Args:
            decoded: The streams before it, none for the first.
            rows: The number of rows, B.
        """

    @abstractmethod
    def code_tables(self, streams: Sequence[Tensor]) -> list[IntTable]:
        """Makes the tables of all streams, to which `table_numbers` refers.

        This happens once, at the end of training; floats may be used.

        Args:
            streams: The streams of training rows, each (N, S_k); none without `TABLES_FROM_ROWS`.
        """

    def sample_latents(
        self, count: int, generator: torch.Generator, tables: Sequence[IntTable] = ()
    ) -> Tensor:
        """Draws latents (count, latent_dim) as likely as they are short to write.

        Each symbol is drawn from its table, independently of all others but those of the streams
        before its own.

        Source: Shannon 1948, "A Mathematical Theory of Communication", section 9: a model that
        codes is a model that generates; for the tables of a hyperprior Balle et al. 2018,
        arXiv:1802.01436, equation 8.
        """
        streams: list[Tensor] = []
        for _ in range(self.streams):
            numbers = self.table_numbers(streams, count).cpu()
            streams.append(draw_symbols(tables, numbers, generator).to(self.scaling.scale.device))
        return self.latent_of(streams)

    def symbols(self, x: Tensor, quality: float | None = None) -> list[Tensor]:
        """Encodes rows in data units, (B, *row_shape), as streams of int64, each (B, S_k)."""
        self.check_quality(quality)
        return self.symbols_of(self.encoder(self.scaling(x)), quality)

    def rows_of(self, streams: Sequence[Tensor], quality: float | None = None) -> Tensor:
        """Decodes all streams to rows (B, *row_shape); the last digits may depend on the machine.

        Raises:
            ValueError: If there are no such symbols.
        """
        self.check_quality(quality)
        return self.decode(self.latent_of(streams, quality))

    def one_coding(self) -> AbstractContextManager[None]:
        """Within it some rows are coded or decoded, and what is needed twice may be kept.

        By default nothing is. No weight may change within it.
        """
        return nullcontext()

    def check_quality(self, quality: float | None) -> None:
        """Refuses a quality that the variant cannot give; by default any, for it has one rate.

        Raises:
            UsageError: Naming the quality.
        """
        if quality is not None:
            raise UsageError(
                f"quality={quality:g}: the variant {self.plan.variant.name} has one rate; leave "
                "the quality out, or train a pair with another latent_dim"
            )

    def settled_quality(self, quality: float | None) -> float | None:
        """Returns the quality that coding uses, which a file says; `None` if there is one rate.

        Args:
            quality: The quality that was asked for, if one was.
        """
        return quality


class IndexCoded(CodedAutoencoder):
    """An autoencoder whose latent is a few indices, each of an alphabet of its own: one stream."""

    @abstractmethod
    def alphabet(self) -> list[int]:
        """Returns how many indices there are at each of the S places."""

    @abstractmethod
    def indices_of(self, encoded: Tensor) -> Tensor:
        """Returns the indices of encodings: (B, latent_dim) to (B, S) int64, each from 0."""

    @abstractmethod
    def from_indices(self, indices: Tensor) -> Tensor:
        """Returns the latent of indices: (B, S) to (B, latent_dim)."""

    def symbols_of(self, encoded: Tensor, quality: float | None = None) -> list[Tensor]:
        """Returns the indices of encodings as the one stream, (B, S)."""
        return [self.indices_of(encoded)]

    def latent_of(self, streams: Sequence[Tensor], quality: float | None = None) -> Tensor:
        """Returns the latent of indices (B, S)."""
        (indices,) = streams
        sizes = torch.tensor(self.alphabet(), device=indices.device)
        if ((indices < 0) | (indices >= sizes)).any():
            raise ValueError("an index that is none of the alphabet's")
        return self.from_indices(indices)

    def table_numbers(self, decoded: Sequence[Tensor], rows: int) -> Tensor:
        """Returns the table of each place, the same for all rows, (B, S)."""
        return torch.from_numpy(self._tables_of_places()).expand(rows, -1)

    def code_tables(self, streams: Sequence[Tensor]) -> list[IntTable]:
        """Counts the indices of each place; one is added to each count, so that none is 0."""
        (indices,) = streams
        sizes, numbers = np.array(self.alphabet()), self._tables_of_places()
        tables = []
        for table in range(numbers[-1] + 1):
            places = np.flatnonzero(numbers == table)
            seen = indices[:, places].flatten().cpu().numpy()
            counts = np.bincount(seen, minlength=int(sizes[places].max()))
            tables.append(IntTable.of_weights(0, counts + 1))
        return tables

    def _tables_of_places(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Returns the number of the table of each place, (S,): neighbours share one if need be."""
        sizes = self.alphabet()
        tables = min(len(sizes), max(1, _MOST_FREQUENCIES // max(sizes)))
        return np.arange(len(sizes), dtype=np.int64) * tables // len(sizes)
