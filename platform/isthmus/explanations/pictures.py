"""Small pictures as png: of images, and of contributions in colours."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.explanations.contributions import Explained
from isthmus.explanations.spectral import SpectralContributions

COLOURS = "magma"
"""matplotlib's colours of contributions, from nothing to the most."""
# A picture in which nothing is stranger than this many usual errors is not brightened to full.
LEAST_FULL = 4.0
_MOST_PIXELS_ACROSS = 512


def errors_in_usual(contributions: NDArray[Any]) -> NDArray[Any]:
    """Returns contributions as errors instead of squares: 3 is three times the usual error."""
    return np.asarray(np.sqrt(contributions))


def as_pictures(images: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Returns images (K, C, H, W) in data units as (K, H, W), or (K, H, W, 3), in [0, 1].

    Images of another number of channels are shown by their first.
    """
    scaled = (np.nan_to_num(images) - low) / max(high - low, 1e-12)
    clipped = np.clip(scaled, 0, 1).astype(np.float32)
    is_colour = images.shape[1] in (3, 4)
    return np.asarray(clipped[:, :3].transpose(0, 2, 3, 1) if is_colour else clipped[:, 0])


def image_png(picture: NDArray[np.float32]) -> bytes:
    """Returns a picture (H, W) or (H, W, 3) in [0, 1] as png."""
    return _png((picture * 255).round().astype(np.uint8))


def contribution_png(heat: NDArray[Any], full: float) -> bytes:
    """Returns contributions (H, W), as errors in usual errors, in colours.

    Args:
        heat: The errors.
        full: The error that has the brightest colour.
    """
    from matplotlib import colormaps

    coloured = colormaps[COLOURS](np.clip(heat / full, 0, 1))[..., :3]
    return image_png(coloured.astype(np.float32))


def heat_of_images(explained: Explained) -> NDArray[Any]:
    """Returns the errors of images in usual errors, averaged over channels, shape (K, H, W)."""
    return errors_in_usual(explained.contributions.mean(axis=1))


def spectrogram_png(spectral: SpectralContributions, place: int, full: float) -> bytes:
    """Returns the contributions of one window of sound, low frequencies at the bottom."""
    return contribution_png(errors_in_usual(spectral.values[place][::-1]), full)


def full_of(heat: NDArray[Any]) -> float:
    """Returns the error with the brightest colour, for pictures that are to be compared."""
    return max(LEAST_FULL, float(np.quantile(heat, 0.999)))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_MOST_PIXELS_ACROSS, _MOST_PIXELS_ACROSS))
    file = io.BytesIO()
    image.save(file, format="png", optimize=True)
    return file.getvalue()
