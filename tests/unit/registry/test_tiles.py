"""Tiles cover an axis, begin on the grid, and keep away from their own ends."""

from __future__ import annotations

import pytest

from isthmus.registry.tiles import spans_of


@pytest.mark.parametrize("length", [8, 96, 104, 200, 1000, 1048])
@pytest.mark.parametrize(("side", "margin", "step"), [(96, 24, 8), (100, 16, 4), (65, 32, 1)])
def test_what_is_kept_covers_the_axis_once_and_lies_away_from_the_ends_of_tiles(
    length: int, side: int, margin: int, step: int
) -> None:
    spans = spans_of(length, side, margin, step)
    kept = [place for span in spans for place in range(span.kept.start, span.kept.stop)]
    assert kept == list(range(length))
    assert len({span.tile.stop - span.tile.start for span in spans}) == 1
    for span in spans:
        first, last = span.tile.start, span.tile.stop
        assert first % step == 0
        assert 0 <= first < last <= length
        assert last - first <= side
        assert span.kept.start - first >= margin or span.kept.start == first == 0
        assert last - span.kept.stop >= margin or span.kept.stop == last == length
        assert span.inside == slice(span.kept.start - first, span.kept.stop - first)


def test_tiles_are_no_longer_than_their_number_needs() -> None:
    spans = spans_of(1000, 600, 50, 10)
    assert [(span.tile.start, span.tile.stop) for span in spans] == [(0, 550), (450, 1000)]
    assert [(span.kept.start, span.kept.stop) for span in spans] == [(0, 500), (500, 1000)]


def test_an_axis_that_fits_is_one_tile() -> None:
    (span,) = spans_of(96, 96, 24, 8)
    assert span.tile == span.kept == span.inside == slice(0, 96)
