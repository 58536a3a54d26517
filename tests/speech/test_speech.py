"""SpeechRecognizer: what it learns, how it decodes, what it refuses."""

import itertools
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
import torch
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmm import Blocks, Encoder, Fusion, ModalityTransformer, MultimodalClassifier, SpeechRecognizer
from skmm.augmentation import CutMix, Mixup, ModalityDropout, SpecAugment
from skmm.datasets import make_spoken_sequences
from skmm.encoders.conformer import ConformerEncoder
from skmm.metrics import character_error_rate, word_error_rate
from skmm.preprocessing.audio import AudioLoader, LogMel
from skmm.preprocessing.text import TextTokens
from skmm.speech._network import FRAME_FUSIONS, SpeechNetwork, Subsampling, ctc_error, n_frames, split_by_length
from skmm.speech.decoding import BeamSearch

N_FEATURES = 6
WORDS = {"ab": [0, 1], "ba": [1, 0], "cd": [2, 3], "dc": [3, 2]}


def frames_of(text, rng, n_features=N_FEATURES, noise=0.2):
    """Frames in which each character raises a feature of its own for 3 to 5 steps, then none for 2."""
    parts = []
    for character in text:
        part = np.zeros((rng.integers(5, 8), n_features))
        if character != " ":
            part[:-2, "abcd你好我们".index(character) % n_features] = 2.0
        parts.append(part)
    clean = np.concatenate([np.zeros((2, n_features)), *parts])
    return (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32)


def make_text(alphabet, longest, rng):
    """Characters of which no two in a row are equal: the gap between such is what training learns last."""
    drawn = "".join(rng.choice(list(alphabet), rng.integers(1, longest + 1)))
    return "".join(character for character, _ in itertools.groupby(drawn))


def make_speech(n=48, seed=0, alphabet="abcd", longest=5, **options):
    rng = np.random.default_rng(seed)
    texts = [make_text(alphabet, longest, rng) for _ in range(n)]
    return [frames_of(text, rng, **options) for text in texts], np.array(texts, dtype=object)


def small(**params):
    """A recogniser that learns the little data above in a second or two."""
    fast = {
        "encoders": {"audio": Encoder("gru", n_layers=1, bidirectional=True)},
        "hidden_dim": 24,
        "max_epochs": 25,
        "batch_size": 12,
        "lr": 0.02,
        "dropout": 0.0,
        "device": "cpu",
        "random_state": 0,
    }
    return SpeechRecognizer(**{**fast, **params})


@pytest.fixture(scope="module")
def fitted():
    audio, y = make_speech()
    return small().fit({"audio": audio}, y)


@pytest.fixture(scope="module")
def with_context():
    """The audio does not tell a from c, the context does."""
    audio, y = make_speech(60)
    for frames in audio:
        frames[:, 0] += frames[:, 2]
        frames[:, 2] = frames[:, 0]
    context = np.array([[float("a" in text), float("c" in text)] for text in y])
    keep = [i for i, text in enumerate(y) if not {"a", "c"} <= set(text)]
    return Blocks(audio=[audio[i] for i in keep], context=context[keep]), y[keep]


# -- learning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alphabet", ["abcd", "你好我们"])
def test_learns_transcripts_in_any_script(alphabet):
    audio, y = make_speech(alphabet=alphabet)
    recognizer = small().fit({"audio": audio}, y)
    assert recognizer.symbols_ == sorted(alphabet)
    fresh, truth = make_speech(20, seed=1, alphabet=alphabet)
    assert character_error_rate(truth, recognizer.predict({"audio": fresh})) < 0.1


@pytest.mark.one_by_default
@pytest.mark.parametrize("decoding", [{}, {"decoder": "beam"}, {"decoder": "beam", "lm_unit": "character"}])
def test_scripts_mixed_in_one_transcript(decoding):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["ab", "你好", "cd", "我们"], rng.integers(1, 4))) for _ in range(80)]
    assert any(text.isascii() != texts[0].isascii() for text in texts)
    audio = [frames_of(text, rng, n_features=8) for text in texts]
    recognizer = small(**decoding).fit(audio[:60], texts[:60])
    assert recognizer.symbols_ == sorted(" abcd你好我们")
    assert character_error_rate(texts[60:], recognizer.predict(audio[60:])) < 0.05


def test_words_and_spaces():
    rng = np.random.default_rng(0)
    y = [" ".join(rng.choice(list(WORDS), rng.integers(1, 4))) for _ in range(60)]
    X = {"audio": [frames_of(text, rng) for text in y]}
    recognizer = small().fit(X, [f" {text.replace(' ', '   ')}\n" for text in y])
    assert recognizer.symbols_ == [" ", "a", "b", "c", "d"]
    assert recognizer.score(X, y) > 0.9
    assert recognizer.score(X, y) == pytest.approx(1 - word_error_rate(y, recognizer.predict(X)))


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "encoder",
    [
        Encoder("lstm", bidirectional=True),
        Encoder("transformer", n_layers=1),
        Encoder(ConformerEncoder, n_layers=1, kernel_size=5),
        None,
    ],
    ids=["lstm", "transformer", "conformer", "default"],
)
def test_every_encoder_learns(encoder):
    audio, y = make_speech()
    recognizer = small(encoders={"audio": encoder}, lr=0.01).fit({"audio": audio}, y)
    assert character_error_rate(y, recognizer.predict({"audio": audio})) < 0.2


@pytest.mark.one_by_default
@pytest.mark.parametrize("fusion", list(FRAME_FUSIONS))
def test_every_fusion_uses_the_context(fusion, with_context):
    X, y = with_context
    both = small(fusion=fusion).fit(X, y)
    assert character_error_rate(y, both.predict(X)) < 0.1
    flipped = Blocks(audio=X["audio"], context=X["context"][:, ::-1].copy())
    assert character_error_rate(y, both.predict(flipped)) > 0.2


