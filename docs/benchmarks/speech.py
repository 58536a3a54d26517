"""Recognise strings of digits said by speakers that training never heard (FSDD).

    python docs/benchmarks/speech.py --data FOLDER --log speech.jsonl

Six speakers take turns: in rotation k speaker k is the test, the next one the validation, the other four train. Of
a speaker's 500 recordings of single digits, strings of 3 to 7 are put together with random pauses. Strings for
training are of 1 to 4 digits, evenly drawn, each recording played faster or slower and louder or softer at random,
the string in noise. As many are said by 60 voices of a synthesiser (espeak-ng, which must be installed), varied
likewise. Test strings are evenly drawn too, or follow a skewed grammar, of which training sees nothing but a corpus
of text for the language model. Weight and bonus of the language model are tuned on the validation speaker, on
strings of the grammar; then the network is trained again, by the same recipe, on all five speakers but the test.

The context is a list of digits that may be said: those that are, and two that are not (in training none to five),
in ascending order.

Beside that, single recordings are classified (keyword spotting) by MultimodalClassifier and by logistic regression
on the flattened frames, both trained on synthetic words too. Results are appended to the log as they come; a run
that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import add_data_argument, data_folder
from joblib import Parallel, delayed
from scipy.signal import resample
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmm import Blocks, Encoder, MultimodalClassifier, SpeechRecognizer
from skmm.augmentation import SpecAugment
from skmm.datasets import make_spoken_sequences
from skmm.metrics import word_error_rate
from skmm.preprocessing.audio import LogMel

RATE = 8000  # samples per second of the recordings
LENGTHS, TRAINING_LENGTHS = (3, 7), (1, 4)  # digits of a string; short ones teach more a second
N_TRAINING, N_SYNTHETIC, N_VALIDATION, N_TEST, N_CORPUS = 4000, 4000, 100, 300, 20000
N_VOICES = 60
ACCENTS = (
    "en-us",
    "en-gb",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
N_DISTRACTORS, TRAINING_DISTRACTORS = (2, 2), (0, 5)
MOST_SPEED = 1.4
NOISE = (-3.0, -1.0)  # powers of ten, of voices at 0.1
GRID = {"lm_weight": [0.25, 0.5, 1.0, 1.5], "word_bonus": [0.0, 1.5]}
NETWORK: dict[str, Any] = {
    "audio": "audio",
    "fusion": "film",
    "encoders": {"audio": Encoder("gru", bidirectional=True)},
    "subsampling": (4,),
    "hidden_dim": 96,
    "dropout": 0.3,
    "lr": 0.006,
    "batch_size": 16,
    "max_epochs": 6,
    "augment": {"audio": SpecAugment()},
    "errors": "drop",  # strings of short recordings, played fast
    "beam_width": 8,
    "device": "cpu",
}


class Recordings(NamedTuple):
    """Waveforms of single digits, their digits and speakers."""

    waves: list[np.ndarray]
    digits: np.ndarray
    speakers: np.ndarray

    def of(self, speakers: list[str]) -> Recordings:
        rows = np.flatnonzero(np.isin(self.speakers, speakers))
        return Recordings([self.waves[row] for row in rows], self.digits[rows], self.speakers[rows])


class Strings(NamedTuple):
    """Waveforms of strings of digits, the digits and the speakers."""

    waves: list[np.ndarray]
    digits: list[np.ndarray]
    speakers: list[str]


def load_recordings(folder: Path) -> Recordings:
    with np.load(folder / "fsdd" / "fsdd.npz", allow_pickle=False) as stored:
        pcm = stored["pcm"].astype(np.float32) / 2**15
        waves = np.split(pcm, stored["offsets"][1:-1])
        return Recordings(waves, stored["y"].astype(int), stored["speaker"])


def make_grammar(seed: int = 0) -> np.ndarray:
    """Probabilities of the next digit: each digit is mostly followed by one of three."""
    rng = np.random.default_rng(seed)
    follow = np.full((10, 10), 0.1 / 10)
    for row in follow:
        row[rng.choice(10, 3, replace=False)] += [0.5, 0.25, 0.15]
    return follow


def draw(n: int, lengths: tuple[int, int], follow: np.ndarray | None, rng: np.random.Generator) -> list[np.ndarray]:
    """Strings of so many digits, evenly drawn or by a grammar."""
    strings = []
    for length in rng.integers(lengths[0], lengths[1] + 1, n):
        digits = rng.integers(0, 10, length)
        if follow is not None:
            for i in range(1, length):
                digits[i] = rng.choice(10, p=follow[digits[i - 1]])
        strings.append(digits)
    return strings


def say(
    strings: list[np.ndarray],
    recordings: Recordings,
    speakers: list[str],
    rng: np.random.Generator,
    *,
    varied: bool = False,
) -> Strings:
    """Each string in recordings of one speaker, with pauses of up to 0.15 s and a little noise."""
    rows = {
        (s, d): np.flatnonzero((recordings.speakers == s) & (recordings.digits == d))
        for s in speakers
        for d in range(10)
    }
    said = Strings([], strings, [str(rng.choice(speakers)) for _ in strings])
    for digits, speaker in zip(strings, said.speakers, strict=True):
        tempo = rng.uniform(-1, 1)
        parts = []
        for digit in digits:
            wave = even(recordings.waves[rng.choice(rows[speaker, digit])])
            parts += [vary(wave, tempo, rng) if varied else wave, np.zeros(rng.integers(0, 0.15 * RATE))]
        said.waves.append(add_noise(np.concatenate(parts), NOISE if varied else NOISE[:1], rng))
    return said


@lru_cache
def synthesise(n: int, lengths: tuple[int, int]) -> Strings:
    """Strings for training by voices that are no person's, varied."""
    params = {"n_speakers": N_VOICES, "words": WORDS, "voices": ACCENTS, "return_speakers": True}
    X, texts, voices = make_spoken_sequences(n, n_words=lengths, difficulty=0.1, random_state=0, **params)
    rng = np.random.default_rng(0)
    varied = [vary(even(wave.ravel()), rng.uniform(-1, 1), rng) for wave in X["audio"]]
    digits = [np.array([WORDS.index(word) for word in text.split()]) for text in texts]
    return Strings([add_noise(wave, NOISE, rng) for wave in varied], digits, [f"voice {v}" for v in voices])


