"""Make skmm/datasets/data/spoken_digits.npz: handwritten digits, each paired with a synthesised spoken digit.

Every image of :func:`sklearn.datasets.load_digits` gets noise and a covered square, and a clip of speech that says
the same digit. The speech is made here, by formant synthesis: a word is a sequence of phones; voiced sound is a
sum of harmonics of the pitch weighed by the resonances of a vocal tract, hiss and bursts are filtered noise. Each
sample has its own seed, so any subset can be made alone, and every run makes the same values.

Usage::

    python docs/datasets/make_spoken_digits.py            # write the file
    python docs/datasets/make_spoken_digits.py --report   # measure how much each modality tells, from that file
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.signal import lfilter
from sklearn.datasets import load_digits

OUT = Path(__file__).resolve().parents[2] / "skmm" / "datasets" / "data" / "spoken_digits.npz"
SEED = 2718

# -- how hard it is ------------------------------------------------------------------------------------------
PIXEL_NOISE = 0.14  # standard deviation, where ink is 1 and paper 0
COVERED = 4  # side of the covered square, in pixels
SNR_DB = (-3.0, 9.0)  # of the word to the background noise
SLAM_MS = 280  # length of a loud noise that hides part of the word, or a short word
SLAM_DB = 6.0  # its level over the word's

# -- sound ---------------------------------------------------------------------------------------------------
N_SPEAKERS = 30
RATE = 8000  # Hz
WINDOW, HOP = 256, 160  # 32 ms and 20 ms
N_FRAMES, N_MELS = 40, 20
N_SAMPLES = WINDOW + HOP * (N_FRAMES - 1)  # of one clip, 0.81 s
STEP = 0.25  # log-mel values are rounded to multiples of this, which halves the size of the file


class Phone(NamedTuple):
    """One sound of a word, for a vocal tract of scale 1."""

    ms: float  # length
    formants: tuple[float, float, float]  # Hz
    voice: float  # amplitude of the voiced sound
    hiss: float = 0.0  # amplitude of the noise
    hiss_at: tuple[float, float] = (2000.0, 2000.0)  # its centre and bandwidth, Hz


PHONES = {
    # vowels; a diphthong is two of them
    "i": Phone(130, (270, 2290, 3010), 0.9),
    "I": Phone(90, (390, 1990, 2550), 1.0),
    "e": Phone(100, (480, 2050, 2600), 1.0),
    "E": Phone(100, (550, 1820, 2480), 1.0),
    "a": Phone(120, (740, 1180, 2450), 1.0),
    "A": Phone(120, (640, 1190, 2390), 1.0),
    "@": Phone(60, (500, 1450, 2450), 0.7),
    "O": Phone(140, (570, 840, 2410), 1.0),
    "o": Phone(110, (480, 950, 2400), 1.0),
    "u": Phone(150, (310, 900, 2240), 0.9),
    "U": Phone(80, (330, 820, 2240), 0.8),
    # glides and nasals
    "r": Phone(80, (330, 1080, 1500), 0.8),
    "w": Phone(80, (290, 620, 2150), 0.7),
    "n": Phone(90, (250, 1500, 2600), 0.3),
    # fricatives
    "s": Phone(110, (320, 1600, 2550), 0.0, 0.35, (3800, 900)),
    "f": Phone(100, (320, 1100, 2200), 0.0, 0.12, (2800, 3500)),
    "T": Phone(90, (320, 1400, 2550), 0.0, 0.10, (3300, 2500)),
    "z": Phone(90, (260, 1500, 2550), 0.25, 0.22, (3800, 900)),
    "v": Phone(70, (240, 1100, 2150), 0.30, 0.06, (2800, 3500)),
    # plosives: a silence, then a burst
    "_": Phone(55, (320, 1700, 2550), 0.0),
    "t": Phone(35, (320, 1750, 2650), 0.0, 0.40, (3400, 1400)),
    "k": Phone(30, (300, 2000, 2400), 0.0, 0.40, (2000, 700)),
}

WORDS = {
    "zero": "zIroU",
    "one": "wAn",
    "two": "_tu",
    "three": "Tri",
    "four": "fOr",
    "five": "faIv",
    "six": "sI_ks",
    "seven": "sEv@n",
    "eight": "eI_t",
    "nine": "naIn",
}


class Speaker(NamedTuple):
    """What stays the same in everything one speaker says."""

    pitch: float  # Hz
    tract: float  # factor on every formant
    tempo: float  # factor on every length
    tilt: float  # how fast harmonics weaken: amplitude 1 / k ** tilt
    hiss: float  # factor on every noise amplitude


def make_speaker(number: int) -> Speaker:
    """Speaker `number`, always the same one. Short vocal tracts go with high voices."""
    rng = np.random.RandomState([SEED, 0, number])
    height = rng.uniform()
    return Speaker(
        pitch=90 + 160 * height,
        tract=float(np.clip(0.85 + 0.35 * height + rng.normal(0, 0.04), 0.85, 1.2)),
        tempo=rng.uniform(1.05, 1.4),
        tilt=rng.uniform(0.8, 1.3),
        hiss=rng.uniform(0.6, 1.5),
    )


def say(word: str, speaker: Speaker, rng: np.random.RandomState) -> np.ndarray:
    """The sound of a word, shape (n,), with a root mean square of 1."""
    phones = [PHONES[p] for p in WORDS[word]]
    lengths = np.array([p.ms for p in phones]) * speaker.tempo * rng.uniform(0.9, 1.1)
    lengths *= rng.uniform(0.85, 1.15, size=len(phones))
    ends = np.cumsum(lengths) / 1000
    starts = ends - lengths / 1000
    t = np.arange(int(ends[-1] * RATE)) / RATE

    def track(values: Iterable[float], hold: float) -> np.ndarray:
        """Hold each phone's value in the middle share `hold` of it and glide in between."""
        margin = (1 - hold) / 2 * (ends - starts)
        knots = np.column_stack([starts + margin, ends - margin]).ravel()
        return np.interp(t, knots, np.repeat(list(values), 2))

    pitch = speaker.pitch * rng.uniform(0.92, 1.08) * np.linspace(1.08, rng.uniform(0.75, 0.95), len(t))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    k = np.arange(1, int(RATE / 2 / pitch.min()) + 1)[:, None]
    freq = k * pitch
    gain = np.where(freq < RATE / 2, k**-speaker.tilt, 0.0)
    formants = [track((p.formants[j] for p in phones), hold=0.4) * rng.uniform(0.95, 1.05) for j in range(3)]
    fixed = [np.full(len(t), 3500.0), np.full(len(t), 4500.0)]
    for centre, width in zip([*formants, *fixed], [70, 100, 150, 250, 350], strict=True):
        centre = centre * speaker.tract
        gain = gain * centre**2 / np.hypot(freq**2 - centre**2, freq * width)
    voiced = (gain * np.cos(k * phase + rng.uniform(0, 2 * np.pi, size=k.shape))).sum(axis=0)
    # one level for all vowels: what differs between phones is said by `voice`
    sound = track((p.voice for p in phones), hold=0.8) * voiced / np.sqrt(np.mean(voiced**2))

    for i, phone in enumerate(phones):
        if phone.hiss:
            hz, bandwidth = phone.hiss_at
            noise = resonate(rng.normal(size=len(t)), min(hz * speaker.tract, 0.475 * RATE), bandwidth)
            sound += track((phone.hiss * speaker.hiss * (j == i) for j in range(len(phones))), hold=0.7) * noise
    sound *= np.interp(t, [0, 0.02, t[-1] - 0.05, t[-1]], [0, 1, 1, 0])
    return sound / np.sqrt(np.mean(sound**2))


