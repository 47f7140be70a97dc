"""Refuses images of too many pixels, and pngs that claim more pixels than their bytes hold."""

from __future__ import annotations

import warnings
from threading import Lock
from typing import BinaryIO

from PIL import Image

from isthmus.errors import DataError

MOST_PIXELS = 2**27
"""The most pixels of an image: 134 million, more than cameras of 100 megapixels give."""

# Deflate writes at least one bit for two codes, which stand for 258 bytes at most: no png unfolds
# to more. Source: https://www.rfc-editor.org/rfc/rfc1951, 3.2.5.
_MOST_UNFOLDED = 1032
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_AT_BIT_DEPTH, _AT_COLOUR_TYPE = 24, 25
# The filters of Python's warnings are one list for all threads.
_filtering = Lock()


def open_quietly(file: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    """Opens an image without Pillow's own warning of many pixels, which has a lower bound."""
    with _filtering, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=formats)


def refuse_too_many(image: Image.Image, name: str) -> None:
    """Refuses an image of more pixels than `MOST_PIXELS`, before they are decoded.

    Raises:
        DataError: With both numbers.
    """
    if image.width * image.height > MOST_PIXELS:
        raise too_many(name, f"{image.width * image.height:,}")


def too_many(name: str, found: str) -> DataError:
    """Returns the error about an image of too many pixels."""
    return DataError(
        f"{name}: has {found} pixels, and an image may have {MOST_PIXELS:,}; make it smaller, or "
        "cut it into several"
    )


def refuse_short_png(start: bytes, size_bytes: int, image: Image.Image, name: str) -> None:
    """Refuses a png whose bytes cannot hold the pixels that it claims.

    Pillow would take the memory that they need, and fill what is missing with black.

    Args:
        start: The first bytes of the file, with its header.
        size_bytes: The size of the file.
        image: The image, which is not decoded yet.
        name: The name of the file for messages.

    Raises:
        DataError: If it is one.
    """
    bits = start[_AT_BIT_DEPTH] * _SAMPLES[start[_AT_COLOUR_TYPE]]
    claimed = image.height * (image.width * bits // 8)
    if claimed > size_bytes * _MOST_UNFOLDED:
        raise DataError(f"{name}: is damaged or no image; replace or remove it")
