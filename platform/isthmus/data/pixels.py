"""Pixels of image files: decoding to channels of numbers, and encoding back as they were.

Shapes: pixels_CHW is (C, H, W); 8-bit files hold 0 to 255, 16-bit files 0 to 65535.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from isthmus.data.provenance import PROVENANCE_KEY, Provenance
from isthmus.data.rows import FloatArray
from isthmus.errors import DataError

Size = tuple[int, int]
"""Height and width."""
_GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I")
_JPEG_QUALITY = 95
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about itself before it is decoded.

    Attributes:
        size: Height and width.
        mode: Pillow's mode: "L" is grey, "RGB" colour, "I;16" grey of 16 bits.
    """

    size: Size
    mode: str

    @property
    def is_colour(self) -> bool:
        """Whether three channels are needed for it."""
        return self.mode not in _GREY_MODES

    @property
    def white(self) -> int:
        """The largest value of a pixel."""
        return 65535 if self.mode.startswith("I") else 255


def read_header(path: Path, name: str) -> ImageHeader:
    """Reads a file's size and mode.

    Raises:
        DataError: If it is no image.
    """
    try:
        with Image.open(path) as image:
            return ImageHeader((image.height, image.width), image.mode)
    except PermissionError:
        raise DataError(f"{name}: may not be read by this user; allow it with chmod") from None
    except _BROKEN as error:
        raise DataError(_broken(name, error)) from error


def decode(path: Path, name: str, channels: int) -> FloatArray:
    """Reads a file's pixels; transparency is left out.

    Args:
        path: The file.
        name: What messages call it.
        channels: 1 or 3; grey is repeated to fill three.

    Returns:
        Shape (channels, H, W).

    Raises:
        DataError: If the file is damaged, or coloured where one channel is needed.
    """
    try:
        with Image.open(path) as image:
            header = ImageHeader((image.height, image.width), image.mode)
            if header.is_colour:
                pixels_HWC = np.asarray(image.convert("RGB"), dtype=np.float32)
                pixels_CHW = np.moveaxis(pixels_HWC, -1, 0)
            else:
                grey = image if header.white > 255 else image.convert("L")
                pixels_CHW = np.asarray(grey, dtype=np.float32)[None]
    except _BROKEN as error:
        raise DataError(_broken(name, error)) from error
    if len(pixels_CHW) == channels:
        return pixels_CHW
    if channels == 3:
        return np.repeat(pixels_CHW, 3, axis=0)
    if channels == 1 and (pixels_CHW == pixels_CHW[:1]).all():
        return pixels_CHW[:1]
    raise DataError(
        f"{name}: is a colour image, and the model takes {channels} channel(s); convert it first"
    )


def resize(pixels_CHW: FloatArray, size: Size) -> FloatArray:
    """Pixels at another height and width, bilinear, smoothed where it shrinks."""
    if pixels_CHW.shape[1:] == size:
        return pixels_CHW
    height, width = size
    channels = [
        Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
        for channel in np.ascontiguousarray(pixels_CHW)
    ]
    return np.stack([np.asarray(channel, dtype=np.float32) for channel in channels])


def encode(pixels_CHW: FloatArray, original: Path, output: Path, provenance: Provenance) -> None:
    """Writes pixels as a file of the mode, bit depth and size of the original.

    Transparency is taken over from the original, values are rounded and clipped.
    """
    with Image.open(original) as like:
        like.load()
        header = ImageHeader((like.height, like.width), like.mode)
        values = np.clip(np.rint(resize(pixels_CHW, header.size)), 0, header.white)
        image = _in_mode(values, like, header)
        is_jpeg = output.suffix.lower() in (".jpg", ".jpeg")
        if is_jpeg and image.mode not in ("L", "RGB", "CMYK"):
            if header.white > 255:
                raise DataError(f"{output}: a 16-bit image cannot be a jpg; name a .png")
            image = image.convert("RGB" if header.is_colour else "L")
        # The way up is kept as it was: pixels are neither read nor written turned.
        exif = like.getexif()
        if is_jpeg:
            image.save(output, quality=_JPEG_QUALITY, exif=exif)
        else:
            text = PngImagePlugin.PngInfo()
            text.add_text(PROVENANCE_KEY, provenance.to_json())
            image.save(output, pnginfo=text, exif=exif)


def _in_mode(values: FloatArray, like: Image.Image, header: ImageHeader) -> Image.Image:
    if header.white > 255:
        return Image.fromarray(values.mean(axis=0).round().astype(np.uint16))
    pixels = values.astype(np.uint8)
    if len(pixels) == 1:
        image = Image.fromarray(pixels[0])
    else:
        image = Image.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    if like.mode in ("LA", "RGBA"):
        image = image.convert(like.mode[:-1])
        image.putalpha(like.getchannel("A"))
        return image
    if like.mode == "P":
        return image.quantize()
    if like.mode == "1":
        return image.convert("1", dither=Image.Dither.NONE)
    return image.convert(like.mode)


def _broken(name: str, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"{name}: has too many pixels to be an image in good faith; make it smaller"
    return f"{name}: is damaged or no image; replace or remove it"
