"""The pixels of one image file: decoded to channels of numbers, and encoded back as they were.

Shapes: pixels_CHW is (C, H, W), pixels_HWC is (H, W, C); files of 8 bits hold 0 to 255, files of
16 bits 0 to 65535.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin

from isthmus.data.media.bounds import open_quietly, refuse_short_png, refuse_too_many, too_many
from isthmus.data.media.orientation import ENDINGS_WITH_EXIF, UPRIGHT, turned
from isthmus.data.media.png_text import with_text
from isthmus.data.outputs.provenance import PROVENANCE_KEY, Provenance
from isthmus.data.rows import FloatArray
from isthmus.errors import DataError
from isthmus.extras import importing

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""The endings of image files, in lower case."""
Size = tuple[int, int]
"""Height and width."""
WHITE_8_BITS, WHITE_16_BITS = 255, 65535

# Pillow knows many more, some of which it hands to other programs.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B")
_UNBOUNDED_MODES = ("I", "F")
_JPEG_QUALITY = 95
_LOSSLESS_TIFF = ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AT_BIT_DEPTH, _AT_COLOUR_TYPE = 24, 25
_GREY_WITH_ALPHA = 4
# Everything that Pillow and imagecodecs were seen to raise at damaged files.
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, OverflowError),
    *(RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError),
)


@dataclass(frozen=True)
class ImageHeader:
    """The properties of an image file that are known before its pixels are decoded.

    Attributes:
        size: Height and width.
        mode: Pillow's mode: "L" is grey, "RGB" colour, "I;16" grey of 16 bits.
        is_deep: Whether a pixel has 16 bits a channel, of which Pillow's mode says nothing where
            there are several channels.
        pages: The number of images in the file.
        orientation: The orientation in which it is to be shown, from 1 to 8, by its Exif data.
    """

    size: Size
    mode: str
    is_deep: bool
    pages: int = 1
    orientation: int = UPRIGHT

    @property
    def is_colour(self) -> bool:
        """Whether three channels are needed for it."""
        return self.mode not in _GREY_MODES

    @property
    def white(self) -> int:
        """The largest value of a pixel."""
        return WHITE_16_BITS if self.is_deep else WHITE_8_BITS

    @property
    def is_beyond_pillow(self) -> bool:
        """Whether Pillow would read 8 of its 16 bits."""
        return self.is_deep and not self.mode.startswith("I;16")


def read_header(path: Path, name: str) -> ImageHeader:
    """Reads what a file says about itself.

    Args:
        path: The file.
        name: The name for messages.

    Raises:
        DataError: If it is no image, or one whose pixels have no white point.
    """
    with _opened(path, name) as (_, header):
        return header


def decode(path: Path, name: str, size: Size, out_CHW: FloatArray) -> None:
    """Reads a file's pixels, from 0 to its white point; transparency is left out.

    Args:
        path: The file.
        name: The name for messages.
        size: The height and width to which the image is resized.
        out_CHW: Shape (1, *size) or (3, *size), which is filled; grey is repeated to fill three.

    Raises:
        DataError: If the file is damaged, or coloured where one channel is needed.
    """
    with _opened(path, name) as (image, header):
        pixels_HWC = _pixels(path, image, header)
    found, channels = pixels_HWC.shape[2], len(out_CHW)
    first_HW, *others = np.moveaxis(pixels_HWC, -1, 0)
    if found > channels and not all(np.array_equal(first_HW, other) for other in others):
        raise DataError(
            f"{name}: is a colour image, and the model takes {channels} channel(s); convert it "
            "first"
        )
    # Channel by channel: a large photo is in memory as whole numbers and as the result only.
    for channel in range(min(found, channels)):
        values = pixels_HWC[..., channel]
        out_CHW[channel] = (
            values if values.shape == size else _resized(values.astype(np.float32), size)
        )
    out_CHW[found:] = out_CHW[0]


def resize(pixels_CHW: FloatArray, size: Size) -> FloatArray:
    """Returns pixels at another height and width, bilinear, smoothed where the image shrinks."""
    if pixels_CHW.shape[1:] == size:
        return pixels_CHW
    return np.stack([_resized(np.ascontiguousarray(channel), size) for channel in pixels_CHW])


def encode(pixels_CHW: FloatArray, original: Path, output: Path, provenance: Provenance) -> None:
    """Writes pixels as a file of the mode, bit depth and size of the original.

    Transparency is taken over from the original; values are rounded and clipped.

    Raises:
        DataError: If the output's format has no room for 16 bits, or the original is damaged.
    """
    with _opened(original, str(original)) as (like, header):
        values_HWC = _whole(pixels_CHW, header)
        if not header.is_beyond_pillow:
            like.load()
            image = _in_mode(values_HWC, like, header)
            extras = _Extras.of(like)
    check_depth(header, output)
    if header.is_beyond_pillow:
        _encode_deep(values_HWC, original, header, output, provenance)
    else:
        _save(image, extras, output, provenance)


