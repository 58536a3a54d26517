"""Syllables said one after the other by invented voices."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.signal import lfilter
from sklearn.utils import check_random_state, check_scalar

from skmm.blocks import Blocks, RaggedArray

SAMPLE_RATE = 8000

# Formants in hertz of an average voice, after Peterson and Barney (1952), rounded.
_VOWELS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240), "o": (570, 840, 2410)}
# Centre in hertz and seconds of a burst of noise; what hums instead has a low formant.
_CONSONANTS = {"s": (3300, 0.09), "k": (1500, 0.03), "t": (2600, 0.02), "m": (250, 0.07)}
SYLLABLES = tuple(c + v for c in _CONSONANTS for v in _VOWELS)


def make_spoken_sequences(
    n_samples: int = 200,
    *,
    n_words: tuple[int, int] = (2, 5),
    n_syllables: int = 8,
    n_speakers: int = 10,
    difficulty: float = 0.3,
    missing_rate: float = 0.0,
    random_state: Any = None,
    return_speakers: bool = False,
) -> tuple[Any, ...]:
    """Generate waveforms in which syllables are said, their transcripts, and a context that helps.

    Nobody speaks: a syllable is a burst of filtered noise, or a hum, and then pulses through three resonances (the
    formants of a vowel) and is as far from speech as that sounds. Good for examples and tests; it says nothing on
    how well a method understands people.

    Parameters
    ----------
    n_samples : int, default=200
        Number of sequences.
    n_words : (int, int), default=(2, 5)
        Least and most syllables of a sequence, uniformly drawn; each is a word of its transcript.
    n_syllables : int, default=8
        How many of the 16 syllables are in use.
    n_speakers : int, default=10
        Voices, which differ in pitch, tempo, and length of the vocal tract.
    difficulty : float, default=0.3
        0 to 1: how much the voices differ, how loud the noise is (none at 0, as loud as the voice at 1), and how
        many syllables the context names that are not said (none at 0, all at 1).
    missing_rate : float, default=0.0
        Probability, below 1, that a sample has no context. The audio is always there.
    random_state : int, RandomState instance or None, default=None
        Seed. Data that differ in ``missing_rate`` alone differ in what is missing alone.
    return_speakers : bool, default=False
        Whether to return the speakers as well, the ``groups`` of a group-wise splitter.

    Returns
    -------
    X : Blocks of n_samples
        ``audio``, waveforms of float32 of different lengths at 8000 samples per second, and ``context``, float32 of
        shape (n_samples, n_syllables): 1 for the syllables that can be expected, those said and some that are not,
        else 0; NaN where missing.
    y : ndarray of str, shape (n_samples,)
        Transcripts, such as ``"sa ki sa"``.
    speakers : ndarray of int, shape (n_samples,)
        With ``return_speakers=True``.

    Examples
    --------
    >>> from skmm.datasets import make_spoken_sequences
    >>> X, y = make_spoken_sequences(3, random_state=0)
    >>> X.kinds
    {'audio': 'sequence', 'context': 'vector'}
    >>> [len(transcript.split()) for transcript in y]
    [2, 2, 3]
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_scalar(n_syllables, "n_syllables", Integral, min_val=1, max_val=len(SYLLABLES))
    check_scalar(n_speakers, "n_speakers", Integral, min_val=1)
    check_scalar(difficulty, "difficulty", Real, min_val=0, max_val=1)
    check_scalar(missing_rate, "missing_rate", Real, min_val=0, max_val=1, include_boundaries="left")
    low, high = n_words
    if not 1 <= low <= high:
        raise ValueError(f"n_words must be the least and the most, with 1 <= least <= most, got {n_words!r}.")
    rng = check_random_state(random_state)
    # every second consonant first, so that few syllables differ in both parts
    used = np.array(SYLLABLES)[np.arange(len(SYLLABLES)) * 5 % len(SYLLABLES)][:n_syllables]
    spread = difficulty * rng.uniform(-1, 1, size=(n_speakers, 3))
    voices = np.array([120.0, 1.0, 1.0]) * np.array([1.8, 1.2, 1.3]) ** spread  # pitch, tract, tempo
    speakers = rng.randint(n_speakers, size=n_samples)
    waves, transcripts, context = [], [], np.zeros((n_samples, n_syllables), dtype=np.float32)
    for row, (pitch, tract, tempo) in enumerate(voices[speakers]):
        said = rng.randint(n_syllables, size=rng.randint(low, high + 1))
        context[row] = rng.uniform(size=n_syllables) < difficulty
        context[row, said] = 1.0
        clean = np.concatenate([_say(used[s], pitch, tract, tempo, rng) for s in said])
        noise = rng.standard_normal(len(clean)) * difficulty * np.sqrt((clean**2).mean())
        waves.append((0.1 * (clean + noise)).astype(np.float32))
        transcripts.append(" ".join(used[said]))
    context[rng.uniform(size=n_samples) < missing_rate] = np.nan
    X = Blocks(audio=RaggedArray.from_list(waves), context=context)
    y = np.array(transcripts, dtype=object)
    return (X, y, speakers) if return_speakers else (X, y)


def _say(syllable: str, pitch: float, tract: float, tempo: float, rng: np.random.RandomState) -> np.ndarray:
    """One syllable and the silence after it, of mean square about 1 in its vowel."""
    centre, seconds = _CONSONANTS[syllable[0]]
    n_consonant = int(seconds * tempo * SAMPLE_RATE)
    n_vowel = int(rng.uniform(0.12, 0.2) * tempo * SAMPLE_RATE)
    if syllable[0] == "m":
        consonant = _resonate(_pulses(n_consonant, pitch), centre * tract, 80)
    else:
        consonant = _resonate(rng.standard_normal(n_consonant), min(centre * tract, 3800), 500)
    vowel = _pulses(n_vowel, pitch * rng.uniform(0.9, 1.1))
    for formant in _VOWELS[syllable[1]]:
        vowel = _resonate(vowel, min(formant * tract, 3800), 90)
    vowel *= np.minimum(1, 4 * (1 - np.arange(n_vowel) / n_vowel))  # fades at its end
    pause = np.zeros(int(rng.uniform(0.02, 0.08) * tempo * SAMPLE_RATE))
    return np.concatenate([0.5 * consonant, vowel, pause])


def _pulses(n: int, pitch: float) -> np.ndarray:
    """A pulse per period of the pitch."""
    phase = np.arange(n) * pitch / SAMPLE_RATE
    return np.diff(np.floor(phase), prepend=-1.0)


def _resonate(wave: np.ndarray, frequency: float, bandwidth: float) -> np.ndarray:
    """Second-order resonance, scaled to a mean square of 1."""
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    angle = 2 * np.pi * frequency / SAMPLE_RATE
    filtered = lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], wave)
    return filtered / np.sqrt((filtered**2).mean() + 1e-12)
