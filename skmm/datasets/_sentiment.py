"""Generated reviews: a sentence, a face and a sound that show the same sentiment, each with an error of its own."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from skmm._checks import check_below, unknown
from skmm._optional import import_optional
from skmm.datasets._generated import draw_presence

_NAMES = ["text", "image", "audio"]
_RATE = 8000  # samples per second
_SIZE = 32  # height and width of a face in pixels

# from -3 to 3
_WORDS = [
    ["awful", "terrible", "horrible"],
    ["bad", "poor", "weak"],
    ["dull", "slow", "flat"],
    ["ordinary", "usual", "average"],
    ["fine", "decent", "pleasant"],
    ["good", "strong", "funny"],
    ["great", "wonderful", "brilliant"],
]
_OPENERS = ["I must say", "Well", "As for me", "To be honest", "You know"]
_SUBJECTS = ["the plot", "the cast", "the music", "the ending", "the camera work", "the dialogue"]

_DESCR = """\
Generated reviews
=================

Every sample has a sentiment, a number drawn uniformly from -3 to 3, and up to three modalities. Each modality shows
the sentiment plus an error of its own, normally distributed with a standard deviation of 3 times `difficulty`, cut
off at -3 and 3.

text : str
    A sentence with two adjectives, each out of a list of 21 in seven grades; the grades are those next to what is
    shown, drawn so that they meet it on average.
image : uint8, 32 x 32 x 3
    A face drawn of an ellipse, two eyes, two brows and a mouth, with noise on the pixels. The corners of the mouth
    and the brows rise with the sentiment.
audio : float32, 4000 to 8000 samples at 8 kHz
    A tone with overtones that swells and fades. With the sentiment its pitch rises along the sound, it swells more
    often, and its overtones get stronger.

speaker : int64
    Whose face and voice it is: each of the speakers has colours and a pitch of their own.

