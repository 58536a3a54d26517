"""Sounds: opening what libsndfile reads, and samples as floats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from skmm._optional import import_optional
from skmm.preprocessing._files import Source


def as_float(waveform: np.ndarray, start: int = 0) -> np.ndarray:
    """Samples as float32: those of 16 and 32 bits scaled to [-1, 1], floats as they are.

    ``start`` is the place of the first in a longer sound, of which messages speak.

    Raises
    ------
    ValueError
        If the array is no waveform, has no samples, or holds NaN or infinity.
    """
    if waveform.ndim not in (1, 2):
        raise ValueError(f"a waveform has the shape (n_samples,) or (n_samples, n_channels), not {waveform.shape}")
    if waveform.size == 0:
        raise ValueError("it holds no samples (length 0)")
    if waveform.dtype in (np.int16, np.int32):
        return waveform.astype(np.float32) / np.float32(-float(np.iinfo(waveform.dtype).min))
    if waveform.dtype.kind != "f":
        raise ValueError(f"samples are floats, int16 or int32, not {waveform.dtype}")
    if not np.isfinite(waveform).all():
        finite = np.isfinite(waveform).reshape(len(waveform), -1).all(axis=1)
        raise ValueError(
            f"NaN or infinity in {(~finite).sum()} of {len(finite)} samples, first in {start + finite.argmin()}"
        )
    with np.errstate(over="ignore"):
        samples = waveform.astype(np.float32, copy=False)
    finite = np.isfinite(samples)
    if not finite.all():
        raise ValueError(f"a sample of {waveform.flat[finite.argmin()]} is more than a float32 holds")
    return samples


@contextmanager
def open_sound(source: Source, extra: str = "audio") -> Iterator[Any]:
    """A file as libsndfile opens it, to be read from its start to its end.

    Raises
    ------
    ValueError
        If libsndfile does not know the format, or what is in it.
    """
    soundfile = import_optional("soundfile", extra=extra)
    # given a path, libsndfile looks for a part of the file beside it, and takes any "._name" (which macOS leaves in
    # archives) for the header of an MP3 file
    with open(source, "rb") if isinstance(source, str) else nullcontext(source) as content:
        content.seek(0)
        try:
            file = soundfile.SoundFile(content)
        except soundfile.LibsndfileError as error:
            raise ValueError(error.error_string.rstrip(". ")) from error
        with file:
            # else soundfile ends each read with a seek to where the file is already, which is slow, fails where
            # the length is unknown, and lets an MP3 decoder begin anew
            file.seekable = lambda: False
            yield file


def reads(source: Source, extra: str) -> bool:
    """Whether libsndfile reads a file, as the loader of audio does."""
    try:
        with open_sound(source, extra):
            return True
    except ValueError:
        return False
