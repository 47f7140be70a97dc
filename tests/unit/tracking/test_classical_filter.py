from __future__ import annotations

import numpy as np
import pytest

from isthmus.tracking import filtered_rows
from isthmus.types import DataKind


def shapes(count: int, channels: int, size: int = 32) -> np.ndarray:
    """Images of a few flat shapes, in [0, 1]."""
    generator = np.random.default_rng(0)
    images = np.zeros((count, channels, size, size), dtype=np.float32)
    for image in images:
        for _ in range(4):
            top, left = generator.integers(0, size - 8, 2)
            image[:, top : top + 8, left : left + 8] = generator.random((channels, 1, 1))
    return images


def tones(count: int, channels: int, steps: int = 512) -> np.ndarray:
    phase = np.random.default_rng(1).random((count, channels, 1)) * 6
    return np.sin(np.arange(steps) / 12 + phase).astype(np.float32)


CASES = {
    "grey images": (DataKind.IMAGES, shapes(6, 1)),
    "colour images": (DataKind.IMAGES, shapes(6, 3)),
    "sounds": (DataKind.AUDIO, tones(6, 1)),
    "series of three channels": (DataKind.SERIES, tones(6, 3)),
}


@pytest.mark.parametrize(("kind", "clean"), CASES.values(), ids=CASES.keys())
def test_a_filter_takes_most_of_the_noise_from_rows_of_its_kind(kind, clean):
    noise = 0.15 * np.random.default_rng(2).standard_normal(clean.shape)
    noisy = (clean + noise).astype(np.float32)
    made = filtered_rows(noisy, kind)
    assert made.shape == noisy.shape
    before, after = (np.square(each - clean).mean() for each in (noisy, made))
    assert after < 0.4 * before


def test_rows_without_noise_and_tiny_rows_are_left_finite():
    flat = np.ones((2, 1, 16, 16), dtype=np.float32)
    np.testing.assert_array_equal(filtered_rows(flat, DataKind.IMAGES), flat)
    silence = np.zeros((2, 1, 64), dtype=np.float32)
    np.testing.assert_array_equal(filtered_rows(silence, DataKind.AUDIO), silence)
    tiny = np.random.default_rng(0).random((2, 1, 2, 3)).astype(np.float32)
    assert np.isfinite(filtered_rows(tiny, DataKind.IMAGES)).all()


def test_tables_have_no_such_filter():
    assert filtered_rows(np.zeros((3, 5), dtype=np.float32), DataKind.TABULAR) is None
