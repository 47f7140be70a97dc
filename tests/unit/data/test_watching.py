"""Values of tables that leave the range of training are told, wherever they are."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from isthmus.data import RangeWatch
from isthmus.spec import RowSchema
from isthmus.types import DataKind


def schema(features: int) -> RowSchema:
    return RowSchema(
        kind=DataKind.TABULAR,
        shape=(features,),
        features=tuple(f"sensor_{number}" for number in range(features)),
        lowest=(0.0,) * features,
        highest=(1.0,) * features,
    )


@pytest.mark.parametrize("features", [1, 5, 200, 5000])
@pytest.mark.parametrize("rows", [1, 3, 2001])
@pytest.mark.parametrize("value", [-7.0, 9.0])
@pytest.mark.parametrize("has_missing", [False, True], ids=["whole", "some missing"])
def test_a_single_value_outside_the_range_is_told_with_its_column(
    features: int, rows: int, value: float, has_missing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for row in {0, rows // 2, rows - 1}:
        values = np.random.default_rng(0).random((rows, features), dtype=np.float32)
        if has_missing and rows > 1:
            values[(row + 1) % rows] = np.nan
        values[row, features - 1] = value
        watch = RangeWatch(schema(features), "new.csv")
        with caplog.at_level(logging.WARNING):
            watch.look(values)
            watch.report()
        (told,) = caplog.messages
        assert f'far outside the trained range ("sensor_{features - 1}"' in told
        assert f"{value:g}" in told
        caplog.clear()


def test_units_are_told_though_a_category_beside_has_both_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    values = np.random.default_rng(0).random((100, 3), dtype=np.float32)
    values[:, :1] /= 255
    values[:, 1:] = values[:, 1:] > 0.5
    with_categories = schema(3).model_copy(update={"features": ("a", "k=x", "k=y")})
    for rows, lines in ((values, 1), (values * (255, 1, 1), 0), (values[:19], 0)):
        watch = RangeWatch(with_categories, "new.csv")
        watch.look(np.asarray(rows, dtype=np.float32))
        watch.report()
        assert len(caplog.messages) == lines
        if lines:
            assert 'fill little of the trained range ("a" ' in caplog.text
            assert "k=" not in caplog.text
        caplog.clear()