def resonate(noise: np.ndarray, centre: float, width: float) -> np.ndarray:
    """White noise through one resonance, with a root mean square of 1."""
    radius = np.exp(-np.pi * width / RATE)
    out = lfilter([1, 0, -1], [1, -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2], noise)
    return out / np.sqrt(np.mean(out**2))


def record(word: str, speaker: Speaker, rng: np.random.RandomState) -> np.ndarray:
    """A clip of fixed length: the word somewhere in it, background noise, a slam, and an unknown volume."""
    sound = say(word, speaker, rng)
    start = int(rng.uniform(0, min(0.15 * RATE, N_SAMPLES - len(sound))))
    clip = np.zeros(N_SAMPLES)
    clip[start : start + len(sound)] = sound
    # background: half white, half rumble
    background = rng.normal(size=N_SAMPLES) + resonate(rng.normal(size=N_SAMPLES), 300, 600)
    clip += background / np.sqrt(2) * 10 ** (-rng.uniform(*SNR_DB) / 20)
    length = SLAM_MS * RATE // 1000
    slam = start + int(rng.uniform(0, max(len(sound) - length, 1)))  # within the word, unless that is shorter
    clip[slam : slam + length] += rng.normal(size=length) * 10 ** (SLAM_DB / 20)
    return clip * 10 ** (rng.uniform(-6, 6) / 20)