def test_without_the_context_its_symbols_are_guessed(with_context):
    X, y = with_context
    alone = small().fit(X.select(["audio"]), y)
    assert character_error_rate(y, alone.predict(X.select(["audio"]))) > 0.15


@pytest.mark.one_by_default
@pytest.mark.parametrize("fusion", list(FRAME_FUSIONS))
def test_context_of_tokens(fusion, with_context):
    X, y = with_context
    tokens = [np.array([int(c > 0), 3]) for c in X["context"][:, 1]]
    recognizer = small(fusion=fusion).fit(Blocks(audio=X["audio"], text=tokens), y)
    assert character_error_rate(y, recognizer.predict(Blocks(audio=X["audio"], text=tokens))) < 0.1


@pytest.mark.one_by_default
@pytest.mark.parametrize("fusion", list(FRAME_FUSIONS))
def test_context_of_lips(fusion, with_context):
    """Pictures of the mouth, read by an encoder of the user's own, and their features, of another frame rate."""
    X, y = with_context
    opened = X["context"][:, 1]
    features = [np.full((5 + i % 3, 2), opened[i]) for i in range(len(y))]
    video = np.broadcast_to(opened[:, None, None, None, None], (len(y), 4, 3, 3, 1)).astype(np.float32)
    audio = Encoder("gru", bidirectional=True)
    for lips, encoder in ((features, Encoder("gru")), (video, _Lips())):
        X = Blocks(audio=X["audio"], lips=lips)
        recognizer = small(fusion=fusion, audio="audio", encoders={"audio": audio, "lips": encoder}).fit(X, y)
        assert character_error_rate(y, recognizer.predict(X)) < 0.1


@pytest.mark.one_by_default
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_context_of_lips_of_any_length_by_the_default_encoder(dtype, with_context):
    X, y = with_context
    level = 200 * X["context"][:, 1]
    lips = [np.full((4 + i % 3, 8, 8, 1), level[i], dtype=dtype) for i in range(len(y))]
    X = Blocks(audio=X["audio"], lips=lips)
    recognizer = small(audio="audio").fit(X, y)
    assert character_error_rate(y, recognizer.predict(X)) < 0.1
    together = recognizer.emissions(X)
    for row in range(0, len(y), 9):
        (alone,) = recognizer.emissions(X[row : row + 1])
        np.testing.assert_allclose(alone, together[row], atol=1e-5)


