"""Decoding: from the probabilities of symbols in each frame to transcripts, with or without a language model.

The symbols of a frame are numbered; 0 is the blank of connectionist temporal classification (CTC, Graves et al.
2006). A path, one symbol per frame, stands for the transcript that is left when repetitions and then blanks are
taken out of it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skmm._checks import check_finite, unknown
from skmm._optional import import_optional

BLANK = 0
UNITS = ("word", "character")

History = tuple[Any, ...]


class _Mark(Enum):
    """Tokens beside those of the text; members of an Enum stay themselves through pickle."""

    START = 0
    END = 1
    UNKNOWN = 2


class NGram:
    """An n-gram model with interpolated Witten-Bell smoothing.

    p(w | h) = (c(hw) + t(h) · p(w | h')) / (c(h) + t(h)), with c(h) how often h was followed by anything, t(h) by
    how many different tokens, and h' the history without its first token. It ends at the uniform distribution
    over the tokens that were seen, the end, and one for all tokens that were not.

    Parameters
    ----------
    sequences : iterable of sequences of hashable
        What to learn from; each is a sentence of its own.
    order : int
        n: a token depends on the ``order - 1`` before it.

    References
    ----------
    Witten and Bell 1991, method C; interpolated as in Chen and Goodman 1998, section 2.5.

    Examples
    --------
    >>> from skmm.speech.decoding import NGram
    >>> model = NGram([["a", "b"], ["a"]], order=2)
    >>> history = model.shift(model.start, "a")
    >>> round(model.probability("b", history), 4)  # (1 + 2 · p(b)) / (2 + 2), p(b) = (1 + 3 / 4) / (5 + 3)
    0.3594
    """

    def __init__(self, sequences: Iterable[Sequence[Any]], *, order: int) -> None:
        self.order = order
        followers: dict[History, Counter[Any]] = defaultdict(Counter)
        for sequence in sequences:
            padded = (_Mark.START, *sequence, _Mark.END)
            for i in range(1, len(padded)):
                for first in range(max(0, i - order + 1), i + 1):
                    followers[padded[first:i]][padded[i]] += 1
        self._followers = dict(followers)
        self._totals = {history: counts.total() for history, counts in followers.items()}
        self.start: History = self.shift((), _Mark.START)

    def shift(self, history: History, token: Any) -> History:
        """The history after one more token."""
        return (*history, token)[-(self.order - 1) :] if self.order > 1 else ()

    def knows(self, token: Any) -> bool:
        """Whether the token was seen."""
        return token in self._followers.get((), ())

    def probability(self, token: Any, history: History) -> float:
        """p(token | history), never 0; all tokens that were not seen share one."""
        seen = self._followers.get((), Counter())
        p = 1.0 / (len(seen) + 1)
        for first in range(len(history), -1, -1):
            counts = self._followers.get(history[first:])
            if counts is None:
                break
            total = self._totals[history[first:]]
            p = (counts[token] + len(counts) * p) / (total + len(counts))
        return p

    def end_probability(self, history: History) -> float:
        """p(end | history)."""
        return self.probability(_Mark.END, history)

    def unknown_probability(self, history: History) -> float:
        """p(any token that was not seen | history)."""
        return self.probability(_Mark.UNKNOWN, history)


class LMState(NamedTuple):
    """Where a language model stands inside a text: the units before, and the beginning of a word."""

    history: History
    spelled: str = ""


def tidy(text: str) -> str:
    """A transcript without spaces at its ends or several in a row."""
    return " ".join(text.split())


class LanguageModel:
    """Log-probability of a text, character by character.

    Parameters
    ----------
    texts : iterable of str
        What to learn from.
    unit : {"word", "character"}, default="word"
        "word": an n-gram model of words, split at spaces. A word that was never seen is not impossible: it has the
        probability of an unknown word times that of its spelling, by an n-gram model of characters learned from
        the distinct words. "character": an n-gram model of characters, spaces among them; the one for scripts
        that write no spaces.
    order : int, default=3
        n of the n-grams, of words and of characters.

    Examples
    --------
    >>> from skmm.speech.decoding import LanguageModel
    >>> model = LanguageModel(["one two three", "one two two"], order=2)
    >>> model.log_probability("one two") > model.log_probability("two one")
    True
    >>> model.log_probability("one tow") > float("-inf")
    True
    """

    def __init__(self, texts: Iterable[str], *, unit: str = "word", order: int = 3) -> None:
        if unit not in UNITS:
            raise unknown("lm_unit", unit, UNITS)
        texts = [tidy(text) for text in texts]
        self.by_word = unit == "word"
        words = [text.split() for text in texts] if self.by_word else []
        self.units = NGram(words if self.by_word else texts, order=order)
        self.spelling = NGram(sorted({word for sentence in words for word in sentence}), order=order)
        self.start = LMState(self.units.start)

    def advance(self, state: LMState, character: str) -> tuple[LMState, float, int]:
        """The state after a character, the log-probability of what it completes, and how many units that are.

        A word is scored when the space after it comes, a character at once.
        """
        if not self.by_word:
            log_p = math.log(self.units.probability(character, state.history))
            return LMState(self.units.shift(state.history, character)), log_p, 1
        if character != " ":
            return LMState(state.history, state.spelled + character), 0.0, 0
        return self._complete(state)

    def finish(self, state: LMState) -> tuple[float, int]:
        """Log-probability of a word that was begun and of the end, and how many units were completed."""
        state, log_p, n_units = self._complete(state)
        return log_p + math.log(self.units.end_probability(state.history)), n_units

    def _complete(self, state: LMState) -> tuple[LMState, float, int]:
        word = state.spelled
        if not word:  # a space at the start or after another, and every text of single characters
            return state, 0.0, 0
        if self.units.knows(word):
            log_p = math.log(self.units.probability(word, state.history))
        else:
            log_p = math.log(self.units.unknown_probability(state.history)) + self._spell(word)
        return LMState(self.units.shift(state.history, word)), log_p, 1

    def _spell(self, word: str) -> float:
        history, log_p = self.spelling.start, 0.0
        for character in word:
            log_p += math.log(self.spelling.probability(character, history))
            history = self.spelling.shift(history, character)
        return log_p + math.log(self.spelling.end_probability(history))

    def log_probability(self, text: str) -> float:
        """Natural logarithm of the probability of a whole text, its end included.

        Parameters
        ----------
        text : str
            The text.

        Returns
        -------
        float
        """
        state, total = self.start, 0.0
        for character in tidy(text):
            state, log_p, _ = self.advance(state, character)
            total += log_p
        return total + self.finish(state)[0]


def greedy_search(log_probs: Tensor) -> tuple[list[int], float]:
    """The transcript of the most probable path, and the log-probability of that path.

    Parameters
    ----------
    log_probs : Tensor of shape (T, n_symbols)
        Log-probabilities of one sample's frames, the blank's first.

    Returns
    -------
    symbols : list of int
    score : float

    References
    ----------
    Graves et al. 2006, Connectionist temporal classification, section 3.2, best path decoding.

    Examples
    --------
    >>> import torch
    >>> from skmm.speech.decoding import greedy_search
    >>> path = torch.tensor([1, 1, 0, 1, 2])
    >>> greedy_search(torch.nn.functional.one_hot(path, 3).float().log())
    ([1, 1, 2], 0.0)
    """
    if not len(log_probs):
        return [], 0.0
    best, path = log_probs.max(-1)
    symbols = torch.unique_consecutive(path)
    return symbols[symbols != BLANK].tolist(), float(best.sum())


class BeamSearch:
    """CTC prefix beam search with a language model (shallow fusion), by flashlight-text.

    A transcript y of the frames x scores log p(y | x) + lm_weight · log p(y) + word_bonus · words(y), with
    p(y | x) the sum over all its paths. Beginnings of transcripts are extended frame by frame; those that are equal
    are one, and after each frame the best are kept. If none had to be dropped, the scores are exact, to the
    rounding of float32. Any sequence of symbols can be found: words need not be in a lexicon.

    Parameters
    ----------
    symbols : sequence of str
        Characters of the symbols 1, 2, ...; the blank is not among them.
    beam_width : int, default=16
        Beginnings kept after each frame. One whose paths end partly in a blank, partly in a symbol, counts as two.
    language : LanguageModel, optional
        The language model.
    lm_weight : float, default=0.0
        Weight of its log-probability.
    word_bonus : float, default=0.0
        Added per word, or with a language model of characters per character: against the preference of any
        language model for short texts.
    n_likely : int, default=12
        Most probable symbols of a frame, the blank included, that are tried; the others extend nothing.

    Raises
    ------
    ValueError
        If ``lm_weight`` or ``word_bonus`` is not finite, or log-probabilities are of other symbols.
    ImportError
        If flashlight-text is not installed.

    References
    ----------
    Graves et al. 2006, section 3.2, prefix search; Hannun et al. 2014, First-pass large vocabulary continuous
    speech recognition using bi-directional recurrent DNNs, algorithm 1, for the beam and the language model in it;
    Kahn et al. 2022, Flashlight: enabling innovation in tools for machine learning, whose decoder this is.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm.speech.decoding import BeamSearch
    >>> frames = np.log([[0.6, 0.4], [0.6, 0.4]])  # the best path is empty, the best transcript is not
    >>> [(text, round(float(np.exp(score)), 2)) for text, score in BeamSearch("a")(frames)]
    [('a', 0.64), ('', 0.36)]
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        beam_width: int = 16,
        language: LanguageModel | None = None,
        lm_weight: float = 0.0,
        word_bonus: float = 0.0,
        n_likely: int = 12,
    ) -> None:
        check_finite("lm_weight", lm_weight)  # else all scores are the same, or none is a number
        check_finite("word_bonus", word_bonus)
        flashlight = import_optional("flashlight.lib.text.decoder", extra="speech")
        self.symbols = ["", *symbols]
        options = flashlight.LexiconFreeDecoderOptions(
            beam_size=beam_width,
            beam_size_token=min(n_likely, len(self.symbols)),
            beam_threshold=math.inf,
            lm_weight=1.0,  # weight and bonus are in what the model below returns
            sil_score=0.0,
            log_add=True,
            criterion_type=flashlight.CriterionType.CTC,
        )
        # the decoder holds on to the C++ side of a model only, so this side must be kept too
        self._model = (
            flashlight.ZeroLM()
            if language is None
            else _shallow_fusion(flashlight, language, self.symbols, lm_weight, word_bonus)
        )
        # the symbol of silence, which we have none of, also stands for what comes before the first frame
        self._decoder = flashlight.LexiconFreeDecoder(options, self._model, BLANK, BLANK, [])

    def __call__(self, log_probs: np.ndarray) -> list[tuple[str, float]]:
        """Transcripts and their scores, the best first.

        Parameters
        ----------
        log_probs : ndarray of shape (T, 1 + n_symbols)
            Log-probabilities of one sample's frames, the blank's first.

        Returns
        -------
        list of (str, float)
            At most ``beam_width``.
        """
        frames = np.ascontiguousarray(log_probs, dtype=np.float32)
        if frames.ndim != 2 or frames.shape[1] != len(self.symbols):  # the decoder reads memory unchecked
            raise ValueError(
                f"log_probs must have the shape (n_frames, {len(self.symbols)}), the blank and "
                f"{len(self.symbols) - 1} symbols, got {frames.shape}."
            )
        found = self._decoder.decode(frames.ctypes.data, *frames.shape)
        return [("".join(self.symbols[s] for s, _ in groupby(path.tokens)), path.score) for path in found]


def _shallow_fusion(
    flashlight: Any, language: LanguageModel, symbols: Sequence[str], lm_weight: float, word_bonus: float
) -> Any:
    """A language model as flashlight's decoder asks it; here, since its base class comes from an optional package.

    A state of the decoder is a node of the tree of all beginnings, so that it merges equal ones and no others.
    """

    class ShallowFusion(flashlight.LM):
        def start(self, start_with_nothing: bool) -> Any:
            root = flashlight.LMState()
            self.states = {root: language.start}
            self.reached: dict[Any, tuple[Any, float]] = {}
            return root

        def score(self, state: Any, symbol: int) -> tuple[Any, float]:
            child = state.child(symbol)
            if child not in self.reached:
                self.states[child], log_p, n_units = language.advance(self.states[state], symbols[symbol])
                self.reached[child] = child, lm_weight * log_p + word_bonus * n_units
            return self.reached[child]

        def finish(self, state: Any) -> tuple[Any, float]:
            log_p, n_units = language.finish(self.states[state])
            return state, lm_weight * log_p + word_bonus * n_units

    return ShallowFusion()
