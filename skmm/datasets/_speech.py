"""Syllables said one after the other by invented voices, or words by a speech synthesiser."""

from __future__ import annotations

import io
import math
import shutil
import subprocess
import wave
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from scipy.signal import lfilter, resample_poly
from sklearn.utils import check_random_state, check_scalar

from skmm._checks import check_below
from skmm.blocks import Blocks
from skmm.blocks._blocks import RaggedArray

SAMPLE_RATE = 8000

# Formants in hertz of an average voice, after Peterson and Barney (1952), rounded.
_VOWELS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240), "o": (570, 840, 2410)}
# Centre in hertz and seconds of a burst of noise; what hums instead has a low formant.
_CONSONANTS = {"s": (3300, 0.09), "k": (1500, 0.03), "t": (2600, 0.02), "m": (250, 0.07)}
SYLLABLES = tuple(c + v for c in _CONSONANTS for v in _VOWELS)
# espeak-ng's own ways to change a voice: higher, lower, rough
_VARIANTS = (
    *(f"m{i}" for i in range(1, 9)),
    *(f"f{i}" for i in range(1, 6)),
    "klatt",
    "klatt2",
    "croak",
    "whisper",
)


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
    words: Sequence[str] | None = None,
    voices: Sequence[str] = ("en-us",),
) -> tuple[Any, ...]:
    """Generate waveforms in which syllables or words are said, their transcripts, and a context that helps.

    Nobody speaks: a syllable is a burst of filtered noise, or a hum, and then pulses through three resonances (the
    formants of a vowel) and is as far from speech as that sounds. Good for examples and tests; it says nothing on
    how well a method understands people. Words of any language are said by the synthesiser espeak-ng, a program
    that is installed beside Python; that is speech, but of a machine.

    Parameters
    ----------
    n_samples : int, default=200
        Number of sequences.
    n_words : (int, int), default=(2, 5)
        Least and most syllables of a sequence, uniformly drawn; each is a word of its transcript.
    n_syllables : int, default=8
        How many of the 16 syllables are in use; with ``words`` it is not read.
    n_speakers : int, default=10
        Voices, which differ in pitch, tempo, and length of the vocal tract; those that say words in timbre too,
        whatever the difficulty.
    difficulty : float, default=0.3
        0 to 1: how much the voices differ, how loud the noise is (none at 0, as loud as the voice at 1), and how
        many syllables the context names that are not said (none at 0, all at 1).
    missing_rate : float, default=0.0
        Probability, below 1, that a sample has no context. The audio is always there.
    random_state : int, RandomState instance or None, default=None
        Seed. Data that differ in ``missing_rate`` alone differ in what is missing alone.
    return_speakers : bool, default=False
        Whether to return the speakers as well, the ``groups`` of a group-wise splitter.
    words : sequence of str, default=None
        Words that espeak-ng says, in place of syllables.
    voices : sequence of str, default=("en-us",)
        Of espeak-ng, which stand for language and accent, such as ``("en-us", "en-gb-scotland", "en-029")``; each
        speaker is given one, at random. ``espeak-ng --voices`` lists them. Not read without ``words``.

    Returns
    -------
    X : Blocks of n_samples
        ``audio``, waveforms of float32 of different lengths at 8000 samples per second, and ``context``, float32 of
        shape (n_samples, n_syllables): 1 for the syllables, or words, that can be expected, those said and some
        that are not, else 0; NaN where missing.
    y : ndarray of str, shape (n_samples,)
        Transcripts, such as ``"sa ki sa"``.
    speakers : ndarray of int, shape (n_samples,)
        With ``return_speakers=True``.

    Raises
    ------
    FileNotFoundError
        If there are ``words``, but no espeak-ng.
    ValueError
        If a parameter is out of its range, a word is not one word, or espeak-ng has no such voice.

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
    check_below("difficulty", difficulty, 1, closed=True)
    check_below("missing_rate", missing_rate, 1)
    pair = isinstance(n_words, Sequence) and all(isinstance(n, int | np.integer) for n in n_words)
    if not pair or len(n_words) != 2 or not 1 <= n_words[0] <= n_words[1]:
        raise ValueError(
            f"n_words must be the least and the most, a pair of ints (lo, hi) with 1 <= lo <= hi, got {n_words!r}."
        )
    low, high = n_words
    if words is not None:
        _check_words(words)
    rng = check_random_state(random_state)
    # every second consonant first, so that few syllables differ in both parts
    used = np.array(SYLLABLES)[np.arange(len(SYLLABLES)) * 5 % len(SYLLABLES)][:n_syllables]
    if words is not None:
        used = np.array(words)
    spread = difficulty * rng.uniform(-1, 1, size=(n_speakers, 3))
    scale = np.array([1.8, 1.2, 1.3]) ** spread  # of pitch, tract, tempo
    speakers = rng.randint(n_speakers, size=n_samples)
    if words is not None:
        names = [f"{rng.choice(voices)}+{rng.choice(_VARIANTS)}" for _ in range(n_speakers)]
    waves, transcripts, context = [], [], np.zeros((n_samples, len(used)), dtype=np.float32)
    for row, speaker in enumerate(speakers):
        said = rng.randint(len(used), size=rng.randint(low, high + 1))
        context[row] = rng.uniform(size=len(used)) < difficulty
        context[row, said] = 1.0
        pitch, tract, tempo = scale[speaker]
        if words is None:
            clean = np.concatenate([_say(used[s], 120 * pitch, tract, tempo, rng) for s in said])
        else:
            clean = _speak(" ".join(used[said]), names[speaker], pitch, tempo)
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


def _check_words(words: Sequence[str]) -> None:
    if isinstance(words, str) or len(words) == 0:
        raise ValueError(f"words must be a list of words, got {words!r}.")
    for i, word in enumerate(words):
        if not isinstance(word, str) or len(word.split()) != 1 or word in words[:i]:
            raise ValueError(f"words must be single words, each once, got {word!r} as number {i}.")
    if shutil.which("espeak-ng") is None:
        raise FileNotFoundError(
            "words are said by espeak-ng, which is not among the programs of this machine (apt install espeak-ng, "
            "brew install espeak-ng). Leave words=None for syllables, which need nothing."
        )


def _speak(text: str, voice: str, pitch: float, tempo: float) -> np.ndarray:
    """What espeak-ng says, of mean square 1; it stresses and joins words as a sentence."""
    of_voice = ["-v", voice, "-p", str(round(min(99, 50 * pitch))), "-s", str(round(175 / tempo))]
    # the text after "--" is no option, even if it starts with a hyphen
    run = subprocess.run(["espeak-ng", *of_voice, "--stdout", "--", text], capture_output=True, check=False)
    if run.returncode:
        said = run.stderr.decode().strip()
        raise ValueError(f"voice {voice.partition('+')[0]!r}: {said} espeak-ng --voices lists what there is.")
    with wave.open(io.BytesIO(run.stdout)) as sound:
        rate = sound.getframerate()
        pcm = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
    if not pcm.any():
        raise ValueError(f"espeak-ng with voice {voice.partition('+')[0]!r} says nothing for {text!r}.")
    common = math.gcd(rate, SAMPLE_RATE)
    resampled = resample_poly(pcm.astype(float), SAMPLE_RATE // common, rate // common)
    return resampled / np.sqrt(np.mean(resampled**2))


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
