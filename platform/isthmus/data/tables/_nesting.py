"""Tells whether JSON is nested so deeply that its parser would end the process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

MOST_LEVELS = 64
"""The most lists and objects within one another that a row of JSON may have."""

_BLOCK_BYTES = 1 << 20
# pyarrow parses a block of 1 MiB at once, with one line that reaches into the next.
_MOST_BYTES_AT_ONCE = 2 << 20
_ROWS_MEET = b"}\n{"
_ROWS_MEET_SOMEHOW = re.compile(rb"\}[ \t]*[\r\n][ \t\r\n]*(?=\{)")
# A text has no line break in it, so that one without an end hides nothing of the next line.
_TOKEN = re.compile(rb'"[^"\\\r\n]*(?:\\[^\r\n][^"\\\r\n]*)*"|[\[{]|[\]}]')


def is_nested_deeply(stream: IO[bytes]) -> bool:
    """Returns whether anything in a file of JSON lines has more than `MOST_LEVELS` levels.

    A parser takes a list that is spread over many lines as it takes one on a line, so lines alone
    are no bound. But where one line ends in `}` and the next begins with `{`, no list is open.
    """
    return any(_has_deep_row(piece) for piece in _pieces(stream))


def levels_of(text: bytes) -> int:
    """Returns how many lists and objects are within one another, at most one above the bound."""
    level = deepest = 0
    for token in _TOKEN.finditer(text):
        sign = text[token.start()]
        if sign in b"[{":
            level += 1
            deepest = max(deepest, level)
            if deepest > MOST_LEVELS:
                break
        elif sign in b"]}":
            level = max(0, level - 1)
    return deepest


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """Cuts a file between rows, as far as rows are told from one another."""
    rest = b""
    while block := stream.read(_BLOCK_BYTES):
        text = rest + block
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        end = text.rfind(_ROWS_MEET) + 1
        if not end:
            end = max((found.start() + 1 for found in _ROWS_MEET_SOMEHOW.finditer(text)), default=0)
        if not end and len(text) > _MOST_BYTES_AT_ONCE:
            end = len(text)
        yield text[:end]
        rest = text[end:].lstrip()
    yield rest


def _has_deep_row(text: bytes) -> bool:
    if _beginnings(text) - text.count(_ROWS_MEET) <= MOST_LEVELS:
        return False  # as in a table without lists and objects, where each row is one object
    return any(
        _beginnings(row) >= MOST_LEVELS and levels_of(b"{" + row) > MOST_LEVELS
        for row in text.removeprefix(b"{").split(_ROWS_MEET)
    )


def _beginnings(text: bytes) -> int:
    return text.count(b"{") + text.count(b"[")