Nothing here is real. No person was recorded, and words, faces and tones were given their meaning by the program.
This suits examples and tests; it says nothing on how well a method understands people.
"""


def make_sentiment(
    n_samples: int = 200,
    *,
    difficulty: float = 0.3,
    missing_rate: float | Mapping[str, float] = 0.0,
    n_speakers: int = 10,
    random_state: Any = None,
    return_X_y: bool = False,
) -> Bunch | tuple[Any, np.ndarray]:
    """Generate raw reviews: sentences, face-like images, and tones as waveforms.

    Needs pandas: ``pip install "skmm[dataframe]"``. Nothing is real, and the reviews do not tell how well a method
    reads real ones; ``DESCR`` says how they are made.

    Parameters
    ----------
    n_samples : int, default=200
        Number of samples.
    difficulty : float, default=0.3
        From 0, where each modality alone shows the sentiment, to 1, where what it shows has an error with a
        standard deviation of 3, and little to do with it. The errors of the modalities are independent, so that all
        of them together tell more than any.
    missing_rate : float or dict of str to float, default=0.0
        Probability, in [0, 1), that a sample lacks a modality, independently of all else; of all or by name. A
        sample that would lack all keeps one of them, each with the same probability.
    n_speakers : int, default=10
        Number of faces with their voices.
    random_state : int, RandomState instance or None, default=None
        Seed. Data that differ in ``missing_rate`` alone differ in what is missing alone.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        With the attributes

        data : DataFrame of n_samples rows
            Column ``"text"`` of str; ``"image"`` of arrays (32, 32, 3), uint8; ``"audio"`` of waveforms
            (n_steps,), float32 at 8 kHz. None where missing.
        target : ndarray of shape (n_samples,)
            The sentiment, a float from -3 to 3; positive above 0.
        speaker : ndarray of shape (n_samples,)
            Integers from 0: the ``groups`` of a group-wise splitter.
        sample_rate : int
            8000.
        DESCR : str
            How the data are made.
    (data, target) : tuple
        If ``return_X_y`` is True.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    ImportError
        If pandas cannot be imported.

    Examples
    --------
    >>> from skmm.datasets import make_sentiment
    >>> reviews = make_sentiment(50, difficulty=0, random_state=0)
    >>> reviews.data.loc[0, "text"], round(float(reviews.target[0]), 1)
    ('Well, the dialogue was funny and the cast was great.', 2.6)
    >>> reviews.data.loc[0, "image"].shape, reviews.data.loc[0, "audio"].dtype
    ((32, 32, 3), dtype('float32'))
    """
    pandas = import_optional("pandas", extra="dataframe")
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_scalar(n_speakers, "n_speakers", Integral, min_val=1)
    check_below("difficulty", difficulty, 1, closed=True)
    rates = dict(missing_rate) if isinstance(missing_rate, Mapping) else dict.fromkeys(_NAMES, missing_rate)
    for name, rate in rates.items():
        if name not in _NAMES:
            raise unknown("modality in missing_rate:", name, _NAMES)
        check_below(f"missing_rate of {name}", rate, 1)

    rng = check_random_state(random_state)
    skins = rng.uniform(0.5, 1, (n_speakers, 1)) * [245, 205, 170]
    backgrounds = rng.uniform(20, 110, (n_speakers, 3))
    pitches = rng.uniform(110, 220, n_speakers)  # hertz
    speaker = rng.randint(n_speakers, size=n_samples)
    sentiment = rng.uniform(-3, 3, n_samples)
    errors = 3 * difficulty * rng.standard_normal((n_samples, len(_NAMES)))
    shown = np.clip(sentiment[:, None] + errors, -3, 3).T
    columns = {
        "text": [_sentence(s, rng) for s in shown[0]],
        "image": list(_faces(shown[1], skins[speaker], backgrounds[speaker], rng)),
        "audio": [_sound(s, pitch, rng) for s, pitch in zip(shown[2], pitches[speaker], strict=True)],
    }
    # last, so that the rates change nothing else
    present = draw_presence(np.array([rates.get(name, 0.0) for name in _NAMES]), n_samples, rng).T
    data = pandas.DataFrame(
        {
            name: pandas.Series(
                [cell if there else None for cell, there in zip(columns[name], mask, strict=True)], dtype=object
            )
            for name, mask in zip(_NAMES, present, strict=True)
        }
    )
    if return_X_y:
        return data, sentiment
    return Bunch(data=data, target=sentiment, speaker=speaker, sample_rate=_RATE, DESCR=_DESCR)


def _sentence(shown: float, rng: np.random.RandomState) -> str:
    """Two adjectives of the grades next to what is shown, which they meet on average."""
    first, second = (
        _WORDS[grade][rng.randint(3)] for grade in np.floor(shown + 3 + rng.uniform(size=2)).clip(0, 6).astype(int)
    )
    one, other = rng.choice(_SUBJECTS, 2, replace=False)
    return f"{rng.choice(_OPENERS)}, {one} was {first} and {other} was {second}."


def _faces(shown: np.ndarray, skin: np.ndarray, background: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Faces (n, 32, 32, 3), uint8, of what is shown (n,), in colours (n, 3)."""
    s = shown[:, None, None]
    row, column = np.mgrid[:_SIZE, :_SIZE] - (_SIZE - 1) / 2
    moved = rng.uniform(-1, 1, (2, len(s), 1, 1))
    y, x = row - moved[0], column - moved[1]  # (n, 32, 32), from the middle of the face
    face = np.clip(1 + 6 * (1 - np.hypot(x / 11, y / 13)), 0, 1)
    bend = 1.8 * s * (0.5 - (x / 6) ** 2)  # of the mouth, in pixels; the rows count downwards
    mouth = np.clip(1.5 - np.abs(y - 6 - bend), 0, 1) * (np.abs(x) <= 6)
    brows = np.clip(1.2 - np.abs(y + 7 + s / 2), 0, 1) * (np.abs(np.abs(x) - 5) <= 2.5)
    eyes = np.clip(2 - np.hypot(np.abs(x) - 5, y + 3), 0, 1)
    dark = np.maximum(np.maximum(mouth, brows), eyes)[..., None]
    colour = face[..., None] * skin[:, None, None] + (1 - face[..., None]) * background[:, None, None]
    pixels = (1 - 0.8 * dark) * colour + 8 * rng.standard_normal(colour.shape)
    return pixels.round().clip(0, 255).astype(np.uint8)


def _sound(shown: float, pitch: float, rng: np.random.RandomState) -> np.ndarray:
    """A waveform (n_steps,), float32, of half a second to a second."""
    n_steps = rng.randint(_RATE // 2, _RATE + 1)
    time = np.arange(n_steps) / _RATE
    glide = pitch * 2 ** (shown / 3 * (np.arange(n_steps) / n_steps - 0.5))  # up to an octave
    phase = 2 * np.pi * np.cumsum(glide) / _RATE
    strength = 0.2 + 0.1 * (shown + 3) / 2  # of each overtone, of the one below it
    tone = sum(strength**h * np.sin((h + 1) * phase) for h in range(6))
    swell = 0.6 - 0.4 * np.cos(2 * np.pi * (4 + shown) * time)  # one to seven a second
    return (0.3 * swell * tone + 0.01 * rng.standard_normal(n_steps)).astype(np.float32)
