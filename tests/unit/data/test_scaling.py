"""Statistics for scaling: of the right shape, there and back, calm about constants and NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isthmus.data import fit_scaling
from isthmus.types import DataKind, ScalingMode

RNG = np.random.default_rng(0)
SHAPES = {
    DataKind.TABULAR: (50, 4),
    DataKind.IMAGES: (50, 3, 6, 5),
    DataKind.SERIES: (50, 2, 16),
    DataKind.AUDIO: (50, 1, 16),
}


@pytest.mark.parametrize(
    ("mode", "kind", "shape"),
    [
        (ScalingMode.STANDARD, DataKind.TABULAR, (4,)),
        (ScalingMode.STANDARD, DataKind.IMAGES, (3, 1, 1)),
        (ScalingMode.STANDARD, DataKind.SERIES, (2, 1)),
        (ScalingMode.STANDARD, DataKind.AUDIO, (1, 1)),
        (ScalingMode.MINMAX, DataKind.TABULAR, (4,)),
        (ScalingMode.MINMAX, DataKind.IMAGES, (1, 1, 1)),
        (ScalingMode.MINMAX, DataKind.SERIES, (2, 1)),
        (ScalingMode.MINMAX, DataKind.AUDIO, (1, 1)),
        (ScalingMode.NONE, DataKind.TABULAR, (1,)),
        (ScalingMode.NONE, DataKind.IMAGES, (1, 1, 1)),
    ],
)
def test_statistics_are_by_feature_by_channel_or_over_everything(
    mode: ScalingMode, kind: DataKind, shape: tuple[int, ...]
) -> None:
    values = RNG.normal(5, 3, size=SHAPES[kind]).astype(np.float32)
    statistics = fit_scaling(values, mode, kind)
    assert statistics.offset.shape == statistics.scale.shape == shape
    assert statistics.offset.dtype == statistics.scale.dtype == np.float32
    scaled = (values - statistics.offset) / statistics.scale
    axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    if mode is ScalingMode.STANDARD:
        assert np.allclose(scaled.mean(axis=axes), 0, atol=1e-5)
        assert np.allclose(scaled.std(axis=axes), 1, atol=1e-4)
    elif mode is ScalingMode.MINMAX:
        assert np.isclose(scaled.min(), 0)
        assert np.isclose(scaled.max(), 1)
    else:
        assert np.array_equal(scaled, values)


@given(
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.integers(1, 5)),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    mode=st.sampled_from(ScalingMode),
)
def test_scaling_there_and_back_gives_the_values(
    values: np.ndarray[Any, np.dtype[np.float32]], mode: ScalingMode
) -> None:
    statistics = fit_scaling(values, mode, DataKind.TABULAR)
    assert np.isfinite(statistics.offset).all()
    assert (statistics.scale > 0).all()
    scaled = (values - statistics.offset) / statistics.scale
    back = scaled * statistics.scale + statistics.offset
    assert np.allclose(back, values, rtol=1e-5, atol=1e-5 * (1 + np.abs(values).max()))


@pytest.mark.parametrize("mode", [ScalingMode.STANDARD, ScalingMode.MINMAX])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9, -3e-20])
def test_a_constant_column_becomes_zero(mode: ScalingMode, constant: float) -> None:
    values = RNG.normal(size=(1000, 2)).astype(np.float32)
    values[:, 1] = constant
    statistics = fit_scaling(values, mode, DataKind.TABULAR)
    assert statistics.scale[1] == 1
    assert np.allclose((values - statistics.offset)[:, 1] / statistics.scale[1], 0, atol=1e-6)


@pytest.mark.parametrize("mode", [ScalingMode.STANDARD, ScalingMode.MINMAX])
def test_missing_values_are_passed_over(mode: ScalingMode) -> None:
    values = RNG.normal(size=(100, 3)).astype(np.float32)
    holed = values.copy()
    holed[::2, 0] = np.nan
    holed[:, 2] = np.nan
    statistics = fit_scaling(holed, mode, DataKind.TABULAR)
    expected = fit_scaling(values[1::2], mode, DataKind.TABULAR)
    assert np.isclose(statistics.offset[0], expected.offset[0])
    assert np.isclose(statistics.scale[0], expected.scale[0])
    assert (statistics.offset[2], statistics.scale[2]) == (0, 1), "nothing is known of it"


def test_large_offsets_do_not_lose_the_spread() -> None:
    values = (1e6 + RNG.normal(0, 10, size=(100_000, 1))).astype(np.float32)
    statistics = fit_scaling(values, ScalingMode.STANDARD, DataKind.TABULAR)
    assert np.isclose(statistics.scale[0], 10, rtol=0.02)
