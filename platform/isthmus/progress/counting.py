"""Numbers of things in words, for messages."""

from __future__ import annotations


def counted(count: float, things: str) -> str:
    """Returns a number of things: `1 epoch`, `1,200 epochs`.

    Args:
        count: The number, which is whole.
        things: The name of several of them, which is that of one and an "s".
    """
    return f"{count:,.0f} {things.removesuffix('s') if count == 1 else things}"
