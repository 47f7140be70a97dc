"""Rows in, results out: sources, splits, scaling, fingerprints, and files of results."""

from isthmus.data.fingerprint import fingerprint
from isthmus.data.provenance import Provenance, sidecar_path
from isthmus.data.reading import read_input, read_rows, read_second_look
from isthmus.data.results import (
    check_reconstructions_output,
    check_table_output,
    write_reconstructions,
    write_table,
)
from isthmus.data.rows import Layout, Rows
from isthmus.data.scaling import ScalingStatistics, fit_scaling
from isthmus.data.splits import Split, split_rows

__all__ = [
    "Layout",
    "Provenance",
    "Rows",
    "ScalingStatistics",
    "Split",
    "check_reconstructions_output",
    "check_table_output",
    "fingerprint",
    "fit_scaling",
    "read_input",
    "read_rows",
    "read_second_look",
    "sidecar_path",
    "split_rows",
    "write_reconstructions",
    "write_table",
]
