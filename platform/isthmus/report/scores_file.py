"""Files of scores that `isthmus detect` wrote, read a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.data import Provenance, read_provenance
from isthmus.data.outputs.results import RESULT_ENDINGS
from isthmus.data.storage.files import ending_of
from isthmus.data.tables import open_table
from isthmus.errors import DataError
from isthmus.spec import DataSpec

_ROWS_AT_ONCE = 2**16
_JOB = "detect"
_NUMBERS = ("score", "p_value")
_COLUMNS = (*_NUMBERS, "anomaly")
_TRUE = ("true", "True", "1")


@dataclass(frozen=True, eq=False)
class ScoreBlock:
    """Some consecutive rows of a file of scores.

    Attributes:
        scores: Shape (n,).
        p_values: Shape (n,).
        anomalies: Shape (n,), bool.
        index: The columns that name each row, shape (n,) each.
        explained: The columns that `--explain` added, shape (n,) each.
    """

    scores: NDArray[np.float64]
    p_values: NDArray[np.float64]
    anomalies: NDArray[np.bool_]
    index: Mapping[str, NDArray[Any]]
    explained: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.scores)

    def part(self, rows: slice | NDArray[np.int64]) -> ScoreBlock:
        """Returns the block with some of its rows only."""
        return ScoreBlock(
            self.scores[rows],
            self.p_values[rows],
            self.anomalies[rows],
            {name: column[rows] for name, column in self.index.items()},
            {name: column[rows] for name, column in self.explained.items()},
        )


@dataclass(frozen=True, eq=False)
class ScoresFile:
    """A file of scores.

    Attributes:
        path: The file.
        provenance: The pair that made it, with the time and the input.
        columns: The names of its columns.
    """

    path: Path
    provenance: Provenance
    columns: tuple[str, ...]

    @property
    def source(self) -> str:
        """The input whose rows were scored, as it was named then."""
        return str(self.provenance.extra.get("input", ""))

    @property
    def threshold(self) -> float:
        """The score above which rows are anomalies; NaN if the file does not say it."""
        try:
            return float(str(self.provenance.extra.get("threshold", "nan")))
        except ValueError:
            return float("nan")

    @property
    def index_columns(self) -> tuple[str, ...]:
        """The columns that name the rows: those before the score."""
        return self.columns[: self.columns.index("score")]

    @property
    def is_of_steps(self) -> bool:
        """Whether each step of series has a score of its own, and not each row."""
        return "step" in self.index_columns

    @property
    def explained_columns(self) -> tuple[str, ...]:
        """The columns that `--explain` added."""
        first = ("feature_", "share_", "step_", "value_", "reconstruction_", "usual_", "peak_")
        return tuple(
            name
            for name in self.columns
            if name.startswith(first) and name not in self.index_columns
        )

    def blocks(self) -> Iterator[ScoreBlock]:
        """Reads the scores.

        Raises:
            DataError: If the file is damaged.
        """
        named = (*self.index_columns, *self.explained_columns)
        if ending_of(self.path.name) == ".npz":
            yield from self._blocks_of_arrays(named)
            return
        table = open_table(str(self.path), str(self.path), DataSpec(path=str(self.path)))
        for part in table.batches(list(_NUMBERS), ["anomaly", *named], _ROWS_AT_ONCE):
            yield self._block({name: _as_array(part.column(name)) for name in part.column_names})

    def _blocks_of_arrays(self, named: tuple[str, ...]) -> Iterator[ScoreBlock]:
        with np.load(self.path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in (*_COLUMNS, *named)}
        for first in range(0, len(arrays["score"]), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            yield self._block({name: array[rows] for name, array in arrays.items()})

    def _block(self, found: Mapping[str, NDArray[Any]]) -> ScoreBlock:
        return ScoreBlock(
            scores=found["score"].astype(np.float64),
            p_values=found["p_value"].astype(np.float64),
            anomalies=np.isin(found["anomaly"].astype(str), _TRUE),
            index={name: found[name].astype(str) for name in self.index_columns},
            explained={name: found[name].astype(str) for name in self.explained_columns},
        )


def open_scores(path: Path) -> ScoresFile:
    """Opens a file of scores.

    Raises:
        DataError: If there is no such file, or if it is not what `isthmus detect` wrote.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise DataError(f"{path}: {what}; name a file of scores that isthmus detect wrote")
    if ending_of(path.name) not in RESULT_ENDINGS:
        endings = ", ".join(RESULT_ENDINGS)
        raise DataError(f"{path}: is no file of scores, which end in {endings}")
    provenance = read_provenance(path)
    if provenance is None:
        raise DataError(
            f"{path}: does not say which pair made it, neither inside nor in {path.name}.pair.json "
            "beside it; name a file of scores that isthmus detect wrote, with that file"
        )
    job = provenance.extra.get("job", _JOB)
    columns = _columns_of(path)
    missing = [name for name in _COLUMNS if name not in columns]
    if job != _JOB or missing:
        why = f"isthmus {job} wrote it" if job != _JOB else f'it has no column "{missing[0]}"'
        raise DataError(f"{path}: is no file of scores: {why}; name one that isthmus detect wrote")
    return ScoresFile(path, provenance, columns)


def _columns_of(path: Path) -> tuple[str, ...]:
    if ending_of(path.name) == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                return tuple(archive.files)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: is damaged or no npz file; make the scores again") from error
    table = open_table(str(path), str(path), DataSpec(path=str(path)))
    return tuple(table.schema().names)


def _as_array(column: Any) -> NDArray[Any]:
    import pyarrow as pa

    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy())
    return np.array(["" if value is None else value for value in column.to_pylist()], dtype=str)