def encode_new(
    pixels_CHW: FloatArray, header: ImageHeader, output: Path, provenance: Provenance
) -> None:
    """Writes pixels as a file of a size, depth and colour, when the file they are of is not there.

    It is opaque; values are rounded and clipped. Its Exif says which way up it is, as the file
    did; where the output has none, its pixels are turned.

    Raises:
        DataError: If the output's format has no room for 16 bits.
    """
    check_depth(header, output)
    values_HWC = _whole(pixels_CHW, header)
    exif = Image.Exif()
    if header.is_beyond_pillow or output.suffix.lower() not in ENDINGS_WITH_EXIF:
        values_HWC = turned(values_HWC, header.orientation)
    elif header.orientation != UPRIGHT:
        exif[ExifTags.Base.Orientation] = header.orientation
    if header.is_beyond_pillow:
        pixels = np.broadcast_to(values_HWC, (*values_HWC.shape[:2], 3))
        content = bytes(_codecs(output).png_encode(np.ascontiguousarray(pixels)))
        output.write_bytes(with_text(content, PROVENANCE_KEY, provenance.to_json()))
        return
    like = Image.new("RGB" if header.is_colour else "L", (1, 1))
    _save(_in_mode(values_HWC, like, header), _Extras(exif, None, None), output, provenance)


def check_depth(header: ImageHeader, output: Path) -> None:
    """Refuses an output that cannot hold the 16 bits of an image.

    Raises:
        DataError: If it cannot.
    """
    fitting = (".png",) if header.is_beyond_pillow else (".png", ".tif", ".tiff")
    ending = output.suffix.lower()
    if header.is_deep and ending not in fitting:
        raise DataError(f"{output}: a 16-bit image cannot be a {ending[1:]}; name a .png")


# -- reading ------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[Image.Image, ImageHeader]]:
    """Yields the image, which is not decoded yet; what goes wrong with it is said in one line."""
    try:
        with path.open("rb") as file:
            start = file.read(_AT_COLOUR_TYPE + 1)
            file.seek(0)
            with open_quietly(file, _FORMATS) as image:
                refuse_too_many(image, name)
                if start.startswith(_PNG_SIGNATURE):
                    refuse_short_png(start, path.stat().st_size, image, name)
                yield image, _header(image, start, name)
    except Image.DecompressionBombError:
        raise too_many(name, "far too many") from None
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise _unreadable(name, error) from error
        raise DataError(f"{name}: is damaged or no image; replace or remove it") from error


def _unreadable(name: str, error: OSError) -> DataError:
    if isinstance(error, PermissionError):
        return DataError(f"{name}: may not be read by this user; allow it with chmod")
    return DataError(f"{name}: cannot be read: {error.strerror}")


def _header(image: Image.Image, start: bytes, name: str) -> ImageHeader:
    if image.mode in _UNBOUNDED_MODES:
        raise DataError(
            f"{name}: has pixels of mode {image.mode}, which do not say what white is; convert "
            "it to 8 or 16 bits, or give the images as an array (.npz)"
        )
    mode = image.mode
    is_deep = mode.startswith("I;16")
    if start.startswith(_PNG_SIGNATURE):
        is_deep = start[_AT_BIT_DEPTH] == 16
        if is_deep and start[_AT_COLOUR_TYPE] == _GREY_WITH_ALPHA:
            mode = "LA"  # of which Pillow makes colour
    elif image.format == "TIFF" and 16 in _bits_per_sample(image):
        is_deep = True
        if image.mode not in _GREY_MODES:
            raise DataError(f"{name}: is colour of 16 bits, read from png only; convert it to png")
    # The further images of an MPO are a camera's own copies of the first.
    pages = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    return ImageHeader((image.height, image.width), mode, is_deep, pages, _orientation(image))


def _orientation(image: Image.Image) -> int:
    """Returns which way up an image is to be shown; Pillow turns a tif itself."""
    # Without Exif at its start, a png would be decoded to look for it behind the pixels.
    if image.format == "TIFF" or "exif" not in image.info:
        return UPRIGHT
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except _BROKEN:
        return UPRIGHT
    return int(found) if found in range(1, 9) else UPRIGHT


def _bits_per_sample(image: Any) -> tuple[int, ...]:
    bits = image.tag_v2.get(258, (1,))
    return bits if isinstance(bits, tuple) else (bits,)


def _pixels(path: Path, image: Image.Image, header: ImageHeader) -> NDArray[Any]:
    """Returns shape (H, W, 1) or (H, W, 3), in whole numbers."""
    if header.is_beyond_pillow:
        deep_HWC = _decode_deep(path)
        return deep_HWC[..., :3] if header.is_colour else deep_HWC[..., :1]
    if header.is_colour:
        # A palette's transparency has to be asked for, lest Pillow warn that it is lost.
        wanted = "RGBA" if "transparency" in image.info else "RGB"
        colour = image if image.mode == wanted else image.convert(wanted)
        return np.asarray(colour)[..., :3]
    grey = image if header.is_deep or image.mode == "L" else image.convert("L")
    return np.asarray(grey)[..., None]


