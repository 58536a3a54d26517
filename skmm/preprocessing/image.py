"""Images: from files to arrays, and from files to the features of a pretrained model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skmm._checks import check_positive
from skmm._devices import find_device, seeded
from skmm._documentation import Documented
from skmm._fitting import all_or_nothing
from skmm._pretrained import VisionBackbone, load_image_processor
from skmm._progress import progress
from skmm._warnings import warn
from skmm.files._cache import VectorCache
from skmm.preprocessing._files import as_column, failure_text, file_tags, open_source
from skmm.preprocessing._pictures import (
    CHANNELS,
    MAX_PIXELS,
    PictureLoader,
    check_picture_params,
    check_size,
    converted,
    fit_picture,
    without_alpha,
)


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


class ImageEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Documented, BaseEstimator):
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
        ndarray of float32, shape (n_samples, ``n_features_out_``)
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
        with progress(type(self).__name__, len(batches), "batch", shown=bool(self.verbose)) as bar:
            for rows in batches:
                failures |= self._embed_rows(items, rows, out, cache)
                bar.advance()
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