def even(wave: np.ndarray) -> np.ndarray:
    """At one loudness."""
    return 0.1 * wave / np.sqrt(np.square(wave).mean())


def add_noise(wave: np.ndarray, powers: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    scale = 10 ** rng.uniform(powers[0], powers[-1])
    return (wave + scale * rng.standard_normal(len(wave))).astype(np.float32)


def vary(wave: np.ndarray, tempo: float, rng: np.random.Generator) -> np.ndarray:
    """The recording at up to 1.4 times its speed, or as much slower, and up to 5 dB louder or softer.

    A voice played faster is also higher, and its vocal tract shorter: another speaker, almost.
    """
    speed = MOST_SPEED ** np.clip(tempo + 0.5 * rng.uniform(-1, 1), -1, 1)
    return 10 ** rng.uniform(-0.25, 0.25) * resample(wave, int(len(wave) * speed))


def frames(waves: list[np.ndarray], speakers: list[str]) -> list[np.ndarray]:
    """Log-mel frames, less the mean of all that the speaker says here: that is the microphone's and the voice's."""
    found = LogMel(RATE, log_offset=1e-3).fit_transform([even(wave) for wave in waves])
    names = np.array(speakers)
    means = {s: np.concatenate([found[i] for i in np.flatnonzero(names == s)]).mean(axis=0) for s in set(speakers)}
    return [frame - means[s] for frame, s in zip(found, speakers, strict=True)]


def expect(strings: list[np.ndarray], most: tuple[int, int], rng: np.random.Generator) -> list[np.ndarray]:
    """The digits that may be said: those that are, and between so many others."""
    lists = []
    for digits in strings:
        said = np.unique(digits)
        rest = np.setdiff1d(np.arange(10), said)
        others = rng.choice(rest, min(rng.integers(most[0], most[1] + 1), len(rest)), replace=False)
        lists.append(np.sort(np.concatenate([said, others])))
    return lists


def transcribe(strings: list[np.ndarray]) -> list[str]:
    return [" ".join(map(str, digits)) for digits in strings]


def measure_strings(folder: Path, rotation: int, context: bool) -> dict[str, Any]:
    """Word error rates of the test speaker: greedy on even and skewed strings, beam, beam and language model."""
    recordings = load_recordings(folder)
    test, valid, *training = turn(recordings, rotation)
    rng, grammar = np.random.default_rng(rotation), make_grammar()
    synthetic = synthesise(N_SYNTHETIC, TRAINING_LENGTHS)

    def samples(said: Strings, most: tuple[int, int] = N_DISTRACTORS) -> tuple[Blocks, list[str]]:
        blocks: dict[str, Any] = {"audio": frames(said.waves, said.speakers)}
        listed = expect(said.digits, most, rng)  # drawn with and without context, so that both hear the same
        return Blocks({**blocks, "list": listed} if context else blocks), transcribe(said.digits)

    def fit(speakers: list[str]) -> SpeechRecognizer:
        said = say(draw(N_TRAINING, TRAINING_LENGTHS, None, rng), recordings, speakers, rng, varied=True)
        both = Strings(*(a + b for a, b in zip(said, synthetic, strict=True)))
        recognizer = SpeechRecognizer(**NETWORK, lm_corpus=corpus, random_state=rotation)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* transcripts are longer than their audio allows")
            return recognizer.fit(*samples(both, TRAINING_DISTRACTORS))

    X_even, y_even = samples(say(draw(N_TEST, LENGTHS, None, rng), recordings, [test], rng))
    X_skewed, y_skewed = samples(say(draw(N_TEST, LENGTHS, grammar, rng), recordings, [test], rng))
    X_valid, y_valid = samples(say(draw(N_VALIDATION, LENGTHS, grammar, rng), recordings, [valid], rng))
    corpus = transcribe(draw(N_CORPUS, LENGTHS, grammar, rng))
    first = fit(training).set_params(decoder="beam")
    tried = first.tune_decoding(X_valid, y_valid, GRID)
    start = time.perf_counter()
    recognizer = fit([valid, *training])
    seconds = time.perf_counter() - start
    errors = {"even, greedy": word_error_rate(y_even, recognizer.predict(X_even))}
    emissions = recognizer.emissions(X_skewed)
    errors["skewed, greedy"] = word_error_rate(y_skewed, recognizer.decode(emissions))
    recognizer.set_params(decoder="beam", lm_weight=0.0, word_bonus=0.0)
    errors["skewed, beam"] = word_error_rate(y_skewed, recognizer.decode(emissions))
    chosen = {name: getattr(first, name) for name in GRID}
    recognizer.set_params(**chosen)
    errors["skewed, beam and language model"] = word_error_rate(y_skewed, recognizer.decode(emissions))
    return {"errors": errors, "chosen": chosen, "validation": min(tried["error"]), "seconds": seconds}


def measure_keywords(folder: Path, rotation: int) -> dict[str, Any]:
    """Accuracy of single recordings: two classifiers, on the recordings and a copy of each at another speed."""
    recordings = load_recordings(folder)
    test, *training = turn(recordings, rotation)
    rng = np.random.default_rng(rotation)
    heard, unheard, synthetic = recordings.of(training), recordings.of([test]), synthesise(N_SYNTHETIC // 2, (1, 1))
    changed = [vary(wave, rng.uniform(-1, 1), rng) for wave in heard.waves]
    X = frames(heard.waves + changed + synthetic.waves, [*heard.speakers] * 2 + synthetic.speakers)
    y = np.concatenate([heard.digits, heard.digits, *synthetic.digits])
    X_test = frames(unheard.waves, [*unheard.speakers])
    classifier = MultimodalClassifier(n_members=1, random_state=rotation).fit({"audio": X}, y)
    baseline = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=1000)).fit(flatten(X), y)
    return {
        "accuracy": {
            "MultimodalClassifier": classifier.score({"audio": X_test}, unheard.digits),
            "logistic regression": baseline.score(flatten(X_test), unheard.digits),
        }
    }


