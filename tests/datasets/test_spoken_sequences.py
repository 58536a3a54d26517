"""Generated speech: syllables by formants, words by espeak-ng where it is installed."""

import shutil
import stat
import sys

import numpy as np
import pytest

from skmm.datasets import make_spoken_sequences
from skmm.datasets._speech import SAMPLE_RATE, SYLLABLES

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
DIGITS = ["three", "seven", "nine"]


def test_spoken_sequences():
    X, y, speakers = make_spoken_sequences(
        60, n_words=(2, 4), n_syllables=6, missing_rate=0.3, random_state=0, return_speakers=True
    )
    assert len(X) == len(y) == len(speakers) == 60
    assert X["context"].shape == (60, 6)
    assert {len(text.split()) for text in y} == {2, 3, 4}
    said = sorted({word for text in y for word in text.split()})
    assert len(said) == 6
    assert set(said) <= set(SYLLABLES)
    assert 5 < (~X.present["context"]).sum() < 35
    assert X.present["audio"].all()
    assert np.isfinite(X["audio"].values).all()
    assert np.abs(X["audio"].values).max() < 2


def test_spoken_context_names_what_is_said():
    X, y = make_spoken_sequences(50, difficulty=0.0, random_state=1)
    assert [len(set(text.split())) for text in y] == X["context"].sum(axis=1).tolist()


def test_spoken_sequences_differ_in_what_is_missing_alone():
    whole, y = make_spoken_sequences(30, random_state=2)
    part, same = make_spoken_sequences(30, random_state=2, missing_rate=0.5)
    there = part.present["context"]
    assert y.tolist() == same.tolist()
    np.testing.assert_array_equal(whole["audio"].values, part["audio"].values)
    np.testing.assert_array_equal(whole["context"][there], part["context"][there])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_words": (3, 2)}, "n_words must be the least and the most"),
        ({"n_words": 3}, r"n_words must be .* a pair of ints \(lo, hi\) with 1 <= lo <= hi, got 3"),
        ({"n_words": (1.5, 3.2)}, r"a pair of ints \(lo, hi\) .* got \(1.5, 3.2\)"),
        ({"n_words": (1, 2, 3)}, r"a pair of ints \(lo, hi\) .* got \(1, 2, 3\)"),
        ({"n_words": "23"}, r"a pair of ints \(lo, hi\) .* got '23'"),
        ({"n_words": (0, 2)}, r"a pair of ints \(lo, hi\) .* got \(0, 2\)"),
        ({"n_syllables": 17}, "n_syllables == 17"),
        ({"difficulty": 1.5}, r"difficulty must be a number in \[0, 1\], got 1.5"),
        ({"difficulty": np.nan}, r"difficulty must be a number in \[0, 1\], got nan"),
        ({"missing_rate": 1.0}, r"missing_rate must be a number in \[0, 1\), got 1.0"),
        ({"missing_rate": np.nan}, r"missing_rate must be a number in \[0, 1\), got nan"),
        ({"missing_rate": "0.1"}, r"missing_rate must be a number in \[0, 1\), got '0.1'"),
    ],
)
def test_spoken_sequences_refuse(params, message):
    with pytest.raises(ValueError, match=message):
        make_spoken_sequences(3, **params)


# -- words ---------------------------------------------------------------------------------------------------------

# a sine of 500 Hz for half a second per word, at another rate; the voice "xx" does not exist, and "-" is silence
PROGRAM = """#!{python}
import math, struct, sys, wave
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
text = sys.argv[sys.argv.index("--") + 1]
if given["-v"].startswith("xx"):
    sys.exit("Error: The specified voice does not exist.")
n = 8000 * len(text.split())
loud = 0 if text == "-" else 20000
with wave.open(sys.stdout.buffer, "wb") as sound:
    sound.setparams((1, 2, 16000, n, "NONE", ""))
    sound.writeframes(b"".join(struct.pack("<h", int(loud * math.sin(i * math.pi / 16))) for i in range(n)))
"""


@pytest.fixture
def espeak(tmp_path, monkeypatch):
    """A program of that name, whose sound is known."""
    program = tmp_path / "espeak-ng"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_what_the_synthesiser_says_is_brought_to_one_rate_and_loudness(espeak):
    X, y = make_spoken_sequences(4, n_words=(1, 3), words=DIGITS, difficulty=0.0, random_state=0)
    for row in range(4):
        n = len(y[row].split()) * SAMPLE_RATE // 2
        wave = X["audio"][row].ravel()
        assert len(wave) == n
        time = np.arange(n) / SAMPLE_RATE
        inside = slice(50, -50)  # resampling rings at the ends
        np.testing.assert_allclose(
            wave[inside], 0.1 * np.sqrt(2) * np.sin(2 * np.pi * 500 * time)[inside], atol=2e-3
        )


def test_words_are_the_transcripts_and_the_context(espeak):
    X, y = make_spoken_sequences(20, words=DIGITS, difficulty=0.0, missing_rate=0.3, random_state=0)
    assert {word for text in y for word in text.split()} == set(DIGITS)
    there = X.present["context"]
    expected = [[word in text.split() for word in DIGITS] for text in y]
    np.testing.assert_array_equal(X["context"][there], np.array(expected, dtype=float)[there])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"words": "three"}, "words must be a list of words, got 'three'"),
        ({"words": []}, "words must be a list of words"),
        ({"words": ["a", "b c"]}, "got 'b c' as number 1"),
        ({"words": ["a", "a"]}, "got 'a' as number 1"),
        ({"words": ["a", 3]}, "got 3 as number 1"),
        ({"words": ["a"], "voices": ["xx"]}, "voice 'xx': Error: The specified voice does not exist"),
        ({"words": ["-"], "n_words": (1, 1)}, "says nothing for '-'"),
    ],
)
def test_words_that_cannot_be_said(espeak, params, message):
    with pytest.raises(ValueError, match=message):
        make_spoken_sequences(3, **params)


def test_without_the_synthesiser_words_are_an_error_that_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt install espeak-ng"):
        make_spoken_sequences(3, words=DIGITS)
    make_spoken_sequences(3)


@needs_espeak
def test_synthetic_speech():
    voices = ("en-us", "en-gb-scotland")
    params = {"words": DIGITS, "voices": voices, "n_speakers": 4, "random_state": 0, "return_speakers": True}
    X, y, speakers = make_spoken_sequences(12, **params)
    again, _, _ = make_spoken_sequences(12, **params)
    np.testing.assert_array_equal(X["audio"].values, again["audio"].values)
    assert set(speakers) <= set(range(4))
    seconds = X["audio"].lengths / SAMPLE_RATE
    n_words = np.array([len(text.split()) for text in y])
    assert np.corrcoef(seconds, n_words)[0, 1] > 0.7
    assert (seconds / n_words > 0.15).all()
    assert (seconds / n_words < 1.5).all()
