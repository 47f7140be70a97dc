"""Rows in, results out: sources, splits, scaling, fingerprints, and files of results."""

from isthmus.data.kinds import UseOptions
from isthmus.data.opening import (
    local_output,
    locate,
    open_all_rows,
    open_files,
    open_input,
    open_rows,
    read_opened,
    read_rows,
)
from isthmus.data.outputs.provenance import (
    Provenance,
    content_sha256,
    read_provenance,
    sidecar_path,
)
from isthmus.data.outputs.rejected import open_rejected, rejected_path
from isthmus.data.outputs.results import check_table_output, open_results, write_table
from isthmus.data.partners import open_partner, read_partner_rows, split_by
from isthmus.data.patches import TrainingPatches, split_patches
from isthmus.data.prepared.fingerprint import fingerprint
from isthmus.data.prepared.scaling import (
    Moments,
    ScalingStatistics,
    fit_scaling,
    moments_of,
    remembered,
    scaling_by,
)
from isthmus.data.prepared.splits import Split, split_rows
from isthmus.data.prepared.stored import StoredRows
from isthmus.data.prepared.storing import is_large, store_split
from isthmus.data.prepared.watching import RangeWatch
from isthmus.data.rows import (
    Block,
    Labels,
    Rows,
    RowSource,
    collect,
    read_ahead,
    write_behind,
)
from isthmus.data.steps.points import (
    mean_of_covering_windows,
    scores_of_steps,
    starts_in_one_line,
)
from isthmus.data.steps.ranges import Range, ranges_of
from isthmus.data.storage.digest import sha256_of
from isthmus.data.storage.files import Files

__all__ = [
    "Block",
    "Files",
    "Labels",
    "Moments",
    "Provenance",
    "Range",
    "RangeWatch",
    "RowSource",
    "Rows",
    "ScalingStatistics",
    "Split",
    "StoredRows",
    "TrainingPatches",
    "UseOptions",
    "check_table_output",
    "collect",
    "content_sha256",
    "fingerprint",
    "fit_scaling",
    "is_large",
    "local_output",
    "locate",
    "mean_of_covering_windows",
    "moments_of",
    "open_all_rows",
    "open_files",
    "open_input",
    "open_partner",
    "open_rejected",
    "open_results",
    "open_rows",
    "ranges_of",
    "read_ahead",
    "read_opened",
    "read_partner_rows",
    "read_provenance",
    "read_rows",
    "rejected_path",
    "remembered",
    "scaling_by",
    "scores_of_steps",
    "sha256_of",
    "sidecar_path",
    "split_by",
    "split_patches",
    "split_rows",
    "starts_in_one_line",
    "store_split",
    "write_behind",
    "write_table",
]