def _codecs(path: Path) -> Any:
    with importing("image", needed_by=f"{path.name}: a png of 16 bits in colour"):
        import imagecodecs
    return imagecodecs


def _decode_deep(path: Path) -> NDArray[np.uint16]:
    pixels: NDArray[np.uint16] = _codecs(path).png_decode(path.read_bytes())
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _resized(channel_HW: FloatArray, size: Size) -> FloatArray:
    if channel_HW.shape == size:
        return channel_HW
    height, width = size
    image = Image.fromarray(channel_HW).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32)


# -- writing ------------------------------------------------------------------------------------


def _whole(pixels_CHW: FloatArray, header: ImageHeader) -> NDArray[Any]:
    """Returns pixels in the size of a file and in whole numbers of its depth, shape (H, W, C)."""
    kind = np.uint16 if header.is_deep else np.uint8
    whole_HWC = np.empty((*header.size, len(pixels_CHW)), dtype=kind)
    for channel, values in enumerate(pixels_CHW):  # one at a time: a large photo has large ones
        rounded = np.rint(_resized(np.ascontiguousarray(values), header.size))
        whole_HWC[..., channel] = np.clip(rounded, 0, header.white, out=rounded)
    return whole_HWC


def _grey(whole_HWC: NDArray[Any]) -> NDArray[Any]:
    """Returns the mean of the channels, shape (H, W)."""
    if whole_HWC.shape[2] == 1:
        return np.ascontiguousarray(whole_HWC[..., 0])
    mean_HW: NDArray[Any] = whole_HWC.mean(axis=2, dtype=np.float32).round()
    return mean_HW.astype(whole_HWC.dtype)


def _in_mode(values_HWC: NDArray[Any], like: Image.Image, header: ImageHeader) -> Image.Image:
    if header.is_deep:
        return Image.fromarray(_grey(values_HWC))
    image = Image.fromarray(_grey(values_HWC) if values_HWC.shape[2] == 1 else values_HWC)
    has_alpha = like.mode in ("LA", "RGBA")
    if has_alpha or "transparency" in like.info:
        # With a palette or one transparent colour, new colours need a channel for it.
        image = image.convert("RGB" if header.is_colour else "L")
        image.putalpha(like.getchannel("A") if has_alpha else _transparency(like))
        return image
    if like.mode == "P":
        return image.quantize()
    if like.mode == "1":
        return image.convert("1", dither=Image.Dither.NONE)
    return image.convert(like.mode)


def _transparency(like: Image.Image) -> Image.Image:
    return like.convert("RGBA").getchannel("A")


@dataclass(frozen=True)
class _Extras:
    """The metadata of an image file, which are written again with its pixels."""

    exif: Image.Exif
    icc_profile: bytes | None
    compression: str | None

    @classmethod
    def of(cls, image: Image.Image) -> _Extras:
        """Returns what a loaded image came with."""
        said = image.info.get("compression")
        return cls(
            # The way up is kept as it was: pixels are neither read nor written turned.
            exif=image.getexif(),
            icc_profile=image.info.get("icc_profile"),
            compression=said if said in _LOSSLESS_TIFF else None,
        )


def _save(image: Image.Image, extras: _Extras, output: Path, provenance: Provenance) -> None:
    kept: dict[str, Any] = {"exif": extras.exif, "icc_profile": extras.icc_profile}
    match output.suffix.lower():
        case ".jpg" | ".jpeg":
            _among(image, ("L", "RGB", "CMYK")).save(output, quality=_JPEG_QUALITY, **kept)
        case ".png":
            text = PngImagePlugin.PngInfo()
            text.add_text(PROVENANCE_KEY, provenance.to_json())
            modes = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
            _among(image, modes).save(output, pnginfo=text, **kept)
        case ".webp":
            _among(image, ("RGB", "RGBA")).save(output, lossless=True, **kept)
        case ".bmp":
            _among(image, ("1", "L", "P", "RGB", "RGBA")).save(output)
        case _:
            # Pillow turns the pixels of a tif the right way up, so its Exif does not hold for them.
            image.save(output, compression=extras.compression)


def _among(image: Image.Image, modes: tuple[str, ...]) -> Image.Image:
    """Returns an image in its mode, or in the nearest one of these."""
    if image.mode in modes:
        return image
    if image.mode in ("LA", "RGBA") and "RGBA" in modes:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in _GREY_MODES and "L" in modes else "RGB")


def _encode_deep(
    values_HWC: NDArray[Any],
    original: Path,
    header: ImageHeader,
    output: Path,
    provenance: Provenance,
) -> None:
    alpha = _decode_deep(original)[..., 3 if header.is_colour else 1 :]
    if not header.is_colour:
        values_HWC = _grey(values_HWC)[..., None]
    # The encoder knows no grey with alpha: grey is repeated, and read as grey again.
    pixels = np.broadcast_to(values_HWC, (*values_HWC.shape[:2], 3))
    content = bytes(_codecs(output).png_encode(np.ascontiguousarray(np.dstack([pixels, alpha]))))
    output.write_bytes(with_text(content, PROVENANCE_KEY, provenance.to_json()))