class _Lips(torch.nn.Module):
    """Pictures (B, T, height, width, channels) to tokens (B, T, 4)."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(9, 4)

    def forward(self, x):
        return self.layer(x.flatten(2))


def test_context_of_sparse_text(with_context):
    X, y = with_context
    words = ["expect a" if c else "expect c" for c in X["context"][:, 0]]
    X = Blocks(audio=X["audio"], text=CountVectorizer(token_pattern=r"\w+").fit_transform(words))
    assert character_error_rate(y, small().fit(X, y).predict(X)) < 0.1


@pytest.mark.slow
def test_waveforms():
    rng = np.random.default_rng(0)
    tones = {"a": 400.0, "b": 1500.0}
    y = [make_text("ab", 4, rng) for _ in range(40)]
    gap = np.zeros(400, np.float32)
    step = np.arange(1200) / 8000
    said = [np.concatenate([gap, *(np.r_[np.sin(2 * np.pi * tones[c] * step), gap] for c in t)]) for t in y]
    recognizer = small(max_epochs=40, batch_size=4, lr=0.005).fit(said, y)
    assert len(recognizer.emissions(said)[0]) == n_frames(np.array([len(said[0])]), (80, 2))[0]
    assert recognizer.score(said, y) > 0.9


def test_learns_that_nothing_is_said():
    audio, y = make_speech(40)
    rng = np.random.default_rng(5)
    silence = [0.2 * rng.standard_normal((20, N_FEATURES)).astype(np.float32) for _ in range(8)]
    recognizer = small().fit({"audio": audio + silence}, [*y, *[""] * 8])
    assert recognizer.predict({"audio": silence}).tolist() == [""] * 8


def test_silence_of_zeros_is_predicted(fitted):
    emissions = fitted.emissions({"audio": [np.zeros((30, N_FEATURES), np.float32)]})
    assert emissions[0].shape == (15, 5)
    assert np.isfinite(emissions[0]).all()


# -- batches and padding -------------------------------------------------------------------------------------------


ENCODERS = {
    "gru": Encoder("gru", bidirectional=True),
    "transformer": Encoder("transformer"),
    "conformer": Encoder(ConformerEncoder, n_layers=1),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("fusion", list(FRAME_FUSIONS))
def test_padding_changes_nothing(fusion, name, with_context):
    X, y = with_context
    X = Blocks(audio=X["audio"], text=[np.arange(1 + i % 4) for i in range(len(y))])
    recognizer = small(fusion=fusion, encoders={"audio": ENCODERS[name]}, max_epochs=1).fit(X, y)
    together = recognizer.emissions(X)
    for row in range(0, len(y), 7):
        (alone,) = recognizer.emissions(X[row : row + 1])
        np.testing.assert_allclose(alone, together[row], atol=1e-5)


@pytest.mark.parametrize("decoder", ["greedy", "beam"])
def test_decoding_of_a_batch_is_that_of_each(fitted, decoder):
    audio, _ = make_speech(25, seed=3, noise=0.6)
    recognizer = pickle.loads(pickle.dumps(fitted)).set_params(decoder=decoder)
    together = recognizer.predict({"audio": audio})
    each = [recognizer.predict({"audio": audio[i : i + 1]})[0] for i in range(25)]
    assert together.tolist() == each


def test_emissions_are_probabilities_of_each_frame(fitted):
    audio, _ = make_speech(9, seed=4)
    for frames, log_probs in zip(audio, fitted.emissions({"audio": audio}), strict=True):
        assert log_probs.shape == (-(-len(frames) // 2), 1 + len(fitted.symbols_))
        np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("strides", [(1,), (2,), (2, 2), (3, 2)])
@pytest.mark.parametrize("length", [1, 2, 7, 12])
def test_frames_left_by_subsampling(length, strides):
    torch.manual_seed(0)
    layer = Subsampling(3, 4, strides, "relu")
    x, mask = torch.randn(1, length, 3), torch.ones(1, length, dtype=torch.bool)
    short, left = layer(x, mask)
    assert short.shape[1] == left.sum() == n_frames(np.array([length]), strides)[0]
    padded, there = layer(torch.cat([x, torch.randn(1, 9, 3)], 1), torch.cat([mask, torch.zeros(1, 9) > 0], 1))
    assert there.sum() == left.sum()
    torch.testing.assert_close(padded[:, : short.shape[1]], short)


def test_loss_is_the_sum_over_all_paths():
    # 3 frames, symbols a and b: "a" is said by a--, -a-, --a, aa-, -aa, aaa
    log_p = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    p = log_p.exp()
    paths = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 1, 1)]
    expected = -torch.log(sum(p[0, i] * p[1, j] * p[2, k] for i, j, k in paths))
    torch.testing.assert_close(ctc_error(log_p[None], torch.tensor([[1, -1]]))[0], expected)


def test_loss_is_per_symbol_and_ignores_certain_blanks():
    log_p = torch.randn(1, 8, 4, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    end = torch.full((1, 5, 4), -1e4)
    end[..., 0] = 0
    target = torch.tensor([[2, 1, 3, -1]])
    loss = ctc_error(log_p, target)
    torch.testing.assert_close(ctc_error(torch.cat([log_p, end], 1), target), loss)
    once = torch.nn.functional.ctc_loss(log_p[0], target[0, :3], [8], [3], reduction="sum")
    torch.testing.assert_close(loss[0], once / 3)
    torch.testing.assert_close(ctc_error(log_p, torch.tensor([[-1, -1]]))[0], -log_p[0, :, 0].sum())


def test_a_minute_among_seconds_keeps_batches_small():
    lengths = np.array([100] * 63 + [6000])
    batches = split_by_length(lengths, 32, most=2 * 32 * 100)
    assert sorted(np.concatenate(batches).tolist()) == list(range(64))
    padded = [len(b) * lengths[b].max() for b in batches]
    assert max(padded) <= 6400
    assert max(len(b) for b in batches) == 32
    alone = split_by_length(np.array([9000, 100, 100]), 32, most=6400)
    assert [len(b) for b in alone] == [1, 2]  # longer than any batch may be: by itself


def test_a_minute_among_seconds_is_learned_and_predicted(fitted, monkeypatch):
    audio, y = make_speech(24)
    long = np.concatenate([audio[0], np.zeros((6000, N_FEATURES), np.float32)])
    seen = []
    forward = SpeechNetwork.forward
    monkeypatch.setattr(
        SpeechNetwork, "forward", lambda self, v, p: (seen.append(p["audio"].shape), forward(self, v, p))[1]
    )
    recognizer = small(max_epochs=1).fit({"audio": [*audio, long]}, [*y, y[0]])
    recognizer.predict({"audio": [*audio, long]})
    assert all(n == 1 for n, length in seen if length > 1000)
    assert any(length > 6000 for _, length in seen)


# -- the estimator -------------------------------------------------------------------------------------------------


def test_same_seed_same_network():
    audio, y = make_speech(16)
    first = small(max_epochs=2).fit({"audio": audio}, y)
    second = clone(first).fit({"audio": audio}, y)
    for a, b in zip(first.emissions({"audio": audio}), second.emissions({"audio": audio}), strict=True):
        np.testing.assert_array_equal(a, b)


def test_pickle(fitted):
    audio, _ = make_speech(6, seed=2)
    again = pickle.loads(pickle.dumps(fitted))
    for decoder in ("greedy", "beam"):
        fresh = clone(fitted).set_params(decoder=decoder)
        assert fresh.decoder == decoder
        a = again.set_params(decoder=decoder).predict({"audio": audio})
        assert a.tolist() == pickle.loads(pickle.dumps(again)).predict({"audio": audio}).tolist()


def test_leaves_global_random_state_alone():
    audio, y = make_speech(8)
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    small(max_epochs=1, random_state=None).fit({"audio": audio}, y)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_grid_search_over_network_and_fusion(with_context):
    X, y = with_context
    grid = {"fusion": ["concat", Fusion("attention", n_heads=2)], "encoders__audio__n_layers": [1]}
    search = GridSearchCV(small(max_epochs=2), grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 2
    assert search.predict(X[:3]).shape == (3,)


@pytest.mark.slow
def test_grid_search_scores_are_those_of_the_transcripts(with_context):
    X, y = with_context
    scoring = {
        "score": lambda estimator, X, y: estimator.score(X, y),
        "wer": make_scorer(word_error_rate, greater_is_better=False),
        "cer": make_scorer(character_error_rate, greater_is_better=False),
    }
    search = GridSearchCV(small(), {"max_epochs": [1, 15]}, cv=2, scoring=scoring, refit="wer").fit(X, y)
    results = search.cv_results_
    np.testing.assert_allclose(results["mean_test_score"] - 1, results["mean_test_wer"])
    assert search.best_params_ == {"max_epochs": 15}
    assert results["mean_test_cer"][1] > results["mean_test_cer"][0]
    default = GridSearchCV(small(), {"max_epochs": [1, 15]}, cv=2).fit(X, y)
    np.testing.assert_allclose(default.cv_results_["mean_test_score"], results["mean_test_score"])


@pytest.mark.one_by_default
@pytest.mark.parametrize("metric", [word_error_rate, character_error_rate])
def test_grid_search_by_an_error_rate_alone(metric, with_context):
    """One scorer, which decides; transcripts as an array of strings."""
    X, y = with_context
    scorer = make_scorer(metric, greater_is_better=False)
    search = GridSearchCV(small(), {"max_epochs": [1, 15]}, cv=2, scoring=scorer).fit(X, y.astype(str))
    assert search.best_params_ == {"max_epochs": 15}
    assert search.score(X, y.astype(str)) == -metric(y, search.predict(X)) > -0.1


@pytest.mark.slow
def test_cross_val_predict(with_context):
    X, y = with_context
    folds = list(GroupKFold(2).split(y, y, np.arange(len(y)) % 2))
    found = cross_val_predict(small(), X, y, cv=folds)
    assert found.shape == y.shape
    for train, test in folds:
        assert found[test].tolist() == small().fit(X[train], y[train]).predict(X[test]).tolist()


@pytest.mark.slow
def test_from_files_of_different_rates_to_transcripts(tmp_path):
    """A ModalityTransformer reads both columns; the loader brings all recordings to one rate."""
    X, y = make_spoken_sequences(60, n_words=(1, 3), n_syllables=3, difficulty=0.0, random_state=0)
    paths, other = [], []
    for row, wave in enumerate(X["audio"]):
        paths.append(tmp_path / f"{row}.wav")
        soundfile.write(paths[-1], wave, 8000)
        other.append(tmp_path / f"{row}_44.wav")
        soundfile.write(other[-1], soxr.resample(wave, 8000, 44100), 44100)
    frame = pd.DataFrame({"file": paths, "expected": list(y)})
    audio = make_pipeline(AudioLoader(8000), LogMel(8000, n_mels=20))
    columns = ModalityTransformer([("audio", audio, "file"), ("text", TextTokens(), "expected")])
    recognizer = small(
        audio="audio",
        encoders={"audio": "gru"},
        subsampling=(4,),
        hidden_dim=48,
        lr=0.01,
        max_epochs=12,
        batch_size=4,
    )
    pipe = make_pipeline(columns, recognizer)
    assert pipe.fit(frame, y).score(frame, y) > 0.9
    mixed = frame.assign(file=[other[i] if i % 2 else paths[i] for i in range(60)])
    assert word_error_rate(pipe.predict(frame), pipe.predict(mixed)) < 0.05


def test_in_a_pipeline():
    audio, y = make_speech(12)
    scale = FunctionTransformer(lambda rows: [2 * row for row in rows])
    pipe = make_pipeline(scale, small(max_epochs=1)).fit(audio, y)
    assert pipe.predict(audio).shape == (12,)


def test_warm_start_goes_on():
    audio, y = make_speech(24)
    recognizer = small(max_epochs=10, warm_start=True).fit({"audio": audio}, y)
    first = recognizer.loss_curve_[-1]
    recognizer.fit({"audio": audio}, y)
    assert recognizer.n_iter_ == 20
    assert recognizer.loss_curve_[-1] < first
    with pytest.raises(ValueError, match=r"row 1: 'az' holds 'z', which is not among .* 'abcd'"):
        recognizer.fit({"audio": audio}, [y[0], "az", *y[2:]])


def count(recognizer):
    """How often the language model has seen the end of a transcript: the number of them."""
    return recognizer._language().units._totals[()] - sum(map(len, recognizer._texts.elements()))


def test_warm_start_counts_no_transcript_twice():
    audio, y = make_speech(12)
    recognizer = small(max_epochs=1, warm_start=True, lm_unit="character").fit({"audio": audio}, y)
    assert count(recognizer) == 12
    recognizer.fit({"audio": audio}, y)
    assert count(recognizer) == 12
    recognizer.fit({"audio": audio[:2]}, ["ab", "ab"])  # both are new, of what was known nothing is lost
    assert not {"ab"} & set(y)
    assert count(recognizer) == 14
    recognizer.set_params(warm_start=False).fit({"audio": audio}, y)
    assert count(recognizer) == 12


def test_a_second_fit_has_the_language_of_its_own_transcripts():
    audio, y = make_speech(12, noise=1.5)
    beam = {"decoder": "beam", "lm_weight": 2.0, "lm_unit": "character", "max_epochs": 2}
    recognizer = small(**beam).fit(audio, y)
    recognizer.predict(audio)
    again = [text[::-1] for text in y]
    recognizer.fit(audio, again)
    fresh = small(**beam).fit(audio, again)
    assert recognizer.predict(audio, return_alternatives=3) == fresh.predict(audio, return_alternatives=3)


def test_number_of_features(with_context):
    X, y = with_context
    assert small(max_epochs=1).fit(X, y).n_features_in_ == N_FEATURES + 2
    assert small(max_epochs=1).fit(list(X["audio"]), y).n_features_in_ == N_FEATURES


def test_early_stopping_keeps_the_best():
    audio, y = make_speech(40)
    recognizer = small(early_stopping=True, n_iter_no_change=2, max_epochs=60, lr_schedule=None, lr=0.03)
    recognizer.fit({"audio": audio}, y, groups=np.arange(40) // 2)
    assert recognizer.n_iter_ < 60
    assert "valid_loss" in recognizer.history_[-1]


def test_weights_are_repetitions():
    audio, y = make_speech(12)
    twice = small(max_epochs=2).fit({"audio": audio + audio[:6]}, [*y, *y[:6]])
    weighed = small(max_epochs=2).fit({"audio": audio}, y, sample_weight=[2.0] * 6 + [1.0] * 6)
    for a, b in zip(twice.emissions({"audio": audio}), weighed.emissions({"audio": audio}), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_sample_of_no_weight_is_absent():
    audio, y = make_speech(12)
    y[3] = "zzz"
    weights = np.ones(12)
    weights[3] = 0
    weighed = small(max_epochs=2).fit({"audio": audio}, y, sample_weight=weights)
    without = small(max_epochs=2).fit({"audio": audio[:3] + audio[4:]}, np.delete(y, 3))
    assert weighed.symbols_ == without.symbols_
    for a, b in zip(weighed.emissions({"audio": audio}), without.emissions({"audio": audio}), strict=True):
        np.testing.assert_array_equal(a, b)
    for recognizer in (weighed, without):
        recognizer.set_params(decoder="beam", lm_weight=1.0)
    assert weighed.predict(audio).tolist() == without.predict(audio).tolist()


def test_augmentation_of_the_audio():
    audio, y = make_speech(24)
    plain = small(max_epochs=3).fit({"audio": audio}, y)
    masked = small(max_epochs=3, augment={"audio": SpecAugment()}).fit({"audio": audio}, y)
    assert masked.loss_curve_[-1] > plain.loss_curve_[-1]


# -- decoding parameters -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unsure():
    """A recogniser whose audio is so noisy that a language model helps, and held-out data of its language."""
    rng = np.random.default_rng(0)
    texts = [rng.choice(["abcd", "dcba"]) for _ in range(40)] + [
        "".join(rng.choice(list("abcd"), 4)) for _ in range(80)
    ]
    X = [frames_of(text, rng, noise=1.5) for text in texts]
    recognizer = small(decoder="beam", lm_weight=0.0, max_epochs=20).fit(X[20:], texts[20:])
    test = [rng.choice(["abcd", "dcba"]) for _ in range(40)]
    return recognizer, [frames_of(text, rng, noise=1.5) for text in test], test


def test_decoding_parameters_need_no_training(unsure):
    recognizer, X, y = unsure
    state = {key: value.clone() for key, value in recognizer.net_.module_.state_dict().items()}
    copy = pickle.loads(pickle.dumps(recognizer))
    without = copy.score(X, y)
    copy.set_params(lm_weight=1.0, lm_corpus=["abcd", "dcba"] * 200, lm_unit="character")
    assert copy.score(X, y) > without + 0.1
    assert all(torch.equal(state[key], value) for key, value in copy.net_.module_.state_dict().items())


def test_tune_decoding_sets_the_best(unsure):
    recognizer, X, y = unsure
    copy = pickle.loads(pickle.dumps(recognizer))
    corpus = ["abcd", "dcba"] * 200
    copy.set_params(lm_unit="character")
    table = copy.tune_decoding(X, y, {"lm_weight": [0.0, 1.0], "lm_corpus": [corpus], "lm_order": [1, 4]})
    assert len(table) == 4
    assert copy.lm_order == 4
    assert copy.lm_weight == 1.0
    assert min(table["error"]) == pytest.approx(word_error_rate(y, copy.predict(X)))
    by_character = copy.tune_decoding(X, y, {"decoder": ["greedy", "beam"]}, error=character_error_rate)
    assert by_character.columns == ["decoder", "error"]
    assert copy.decoder == "beam"


def test_tune_decoding_takes_decoding_parameters_only(unsure):
    recognizer, X, y = unsure
    with pytest.raises(ValueError, match="unknown decoding parameter 'lr', valid are .*'lm_weight'"):
        recognizer.tune_decoding(X, y, {"lr": [0.1]})
    assert recognizer.lm_weight == 0.0


def test_alternatives(unsure):
    recognizer, X, _ = unsure
    alternatives = recognizer.predict(X, return_alternatives=3)
    assert [best[0][0] for best in alternatives] == recognizer.predict(X).tolist()
    for several in alternatives:
        assert len(several) == 3
        scores = [score for _, score in several]
        assert scores == sorted(scores, reverse=True)
        assert max(scores) <= 0


def test_alternatives_are_different_transcripts():
    rng = np.random.default_rng(0)
    y = [" ".join(rng.choice(list(WORDS), rng.integers(1, 4))) for _ in range(40)]
    X = [frames_of(text, rng, noise=1.0) for text in y]
    recognizer = small(decoder="beam", lm_weight=0.0, max_epochs=8, beam_width=64).fit(X, y)
    for frames, several in zip(recognizer.emissions(X), recognizer.predict(X, return_alternatives=64), strict=True):
        texts = [text for text, _ in several]
        assert len(set(texts)) == len(texts)
        assert texts == [" ".join(text.split()) for text in texts]
        # spaces alone do not tell transcripts apart: their probabilities are summed
        raw = BeamSearch(recognizer.symbols_, beam_width=64)(frames)
        total = sum(np.exp(score) for text, score in raw if text.split() == texts[0].split())
        assert np.exp(several[0][1]) == pytest.approx(total)


def test_language_model_learns_from_the_transcripts(unsure):
    """Without a corpus it knows the transcripts of fit, and of what is set later nothing stays behind."""
    recognizer = pickle.loads(pickle.dumps(unsure[0])).set_params(lm_weight=1.0)
    _, X, _ = unsure
    before = recognizer.predict(X, return_alternatives=1)
    recognizer.set_params(lm_corpus=["dcba"] * 500).predict(X)
    recognizer.set_params(lm_corpus=None)
    assert recognizer.predict(X, return_alternatives=1) == before


def test_a_corpus_that_was_changed_in_place_is_read_again(unsure):
    recognizer, X, _ = unsure
    corpus = ["dcba"] * 500
    copy = pickle.loads(pickle.dumps(recognizer)).set_params(lm_weight=1.0, lm_unit="character", lm_corpus=corpus)
    before = copy.predict(X, return_alternatives=1)
    corpus[:] = ["abcd"] * 500
    changed = copy.predict(X, return_alternatives=1)
    assert changed != before
    assert copy.set_params(lm_corpus=["abcd"] * 500).predict(X, return_alternatives=1) == changed


@pytest.mark.parametrize("form", [tuple, np.array, pd.Series, dict.fromkeys, lambda texts: pd.Series(texts).array])
def test_a_corpus_is_any_iterable_of_sentences(unsure, form):
    recognizer, X, y = unsure
    corpus = ["abcd", "dcba", "abcdabcd"]
    copy = pickle.loads(pickle.dumps(recognizer)).set_params(lm_weight=1.0, lm_unit="character")
    expected = copy.set_params(lm_corpus=corpus).predict(X, return_alternatives=2)
    assert copy.set_params(lm_corpus=form(corpus)).predict(X, return_alternatives=2) == expected
    assert len(copy.tune_decoding(X, y, {"lm_corpus": [None, form(corpus)]})) == 2
    audio, texts = make_speech(3)
    small(max_epochs=1, lm_corpus=form(corpus)).fit(audio, texts)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lm_corpus": 5}, "lm_corpus must be a list of sentences, got 5"),
        ({"lm_corpus": np.array([["a"], ["b"]])}, "lm_corpus must be a list of sentences, got array"),
        ({"lm_corpus": pd.DataFrame({"text": ["a"]})}, "lm_corpus must be a list of sentences, got .*text"),
        ({"lm_corpus": ["a", 5]}, "lm_corpus must hold transcripts, row 1 is 5"),
        ({"lm_weight": np.nan}, "lm_weight == nan, must be finite"),
        ({"lm_weight": np.inf}, "lm_weight == inf, must be finite"),
        ({"word_bonus": -np.inf}, "word_bonus == -inf, must be finite"),
        ({"word_bonus": np.nan}, "word_bonus == nan, must be finite"),
    ],
)
def test_wrong_decoding_parameters_are_named_in_fit_and_in_decoding(unsure, params, message):
    recognizer, X, _ = unsure
    with pytest.raises(ValueError, match=message):
        pickle.loads(pickle.dumps(recognizer)).set_params(**params).predict(X)
    audio, y = make_speech(3)
    with pytest.raises(ValueError, match=message):
        small(**params).fit(audio, y)


@pytest.mark.parametrize("grid", [{}, [], [{}], {"lm_weight": []}])
def test_an_empty_grid_tunes_nothing(unsure, grid):
    recognizer, X, y = unsure
    with pytest.raises(ValueError, match="param_grid=.* has nothing to try|non-empty sequence"):
        recognizer.tune_decoding(X, y, grid)


@pytest.mark.parametrize("decoder", ["greedy", "beam"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda e: e[0], r"got one array \(\d+, 5\); of a single sample give \[emissions\]"),
        (lambda e: [e[0], e[1][:, :-1]], r"row 1: expected the shape \(n_frames, 5\), .* got \(\d+, 4\)"),
        (lambda e: [e[0], e[1], e[2][None]], r"row 2: .* got \(1, \d+, 5\)"),
        (lambda e: [e[0], e[1][0]], r"row 1: .* got \(5,\)"),
    ],
    ids=["one array", "columns", "three axes", "one frame"],
)
def test_emissions_of_another_shape(unsure, decoder, wrong, message):
    recognizer, X, _ = unsure
    copy = pickle.loads(pickle.dumps(recognizer)).set_params(decoder=decoder)
    with pytest.raises(ValueError, match=message):
        copy.decode(wrong(copy.emissions(X[:3])))


def test_greedy_decoding_needs_no_extra_and_the_beam_names_it(fitted, monkeypatch):
    audio, _ = make_speech(3, seed=2)
    recognizer = pickle.loads(pickle.dumps(fitted))
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder", None)
    assert recognizer.predict(audio).shape == (3,)
    with pytest.raises(ImportError, match=r"flashlight.*pip install .*skmm\[speech\]"):
        recognizer.set_params(decoder="beam").predict(audio)


def test_emissions_are_all_that_decoding_needs(unsure):
    recognizer, X, _ = unsure
    assert recognizer.decode(recognizer.emissions(X)).tolist() == recognizer.predict(X).tolist()


# -- bad input -----------------------------------------------------------------------------------------------------


def test_transcript_longer_than_its_audio():
    audio, y = make_speech(12)
    audio[3], y[3] = audio[3][:7], "aabc"  # 4 symbols and a blank between the two a; 7 steps leave 4 frames
    message = (
        r"1 of 12 transcripts .* row 3: 'aabc' needs 5 frames \(4 symbols, 1 blanks .* 7 steps has 4 after "
        r"subsampling=\(2,\).*errors='drop'"
    )
    with pytest.raises(ValueError, match=message):
        small().fit({"audio": audio}, y)
    with pytest.warns(UserWarning, match="row 3: .* They are left out of training"):
        dropped = small(errors="drop", max_epochs=1).fit({"audio": audio}, y)
    without = small(max_epochs=1).fit({"audio": audio[:3] + audio[4:]}, np.delete(y, 3))
    for a, b in zip(dropped.emissions({"audio": audio}), without.emissions({"audio": audio}), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_learned_of_transcripts_that_are_left_out():
    """Neither their symbols nor their words, be it that the audio is too short or that there is none."""
    audio, y = make_speech(12)
    audio[3], y[3] = audio[3][:7], "zzzz"
    audio[5], y[5] = None, "qq"
    beam = {"errors": "drop", "max_epochs": 2, "decoder": "beam", "lm_weight": 1.0, "lm_unit": "character"}
    with pytest.warns(UserWarning, match="left out of training"):
        dropped = small(**beam).fit({"audio": audio}, y)
    kept = [i for i in range(12) if i not in (3, 5)]
    rest = [audio[i] for i in kept]
    without = small(**beam).fit({"audio": rest}, y[kept])
    assert dropped.symbols_ == without.symbols_ == list("abcd")
    assert dropped.predict(rest, return_alternatives=3) == without.predict(rest, return_alternatives=3)
    with pytest.warns(UserWarning, match="left out of training"):
        dropped.set_params(warm_start=True).fit({"audio": audio}, y)


def test_just_enough_frames_are_learned():
    recognizer = small(max_epochs=2).fit({"audio": [np.ones((9, 2)), np.zeros((9, 2))]}, ["aabc", "ab"])
    assert np.isfinite(recognizer.loss_curve_).all()


def test_missing_audio():
    audio, y = make_speech(12)
    X = Blocks(audio=[None, *audio[1:]], context=np.ones((12, 2)))
    with pytest.warns(UserWarning, match=r"1 of 12 samples have no audio \('audio'\).* first is row 0"):
        recognizer = small(max_epochs=1).fit(X, y)
    with pytest.warns(UserWarning, match="first is row 0; their transcripts are empty"):
        assert recognizer.predict(X)[0] == ""


def test_missing_context(with_context):
    X, y = with_context
    recognizer = small(modality_dropout=0.3).fit(X, y)
    alone = recognizer.emissions(X.select(["audio"]))
    for given in (Blocks(audio=X["audio"], context=np.full_like(X["context"], np.nan)), {**X, "context": None}):
        for a, b in zip(alone, recognizer.emissions(given), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    with pytest.raises(ValueError, match="modality 'audio' is missing"):
        recognizer.predict({**X, "audio": None})


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a", 5, "b"], "row 1 is 5 of type int"),
        (["a", None, "b"], "row 1 is None"),
        (["", " ", ""], "y holds no symbol: all 3 transcripts are empty"),
        (["a", "b"], "inconsistent numbers of samples"),
        (None, "requires y to be passed, but the target y is None: SpeechRecognizer is supervised"),
    ],
)
def test_transcripts_that_are_none(y, message):
    with pytest.raises(ValueError, match=message):
        small().fit({"audio": make_speech(3)[0]}, y)


def test_symbols_never_seen_in_training_are_errors(fitted):
    audio, y = make_speech(10, seed=7)
    foreign = [f"{text}é" for text in y]
    found = fitted.predict({"audio": audio})
    assert character_error_rate(foreign, found) > character_error_rate(y, found)
    assert fitted.score({"audio": audio}, foreign) == 0.0  # every word holds one


def test_symbols_of_the_corpus_alone_are_never_predicted(fitted):
    audio, _ = make_speech(10, seed=7)
    recognizer = pickle.loads(pickle.dumps(fitted))
    recognizer.set_params(decoder="beam", lm_weight=2.0, lm_corpus=["éé"] * 500, lm_unit="character")
    assert set("".join(recognizer.predict(audio))) <= set("abcd")


def test_which_modality_is_the_audio():
    audio, y = make_speech(4)
    X = Blocks(voice=audio, lips=audio, table=np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"X has 2: \['voice', 'lips'\].*audio='voice'"):
        small(encoders=None).fit(X, y)
    with pytest.raises(ValueError, match=r"X has 0: \[\] .*an array \(n, time, 1\)"):
        small(encoders=None).fit(X.select(["table"]), y)
    with pytest.raises(ValueError, match="unknown modality in audio: 'sound', valid are .*'voice'"):
        small(encoders=None, audio="sound").fit(X, y)
    with pytest.raises(ValueError, match="'table' must be a sequence.*it is vector"):
        small(encoders=None, audio="table").fit(X, y)
    assert small(encoders=None, audio="lips", max_epochs=1).fit(X, y).audio_ == "lips"


def waves(n=4, seed=0, length=4000):
    rng = np.random.default_rng(seed)
    return [0.1 * rng.standard_normal(length + 10 * i).astype(np.float32) for i in range(n)]


@pytest.mark.parametrize("audio", [None, "voice"])
def test_waveforms_of_integers(audio):
    floats, y = waves(), ["ab", "a", "b", "ab"]
    integers = [(wave * 32767).astype(np.int16) for wave in floats]
    message = r"'voice', row \d: integers from -\d+ to \d+. Waveforms must be floats, .*AudioLoader scales int16"
    with pytest.raises(ValueError, match=message):
        small(audio=audio).fit({"voice": integers}, y)
    with pytest.raises(ValueError, match=message):  # another sequence is not taken in its place
        small(audio=audio).fit({"voice": integers, "lips": make_speech(4)[0]}, y)
    unsigned = [np.abs(wave) for wave in integers]
    with pytest.raises(ValueError, match=r"'voice', row \d: integers from 0 to \d+. Waveforms must be floats"):
        small(audio=audio).fit({"voice": unsigned}, y)
    recognizer = small(audio=audio, encoders=None, max_epochs=1).fit({"voice": floats}, y)
    with pytest.raises(ValueError, match=message):
        recognizer.predict({"voice": integers})
    scaled = AudioLoader(8000).fit_transform(integers)
    assert recognizer.predict({"voice": scaled}).shape == (4,)


@pytest.mark.parametrize("form", [list, pd.Series])
def test_pairs_of_waveform_and_rate(form):
    y = ["ab", "a", "b", "ab"]
    pairs = [(wave, 8000 if row % 2 else 16000) for row, wave in enumerate(waves())]
    message = r"modality '{}', row 0: a pair of waveform and sample rate, 16000. .*AudioLoader\(sample_rate\)"
    with pytest.raises(ValueError, match=message.format("audio")):
        small().fit(form(pairs), y)
    with pytest.raises(ValueError, match=message.format("voice")):
        small().fit({"voice": form(pairs)}, y)
    recognizer = small(max_epochs=1).fit(AudioLoader(8000).fit_transform(pairs), y)
    with pytest.raises(ValueError, match=message.format("audio")):
        recognizer.predict(form(pairs))
    small(max_epochs=1).fit([[0.1, 0.2] * 2000, [0.2, 0.1] * 1500], ["a", "b"])  # lists of numbers are none


def test_recordings_of_two_channels():
    y = ["ab", "a", "b", "ab"]
    stereo = [np.stack([wave, wave], axis=1) for wave in waves()]
    for X in (stereo, np.stack([both[:4000] for both in stereo])):
        with pytest.raises(
            ValueError, match=r"'audio', row \d: 40\d0 steps of 2 numbers .*AudioLoader does.* set subsampling"
        ):
            small().fit(X, y)
    assert small(max_epochs=1, subsampling=(80, 2)).fit(stereo, y).predict(stereo).shape == (4,)
    assert small(max_epochs=1).fit([both[:2000] for both in stereo], y)._strides == (2,)
    assert small(max_epochs=1).fit(AudioLoader(8000).fit_transform(stereo), y)._strides == (80, 2)


@pytest.mark.parametrize("subsampling", [(np.int64(2),), [2], (np.int32(2), 1)])
def test_strides_are_whole_numbers_of_any_type(subsampling):
    audio, y = make_speech(4)
    expected = small(max_epochs=1, subsampling=tuple(map(int, subsampling))).fit(audio, y).emissions(audio)
    found = small(max_epochs=1, subsampling=subsampling).fit(audio, y).emissions(audio)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_encoder_must_keep_the_frames():
    audio, y = make_speech(4)
    with pytest.raises(ValueError, match="the encoder of the audio turned .* it must keep their number"):
        small(encoders={"audio": "conv1d"}).fit({"audio": audio}, y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"fusion": "mfb"}, "unknown fusion on the time axis of the audio 'mfb', valid are .*'film'"),
        ({"fusion": 3}, "fusion must be a name or a Fusion, got 3"),
        ({"fusion": Fusion("concat", n_heads=2)}, "'n_heads'"),
        ({"decoder": "viterbi"}, r"unknown decoder 'viterbi', valid are \['greedy', 'beam'\]"),
        ({"beam_width": 0}, "beam_width == 0"),
        ({"lm_weight": -1.0}, "lm_weight == -1"),
        ({"lm_order": 0}, "lm_order == 0"),
        ({"lm_unit": "phone"}, "unknown lm_unit 'phone'"),
        ({"lm_corpus": "one sentence"}, "lm_corpus must be a list of sentences, got one str"),
        ({"lm_corpus": iter(["one", "two"])}, "lm_corpus must be a list of sentences, got a list_iterator"),
        ({"augment": {"*": ModalityDropout()}}, "augment holds a ModalityDropout, which would hide the audio too"),
        (
            {"augment": {"*": Mixup()}},
            "augment holds a Mixup, which would have .* transcript of another.* SpecAugment",
        ),
        ({"augment": {"*": [CutMix()]}}, "augment holds a CutMix, which would have .* transcript of another"),
        ({"errors": "ignore"}, r"unknown errors 'ignore', valid are \['raise', 'drop'\]"),
        ({"subsampling": 2}, "subsampling must be 'auto' or a tuple"),
        ({"subsampling": (0,)}, "subsampling must be 'auto' or a tuple"),
        ({"subsampling": (True,)}, r"subsampling must be 'auto' or a tuple .* got \(True,\)"),
        ({"subsampling": (2.0,)}, "subsampling must be 'auto' or a tuple"),
        ({"subsampling": ()}, "subsampling must be 'auto' or a tuple"),
        ({"subsampling": np.array([2, 2])}, "subsampling must be 'auto' or a tuple"),
        ({"hidden_dim": 0}, "hidden_dim == 0"),
    ],
)
def test_wrong_parameters(params, message):
    audio, y = make_speech(3)
    with pytest.raises(ValueError, match=message):
        small(**params).fit({"audio": audio}, y)


def test_alternatives_need_the_beam(fitted):
    with pytest.raises(ValueError, match="return_alternatives needs decoder='beam', got decoder='greedy'"):
        fitted.predict({"audio": make_speech(2)[0]}, return_alternatives=2)


def test_other_features_than_in_fit(fitted):
    with pytest.raises(ValueError, match=r"'audio' has steps of shape \(3,\), fitted with steps of shape \(6,\)"):
        fitted.predict({"audio": [np.ones((8, 3))]})


# -- metrics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        (["one two"], ["one two"], 0.0),
        (["one two three", "four"], ["one three", "four"], 1 / 4),  # a deletion
        (["one two", "three"], ["one two and", "tree"], 2 / 3),  # an insertion and a substitution
        (["one", ""], ["one", "two three"], 2.0),  # in silence every word is one too many
        (["", ""], ["", ""], 0.0),
    ],
)
def test_word_error_rate(truth, found, expected):
    assert word_error_rate(np.array(truth, dtype=object), found) == pytest.approx(expected)


def test_character_error_rate():
    assert character_error_rate(["abc", "你好"], ["abd", "你"]) == pytest.approx(2 / 5)


@pytest.mark.parametrize("metric", [word_error_rate, character_error_rate])
def test_metrics_want_transcripts(metric):
    with pytest.raises(ValueError, match="y_pred must hold transcripts, row 1 is 3 of type int"):
        metric(["a", "b"], ["a", 3])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        metric(["a", "b"], ["a"])


# -- keywords ---------------------------------------------------------------------------------------------------


def test_a_classifier_spots_keywords():
    """Which word is said is a question for MultimodalClassifier, on the same audio."""
    audio, y = make_speech(60, longest=1)
    classifier = MultimodalClassifier(n_members=1, max_epochs=15, hidden_dim=16, random_state=0, device="cpu")
    assert classifier.fit({"audio": audio}, y.astype(str)).score({"audio": audio}, y.astype(str)) > 0.95
