"""The integer tables of a pair that compresses are registered and loaded with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from isthmus import registry
from isthmus.bundle import code_tables
from isthmus.core import IntTable
from isthmus.registry import register_pair
from tests.untrained import untrained_pair


def test_the_tables_are_loaded_as_they_were_registered(settings):
    trained = untrained_pair("coded", settings, variant={"name": "fsq", "levels": [8, 5]})
    assert len(trained.code_tables) == 2
    loaded = registry.load(str(register_pair(trained, settings)), settings)
    for before, after in zip(trained.code_tables, loaded.code_tables, strict=True):
        assert after.offset == before.offset
        np.testing.assert_array_equal(after.frequencies, before.frequencies)
    record = loaded.manifest.coder
    assert record is not None
    assert (record.tables, record.size_bytes) == (2, 2 * 16 + (9 + 6) * 4)


def test_a_pair_that_cannot_compress_has_none(settings):
    loaded = registry.load(str(register_pair(untrained_pair("bare", settings), settings)), settings)
    assert loaded.code_tables == ()
    assert loaded.manifest.coder is None


@pytest.mark.parametrize("name", ["offsets", "lengths", "frequencies"])
def test_tables_with_a_part_missing_or_changed_are_damaged(name):
    stored = code_tables.tensors_of([IntTable.of_weights(0, [1, 2])] * 2)
    key = f"code_tables.{name}"
    for state in (
        {each: stored[each] for each in stored if each != key},
        {**stored, key: stored[key][:-1]},
        {**stored, "code_tables.other": torch.zeros(1)},
    ):
        with pytest.raises(RuntimeError, match="code tables are damaged"):
            code_tables.split(state)
