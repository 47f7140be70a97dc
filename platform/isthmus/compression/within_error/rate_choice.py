"""The rate at which a pair of several rates predicts best: that of the smallest file.

A better prediction leaves less to code, but takes longer latents. Which rate pays depends on the
rows and on the error, so some are tried on a sample of them.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from isthmus.compression.within_error.coding import coders
from isthmus.compression.within_error.columns import TableCoder
from isthmus.compression.within_error.form import ExactForm
from isthmus.core import CodedAutoencoder
from isthmus.data import Files
from isthmus.registry import Pair

_TRIED = (0.0, 25.0, 50.0, 75.0, 100.0)
_VALUES_OF_A_SAMPLE = 1 << 15


def best_quality(files: Files, form: ExactForm, pair: Pair) -> float | None:
    """Returns the quality that makes a sample of the rows smallest; `None` if there is one rate.

    It is the usual one where no file has the pair's features.

    Args:
        files: The files to be compressed.
        form: Their form.
        pair: The pair.

    Raises:
        DataError: If a file cannot be read.
        UsageError: If the errors are not of its columns.
    """
    if not isinstance(pair.module, CodedAutoencoder):
        return None
    usual = pair.module.settled_quality(None)
    if usual is None:
        return None
    of_quality = {quality: coders(form, pair, quality) for quality in _TRIED}
    for number, coder in enumerate(of_quality[usual if usual in of_quality else _TRIED[-1]]):
        if coder.predictor is None:
            continue
        sample = _sample(files, form, pair, number, coder)
        found = {
            quality: _only_features(tried[number]).bytes_with_pair(sample)
            for quality, tried in of_quality.items()
        }
        sizes = {quality: size for quality, size in found.items() if size is not None}
        if sizes:
            return min(sizes, key=lambda quality: sizes[quality])
    return usual


def _sample(files: Files, form: ExactForm, pair: Pair, number: int, coder: TableCoder) -> pa.Table:
    """Returns the features of a file's first rows."""
    rows = min(coder.rows_at_once, max(1, _VALUES_OF_A_SAMPLE // len(coder.features)))
    path, called = files.path(number), files.called(number)
    for table in form.files[number].parts(path, called, pair.manifest.data, rows):
        return table.select(list(coder.features))
    return coder.schema.empty_table().select(list(coder.features))


def _only_features(coder: TableCoder) -> TableCoder:
    schema = pa.schema([coder.schema.field(name) for name in coder.features])
    errors = {name: coder.max_errors[name] for name in schema.names if name in coder.max_errors}
    return replace(coder, schema=schema, max_errors=errors)