def mel_filters() -> np.ndarray:
    """Triangular filters evenly spaced in mel from 60 Hz to 4 kHz, shape (N_MELS, WINDOW // 2 + 1)."""
    lowest, highest = 2595 * np.log10(1 + np.array([60.0, RATE / 2]) / 700)
    edges = np.linspace(lowest, highest, N_MELS + 2)
    hz = 700 * (10 ** (edges / 2595) - 1)
    freq = np.fft.rfftfreq(WINDOW, 1 / RATE)
    low, mid, high = (hz[i : i + N_MELS, None] for i in range(3))
    return np.clip(np.minimum((freq - low) / (mid - low), (high - freq) / (high - mid)), 0, None)


def log_mel(clip: np.ndarray) -> np.ndarray:
    """Natural logarithm of the energy in each mel band, shape (N_FRAMES, N_MELS)."""
    frames = np.lib.stride_tricks.sliding_window_view(clip, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 / WINDOW
    energy = power @ mel_filters().T
    return np.round(np.log(energy + 1e-3) / STEP) * STEP


def spoil(image: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """A digit with a covered square and noise, as uint8 from 0 (paper) to 255 (ink)."""
    image = image / 16
    row, col = rng.randint(0, 8 - COVERED + 1, size=2)
    image[row : row + COVERED, col : col + COVERED] = 0.5
    image += rng.normal(0, PIXEL_NOISE, size=image.shape)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def make(rows: Iterable[int]) -> dict[str, np.ndarray]:
    """The arrays of the file, for the given rows of scikit-learn's digits."""
    digits = load_digits()
    words = list(WORDS)
    parts: dict[str, list[Any]] = {"image": [], "audio": [], "target": [], "speaker": []}
    for row in rows:
        rng = np.random.RandomState([SEED, 1, row])
        target, speaker = int(digits.target[row]), rng.randint(N_SPEAKERS)
        parts["image"].append(spoil(digits.images[row], rng))
        parts["audio"].append(log_mel(record(words[target], make_speaker(speaker), rng)))
        parts["target"].append(target)
        parts["speaker"].append(speaker)
    dtypes = {"image": np.uint8, "audio": np.float16, "target": np.uint8, "speaker": np.uint8}
    return {name: np.array(values, dtype=dtypes[name]) for name, values in parts.items()}


def report() -> None:
    """Accuracy of two classifiers on one modality and on both, 5-fold cross-validated."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    with np.load(OUT, allow_pickle=False) as data:
        y = data["target"]
        image = data["image"].reshape(len(y), -1).astype(np.float64)
        audio = data["audio"].reshape(len(y), -1).astype(np.float64)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    inputs = {"image": image, "audio": audio, "both": np.hstack([image, audio])}
    print(f"{'':42}" + "".join(f"{name:>8}" for name in inputs))
    for model in (LogisticRegression(C=0.01, max_iter=1000), SVC(C=10)):
        pipeline = make_pipeline(StandardScaler(), model)
        scores = [cross_val_score(pipeline, x, y, cv=folds).mean() for x in inputs.values()]
        print(f"{model!s:42}" + "".join(f"{score:8.3f}" for score in scores))
    print(f"{OUT.name}: {OUT.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make or measure the spoken digits.")
    parser.add_argument("--report", action="store_true", help="measure the file that is there instead of making it")
    if parser.parse_args().report:
        report()
        return
    np.savez_compressed(OUT, allow_pickle=False, **make(range(len(load_digits().target))))
    print(f"wrote {OUT}")


if __name__ == "__main__":
    main()
