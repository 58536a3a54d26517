"""Audio: waveforms from files, and their log-mel spectra and cepstral coefficients."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from scipy.fft import dct
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skmm._checks import check_above_zero, check_positive
from skmm._documentation import Documented
from skmm._fitting import all_or_nothing
from skmm._missing import is_missing
from skmm._optional import import_optional
from skmm.blocks._blocks import RaggedArray
from skmm.preprocessing._files import FileLoader, LazyFiles, Source, as_column, describe
from skmm.preprocessing._sounds import as_float, open_sound
from skmm.preprocessing._truncated import check_whole

MARGIN = 0.1  # seconds read past the end that is kept: more than the resampling filter sees
# values of a waveform that are kept: half a GiB of float32, 2.3 hours of 16000 samples per second
MAX_SAMPLES = 2**27
# values decoded at most for each that may be kept: channels are averaged, and rates are lowered
_DECODED = 8
BLOCK = 2**18  # values decoded at a time
_STRETCH = 100  # a rate this much lower is no sound's, but could turn a small file into one that fills the memory
_FRAMES = 4096  # frames transformed at a time, so that an hour of sound needs no more memory than a minute


class AudioLoader(FileLoader):
    """Read waveforms from files, at one sample rate.

    Reads what libsndfile reads (WAV, FLAC, Ogg, MP3, ...; the content decides, not the extension). Samples of
    integers are scaled to [-1, 1], samples of floats stay as they are, and another sample rate is converted by
    soxr.

    Parameters
    ----------
    sample_rate : float, default=16000
        Samples per second of the output.
    duration : float, default=None
        Seconds to which every waveform is cut, or filled up with zeros at its end. None keeps each one's length.
    mono : bool, default=True
        Whether to average the channels. Otherwise all are kept, and all files must have the same number.
    max_samples : int, default=134217728
        Files whose waveform would have more values (samples times channels, at ``sample_rate``) are an error, as a
        small file may hold silence that exhausts the memory; so are those of which more than eight times as many
        would have to be decoded. The default is 2.3 hours in mono at 16000 per second, half a GiB. With a
        ``duration``, which bounds the waveform itself, only the latter holds.
    base_dir : str or path, default=None
        Folder that relative paths start from; None is the working directory.
    within : str or path, default=None
        Folder that all files must lie in, symbolic links followed: a path that leads elsewhere cannot be read.
        None reads any path.
    errors : {"raise", "missing"}, default="raise"
        Whether a file that cannot be read (absent, broken, truncated, no audio, without samples, with NaN, too
        long) is an error or a missing row; the latter are warned of once, with their number.
    lazy : bool, default=False
        Return an object that reads the rows it is indexed by, which :class:`skmm.Blocks` keep as it is, so that
        only a batch stands in memory. Needs a ``duration`` and ``mono``.
    n_jobs : int, default=None
        Files read at the same time, in threads.
    verbose : bool, default=False
        Show a progress bar.

    Raises
    ------
    ValueError
        If a parameter is wrong, if a row is neither path, bytes, array nor pair of array and sample rate, or if it
        cannot be read; names the row, the file and the reason.
    ImportError
        If soundfile is not installed, or soxr where a sample rate is converted.

    Notes
    -----
    A row may also be an array of shape (n_samples,) or (n_samples, n_channels), of floats, int16 or int32, whose
    sample rate is ``sample_rate``; or a pair of such an array and its own sample rate.

    Shape: with a ``duration``, ``transform`` gives float32 of (n_samples, duration * sample_rate, 1), missing rows
    masked in a MaskedArray: the last axis makes it a sequence of one channel, where :class:`skmm.Blocks` would take
    a 2-D array for vectors. Else it gives a list of arrays (length,), or (length, n_channels) without ``mono``, and
    None where missing; if all are missing, (n_samples, 1, 1), wholly masked, which is a sequence still. Nothing is
    learned, and ``transform`` works without ``fit``.

    A truncated file is known by the length that it announces. Not all do: of an MP3 file without the frame that
    encoders put first for this (libsndfile guesses its length), of an Ogg file cut between two of its pages, and of
    a WAV file that was written without knowing its length (to a pipe), what is left is read. With a ``duration``,
    an MP3 or FLAC file that is cut behind it is read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import soundfile
    >>> from skmm.preprocessing import AudioLoader
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = [Path(folder) / "a.wav", Path(folder) / "b.flac"]
    ...     soundfile.write(files[0], np.zeros(4000), 8000)
    ...     soundfile.write(files[1], np.zeros((44100, 2)), 44100)
    ...     waveforms = AudioLoader(8000).fit_transform(files)
    ...     fixed = AudioLoader(8000, duration=0.75).fit_transform(files)
    >>> [w.shape for w in waveforms], fixed.shape
    ([(4000,), (8000,)], (2, 6000, 1))
    """

    _accepts = "a path, bytes, an array (n_samples,) or (n_samples, n_channels), or a pair of array and sample rate"

    def __init__(
        self,
        sample_rate: float = 16000,
        *,
        duration: float | None = None,
        mono: bool = True,
        max_samples: int = MAX_SAMPLES,
        base_dir: str | os.PathLike[str] | None = None,
        within: str | os.PathLike[str] | None = None,
        errors: str = "raise",
        lazy: bool = False,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.sample_rate = sample_rate
        self.duration = duration
        self.mono = mono
        self.max_samples = max_samples
        self.base_dir = base_dir
        self.within = within
        self.errors = errors
        self.lazy = lazy
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _check_params(self) -> None:
        super()._check_params()
        check_above_zero("sample_rate", self.sample_rate)
        check_positive("max_samples", self.max_samples)
        if self.duration is not None:
            check_above_zero("duration", self.duration)
            if not self._length():
                raise ValueError(
                    f"duration={self.duration!r} is less than a sample at {self.sample_rate} per second."
                )

    def _length(self) -> int | None:
        return None if self.duration is None else round(self.duration * self.sample_rate)

    def _sample_shape(self) -> tuple[int, ...] | None:
        length = self._length()
        return (length, 1) if length is not None and self.mono else None

    def _shape_of_none(self) -> tuple[int, ...] | None:
        return (1, 1) if self.mono else None  # how many channels there would be is unknown

    def _decode(self, source: Source) -> np.ndarray:
        with open_sound(source) as file:
            return self._finish(self._bounded(self._blocks(file, source)), file.samplerate, self.max_samples)

    def _wanted(self, rate: float) -> float:
        """Samples of a file that are read: of a long one, no more than is kept."""
        return math.inf if self.duration is None else math.ceil((self.duration + MARGIN) * rate)

    def _blocks(self, file: Any, source: Source) -> Iterator[np.ndarray]:
        """The samples of a file, as many as there are, whatever it announces."""
        n_wanted = int(min(self._wanted(file.samplerate), file.frames))
        size = max(1, BLOCK // file.channels)
        n_read = 0
        while n_read < n_wanted:
            block = file.read(min(size, n_wanted - n_read), dtype="float32", always_2d=True)
            if not len(block):
                break
            n_read += len(block)
            yield block
        check_whole(file, source, n_wanted, n_read)

    def _bounded(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same blocks, until they are too many."""
        limit = _DECODED * max(self.max_samples, self._length() or 0)
        n_values = 0
        for block in blocks:
            n_values += block.size
            if n_values > limit:
                raise ValueError(
                    f"it has more than {limit} values (samples times channels), {_DECODED} times as many as "
                    f"max_samples={self.max_samples}; raise max_samples where such a file is meant to be read"
                )
            yield block

    def _convert(self, item: Any) -> np.ndarray | None:
        waveform, rate = item if isinstance(item, tuple) and len(item) == 2 else (item, self.sample_rate)
        if not isinstance(waveform, np.ndarray):
            return None
        check_above_zero("its sample rate", rate)
        if waveform.ndim == 2 and waveform.shape[1] > len(waveform):
            raise ValueError(
                f"of shape {waveform.shape} it has more channels than samples; expected (n_samples, n_channels)"
            )
        return self._finish([waveform], rate)

    def _finish(self, blocks: Iterable[np.ndarray], rate: float, max_samples: float = math.inf) -> np.ndarray:
        """Samples (n,) or (n, channels) of any rate, block by block, to what ``transform`` gives."""
        length = self._length()
        too_low = rate * _STRETCH < self.sample_rate
        n_read = 0

        def floats() -> Iterator[np.ndarray]:
            nonlocal n_read
            for block in blocks:
                samples = as_float(block, n_read).reshape(len(block), -1)
                n_read += len(samples)
                if not too_low:
                    yield samples.mean(axis=1, keepdims=True) if self.mono else samples

        parts: list[np.ndarray] = []
        n_kept = 0
        for part in floats() if rate == self.sample_rate else self._resampled(floats(), rate):
            parts.append(part)
            n_kept += part.size
            if n_kept > max_samples and length is None:
                n_channels = part.shape[1]
                raise ValueError(
                    f"its waveform has more than max_samples={max_samples} values, "
                    f"{max_samples / n_channels / self.sample_rate:.6g} s of {n_channels} channels at "
                    f"{self.sample_rate:g} per second; give a duration, or raise max_samples"
                )
        if not n_read:
            raise ValueError("it holds no samples (length 0)")
        if too_low:
            n = round(n_read * self.sample_rate / rate)
            raise ValueError(
                f"its {n_read} samples of {rate:g} per second would become {n} of {self.sample_rate:g}, "
                f"more than {_STRETCH} times as many"
            )
        waveform = np.concatenate(parts)
        if not len(waveform):
            raise ValueError(f"it is too short for {self.sample_rate} samples per second")
        if length is None:
            return waveform[:, 0] if self.mono else waveform
        return np.pad(waveform[:length], ((0, max(0, length - len(waveform))), (0, 0)))

    def _resampled(self, blocks: Iterable[np.ndarray], rate: float) -> Iterator[np.ndarray]:
        """Blocks of samples (n, channels) at ``sample_rate``."""
        soxr = import_optional("soxr", extra="audio")
        resampler = None
        for block in blocks:
            if resampler is None:
                resampler = soxr.ResampleStream(rate, self.sample_rate, block.shape[1], dtype="float32")
            yield resampler.resample_chunk(block)
        if resampler is not None:
            yield resampler.resample_chunk(block[:0], last=True)


