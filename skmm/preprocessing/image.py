"""Images: from files to arrays, and from files to the features of a pretrained model."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skmm._checks import check_positive, is_whole, unknown
from skmm._devices import find_device, seeded
from skmm._fitting import all_or_nothing
from skmm._optional import import_optional
from skmm._pretrained import VisionBackbone, load_image_processor
from skmm._warnings import warn
from skmm.files._cache import VectorCache
from skmm.preprocessing._files import FileLoader, Source, as_column, failure_text, file_tags, open_source

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


class ImageLoader(PictureLoader):
    """Read images from files into one array.

    Whatever the format (what Pillow itself decodes: PNG, JPEG, GIF, BMP, TIFF, WebP, PNM, JPEG 2000, AVIF and more,
    but none that starts a program, as EPS does; the content decides, not the extension), the pixels come upright
    (EXIF orientation applied), with 8 bits per channel and in one mode: levels of 12 and 16 bits are scaled, of
    signed ones the whole range, palettes looked up, CMYK converted, and of an animation the first frame is taken.
    Resizing filters, so that no detail aliases.

    Parameters
    ----------
    size : int or (int, int), default=32
        Height and width in pixels.
    mode : {"RGB", "L", "RGBA"}, default="RGB"
        Channels: colour, grey (ITU-R 601-2 luma), or colour and opacity.
    dtype : {"uint8", "float32"}, default="uint8"
        Levels from 0 to 255, or from 0 to 1.
    aspect : {"stretch", "crop", "pad"}, default="stretch"
        How another aspect ratio is brought to ``size``: by stretching, by cutting off what exceeds it at two
        sides equally, or by filling up two sides equally.
    background : str, default="white"
        Colour that fills up, and that stands behind transparent pixels in the modes without opacity.
    max_pixels : int, default=89478485
        Images with more pixels are not decoded: a small file may hold a picture that exhausts the memory. Above
        the default ``PIL.Image.MAX_IMAGE_PIXELS`` has to be raised as well.
    base_dir : str or path, default=None
        Folder that relative paths start from; None is the working directory.
    within : str or path, default=None
        Folder that all files must lie in, symbolic links followed: a path that leads elsewhere cannot be read.
        None reads any path.
    errors : {"raise", "missing"}, default="raise"
        Whether a file that cannot be read (absent, truncated, no image, too large) is an error or a missing row;
        the latter are warned of once, with their number.
    lazy : bool, default=False
        Return an object that decodes the rows it is indexed by, which :class:`skmm.Blocks` keep as it is, so
        that only a batch stands in memory.
    n_jobs : int, default=None
        Files read at the same time, in threads.
    verbose : bool, default=False
        Show a progress bar.

    Raises
    ------
    ValueError
        If a parameter is wrong, if a row is neither path, bytes, PIL image nor array of pixels (uint8 or uint16),
        or if a file cannot be read; names the row, the file and the reason.
    ImportError
        If Pillow is not installed.

    Notes
    -----
    Shape: ``transform`` gives (n_samples, height, width, channels), in mode ``"L"`` too, where there is one
    channel: without that axis floats would be read as sequences. Rows that are missing are wholly masked, in a
    MaskedArray. Nothing is learned, and ``transform`` works without ``fit``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skmm.preprocessing import ImageLoader
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = [Path(folder) / "red.png", Path(folder) / "blue.jpg"]
    ...     for file in files:
    ...         Image.new("RGB", (60, 40), file.stem).save(file)
    ...     images = ImageLoader(size=(16, 24)).fit_transform(files)
    >>> images.shape, images.dtype
    ((2, 16, 24, 3), dtype('uint8'))
    >>> images[0, 0, 0]
    array([255,   0,   0], dtype=uint8)
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 32,
        *,
        mode: str = "RGB",
        dtype: str = "uint8",
        aspect: str = "stretch",
        background: str = "white",
        max_pixels: int = MAX_PIXELS,
        base_dir: str | os.PathLike[str] | None = None,
        within: str | os.PathLike[str] | None = None,
        errors: str = "raise",
        lazy: bool = False,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.size = size
        self.mode = mode
        self.dtype = dtype
        self.aspect = aspect
        self.background = background
        self.max_pixels = max_pixels
        self.base_dir = base_dir
        self.within = within
        self.errors = errors
        self.lazy = lazy
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _check_params(self) -> None:
        super()._check_params()
        check_picture_params(self.size, self.mode, self.aspect, self.dtype, self.background, CHANNELS)

    def _sample_shape(self) -> tuple[int, ...]:
        return (*check_size(self.size), CHANNELS[self.mode])

    def _sample_dtype(self) -> np.dtype:
        return np.dtype(self.dtype)

    def _read(self, picture: Any) -> np.ndarray:
        return fit_picture(picture, check_size(self.size), self.mode, self.aspect, self.background, self.dtype)


