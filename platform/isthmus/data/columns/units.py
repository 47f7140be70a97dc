"""Units of columns: what a job and a file state of them, and files that state others."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from isthmus.errors import DataError, nearest
from isthmus.spec import RowSchema

_logger = logging.getLogger(__name__)
UNIT_KEY = "units"
"""The attribute that states a unit in HDF5, Zarr, the fields of Arrow, and `attrs` of pandas."""
_KEYS = (UNIT_KEY.encode(), b"unit")
# What pandas keeps of `frame.attrs` in a parquet.
_ATTRS_OF_PANDAS = b"PANDAS_ATTRS"
# How texts are written that pandas has for a missing value.
_NO_UNITS = frozenset({"", "None", "nan", "<NA>"})
_SHOWN = 5
Units = tuple[str | None, ...]


def units_of_fields(schema: pa.Schema) -> dict[str, str]:
    """Returns the units that the columns of a file of Arrow's types state, by column.

    They are in the metadata of a field, `unit` or `units`, or in `attrs["units"]` of the frame that
    pandas wrote.
    """
    found = units_of_attrs(_attrs((schema.metadata or {}).get(_ATTRS_OF_PANDAS)))
    for field in schema:
        said = field.metadata or {}
        texts = [_text(said[key]) for key in _KEYS if key in said]
        if any(texts):
            found[field.name] = next(filter(None, texts))
    return found


def units_of_attrs(attrs: object) -> dict[str, str]:
    """Returns the units that the `attrs` of a frame of pandas state, by column."""
    said = attrs.get(UNIT_KEY) if isinstance(attrs, Mapping) else None
    if not isinstance(said, Mapping):
        return {}
    texts = {str(name): _text(str(unit)) for name, unit in said.items()}
    return {name: text for name, text in texts.items() if text not in _NO_UNITS}


def units_of_array(said: Any, width: int) -> Units | None:
    """Returns the units of the columns of an array.

    Args:
        said: The attribute that states them: one unit for all columns, as the CF conventions have
            it, or one for each.
        width: The number of columns.

    Returns:
        A unit for each column; `None` if the attribute states no such units.
    """
    units = np.ravel(np.asarray(said, dtype=object)).tolist()
    if len(units) == 1:
        units *= width
    if len(units) != width or not all(isinstance(each, str | bytes) for each in units):
        return None
    return known(_text(each) or None for each in units)


def units_to_train(
    given: Mapping[str, str],
    stated: Mapping[str, str],
    columns: Sequence[str],
    features: Sequence[str],
    name: str,
) -> Units | None:
    """Returns the unit of each feature: what the job states, else what the file does.

    Args:
        given: `data.units` of the job.
        stated: The units that the file states.
        columns: The columns of numbers that are trained on.
        features: The features of a row.
        name: The name of the source for messages.

    Raises:
        DataError: If the job states the unit of something else.
    """
    others = [each for each in given if each not in columns]
    if others:
        told = nearest(others[0], list(columns), "The columns of numbers are")
        raise DataError(
            f'{name}: data.units names "{others[0]}", which is no column of numbers that is '
            f"trained on; {told}"
        )
    return units_of_features({**stated, **given}, features)


def units_of_features(stated: Mapping[str, str], features: Sequence[str] | None) -> Units | None:
    """Returns the unit of each feature, given those of columns; `None` if no unit is known."""
    return known(stated.get(each) for each in features or ())


def known(units: Iterable[str | None]) -> Units | None:
    """Returns units as they are kept: `None` if none is known."""
    found = tuple(units)
    return found if any(each is not None for each in found) else None


def warn_of_units(stated: Units | None, schema: RowSchema, name: str) -> None:
    """Logs which columns state another unit than the rows of a schema have.

    A column without a stated unit is passed over, since few files state any.

    Args:
        stated: The units that an input states of the features.
        schema: The schema of the training rows.
        name: The name of the input for messages.
    """
    if stated is None or schema.units is None:
        return
    features = schema.features or ()
    differing = [
        (f'"{features[place]}"' if features else f"column {place}", found, trained)
        for place, (found, trained) in enumerate(zip(stated, schema.units, strict=False))
        if found is not None and trained is not None and found != trained
    ]
    if not differing:
        return
    said = "; ".join(
        f'{column} in "{found}", and not in "{trained}"'
        for column, found, trained in differing[:_SHOWN]
    )
    more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    _logger.warning(
        "%s: states another unit than the rows of training have (%s%s); convert the values, or "
        "correct the stated unit",
        *(name, said, more),
    )


def _text(said: str | bytes) -> str:
    """Returns a text as it is compared and kept: trimmed, and such that JSON can hold it."""
    try:
        # h5py turns what is no UTF-8 into surrogates.
        said = said.encode(errors="surrogateescape") if isinstance(said, str) else said
        return said.decode().strip()
    except UnicodeDecodeError as error:
        return error.object.decode("latin-1").strip()
    except UnicodeEncodeError as error:
        return error.object.encode(errors="replace").decode().strip()


def _attrs(text: bytes | None) -> object:
    try:
        return json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
