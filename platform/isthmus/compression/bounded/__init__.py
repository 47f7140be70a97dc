"""Columns of numbers to bytes and back, with a maximum error that is guaranteed in every column."""

from isthmus.compression.bounded.bit_fields import FieldReader, FieldWriter
from isthmus.compression.bounded.grids import DTYPES, largest_error
from isthmus.compression.bounded.predictors import Predictor
from isthmus.compression.bounded.rows import (
    MOST_COLUMNS,
    MOST_ROWS,
    MOST_VALUES,
    CodedRows,
    decode,
    encode,
)

__all__ = [
    "DTYPES",
    "MOST_COLUMNS",
    "MOST_ROWS",
    "MOST_VALUES",
    "CodedRows",
    "FieldReader",
    "FieldWriter",
    "Predictor",
    "decode",
    "encode",
    "largest_error",
]
