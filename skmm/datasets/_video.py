"""Short clips of a moving shape and a tone, as mp4 files."""

from __future__ import annotations

import os
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from skmm._checks import check_below
from skmm._optional import import_optional

SIZE = 64  # pixels, in height and width
FPS = 8
N_FRAMES = 16
SAMPLE_RATE = 16000
SHAPES = ("disc", "bar")
TONES = ("low", "high")
_HERTZ = {"low": (300.0, 420.0), "high": (600.0, 840.0)}


def make_video_events(
    folder: str | os.PathLike[str],
    n_samples: int = 200,
    *,
    difficulty: float = 0.3,
    missing_rate: float = 0.0,
    random_state: Any = None,
    return_truth: bool = False,
) -> tuple[Any, ...]:
    """Write video clips whose class is told by picture and sound together.

    In a part of each clip a disc or an upright bar moves across the picture, and in another part of it, drawn
    independently, a low or a high tone sounds. The class is the pair: ``"disc low"``, ``"disc high"``, ``"bar
    low"`` or ``"bar high"``. With pictures or sound alone one can be right in half of the clips and no more.

    Nothing was filmed: shapes are flat and of one colour, tones are sines, and the noise is white. Good for
    examples and tests of everything from the file on; it says nothing on how well a method understands real videos.

    Parameters
    ----------
    folder : str or path
        Where the files go, ``0000.mp4`` and so on; made if there is none. Files of that name are replaced.
    n_samples : int, default=200
        Number of clips, each of 2 seconds: 16 frames of 64 x 64 pixels (H.264), and 16000 samples of sound per
        second (AAC).
    difficulty : float, default=0.3
        0 to 1: how strong the noise is (none at 0; at 1 a deviation of 50 grey levels, and as loud as the tone),
        how faint the shape (at 1 a third of its contrast at 0), and how short shape and tone are (three quarters of
        the clip at 0, a quarter at 1).
    missing_rate : float, default=0.0
        Probability, below 1, that a file has no pictures, and that it has no sound. One that would have neither
        keeps one of them.
    random_state : int, RandomState instance or None, default=None
        Seed. Data that differ in ``missing_rate`` alone differ in what is missing alone.
    return_truth : bool, default=False
        Whether to return ``truth`` as well.

    Returns
    -------
    X : DataFrame of n_samples rows
        ``frames`` and ``sound``, both the path of the file, for :class:`skmm.preprocessing.VideoFrames` and
        :class:`skmm.preprocessing.VideoAudio`; None where the file has no such stream.
    y : ndarray of str, shape (n_samples,)
        Classes, as many of each as can be, in random order.
    truth : Bunch
        With ``return_truth=True``:

        shape, tone : ndarray of str, shape (n_samples,)
            The two parts of the class.
        shown : ndarray of int, shape (n_samples, 2)
            First frame with the shape, and the first after it without, of 16.
        heard : ndarray of float, shape (n_samples, 2)
            When the tone starts and ends, in seconds; AAC delays it by less than a tenth.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    ImportError
        If PyAV or pandas is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from skmm.datasets import make_video_events
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_video_events(folder, 4, random_state=0)
    >>> X.columns.tolist(), sorted(y.tolist())
    (['frames', 'sound'], ['bar high', 'bar low', 'disc high', 'disc low'])
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_below("difficulty", difficulty, 1, closed=True)
    check_below("missing_rate", missing_rate, 1)
    pandas = import_optional("pandas", extra="dataframe")
    rng = check_random_state(random_state)
    label = rng.permutation(np.arange(n_samples) % 4)
    shapes, tones = np.array(SHAPES)[label // 2], np.array(TONES)[label % 2]
    length = round((0.75 - 0.5 * difficulty) * N_FRAMES)
    starts = rng.randint(N_FRAMES - length + 1, size=(n_samples, 2))  # of shape and tone, in frames
    seeds = rng.randint(2**31 - 1, size=n_samples)
    # last, so that the rate changes nothing else
    there = rng.uniform(size=(n_samples, 2)) >= missing_rate
    there[np.arange(n_samples), rng.randint(2, size=n_samples)] |= ~there.any(axis=1)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    files = [str(root / f"{i:04}.mp4") for i in range(n_samples)]
    for i, file in enumerate(files):
        own = np.random.RandomState(seeds[i])
        frames = _draw(shapes[i], slice(starts[i, 0], starts[i, 0] + length), difficulty, own)
        sound = _play(tones[i], starts[i, 1] / FPS, length / FPS, difficulty, own)
        _write(file, frames if there[i, 0] else None, sound if there[i, 1] else None)
    cells = [[file if has else None for has in both] for file, both in zip(files, there, strict=True)]
    X = pandas.DataFrame(cells, columns=["frames", "sound"], dtype=object)
    y = np.array([f"{shape} {tone}" for shape, tone in zip(shapes, tones, strict=True)])
    if not return_truth:
        return X, y
    stretch = starts[:, :, None] + np.array([0, length])  # (n, 2, 2)
    return X, y, Bunch(shape=shapes, tone=tones, shown=stretch[:, 0], heard=stretch[:, 1] / FPS)


def _draw(shape: str, when: slice, difficulty: float, rng: np.random.RandomState) -> np.ndarray:
    """Frames (N_FRAMES, SIZE, SIZE, 3) of a line from side to side, along which a shape moves in some of them."""
    ground = rng.uniform(30, 60, size=3)
    colour = ground + (1 - 2 / 3 * difficulty) * rng.uniform(100, 180, size=3)
    radius = rng.uniform(10, 14)
    tall = radius * np.sqrt(np.pi)  # of a bar four times as tall as wide, and of the disc's area: half its height
    rows = rng.uniform(tall, SIZE - tall, size=2)
    columns = rng.permutation([radius, SIZE - radius])
    share = np.linspace(0, 1, N_FRAMES)[:, None]
    path = (1 - share) * [rows[0], columns[0]] + share * [rows[1], columns[1]]
    frames = np.empty((N_FRAMES, SIZE, SIZE, 3))
    frames[:] = ground
    for frame, (row, column) in zip(frames[when], path[when], strict=True):
        down = np.abs(np.arange(SIZE)[:, None] - row)
        right = np.abs(np.arange(SIZE) - column)
        forms = {"disc": down**2 + right**2 <= radius**2, "bar": (down <= tall) & (right <= tall / 4)}
        frame[forms[shape]] = colour
    frames += 50 * difficulty * rng.standard_normal(frames.shape)
    return np.clip(frames, 0, 255).astype(np.uint8)


def _play(tone: str, start: float, seconds: float, difficulty: float, rng: np.random.RandomState) -> np.ndarray:
    """A sine, faded in and out, in noise: float32 (N_FRAMES / FPS * SAMPLE_RATE,)."""
    time = np.arange(N_FRAMES * SAMPLE_RATE // FPS) / SAMPLE_RATE
    volume = rng.uniform(0.1, 0.3)
    sine = volume * np.sin(2 * np.pi * rng.uniform(*_HERTZ[tone]) * time + rng.uniform(2 * np.pi))
    inside = np.clip(np.minimum(time - start, start + seconds - time) / 0.02, 0, 1)
    noise = difficulty * volume / np.sqrt(2) * rng.standard_normal(len(time))
    return (sine * inside + noise).astype(np.float32)


def _write(file: str, frames: np.ndarray | None, sound: np.ndarray | None) -> None:
    av = import_optional("av", extra="video")
    with av.open(file, "w") as container:
        streams = []
        if frames is not None:
            # without x264's assembly, which differs by processor and at this size reads memory that nobody wrote
            options = {"preset": "veryfast", "crf": "20", "x264-params": "asm=0"}
            video = container.add_stream("libx264", rate=FPS, options=options)
            video.width = video.height = SIZE
            video.pix_fmt = "yuv420p"
            video.thread_count = 1  # several would make other files on other machines
            streams.append((video, [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames]))
        if sound is not None:
            audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
            whole = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            whole.sample_rate = SAMPLE_RATE
            streams.append((audio, [whole]))
        for stream, parts in streams:
            for part in [*parts, None]:  # None empties the encoder
                container.mux(stream.encode(part))