def flatten(frames: list[np.ndarray], n_steps: int = 32) -> np.ndarray:
    """Frames brought to one number of steps by linear interpolation, as one vector per recording."""
    rows = []
    for frame in frames:
        place = np.linspace(0, len(frame) - 1, n_steps)
        below = np.minimum(place.astype(int), max(len(frame) - 2, 0))
        above = np.minimum(below + 1, len(frame) - 1)
        part = (place - below)[:, None]
        rows.append(((1 - part) * frame[below] + part * frame[above]).ravel())
    return np.stack(rows)


def turn(recordings: Recordings, rotation: int) -> list[str]:
    """The speakers, from the one whose turn it is to be the test."""
    return np.roll(np.unique(recordings.speakers), -rotation).tolist()


def measure(folder: Path, rotation: int, what: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    found = (
        measure_keywords(folder, rotation)
        if what == "keywords"
        else measure_strings(folder, rotation, what == "audio and list")
    )
    return {"rotation": rotation, "what": what, **found}


def report(rows: list[dict[str, Any]]) -> str:
    """Markdown: mean and deviation over the rotations, and each rotation's errors."""

    def cell(values: list[float]) -> str:
        deviation = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        return f"{100 * np.mean(values):.1f}{deviation}"

    by = {(r["what"], r["rotation"]): r for r in rows}
    rotations = sorted({r["rotation"] for r in rows})
    lines = []
    for whats, key in ((WHAT[:2], "errors"), (WHAT[2:], "accuracy")):
        for what in whats:
            of = {k: by[what, k][key] for k in rotations if (what, k) in by}
            for name in next(iter(of.values()), {}):
                values = [errors[name] for errors in of.values()]
                each = " | ".join(f"{100 * of[k][name]:.1f}" if k in of else "" for k in rotations)
                lines.append(f"| {what} | {name} | {cell(values)} | {each} |")
    head = ["| input | % | mean ± deviation |" + "".join(f" {k} |" for k in rotations)]
    return "\n".join([*head, "|---" * (3 + len(rotations)) + "|", *lines])


WHAT = ("audio", "audio and list", "keywords")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--rotations", type=int, default=6, help="how many speakers are the test, one at a time")
    parser.add_argument("--what", nargs="+", default=list(WHAT), choices=WHAT)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--log", type=Path, default=Path("speech.jsonl"))
    args = parser.parse_args()
    folder = data_folder(parser, args)
    rows = [json.loads(line) for line in args.log.read_text().splitlines()] if args.log.exists() else []
    done = {(r["rotation"], r["what"]) for r in rows}
    tasks = [(k, what) for k in range(args.rotations) for what in args.what if (k, what) not in done]
    run = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    for result in run(delayed(measure)(folder, *task) for task in tasks):
        rows.append(result)
        with args.log.open("a") as log:
            log.write(json.dumps(result) + "\n")
    print(report(rows))


if __name__ == "__main__":
    import speech  # joblib's workers can import functions of a module, but not those of a script

    speech.main()