def _mel(hertz: Any) -> np.ndarray:
    """Hertz on the mel scale of Slaney's Auditory Toolbox (1998): linear to 1000 Hz, then logarithmic."""
    hertz = np.asarray(hertz, dtype=np.float64)
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / math.log(6.4))


def _hertz(mel: np.ndarray) -> np.ndarray:
    """Inverse of :func:`_mel`."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * math.log(6.4) / 27))


def _mel_filters(sample_rate: float, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """Triangles of equal area, evenly spaced on the mel scale, shape (n_fft // 2 + 1, n_mels)."""
    bins = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)[:, None]
    edges = _hertz(np.linspace(_mel(fmin), _mel(fmax), n_mels + 2))
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    return np.maximum(0, triangles) * 2 / (right - left)


class LogMel(TransformerMixin, Documented, BaseEstimator):
    """Turn waveforms into frames of log-mel energies.

    The power spectrum of frames under a Hann window, summed in triangular bands that are evenly spaced on Slaney's
    mel scale, and its natural logarithm. The values are those of librosa (``melspectrogram`` with zero padding at
    both ends, then a logarithm); librosa itself is not needed.

    Parameters
    ----------
    sample_rate : float, default=16000
        Samples per second of the waveforms, as in the :class:`AudioLoader` that reads them.
    n_mels : int, default=40
        Number of bands.
    window : float, default=0.025
        Seconds that a frame looks at.
    hop : float, default=0.01
        Seconds from one frame to the next.
    fmin, fmax : float, default=0.0 and None
        Lower end of the lowest and upper end of the highest band in hertz. None is half the sample rate.
    log_offset : float, default=1e-6
        Added to the energies before the logarithm, so that silence has one.

    Attributes
    ----------
    filters_ : ndarray of shape (n_fft // 2 + 1, n_mels)
        Weights of the frequencies in each band; ``n_fft`` is the power of two that holds the window.

    Raises
    ------
    ValueError
        If a parameter is wrong, if a band is so narrow that no frequency of the transform lies in it, or if a row
        is no waveform of one channel, is empty, or holds NaN or infinity; names the row.

    Notes
    -----
    Shape: waveforms of one length, (n_samples, length) or (n_samples, length, 1), give float32 of (n_samples,
    n_frames, n_mels), masked where they are masked; a list of waveforms of any length, (length,) or (length, 1),
    gives a list of (n_frames, n_mels), None where missing; if all are missing, (n_samples, 1, n_mels), wholly
    masked. What an ``AudioLoader(lazy=True)`` gives stays lazy. ``n_frames`` is ``1 + length // hop``, the hop in
    samples, and frame ``i`` is centred at ``i * hop``. Waveforms of int16 and int32 are scaled to [-1, 1].

    References
    ----------
    S. B. Davis and P. Mermelstein (1980), "Comparison of parametric representations for monosyllabic word
    recognition in continuously spoken sentences"; the mel scale of M. Slaney (1998), "Auditory Toolbox", version 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm.preprocessing import LogMel
    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    >>> frames = LogMel(8000, n_mels=20).fit_transform([tone, tone[:2000]])
    >>> [f.shape for f in frames]
    [(101, 20), (26, 20)]
    >>> int(frames[0].mean(axis=0).argmax())  # the band around 1000 Hz
    8
    """

    def __init__(
        self,
        sample_rate: float = 16000,
        *,
        n_mels: int = 40,
        window: float = 0.025,
        hop: float = 0.01,
        fmin: float = 0.0,
        fmax: float | None = None,
        log_offset: float = 1e-6,
    ) -> None:
        self.sample_rate = sample_rate
        self.n_mels = n_mels
        self.window = window
        self.hop = hop
        self.fmin = fmin
        self.fmax = fmax
        self.log_offset = log_offset

    def fit(self, X: Any, y: Any = None) -> LogMel:
        """Check the parameters and make the filters; nothing is learned from the waveforms.

        Parameters
        ----------
        X : object
            Ignored.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : LogMel
        """
        for name in ("sample_rate", "window", "hop", "log_offset"):
            check_above_zero(name, getattr(self, name))
        check_positive("n_mels", self.n_mels)
        nyquist = self.sample_rate / 2
        fmax = nyquist if self.fmax is None else self.fmax
        if not 0 <= self.fmin < fmax <= nyquist:
            raise ValueError(
                f"the bands must lie between 0 and half the sample rate, {nyquist:g} Hz; got fmin={self.fmin!r} "
                f"and fmax={self.fmax!r}."
            )
        width, step = round(self.window * self.sample_rate), round(self.hop * self.sample_rate)
        # librosa and others count in samples: nobody looks at more than a second at once
        if width < 2 or step < 1 or max(self.window, self.hop) > 1:
            raise ValueError(
                f"window={self.window!r} and hop={self.hop!r} are seconds, at most 1; at {self.sample_rate:g} "
                f"samples per second they are {width} and {step} samples, where at least 2 and 1 are needed."
            )
        n_fft = 1 << (width - 1).bit_length()
        filters = _mel_filters(self.sample_rate, n_fft, self.n_mels, self.fmin, fmax)
        empty = np.flatnonzero(~filters.any(axis=0))
        if len(empty):
            raise ValueError(
                f"n_mels={self.n_mels}: band {empty[0]} is narrower than the {self.sample_rate / n_fft:g} Hz "
                f"between two frequencies of a window of {self.window!r} s. Ask for fewer bands or a longer window."
            )
        taper = np.zeros(n_fft, dtype=np.float32)  # the window, in the middle of the transform's length
        start = (n_fft - width) // 2
        taper[start : start + width] = np.hanning(width + 1)[:-1]  # periodic
        self.filters_, self._taper, self._step = filters.astype(np.float32), taper, step
        return self

    def transform(self, X: Any) -> Any:
        """Compute the frames.

        Parameters
        ----------
        X : ndarray of shape (n_samples, length) or (n_samples, length, 1), list or RaggedArray of waveforms, or \
LazyFiles
            Waveforms, such as those of :class:`AudioLoader`.

        Returns
        -------
        ndarray of float32, shape (n_samples, n_frames, n_features), MaskedArray, list of (n_frames, n_features), \
or LazyFrames
            Lazily read waveforms give lazily computed frames.
        """
        check_is_fitted(self)
        if isinstance(X, LazyFiles):
            return LazyFrames(self, X)
        waveforms, length = _rows(X)
        frames = [None if w is None else self._features(w) for w in waveforms]
        if length is None and any(f is not None for f in frames):
            return frames
        length = length or 0  # of a list without any waveform
        missing = np.array([f is None for f in frames])
        out = np.zeros((len(frames), 1 + length // self._step, self._width()), dtype=np.float32)
        out[~missing] = [f for f in frames if f is not None] or 0
        if not missing.any():
            return out
        return np.ma.MaskedArray(out, mask=np.broadcast_to(missing[:, None, None], out.shape).copy())

    def _width(self) -> int:
        return self.n_mels

    def _features(self, waveform: np.ndarray) -> np.ndarray:
        """Samples (length,) to frames (n_frames, n_mels)."""
        n_fft = len(self._taper)
        padded = np.pad(waveform, n_fft // 2)
        framed = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[:: self._step]
        parts = []
        for start in range(0, len(framed), _FRAMES):
            spectrum = np.fft.rfft(framed[start : start + _FRAMES] * self._taper)
            power = spectrum.real**2 + spectrum.imag**2
            parts.append(np.log(power @ self.filters_ + np.float32(self.log_offset)))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class MFCC(LogMel):
    """Turn waveforms into frames of mel-frequency cepstral coefficients.

    The discrete cosine transform (type II, orthonormal) of the log-mel energies of :class:`LogMel`, of which the
    first coefficients are kept: the shape of the spectrum without its details.

    Parameters
    ----------
    sample_rate : float, default=16000
        Samples per second of the waveforms.
    n_mfcc : int, default=13
        Coefficients kept, at most ``n_mels``.
    n_mels : int, default=40
        Number of mel bands.
    window : float, default=0.025
        Seconds that a frame looks at.
    hop : float, default=0.01
        Seconds from one frame to the next.
    fmin, fmax : float, default=0.0 and None
        Lower end of the lowest and upper end of the highest band in hertz. None is half the sample rate.
    log_offset : float, default=1e-6
        Added to the energies before the logarithm.

    Attributes
    ----------
    filters_ : ndarray of shape (n_fft // 2 + 1, n_mels)
        Weights of the frequencies in each band.

    Raises
    ------
    ValueError
        As LogMel, and if ``n_mfcc`` is larger than ``n_mels``.

    Notes
    -----
    Shapes are LogMel's, with ``n_mfcc`` in place of ``n_mels``. The logarithm is natural and not limited below; in
    decibels, as librosa has it, each coefficient is 10 / ln 10 times as large.

    References
    ----------
    S. B. Davis and P. Mermelstein (1980), "Comparison of parametric representations for monosyllabic word
    recognition in continuously spoken sentences".

    Examples
    --------
    >>> import numpy as np
    >>> from skmm.preprocessing import MFCC
    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    >>> MFCC(8000).fit_transform([tone, tone[:2000]])[1].shape
    (26, 13)
    """

    def __init__(
        self,
        sample_rate: float = 16000,
        *,
        n_mfcc: int = 13,
        n_mels: int = 40,
        window: float = 0.025,
        hop: float = 0.01,
        fmin: float = 0.0,
        fmax: float | None = None,
        log_offset: float = 1e-6,
    ) -> None:
        super().__init__(
            sample_rate, n_mels=n_mels, window=window, hop=hop, fmin=fmin, fmax=fmax, log_offset=log_offset
        )
        self.n_mfcc = n_mfcc

    def fit(self, X: Any, y: Any = None) -> MFCC:
        """Check the parameters and make the filters; nothing is learned from the waveforms.

        Parameters
        ----------
        X : object
            Ignored.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : MFCC
        """
        with all_or_nothing(self):
            super().fit(X)
            check_positive("n_mfcc", self.n_mfcc)
            if self.n_mfcc > self.n_mels:
                raise ValueError(
                    f"n_mfcc={self.n_mfcc} coefficients of n_mels={self.n_mels} bands: at most as many."
                )
        return self

    def _width(self) -> int:
        return self.n_mfcc

    def _features(self, waveform: np.ndarray) -> np.ndarray:
        return dct(super()._features(waveform), type=2, norm="ortho", axis=1)[:, : self.n_mfcc]


class LazyFrames:
    """Frames that are computed when their rows are indexed, as :class:`LazyFiles` are read.

    Parameters
    ----------
    transformer : LogMel
        Computes the frames.
    waveforms : LazyFiles
        Its input.

    Attributes
    ----------
    shape : tuple of int
        ``(n_samples, n_frames, n_features)``.
    dtype : dtype
    n_jobs : int or None
        Of the loader: processes that read ahead of the training batches.
    """

    def __init__(self, transformer: LogMel, waveforms: LazyFiles) -> None:
        self.transformer, self.waveforms = transformer, waveforms
        n, length, *_ = waveforms.shape
        self.shape = (n, 1 + length // transformer._step, transformer._width())
        self.dtype = np.dtype(np.float32)
        self.n_jobs, self.note = waveforms.n_jobs, waveforms.note

    def __len__(self) -> int:
        return len(self.waveforms)

    def __getitem__(self, rows: Any) -> np.ndarray:
        places = np.arange(len(self))[rows]
        frames = self.transformer.transform(self.waveforms[np.atleast_1d(places)])
        return frames if np.ndim(places) else frames[0]


def _rows(X: Any) -> tuple[list[np.ndarray | None], int | None]:
    """The waveforms (length,) of one channel, None where missing, and their length where X gives them but one."""
    length = None
    if isinstance(X, np.ndarray) and X.ndim in (2, 3) and X.dtype.kind != "O":
        length = X.shape[1]
        missing = np.all(np.ma.getmaskarray(X).reshape(len(X), -1), axis=1)
        rows: list[Any] = [None if missing[i] else row for i, row in enumerate(np.ma.getdata(X))]
    else:
        rows = list(X) if isinstance(X, RaggedArray) else as_column(X)
    return [None if is_missing(row) else _one_channel(row, i) for i, row in enumerate(rows)], length


def _one_channel(row: Any, number: int) -> np.ndarray:
    try:
        if not isinstance(row, np.ndarray):
            raise ValueError(f"expected a waveform, an array of shape (length,), got {describe(row)}")
        waveform = as_float(row)
        if waveform.ndim == 2 and waveform.shape[1] != 1:
            raise ValueError(
                f"there are {waveform.shape[1]} channels, expected one; AudioLoader(mono=True) makes one"
            )
    except ValueError as error:
        raise ValueError(f"row {number}: {error}.") from None
    return waveform.reshape(-1)
