"""Pictures: how files, PIL images and arrays of pixels become upright pictures of 8 bits, and these arrays."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from skmm._checks import check_positive, is_whole, unknown
from skmm._optional import import_optional
from skmm.preprocessing._files import FileLoader, Source

CHANNELS = {"RGB": 3, "L": 1, "RGBA": 4}
ASPECTS = ["stretch", "crop", "pad"]
DTYPES = ["uint8", "float32"]
# Pillow's own limit: a quarter of a GiB of three channels
MAX_PIXELS = 1024**3 // 4 // 3
# Pillow's names of the formats that are read, where it has them; TGA, which nothing but its numbers tells, last.
# Not among them are those that start a program (EPS), hold another file of any format (IPTC), are handed to what
# others registered (WMF, BUFR, GRIB, HDF5), or inflate without a limit (FITS)
PICTURES = (
    *("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF", "JXL"),
    *("ICO", "CUR", "ICNS", "DDS", "PCX", "DCX", "PSD", "QOI", "SGI", "SUN", "MSP", "XBM", "XPM", "TGA"),
)
# numbers of TIFF tags
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_OF_16_BITS = ((np.arange(2**16) + 128) // 257).astype(np.uint8)


class PictureLoader(FileLoader):
    """Base of what reads pictures: files, content in bytes, PIL images and arrays of pixels."""

    _accepts = "a path, the bytes of a file, a PIL image or an array of pixels"

    background: Any
    max_pixels: int

    def _read(self, picture: Any) -> np.ndarray:
        """The array of an upright PIL image in mode L, RGB or RGBA with 8 bits per channel."""
        raise NotImplementedError

    def _check_params(self) -> None:
        super()._check_params()
        check_positive("max_pixels", self.max_pixels)
        check_colour(self.background)

    def read_rows(self, items: Sequence[Any], rows: Sequence[int]) -> tuple[Any, dict[int, str]]:
        with without_bomb_warnings(self.max_pixels):
            return super().read_rows(items, rows)

    def _decode(self, source: Source) -> np.ndarray:
        Image = import_optional("PIL.Image", extra="image")
        Image.init()  # else it knows of few formats
        formats = [name for name in PICTURES if name in Image.OPEN]
        try:
            image = Image.open(source, formats=formats)
        except Image.UnidentifiedImageError as error:
            raise ValueError(
                f"its content is no image, or of a format that is not read; these are {', '.join(formats)}"
            ) from error
        with image:
            return self._read(upright(image, self.max_pixels, own=True))

    def _convert(self, item: Any) -> np.ndarray | None:
        if isinstance(item, np.ndarray):
            item = picture_of(item)
        loaded = sys.modules.get("PIL.Image")  # a PIL image can only be met if it was imported
        if loaded is None or not isinstance(item, loaded.Image):
            return None
        return self._read(upright(item, self.max_pixels))


@contextmanager
def without_bomb_warnings(max_pixels: int) -> Iterator[None]:
    """Around all reading of pictures, not in its threads: what Pillow would warn of is refused."""
    Image = import_optional("PIL.Image", extra="image")
    with warnings.catch_warnings():
        if max_pixels <= (Image.MAX_IMAGE_PIXELS or 0):
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def upright(image: Any, max_pixels: int, own: bool = False) -> Any:
    """A PIL image in mode L, RGB or RGBA, turned as its EXIF data say, with 8 bits per channel.

    The image itself, changed, if it is our ``own``.

    Raises
    ------
    ValueError
        If it is too large, in which case it is not decoded, or has pixels of 32 bits, whose white is unknown.
    """
    Image = import_optional("PIL.Image", extra="image")
    check_pixels(image.width, image.height, max_pixels)
    levels = _levels(image)
    turn = import_optional("PIL.ImageOps", extra="image").exif_transpose
    if own:
        turn(image, in_place=True)
        check_pixels(image.width, image.height, max_pixels)  # some formats tell their size when they are decoded
    else:
        image = turn(image)
    if levels is not None:
        return Image.fromarray(levels(np.asarray(image)))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are numbers of 32 bits (mode {image.mode!r}), whose white is unknown; give uint8 arrays"
        )
    return converted(image, "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB")


def _levels(image: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """What makes levels from 0 to 255 of the grey pixels that Pillow leaves as numbers; None where it does not.

    Of TIFF files it knows neither the white of 12 bits, nor that 0 is the white of some of 16 bits, nor the black
    of signed numbers: by the standard they range from the least to the largest, as those of JPEG 2000 do.
    """
    grey_of_16 = image.mode.startswith("I;16")
    if image.format == "PPM" and image.mode == "I":  # scaled from any white to that of 16 bits
        return to_8_bit
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    bits, signed = tags.get(_BITS, (0,))[0], tags.get(_SAMPLE_FORMAT, (1,))[0] == 2
    if signed and (bits, image.mode) in [(8, "L"), (16, "I")]:
        return _signed_8_bit if bits == 8 else lambda values: to_8_bit(values + 2**15)
    if grey_of_16 and bits == 12:
        return lambda values: to_8_bit(np.minimum(values, 4095).astype(np.uint32) * 65535 // 4095)
    if grey_of_16 and tags.get(_PHOTOMETRIC) == 0:
        return lambda values: 255 - to_8_bit(values)
    return to_8_bit if grey_of_16 else None


def _signed_8_bit(values: np.ndarray) -> np.ndarray:
    return values ^ np.uint8(128)


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ValueError(f"it has {width} x {height} = {width * height} pixels, more than max_pixels={max_pixels}")


def converted(image: Any, mode: str) -> Any:
    return image if image.mode == mode else image.convert(mode)


def to_8_bit(values: np.ndarray) -> np.ndarray:
    """Levels from 0 to 65535 as 0 to 255, to the nearest."""
    return _OF_16_BITS[values]


def picture_of(pixels: np.ndarray) -> Any:
    """The PIL image of an array of pixels."""
    if pixels.dtype == np.uint16:
        pixels = to_8_bit(pixels)
    if pixels.dtype != np.uint8:
        raise ValueError(f"arrays of pixels must be of dtype uint8 or uint16, this is {pixels.dtype}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if 0 in pixels.shape or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise ValueError("arrays of pixels must have shape (height, width) or (height, width, 1, 3 or 4)")
    return import_optional("PIL.Image", extra="image").fromarray(pixels)


def without_alpha(picture: Any, background: Any) -> Any:
    """The picture in front of a colour, if it has an alpha channel."""
    if picture.mode != "RGBA":
        return picture
    canvas = import_optional("PIL.Image", extra="image").new("RGBA", picture.size, background)
    canvas.alpha_composite(picture)
    return canvas.convert("RGB")


def fit_picture(
    picture: Any, size: tuple[int, int], mode: str, aspect: str, background: Any, dtype: str
) -> np.ndarray:
    """The pixels of a picture brought to a size and mode, shape (height, width, channels)."""
    Image = import_optional("PIL.Image", extra="image")
    ImageOps = import_optional("PIL.ImageOps", extra="image")
    if mode != "RGBA":
        picture = without_alpha(picture, background)
    picture = converted(picture, mode)
    height, width = size
    method = Image.Resampling.BILINEAR
    if aspect == "crop":
        picture = ImageOps.fit(picture, (width, height), method)
    elif aspect == "pad":
        colour = import_optional("PIL.ImageColor", extra="image").getcolor(background, mode)
        picture = ImageOps.pad(picture, (width, height), method, color=colour)
    else:
        picture = picture.resize((width, height), method)
    pixels = np.asarray(picture).reshape(height, width, CHANNELS[mode])
    return pixels if dtype == "uint8" else pixels / np.float32(255)


def check_colour(colour: Any) -> None:
    getrgb = import_optional("PIL.ImageColor", extra="image").getrgb
    try:
        getrgb(colour)
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"background must be a colour by name or as '#rrggbb', such as 'white', got {colour!r}."
        ) from error


def check_size(size: Any) -> tuple[int, int]:
    """Height and width, from one number or from two."""
    pair = (size, size) if is_whole(size) else size
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise ValueError(f"size must be a positive integer or a pair (height, width), got {size!r}.")
    for side in pair:
        check_positive("size", side)
    return int(pair[0]), int(pair[1])


def check_picture_params(size: Any, mode: Any, aspect: Any, dtype: Any, background: Any, modes: Any) -> None:
    check_size(size)
    check_colour(background)
    for name, value, valid in [("mode", mode, modes), ("aspect", aspect, ASPECTS), ("dtype", dtype, DTYPES)]:
        if value not in list(valid):
            raise unknown(name, value, valid)
