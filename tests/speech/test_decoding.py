"""Decoding against exact enumeration, language models against probabilities worked out by hand."""

import itertools
import math
import pickle
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
import torch

from skmm.speech.decoding import BeamSearch, LanguageModel, NGram, greedy_search

SYMBOLS = ["a", " ", "b"]
SENTENCES = ["a b", "ab a", "b b a", "ab ab"]


def random_frames(n_frames, seed=0, peaked=1.0):
    logits = peaked * np.random.default_rng(seed).standard_normal((n_frames, 1 + len(SYMBOLS)))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def by_enumeration(frames, symbols):
    """log p(transcript | frames) of every transcript, as the sum over all paths."""
    total = defaultdict(float)
    for path in itertools.product(range(frames.shape[1]), repeat=len(frames)):
        p = math.exp(sum(frames[t, s] for t, s in enumerate(path)))
        total["".join(symbols[s - 1] for s, _ in itertools.groupby(path) if s)] += p
    return {text: math.log(p) for text, p in total.items()}


# -- n-grams -------------------------------------------------------------------------------------------------------


def test_bigram_by_hand():
    # seen: a 2, b 1, end 2; followers of a: b 1, end 1; of b: end 1; of the start: a 2
    model = NGram([["a", "b"], ["a"]], order=2)
    base = Fraction(1, 4)  # a, b, the end, and what was not seen
    p_a, p_b, p_end = ((c + 3 * base) / (5 + 3) for c in (2, 1, 2))
    after_a = model.shift(model.start, "a")
    assert model.probability("a", model.start) == pytest.approx(float((2 + 1 * p_a) / (2 + 1)))
    assert model.probability("b", after_a) == pytest.approx(float((1 + 2 * p_b) / (2 + 2)))
    assert model.end_probability(after_a) == pytest.approx(float((1 + 2 * p_end) / (2 + 2)))
    assert model.probability("b", ("zebra",)) == pytest.approx(float(p_b))  # a history never seen says nothing
    assert model.unknown_probability(()) == pytest.approx(float((0 + 3 * base) / (5 + 3)))


def test_trigram_by_hand():
    model = NGram([["a", "b", "a"], ["a", "b", "b"]], order=3)
    p_a = Fraction(3) + 3 * Fraction(1, 4)  # unigram: a 3, b 3, end 2
    p_a /= 8 + 3
    p_a_b = (1 + 3 * p_a) / (3 + 3)  # after b: a, b, end
    assert model.probability("a", ("a", "b")) == pytest.approx(float((1 + 2 * p_a_b) / (2 + 2)))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_of_what_can_follow_sum_to_one(order):
    model = NGram([list("abca"), list("bca"), list("aa")], order=order)
    for text in itertools.product("abcz", repeat=3):
        history = model.start
        for token in text:
            history = model.shift(history, token)
        following = [model.probability(token, history) for token in "abc"]
        total = sum(following) + model.end_probability(history) + model.unknown_probability(history)
        assert total == pytest.approx(1)


def test_order_one_ignores_the_history():
    model = NGram([list("ab"), list("aab")], order=1)
    assert model.start == ()
    assert model.probability("a", model.shift(model.start, "b")) == model.probability("a", ())


# -- language models -----------------------------------------------------------------------------------------------


def test_words_are_scored_by_the_word_model():
    model = LanguageModel(["one two", "one one two"], order=2)
    words = NGram([["one", "two"], ["one", "one", "two"]], order=2)
    history, expected = words.start, 0.0
    for word in ["one", "two", "one"]:
        expected += math.log(words.probability(word, history))
        history = words.shift(history, word)
    expected += math.log(words.end_probability(history))
    assert model.log_probability("one two one") == pytest.approx(expected)


def test_an_unknown_word_is_spelled():
    model = LanguageModel(["one two", "one"], order=2)
    words, spelling = NGram([["one", "two"], ["one"]], order=2), NGram(["one", "two"], order=2)
    spelled = math.log(spelling.probability("t", spelling.start) * spelling.probability("o", ("t",)))
    spelled += math.log(spelling.end_probability(("o",)))
    expected = math.log(words.unknown_probability(words.start)) + spelled + math.log(words.end_probability(("to",)))
    assert model.log_probability("to") == pytest.approx(expected)
    assert model.log_probability("to") > model.log_probability("xq")


def test_characters_of_a_script_without_spaces():
    model = LanguageModel(["你好", "你好吗", "好"], unit="character", order=2)
    characters = NGram(["你好", "你好吗", "好"], order=2)
    expected = characters.probability("你", characters.start) * characters.probability("好", ("你",))
    assert model.log_probability("你好") == pytest.approx(math.log(expected * characters.end_probability(("好",))))
    assert model.log_probability("你好") > model.log_probability("好你")


@pytest.mark.parametrize("unit", ["word", "character"])
def test_likely_texts_are_likelier(unit):
    model = LanguageModel(["the cat sat", "the cat ran", "a dog sat"], unit=unit)
    assert model.log_probability("the cat sat") > model.log_probability("sat cat the")


@pytest.mark.parametrize("unit", ["word", "character"])
def test_spaces_mean_nothing(unit):
    model = LanguageModel(["the  cat ", "a dog"], unit=unit)
    assert model.log_probability(" the   cat") == model.log_probability("the cat")


