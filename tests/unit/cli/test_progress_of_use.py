"""The progress of a downstream job where there is no terminal, as in a log of a night's work."""

from __future__ import annotations

import pytest

from isthmus.cli import progress


@pytest.mark.parametrize(
    ("show", "moves", "said"),
    [
        (progress.rows_progress, [(10, 40), (20, 40), (30, None)], "denoising 20/40 rows"),
        (progress.parts_progress, [(1, 4, 9), (2, 4, 18), (3, 4, 27)], "denoising 2/4 parts, 18"),
    ],
    ids=["rows", "parts"],
)
def test_a_line_is_printed_every_half_minute(show, moves, said, monkeypatch, capsys):
    now_s = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    with show("denoising") as tell:
        for seconds, move in zip((20.0, 31.0, 50.0), moves, strict=True):
            now_s[0] = seconds
            tell(*move)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(said)
