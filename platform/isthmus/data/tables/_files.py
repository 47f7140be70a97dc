"""Scans, with pyarrow, the files of formats that store the types of their columns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.dataset as ds

from isthmus.data.columns.units import units_of_fields
from isthmus.data.tables import TableFormat, said_plainly, with_texts
from isthmus.data.tables._written import with_numbers


class TypedFile(TableFormat):
    """A file that `pyarrow.dataset` scans, with the types of its columns."""

    @property
    def what(self) -> str:
        """The name of the format in messages, such as "parquet"."""
        return type(self).__name__.lower()

    @abstractmethod
    def file_format(self) -> ds.FileFormat:
        """Returns pyarrow's format."""

    def dataset(self) -> ds.Dataset:
        """Opens the file."""
        with said_plainly(self.name, self.what):
            return ds.dataset(self.address, format=self.file_format())

    def dataset_to_read(self, numbers: Sequence[str], texts: Sequence[str]) -> ds.Dataset:
        """Opens the file to read these columns, as `batches` gets them."""
        return self._opened

    def read_batches(
        self, dataset: ds.Dataset, columns: Sequence[str], rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Reads columns in batches of so many rows at most."""
        # More would be held in memory, up to the whole file where the rows are wide.
        scanner = dataset.scanner(
            columns=list(columns), batch_size=rows, batch_readahead=2, fragment_readahead=1
        )
        yield from scanner.to_batches()

    def schema(self) -> pa.Schema:
        """Returns the names and types of the columns."""
        with said_plainly(self.name, self.what):
            found = self._opened.schema
            _ = found.names  # pyarrow decodes them only here
            return found

    def units(self) -> Mapping[str, str]:
        """Returns the units of columns that their metadata state."""
        return units_of_fields(self.schema())

    @cached_property
    def _opened(self) -> ds.Dataset:
        return self.dataset()

    def count(self) -> int | None:
        """Returns the number of rows, which the file says."""
        with said_plainly(self.name, self.what):
            return int(self._opened.count_rows())

    def batches(
        self, numbers: Sequence[str], texts: Sequence[str], rows: int, as_is: Sequence[str] = ()
    ) -> Iterator[pa.Table]:
        """Reads columns; see `TableFormat.batches`."""
        dataset = self.dataset_to_read(numbers, [*texts, *as_is])
        no_rows, first = pa.Table.from_batches([], schema=dataset.schema), 0
        with said_plainly(self.name, self.what):
            for batch in self.read_batches(dataset, [*numbers, *texts, *as_is], rows):
                if not batch.num_rows:
                    continue
                table = pa.Table.from_batches([batch])
                table = with_numbers(table, numbers, self.name, self.spec, first)
                first += batch.num_rows
                yield with_texts(table, texts)
        with_numbers(no_rows, numbers, self.name, self.spec, 0)
