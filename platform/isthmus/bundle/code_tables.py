"""The integer tables of a pair that compresses: they lie beside the decoder's weights.

Their bytes are hashed with the weights, so a pair's id says with which tables a file was coded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from isthmus.core import IntTable

_PREFIX = "code_tables."
_OFFSETS, _LENGTHS, _FREQUENCIES = "offsets", "lengths", "frequencies"


def tensors_of(tables: Sequence[IntTable]) -> dict[str, Tensor]:
    """Returns what is stored of tables, by name; nothing if there are none."""
    if not tables:
        return {}
    found = {
        _OFFSETS: np.array([table.offset for table in tables], dtype=np.int64),
        _LENGTHS: np.array([len(table.frequencies) for table in tables], dtype=np.int64),
        _FREQUENCIES: np.concatenate([table.frequencies for table in tables]).astype(np.int32),
    }
    return {f"{_PREFIX}{name}": torch.from_numpy(values) for name, values in found.items()}


def split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[IntTable, ...]]:
    """Splits the tensors of a decoder's file, or of both halves.

    Returns:
        The other tensors, and the tables: none in a pair that cannot compress.

    Raises:
        RuntimeError: If the tables are damaged.
    """
    rest = {name: tensor for name, tensor in state.items() if not name.startswith(_PREFIX)}
    if len(rest) == len(state):
        return rest, ()
    names = [f"{_PREFIX}{name}" for name in (_OFFSETS, _LENGTHS, _FREQUENCIES)]
    if {*names, *rest} != set(state):
        raise RuntimeError("the code tables are damaged: not all of their parts are there")
    offsets, lengths, frequencies = (state[name].numpy() for name in names)
    try:
        parts = np.split(frequencies.astype(np.int64), np.cumsum(lengths)[:-1])
        tables = [IntTable(int(at), part) for at, part in zip(offsets, parts, strict=True)]
    except (TypeError, ValueError) as error:
        raise RuntimeError(f"the code tables are damaged: {error}") from error
    return rest, tuple(tables)
