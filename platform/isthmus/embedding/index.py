"""Indexes of latents, in which the nearest neighbours of others are found with faiss.

An index is a folder: `vectors.faiss`, which faiss itself reads, the rows' names in `rows.parquet`,
`index.json` with the metric, and the provenance in `pair.json`.

Shapes: z_ND are the indexed latents; q_QD are the latents whose K nearest are looked for.
"""

from __future__ import annotations

import json
import shutil
from copy import copy
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from isthmus.data import Provenance, read_provenance
from isthmus.data.outputs.output import check_folder, whole_folder
from isthmus.data.rows import FloatArray, IndexArray
from isthmus.data.storage.files import is_in_s3
from isthmus.data.storage.s3 import fetch_folder
from isthmus.embedding.spool import Spooled
from isthmus.errors import DataError, RegistryError, UsageError
from isthmus.extras import check_installed, importing
from isthmus.registry import Pair
from isthmus.resources import free_memory_bytes, in_units

Metric = Literal["l2", "cosine"]
METRICS: tuple[Metric, ...] = get_args(Metric)
INDEX_ENDING = ".index"
"""The ending that is appended to the name of a table to name its index."""
_VECTORS = "vectors.faiss"
_ROWS = "rows.parquet"
_ABOUT = "index.json"
_FORMAT = 1
# Up to here every latent is compared, and what is found is exact. Beyond, latents are in lists
# around centres, and only the nearest lists are looked through.
_MOST_ROWS_EXACT = 200_000
# faiss's own advice: between 39 and 256 rows to train each centre on.
_TRAINED_ROWS_A_LIST = 64
# The share of the lists that is looked through: a recall of more than 0.95 of ten neighbours.
_LISTS_LOOKED_THROUGH = 1 / 32
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest indexed latents of each of Q others, nearest first.

    Attributes:
        positions_QK: Their positions in the index, from 0.
        distances_QK: Euclidean distances, or one minus the cosine of the angle.
    """

    positions_QK: IndexArray
    distances_QK: FloatArray


def index_path(output: Path) -> Path:
    """Returns the path of the index of an output: `OUTPUT.index`."""
    return output.with_name(f"{output.name}{INDEX_ENDING}")


def check_index(output: Path, metric: str) -> None:
    """Refuses an index that could not be written, before the work.

    Raises:
        UsageError: If there is no such metric.
        MissingExtra: If faiss is not installed.
        DataError: If something else has its name.
    """
    check_metric(metric)
    check_installed("faiss", "search", needed_by="--index")
    check_folder(index_path(output))


def check_metric(metric: str) -> None:
    """Refuses a metric that is not known.

    Raises:
        UsageError: Naming those that are.
    """
    if metric not in METRICS:
        raise UsageError(f'no metric "{metric}"; choose {" or ".join(METRICS)}')


def write_index(latents: Spooled, folder: Path, metric: Metric, provenance: Provenance) -> None:
    """Writes the index of latents; it appears whole or not at all.

    Raises:
        DataError: If it does not fit in memory, or cannot be written.
    """
    rows, latent_dim = latents.z_ND.shape
    needed, free = latents.z_ND.nbytes + 8 * rows, free_memory_bytes()
    if needed > free:
        raise DataError(
            f"the index of {rows:,} latents of {latent_dim} numbers takes {in_units(needed)} "
            f"of memory, and {in_units(free)} are free; leave out --index, or train a "
            "smaller latent"
        )
    found = _built(latents, metric)
    with whole_folder(folder, provenance) as temporary:
        _faiss().write_index(found, str(temporary / _VECTORS))
        shutil.copyfile(latents.names, temporary / _ROWS)
        about = {"format": _FORMAT, "metric": metric, "rows": rows, "latent_dim": latent_dim}
        (temporary / _ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")


def _faiss() -> Any:
    with importing("search", needed_by="an index of latents"):
        import faiss
    return faiss


def _measure(metric: Metric) -> int:
    """Returns faiss's number of a metric."""
    faiss = _faiss()
    return int(faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def _built(latents: Spooled, metric: Metric) -> Any:
    """Returns the index as it is stored: an exact one holds latents as they are."""
    rows, latent_dim = latents.z_ND.shape
    if rows <= _MOST_ROWS_EXACT:
        return _exact(latents.z_ND, "l2")
    lists = 4 * isqrt(rows)
    index: Any = _faiss().index_factory(latent_dim, f"IVF{lists},Flat", _measure(metric))
    index.nprobe = max(1, int(lists * _LISTS_LOOKED_THROUGH))
    # The centres of the lists are found by k-means.
    index.train(_as_measured(latents.sample(lists * _TRAINED_ROWS_A_LIST), metric))
    for first in range(0, rows, _ROWS_AT_ONCE):
        index.add(_as_measured(latents.z_ND[first : first + _ROWS_AT_ONCE], metric))
    return index


def _exact(z_ND: FloatArray, metric: Metric) -> Any:
    index: Any = _faiss().IndexFlat(z_ND.shape[1], _measure(metric))
    for first in range(0, len(z_ND), _ROWS_AT_ONCE):
        index.add(_as_measured(z_ND[first : first + _ROWS_AT_ONCE], metric))
    return index


def _as_measured(z_ND: FloatArray, metric: Metric) -> FloatArray:
    """Returns latents as faiss compares them: a cosine is the inner product of unit vectors."""
    z_ND = np.array(z_ND, dtype=np.float32, order="C")
    if metric == "cosine":
        _faiss().normalize_L2(z_ND)
    return z_ND


class LatentIndex:
    """An index that was written, opened to find neighbours in it.

    Attributes:
        name: The name for messages: its folder, or its address in S3.
        provenance: The provenance of its latents.
        metric: The measure of distance.
    """

    def __init__(self, address: str | Path) -> None:
        """Opens an index.

        Args:
            address: The folder, or its address in S3, from which it is copied to the cache.

        Raises:
            MissingExtra: If faiss is not installed.
            DataError: If there is no whole index.
        """
        faiss = _faiss()
        self.name = str(address)
        folder = fetch_folder(self.name) if is_in_s3(self.name) else Path(address)
        self.provenance, about = _read_about(folder, self.name)
        try:
            stored: Any = faiss.read_index(str(folder / _VECTORS))
            self.metric: Metric = about["metric"]
            self._names = pq.read_table(folder / _ROWS)
            is_whole = (stored.ntotal, stored.d, self._names.num_rows) == (
                about["rows"],
                about["latent_dim"],
                about["rows"],
            )
            check_metric(self.metric)
        except (RuntimeError, OSError, pa.ArrowException, KeyError, UsageError) as error:
            raise _damaged(self.name) from error
        if not is_whole:
            raise _damaged(self.name)
        self._latents: FloatArray | None = None
        self._index = stored
        if isinstance(stored, faiss.IndexFlat):
            self._latents = stored.reconstruct_n(0, stored.ntotal)
            self._index = _exact(self._latents, self.metric)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def space_id(self) -> str:
        """The id of the pair in whose latent space the index is."""
        return str(self.provenance.extra.get("space_id", self.provenance.pair_id))

    @property
    def space(self) -> str:
        """The name and version of that pair, such as `digits/3`."""
        return str(self.provenance.extra.get("space", self.provenance.model))

    def measuring(self, metric: Metric | None) -> LatentIndex:
        """Returns the index itself, or one of the same latents that measures by another metric.

        Raises:
            UsageError: If there is no such metric, or if the index has lists of latents that are
                near each other by its own metric.
        """
        if metric is None or metric == self.metric:
            return self
        check_metric(metric)
        if self._latents is None:
            raise UsageError(
                f"{self.name}: has lists of latents that are near by {self.metric}; leave out "
                f"--metric, or write it again with isthmus embed --index --metric {metric}"
            )
        found = copy(self)
        found.metric = metric
        found._index = _exact(self._latents, metric)
        return found

    def refuse_other(self, pair: Pair) -> None:
        """Refuses a pair in whose latent space the index is not.

        Raises:
            RegistryError: Naming both pairs.
        """
        if pair.manifest.pair_id != self.space_id:
            raise RegistryError(
                f"{self.name} holds latents of {self.space} (pair {self.space_id}), and "
                f"{pair.reference} is pair {pair.manifest.pair_id}; search with --model "
                f"{self.space}, or write it again with isthmus embed --model {pair.reference}"
            )

    def nearest(self, q_QD: FloatArray, k: int) -> Neighbours:
        """Finds the k nearest indexed latents of each of others; fewer if it holds fewer."""
        k = min(k, len(self))
        measured, positions = self._index.search(_as_measured(q_QD, self.metric), k)
        with np.errstate(invalid="ignore"):
            distances = np.sqrt(measured) if self.metric == "l2" else 1.0 - measured
        return Neighbours(positions, np.asarray(distances, dtype=np.float32))

    def names(self, positions: IndexArray) -> dict[str, NDArray[Any]]:
        """Returns the columns that name the rows at such positions, shape (N,)."""
        found = self._names.take(pa.array(positions))
        return {name: found.column(name).to_numpy() for name in found.column_names}


def _read_about(folder: Path, name: str) -> tuple[Provenance, dict[str, Any]]:
    if not folder.is_dir():
        raise DataError(f"{name}: is no index; isthmus embed --index writes OUTPUT.index")
    provenance = read_provenance(folder)
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        about = None
    if provenance is None or not isinstance(about, dict):
        raise _damaged(name)
    if about.get("format") != _FORMAT:
        raise DataError(
            f"{name}: is an index of format {about.get('format')}, and this Isthmus reads "
            f"{_FORMAT}; write it again, or use the Isthmus that wrote it"
        )
    return provenance, about


def _damaged(name: str) -> DataError:
    return DataError(
        f"{name}: is no whole index of latents; write it again with isthmus embed --index"
    )