class _ModelInput(PictureLoader):
    """What a model's own image processor makes of each picture."""

    def __init__(self, processor: Any, embedder: ImageEmbedder) -> None:
        self.processor = processor
        for name in ("background", "max_pixels", "base_dir", "within", "errors", "n_jobs"):
            setattr(self, name, getattr(embedder, name))
        self.verbose = False

    def _read(self, picture: Any) -> np.ndarray:
        picture = converted(without_alpha(picture, self.background), "RGB")
        return np.asarray(self.processor(images=picture, return_tensors="np")["pixel_values"][0], dtype=np.float32)


class _WholeModel(VisionBackbone):
    """A pretrained model with all that it makes of a picture, on what its own image processor made of it.

    Of a model of images and texts that is the projection into their common space, where an encoder takes the
    part that reads images alone.
    """

    what = "a vision model"
    part = None

    def __init__(self, name: str, pooling: str) -> None:
        super().__init__(name, pooling)
        self.processor = load_image_processor(name)

    def extra_repr(self) -> str:
        return self.processor.to_json_string()

    def _weights(self) -> dict[str, Any]:
        return self.model.state_dict()

    def _run(self, pictures: torch.Tensor) -> Any:
        run = getattr(self.model, "get_image_features", self.model)
        with seeded(0, pictures.device):  # some models draw masks even when they predict
            return run(pixel_values=pictures)

    def embed(self, samples: list[np.ndarray]) -> np.ndarray:
        shapes = {sample.shape for sample in samples}
        if len(shapes) > 1:
            raise ValueError(
                f"model={self.name!r}: its processor gives images of several shapes, {sorted(shapes)}."
            )
        return super().embed(samples)


def _content_hash(item: Any, base_dir: Any, within: Any) -> str | None:
    """Hash of the content of a file, or of its bytes; None for objects, and if it cannot be read."""
    try:
        source = open_source(item, base_dir, within)
        if source is None:
            return None
        content = source.getbuffer() if not isinstance(source, str) else Path(source).read_bytes()
    except (OSError, ValueError):
        return None
    return hashlib.sha256(content).hexdigest()


class ImageEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn each image into the vector that a pretrained vision model gives it.

    Each picture is brought into the form that the model was trained with by the model's own image processor (size,
    crop, mean and standard deviation), on Pillow. Needs the package transformers:
    ``pip install "skmm[image,pretrained]"``.

    Parameters
    ----------
    model : str or path
        Folder of a model saved with ``save_pretrained``, with its ``preprocessor_config.json``, or a name that
        transformers finds (a name may be downloaded; a folder never needs a network).
    pooling : {"auto", "pooler", "cls", "mean"}, default="auto"
        What becomes of the model's output: its pooler's (in models of images and texts, such as CLIP, the
        projection into their common space), the first token's, or the mean over all tokens or places. "auto" is
        "pooler", unless the model has none (then "mean") or its file lacks the pooler's weights (then "cls").
    batch_size : int, default=32
        Images that go through the model at a time.
    device : str, default="auto"
        Where the model runs; "auto" takes a GPU where there is one.
    cache : str or path, default=None
        A folder in which the vector of each file's content is kept, so that other folds, candidates and sessions
        need not compute it again. Another model, pooling or background has its own entries. They are numbers with
        a digest, which is checked; a folder that cannot be written to is a warning.
    background : str, default="white"
        Colour that stands behind transparent pixels.
    max_pixels : int, default=89478485
        Images with more pixels are not decoded.
    base_dir : str or path, default=None
        Folder that relative paths start from; None is the working directory.
    within : str or path, default=None
        Folder that all files must lie in, symbolic links followed: a path that leads elsewhere cannot be read.
        None reads any path.
    errors : {"raise", "missing"}, default="raise"
        Whether a file that cannot be read is an error or a missing row, whose vector is NaN; the latter are warned
        of once, with their number.
    n_jobs : int, default=None
        Files read at the same time, in threads.
    verbose : bool, default=False
        Show a progress bar, and what transformers reports.

    Attributes
    ----------
    n_features_out_ : int
        Size of the vectors.

    Raises
    ------
    ValueError
        If a parameter is wrong, the model cannot be loaded or lacks weights, or a file cannot be read; names the
        row, the file and the reason.
    ImportError
        If transformers or Pillow is not installed.

    Notes
    -----
    Nothing is learned. A pickle holds the model's name, not its weights: where it is read, the same model must be
    found under that name. Code that a model brings with it is never run.

    Examples
    --------
    A model with random weights, where one would name a pretrained one:

    >>> import tempfile
    >>> from PIL import Image
    >>> from transformers import ViTConfig, ViTImageProcessorPil, ViTModel
    >>> from skmm.preprocessing import ImageEmbedder
    >>> config = ViTConfig(
    ...     hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ViTModel(config).save_pretrained(folder)
    ...     _ = ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    ...     images = [Image.new("RGB", (60, 40), colour) for colour in ("red", "blue")]
    ...     vectors = ImageEmbedder(folder).fit_transform(images)
    >>> vectors.shape, vectors.dtype
    ((2, 16), dtype('float32'))
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        pooling: str = "auto",
        batch_size: int = 32,
        device: str = "auto",
        cache: str | os.PathLike[str] | None = None,
        background: str = "white",
        max_pixels: int = MAX_PIXELS,
        base_dir: str | os.PathLike[str] | None = None,
        within: str | os.PathLike[str] | None = None,
        errors: str = "raise",
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.pooling = pooling
        self.batch_size = batch_size
        self.device = device
        self.cache = cache
        self.background = background
        self.max_pixels = max_pixels
        self.base_dir = base_dir
        self.within = within
        self.errors = errors
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _load(self) -> _WholeModel:
        device = find_device(self.device)
        return _WholeModel(os.fspath(self.model), self.pooling).to(device)

    def _reader(self) -> _ModelInput:
        return _ModelInput(self._loaded.processor, self)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in super().__getstate__().items() if key != "_loaded"}

    def fit(self, X: Any, y: Any = None) -> ImageEmbedder:
        """Load the model; no image is read.

        Parameters
        ----------
        X : list, 1-D array, Series or one-column DataFrame of shape (n_samples,)
            The column.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : ImageEmbedder
        """
        check_positive("batch_size", self.batch_size)
        as_column(X)
        with all_or_nothing(self):
            self._loaded = self._load()
            reader = self._reader()
            reader._check_params()
            white = np.full((1, 64, 64, 3), 255, dtype=np.uint8)
            self.n_features_out_ = self._n_features_out = self._loaded.embed(reader.transform(white)).shape[1]
            self._fingerprint = self._loaded.fingerprint()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed the images.

        Parameters
        ----------
        X : list, 1-D array, Series or one-column DataFrame of shape (n_samples,)
            Paths, contents of files in bytes, PIL images or arrays of pixels.

        Returns
        -------
        ndarray of float32, shape (n_samples, n_features_out_)
            NaN where a row is missing.
        """
        check_is_fitted(self)
        items = as_column(X)
        if not hasattr(self, "_loaded"):  # after unpickling
            loaded = self._load()
            if loaded.fingerprint() != self._fingerprint:
                raise ValueError(f"model={os.fspath(self.model)!r} is not the one that this was fitted with.")
            self._loaded = loaded
        cache = None
        if self.cache is not None:  # what stands behind transparent pixels is seen in the vector
            key = f"ImageEmbedder {self._fingerprint} {self.background}"
            cache = VectorCache(self.cache, key, self.n_features_out_)
        out = np.full((len(items), self.n_features_out_), np.nan, dtype=np.float32)
        failures: dict[int, str] = {}
        batches: Any = [
            range(start, min(start + self.batch_size, len(items)))
            for start in range(0, len(items), self.batch_size)
        ]
        if self.verbose:
            from tqdm import tqdm

            batches = tqdm(batches, desc=type(self).__name__)
        for rows in batches:
            failures |= self._embed_rows(items, rows, out, cache)
        if failures:
            warn(failure_text(failures, items, len(items)))
        return out

    def _embed_rows(
        self, items: list[Any], rows: Sequence[int], out: np.ndarray, cache: VectorCache | None
    ) -> dict[int, str]:
        """Write the vectors of some rows; returns which could not be read."""
        keys = {row: _content_hash(items[row], self.base_dir, self.within) for row in rows} if cache else {}
        known = {row: cache.read(key) for row, key in keys.items() if cache and key is not None}
        for row in rows:
            if known.get(row) is not None:
                out[row] = known[row]
        rest = [row for row in rows if known.get(row) is None]
        pixels, failures = self._reader().read_rows(items, rest)
        read = {row: p for row, p in zip(rest, pixels, strict=True) if p is not None}
        if read:
            out[list(read)] = self._loaded.embed(list(read.values()))
        for row in read:
            key = keys.get(row)
            if cache and key is not None:
                cache.write(key, out[row])
        return failures

    def __sklearn_tags__(self) -> Any:
        return file_tags(super().__sklearn_tags__())
