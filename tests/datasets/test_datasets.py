"""The embedded data set: what it holds, how it is made, and that it needs both modalities."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skmm
from skmm import Blocks
from skmm.datasets import load_spoken_digits

NPZ = Path(skmm.__file__).parent / "datasets" / "data" / "spoken_digits.npz"
SCRIPT = Path(__file__).parents[2] / "docs" / "datasets" / "make_spoken_digits.py"


@pytest.fixture(scope="module")
def digits():
    return load_spoken_digits()


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_spoken_digits", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_shapes_kinds_and_dtypes(digits):
    assert isinstance(digits.data, Blocks)
    assert digits.data.kinds == {"image": "image", "audio": "sequence"}
    assert digits.data["image"].shape == (1797, 8, 8)
    assert digits.data["image"].dtype == np.uint8
    assert digits.data["audio"].shape == (1797, 40, 20)
    assert digits.data["audio"].dtype == np.float32
    assert np.isfinite(digits.data["audio"]).all()
    assert all(mask.all() for mask in digits.data.present.values())


def test_targets_are_those_of_scikit_learn(digits):
    np.testing.assert_array_equal(digits.target, load_digits().target)
    assert digits.target_names[digits.target[:3]].tolist() == ["zero", "one", "two"]


def test_thirty_speakers_with_dozens_of_samples_each(digits):
    speakers, counts = np.unique(digits.speaker, return_counts=True)
    assert speakers.tolist() == list(range(30))
    assert counts.min() >= 36


def test_return_X_y_gives_the_same_values(digits):
    X, y = load_spoken_digits(return_X_y=True)
    np.testing.assert_array_equal(y, digits.target)
    for name in ("image", "audio"):
        np.testing.assert_array_equal(X[name], digits.data[name])


def test_each_call_returns_its_own_arrays(digits):
    first = load_spoken_digits()
    first.data["image"][:] = 0
    first.target[:] = 0
    again = load_spoken_digits()
    np.testing.assert_array_equal(again.data["image"], digits.data["image"])
    np.testing.assert_array_equal(again.target, digits.target)


def test_description_says_what_is_made(digits):
    for fact in ("No person speaks", "The pairs are made", "docs/datasets/make_spoken_digits.py"):
        assert fact in " ".join(digits.DESCR.split())


def test_file_is_small():
    assert NPZ.stat().st_size < 2_000_000


def test_images_resemble_their_originals_but_are_damaged(digits):
    original = load_digits().images.reshape(1797, -1)
    image = digits.data["image"].reshape(1797, -1)
    correlation = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(original, image, strict=True)])
    assert correlation.min() > 0.6
    assert correlation.max() < 0.95


@pytest.mark.parametrize("rows", [range(50), [1796, 400]])
def test_script_makes_the_stored_values(script, rows):
    made = script.make(rows)
    with np.load(NPZ, allow_pickle=False) as stored:
        assert set(made) == set(stored.files)
        for name, values in made.items():
            assert values.dtype == stored[name].dtype
            np.testing.assert_array_equal(values, stored[name][list(rows)], err_msg=name)


def test_script_says_the_words_of_target_names(script, digits):
    assert list(script.WORDS) == digits.target_names.tolist()


def _share_above(sound, rate, hz):
    power = np.abs(np.fft.rfft(sound)) ** 2
    return power[np.fft.rfftfreq(len(sound), 1 / rate) > hz].sum() / power.sum()


@pytest.mark.parametrize("number", [0, 7, 12, 24])
def test_six_begins_with_a_hiss_and_one_with_a_voice(script, number):
    speaker = script.make_speaker(number)
    begin = slice(0, int(0.08 * script.RATE))
    six, one = (script.say(word, speaker, np.random.RandomState(0))[begin] for word in ("six", "one"))
    assert _share_above(six, script.RATE, 2000) > 0.9
    assert _share_above(one, script.RATE, 2000) < 0.1


@pytest.mark.parametrize("number", [0, 7, 12, 24])
def test_voiced_sound_repeats_at_the_pitch_of_its_speaker(script, number):
    speaker = script.make_speaker(number)
    sound = script.say("one", speaker, np.random.RandomState(0))
    middle = sound[len(sound) // 2 - 400 : len(sound) // 2 + 400]
    autocorrelation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    shortest = script.RATE // 350  # no voice is above 350 Hz
    period = shortest + autocorrelation[shortest : script.RATE // 60].argmax()
    assert script.RATE / period == pytest.approx(speaker.pitch, rel=0.2)


def test_log_mel_of_a_tone_peaks_in_the_band_of_its_pitch(script):
    t = np.arange(script.N_SAMPLES) / script.RATE
    bands = [script.log_mel(np.sin(2 * np.pi * hz * t)).mean(axis=0).argmax() for hz in (200, 700, 1500, 3500)]
    # 20 bands evenly spaced between 60 Hz and 4 kHz on the scale 2595 log10(1 + f / 700)
    mel = 2595 * np.log10(1 + np.array([60, 200, 700, 1500, 3500, 4000]) / 700)
    expected = np.round((mel[1:5] - mel[0]) / (mel[5] - mel[0]) * 21 - 1)
    assert bands == expected.tolist()


def test_neither_modality_suffices_and_both_do_better(digits):
    flat = {name: np.asarray(block, dtype=np.float64).reshape(1797, -1) for name, block in digits.data.items()}
    flat["both"] = np.hstack(list(flat.values()))
    train, test = train_test_split(np.arange(1797), stratify=digits.target, random_state=0)
    score = {}
    for name, x in flat.items():
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        score[name] = model.fit(x[train], digits.target[train]).score(x[test], digits.target[test])
    assert 0.7 < score["image"] < 0.88
    assert 0.7 < score["audio"] < 0.88
    assert score["both"] > max(score["image"], score["audio"]) + 0.08