def test_survives_pickle():
    model = LanguageModel(SENTENCES)
    again = pickle.loads(pickle.dumps(model))
    assert again.log_probability("ab b zz") == model.log_probability("ab b zz")


def test_unit_must_be_known():
    with pytest.raises(ValueError, match=r"unknown lm_unit 'syllable', valid are \['word', 'character'\]"):
        LanguageModel(["a"], unit="syllable")


# -- greedy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "transcript"),
    [([], []), ([0, 0], []), ([1, 1, 1], [1]), ([1, 0, 1], [1, 1]), ([0, 2, 2, 1, 0, 0, 1, 3], [2, 1, 1, 3])],
)
def test_greedy_collapses_the_best_path(path, transcript):
    frames = torch.full((len(path), 4), 0.1)
    frames[torch.arange(len(path)), torch.tensor(path, dtype=torch.int64)] = 0.7
    symbols, score = greedy_search(frames.log())
    assert symbols == transcript
    assert score == pytest.approx(len(path) * math.log(0.7))


# -- beam ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_frames", [1, 2, 5])
def test_wide_beam_is_exact(n_frames, seed):
    frames = random_frames(n_frames, seed=seed)
    expected = by_enumeration(frames, SYMBOLS)
    found = dict(BeamSearch(SYMBOLS, beam_width=10_000)(frames))
    assert found == pytest.approx(expected)
    assert sum(map(math.exp, found.values())) == pytest.approx(1)


@pytest.mark.parametrize("bonus", [0.0, 1.5])
@pytest.mark.parametrize("weight", [0.3, 1.2])
@pytest.mark.parametrize("unit", ["word", "character"])
def test_wide_beam_with_language_model_is_exact(unit, weight, bonus):
    frames = random_frames(5, seed=1)
    language = LanguageModel(SENTENCES, unit=unit, order=2)
    search = BeamSearch(SYMBOLS, beam_width=10_000, language=language, lm_weight=weight, word_bonus=bonus)
    found = search(frames)
    for text, log_p in by_enumeration(frames, SYMBOLS).items():
        if text != " ".join(text.split()):
            continue  # what the language model takes for another text
        units = len(text.split()) if unit == "word" else len(text)
        expected = log_p + weight * language.log_probability(text) + bonus * units
        assert dict(found)[text] == pytest.approx(expected)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


@pytest.mark.parametrize("seed", range(5))
def test_narrow_beam_finds_the_best(seed):
    frames = random_frames(6, seed=seed, peaked=3.0)
    expected = by_enumeration(frames, SYMBOLS)
    found = BeamSearch(SYMBOLS, beam_width=8)(frames)
    assert len(found) <= 8
    assert found[0][0] == max(expected, key=expected.get)


def test_scores_of_a_narrow_beam_are_never_too_high():
    frames = random_frames(6, seed=3)
    expected = by_enumeration(frames, SYMBOLS)
    for text, score in BeamSearch(SYMBOLS, beam_width=3)(frames):
        assert score <= expected[text] + 1e-9


def test_the_best_transcript_need_not_be_the_best_path():
    frames = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert greedy_search(torch.tensor(frames))[0] == []
    assert BeamSearch("a")(frames)[0] == ("a", pytest.approx(math.log(0.64)))


def test_language_model_decides_what_the_frames_leave_open():
    # the second symbol is nearly even: b by the frames, a by the language model
    frames = np.log(np.array([[0.02, 0.96, 0.01, 0.01], [0.96, 0.02, 0.01, 0.01], [0.02, 0.47, 0.01, 0.50]]))
    assert BeamSearch(SYMBOLS)(frames)[0][0] == "ab"
    language = LanguageModel(["aa", "aa", "aa", "b"], unit="character", order=2)
    assert BeamSearch(SYMBOLS, language=language, lm_weight=1.0)(frames)[0][0] == "aa"


def test_word_bonus_makes_more_words():
    frames = random_frames(8, seed=0, peaked=0.5)
    language = LanguageModel(SENTENCES)
    words = [
        len(BeamSearch(SYMBOLS, language=language, lm_weight=0.5, word_bonus=bonus)(frames)[0][0].split())
        for bonus in (-5.0, 0.0, 5.0)
    ]
    assert words == sorted(words)
    assert words[0] < words[-1]


def test_no_frames_give_the_empty_transcript():
    assert BeamSearch(SYMBOLS)(np.zeros((0, 4))) == [("", 0.0)]


@pytest.mark.parametrize("frames", [np.zeros((5, 3)), np.zeros((5, 5)), np.zeros(4), np.zeros((1, 5, 4))])
def test_frames_of_other_symbols_are_refused(frames):
    with pytest.raises(ValueError, match=r"shape \(n_frames, 4\), the blank and 3 symbols, got"):
        BeamSearch(SYMBOLS)(frames)


@pytest.mark.parametrize("name", ["lm_weight", "word_bonus"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_are_finite(name, value):
    with pytest.raises(ValueError, match=f"{name} == {value}, must be finite"):
        BeamSearch(SYMBOLS, language=LanguageModel(SENTENCES), **{name: value})
