"""The orientation in which an image is shown, as its Exif data give it.

Shapes: values_HWC is (H, W, C).
"""

from __future__ import annotations

import numpy as np

from isthmus.data.rows import FloatArray

UPRIGHT = 1
"""The orientation of pixels that are shown as they are."""
ENDINGS_WITH_EXIF = (".jpg", ".jpeg", ".png", ".webp")
"""The endings of images that are written with Exif."""


def turned(values_HWC: FloatArray, orientation: int) -> FloatArray:
    """Returns pixels as they are shown.

    Args:
        values_HWC: The pixels as they are stored.
        orientation: From 1 to 8, as Exif says.

    Source: Exif 2.32 (CIPA DC-008), section 4.6.4, Orientation.
    """
    if orientation >= 5:
        values_HWC = values_HWC.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values_HWC = values_HWC[::-1]
    if orientation in (2, 3, 6, 7):
        values_HWC = values_HWC[:, ::-1]
    return np.ascontiguousarray(values_HWC)
