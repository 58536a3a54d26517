"""Videos: their frames and their sound."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from skmm._checks import check_above_zero, check_positive
from skmm._optional import import_optional
from skmm.preprocessing._containers import MAX_FRAME_PIXELS, open_container, packets_of
from skmm.preprocessing._files import FileLoader, Source, describe
from skmm.preprocessing._pictures import (
    CHANNELS,
    check_picture_params,
    check_pixels,
    check_size,
    fit_picture,
    picture_of,
    without_bomb_warnings,
)
from skmm.preprocessing._sounds import reads
from skmm.preprocessing._truncated import check_chunks
from skmm.preprocessing.audio import BLOCK, AudioLoader
from skmm.preprocessing.image import ImageLoader

# opacity is what videos do not have
MODES = ["RGB", "L"]
_TIME = re.compile(r"(\d+):(\d+):(\d+\.?\d*)")
# seconds by which a stream may end before its header says so: some writers round
_TOLERANCE = 0.1


def _timeline(source: Source, kind: str, max_pixels: int) -> tuple[np.ndarray, float]:
    """When each packet of a stream is shown, in order, and when the last one ends, in seconds from the first.

    Raises
    ------
    ValueError
        If the stream is absent, holds nothing, or ends before the header says that it does.
    """
    with open_container(source, kind, max_pixels) as (container, stream):
        # the last packet that PyAV gives is none of the file's; AVI has empty ones where a frame stays
        packets = [
            (p.pts if p.pts is not None else p.dts, p.duration, p.size > 0 and not p.is_discard)
            for p in packets_of(container, stream)
            if p.size or p.dts is not None
        ]
        if not packets:
            raise ValueError(f"its {kind} is empty")
        clock = float(stream.time_base)
        step = float(packets[-1][1] or 0) * clock
        announced = None if stream.duration is None else stream.duration * clock
        rate = getattr(stream, "average_rate", None)
        if rate and container.format.name == "avi" and kind == "video":
            # FFmpeg takes its duration from what is there
            announced = stream.frames / float(rate)
        ending = stream.metadata.get("DURATION")  # in Matroska and WebM
    ticks = [tick for tick, _, _ in packets]
    if any(tick is None for tick in ticks):  # a format without a clock has a rate
        if not rate:
            raise ValueError(f"its {kind} says neither when its parts are shown nor how fast")
        clock = 1 / float(rate)
        ticks = list(range(len(packets)))
    first = min(ticks) * clock
    end = max(ticks) * clock - first + step
    told = _TIME.fullmatch(ending or "")
    if announced is None and told:
        announced = 3600 * float(told[1]) + 60 * float(told[2]) + float(told[3]) - first
    if announced is not None and end + 2 * step + _TOLERANCE < announced:
        raise ValueError(f"its {kind} is truncated: it ends after {end:.2f} of {announced:.2f} s")
    # what an edit list leaves out is never shown
    shown = np.sort([t for t, (_, _, kept) in zip(ticks, packets, strict=True) if kept]) * clock
    if not len(shown):
        raise ValueError(f"its {kind} is empty")
    return shown - shown[0], end - (shown[0] - first)


class VideoFrames(FileLoader):
    """Read a fixed number of frames from each video.

    Reads MP4 and MOV, Matroska and WebM, AVI, ASF (WMV), FLV, MPEG (also as transport and elementary streams), IVF,
    GIF and APNG, as FFmpeg decodes them; the content decides, not the extension. Frames are turned upright as the
    file says. The frame at a time is the one then shown: the last that starts at or before.

    Parameters
    ----------
    n_frames : int, default=8
        Frames of each video.
    fps : float, default=None
        None takes the centres of ``n_frames`` equal parts of the whole video. Otherwise frame ``k`` is the one at
        ``k / fps`` seconds, and after the end of a shorter video its last frame again.
    size, mode, dtype, aspect, background
        As in :class:`ImageLoader`; ``mode`` is "RGB" or "L".
    max_pixels : int, default=33177600
        Videos with more pixels per frame than this, by default those of 8K television, are not decoded.
    base_dir : str or path, default=None
        Folder that relative paths start from; None is the working directory.
    within : str or path, default=None
        Folder that all files must lie in, symbolic links followed: a path that leads elsewhere cannot be read.
        None reads any path.
    errors : {"raise", "missing"}, default="raise"
        Whether a file that cannot be read (absent, broken, truncated, no video) is an error or a missing row; the
        latter are warned of once, with their number.
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
        If a parameter is wrong, if a row is neither path, bytes nor frames, or if a file cannot be read; names the
        row, the file and the reason.
    ImportError
        If PyAV or Pillow is not installed.

    Notes
    -----
    A row may also be the frames themselves, which last equally long; with ``fps`` they are read as one frame per
    ``1 / fps`` seconds. They are a uint8 array (time, height, width, channels), or a list of whatever
    :class:`ImageLoader` reads, such as the paths of the frames: only those that are taken are decoded.

    Shape: ``transform`` gives (n_samples, n_frames, height, width, channels). Rows that are missing are wholly
    masked, in a MaskedArray. Nothing is learned, and ``transform`` works without ``fit``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import av
    >>> import numpy as np
    >>> from skmm.preprocessing import VideoFrames
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "fade.mp4"
    ...     with av.open(file, "w") as container:
    ...         stream = container.add_stream("mpeg4", rate=10)
    ...         stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    ...         for level in range(0, 200, 10):
    ...             frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8))
    ...             container.mux(stream.encode(frame))
    ...         container.mux(stream.encode())
    ...     frames = VideoFrames(4, size=(24, 32)).fit_transform([file])
    >>> frames.shape
    (1, 4, 24, 32, 3)
    """

    _accepts = "a path, the bytes of a file, an array (time, height, width, channels) or a list of pictures"

    def __init__(
        self,
        n_frames: int = 8,
        *,
        fps: float | None = None,
        size: int | tuple[int, int] = 32,
        mode: str = "RGB",
        dtype: str = "uint8",
        aspect: str = "stretch",
        background: str = "white",
        max_pixels: int = MAX_FRAME_PIXELS,
        base_dir: str | os.PathLike[str] | None = None,
        within: str | os.PathLike[str] | None = None,
        errors: str = "raise",
        lazy: bool = False,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_frames = n_frames
        self.fps = fps
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
        import_optional("PIL.Image", extra="video")  # else its absence would be told as that of images
        super()._check_params()
        check_positive("n_frames", self.n_frames)
        check_positive("max_pixels", self.max_pixels)
        if self.fps is not None:
            check_above_zero("fps", self.fps)
        check_picture_params(self.size, self.mode, self.aspect, self.dtype, self.background, MODES)

    def _sample_shape(self) -> tuple[int, ...]:
        return (self.n_frames, *check_size(self.size), CHANNELS[self.mode])

    def _sample_dtype(self) -> np.dtype:
        return np.dtype(self.dtype)

    def read_rows(self, items: Sequence[Any], rows: Sequence[int]) -> tuple[Any, dict[int, str]]:
        with without_bomb_warnings(self.max_pixels):
            return super().read_rows(items, rows)

    def _places(self, starts: np.ndarray, end: float) -> np.ndarray:
        """Which of the frames that start at given times are taken, shape (n_frames,), ascending."""
        k = np.arange(self.n_frames)
        wanted = (k + 0.5) * end / self.n_frames if self.fps is None else k / self.fps
        # a start may differ from the time that is meant by its rounding to the file's clock
        return np.searchsorted(starts, wanted + 1e-6, side="right") - 1

    def _decode(self, source: Source) -> np.ndarray:
        places = self._places(*_timeline(source, "video", self.max_pixels))
        pictures: dict[int, np.ndarray] = {}
        with open_container(source, "video", self.max_pixels) as (container, stream):
            width, height = stream.codec_context.width, stream.codec_context.height
            if not width * height:
                raise ValueError("its frames have no size, or too many pixels for one to be known")
            check_pixels(width, height, self.max_pixels)
            for place, frame in enumerate(container.decode(stream)):
                if place in places:
                    pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                    pictures[place] = self._fit(pixels)
                if place == places[-1]:
                    break
        if len(pictures) < len(set(places.tolist())):
            raise ValueError("not all of its frames can be decoded")
        return np.stack([pictures[place] for place in places])

    def _convert(self, item: Any) -> np.ndarray | None:
        pictures = isinstance(item, (list, tuple)) or (isinstance(item, np.ndarray) and item.dtype == object)
        if not pictures and not isinstance(item, np.ndarray):
            return None
        if not len(item) or (not pictures and item.ndim != 4):
            raise ValueError("an array of frames must have shape (time, height, width, channels)")
        starts = np.arange(len(item)) / (self.fps or 1)
        places = self._places(starts, len(item) / (self.fps or 1)).tolist()
        read = self._read_pictures(item, places) if pictures else {p: self._fit(item[p]) for p in set(places)}
        return np.stack([read[place] for place in places])

    def _read_pictures(self, frames: Any, places: Sequence[int]) -> dict[int, np.ndarray]:
        """Those of a list of pictures that are taken."""
        params = ("size", "mode", "dtype", "aspect", "background", "max_pixels", "base_dir", "within")
        loader = ImageLoader(**{name: getattr(self, name) for name in params})
        read: dict[int, np.ndarray] = {}
        for place in sorted(set(places)):
            result = loader._try(frames[place])
            if not isinstance(result, np.ndarray):
                reason = "it is missing" if result is None else result.reason
                raise ValueError(f"its frame {place}, {describe(frames[place])}: {reason}")
            read[place] = result
        return read

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        check_pixels(pixels.shape[1], pixels.shape[0], self.max_pixels)
        picture = picture_of(np.ascontiguousarray(pixels))
        return fit_picture(picture, check_size(self.size), self.mode, self.aspect, self.background, self.dtype)


class VideoAudio(AudioLoader):
    """Read the sound of videos as waveforms, at one sample rate.

    What :class:`AudioLoader` gives for audio files, and of those the very same; also from MP4 (M4A), Matroska and
    WebM, AVI, ASF (WMA), FLV, MPEG, AAC, AC-3, AMR, WavPack, TTA and Monkey's Audio, as FFmpeg decodes them.

    Parameters
    ----------
    sample_rate : float, default=16000
        Samples per second of the output.
    duration : float, default=None
        Seconds to which every waveform is cut, or filled up with zeros at its end. None keeps each one's length.
    mono : bool, default=True
        Whether to average the channels. Otherwise all are kept, and all files must have the same number.
    max_samples : int, default=134217728
        As in :class:`AudioLoader`: files whose waveform would have more values are an error.
    base_dir : str or path, default=None
        Folder that relative paths start from; None is the working directory.
    within : str or path, default=None
        Folder that all files must lie in, symbolic links followed: a path that leads elsewhere cannot be read.
        None reads any path.
    errors : {"raise", "missing"}, default="raise"
        Whether a file that cannot be read (absent, broken, truncated, without sound) is an error or a missing row;
        the latter are warned of once, with their number.
    lazy : bool, default=False
        Return an object that reads the rows it is indexed by, which :class:`skmm.Blocks` keep as it is. Needs a
        ``duration`` and ``mono``.
    n_jobs : int, default=None
        Files read at the same time, in threads.
    verbose : bool, default=False
        Show a progress bar.

    Raises
    ------
    ValueError
        If a parameter is wrong, if a row is neither path, bytes nor waveform, or if a file cannot be read; names
        the row, the file and the reason.
    ImportError
        If PyAV is not installed, or soxr where a sample rate is converted.

    Notes
    -----
    Shape: with a ``duration``, ``transform`` gives float32 of (n_samples, duration * sample_rate, 1), missing rows
    masked in a MaskedArray. Else it gives a list of arrays (length,), or (length, n_channels) without ``mono``, and
    None where missing. Nothing is learned, and ``transform`` works without ``fit``.

    AVI files do not say how long their sound is, so that of a truncated one what is left is read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import av
    >>> import numpy as np
    >>> from skmm.preprocessing import VideoAudio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "silence.mkv"
    ...     with av.open(file, "w") as container:
    ...         stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
    ...         frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), format="s16", layout="mono")
    ...         frame.sample_rate = 8000
    ...         container.mux(stream.encode(frame))
    ...         container.mux(stream.encode())
    ...     waveforms = VideoAudio(sample_rate=8000).fit_transform([file])
    >>> [w.shape for w in waveforms]
    [(4000,)]
    """

    def _decode(self, source: Source) -> np.ndarray:
        if reads(source, extra="video"):  # FFmpeg reads some of these as they are not, and of cut ones what is left
            return super()._decode(source)
        _timeline(source, "audio", MAX_FRAME_PIXELS)  # refuses what is truncated
        with open_container(source, "audio", MAX_FRAME_PIXELS) as (container, stream):
            check_chunks(source, container.format.name)
            rate = stream.codec_context.sample_rate
            return self._finish(self._bounded(self._frames(container, stream, rate)), rate, self.max_samples)

    def _frames(self, container: Any, stream: Any, rate: float) -> Iterator[np.ndarray]:
        """The decoded samples (n, channels), of a long file little more than is kept."""
        # interleaved: of sound in planes, one for each channel, PyAV looks for a ninth behind the eight that a
        # frame has room for
        to_float = import_optional("av", extra="video").AudioResampler(format="flt")
        n_read, n_wanted = 0, self._wanted(rate)
        waiting: list[np.ndarray] = []
        for frame in container.decode(stream):
            parts = to_float.resample(frame)
            waiting += [part.to_ndarray().reshape(-1, part.layout.nb_channels) for part in parts]
            n_read += frame.samples
            if n_read >= n_wanted:
                break
            if sum(block.size for block in waiting) >= BLOCK:
                yield np.concatenate(waiting)
                waiting = []
        if waiting:
            yield np.concatenate(waiting)
