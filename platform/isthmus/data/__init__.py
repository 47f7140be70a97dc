"""Rows in, results out: sources, splits, scaling, fingerprints, and files of results."""

from isthmus.data.digest import sha256_of
from isthmus.data.fingerprint import fingerprint
from isthmus.data.provenance import Provenance, content_sha256, read_provenance, sidecar_path
from isthmus.data.reading import open_input, read_input, read_paired_rows, read_rows
from isthmus.data.results import (
    check_reconstructions_output,
    check_table_output,
    open_results,
    write_reconstructions,
    write_table,
)
from isthmus.data.rows import Labels, Layout, Rows
from isthmus.data.scaling import ScalingStatistics, fit_scaling
from isthmus.data.splits import Split, split_rows
from isthmus.data.storage import locate
from isthmus.data.stored import StoredRows
from isthmus.data.storing import StoredSplit, find_large_table, store_split
from isthmus.data.stream import Block, RowStream, read_ahead, write_behind

__all__ = [
    "Block",
    "Labels",
    "Layout",
    "Provenance",
    "RowStream",
    "Rows",
    "ScalingStatistics",
    "Split",
    "StoredRows",
    "StoredSplit",
    "check_reconstructions_output",
    "check_table_output",
    "content_sha256",
    "find_large_table",
    "fingerprint",
    "fit_scaling",
    "locate",
    "open_input",
    "open_results",
    "read_ahead",
    "read_input",
    "read_paired_rows",
    "read_provenance",
    "read_rows",
    "sha256_of",
    "sidecar_path",
    "split_rows",
    "store_split",
    "write_behind",
    "write_reconstructions",
    "write_table",
]
