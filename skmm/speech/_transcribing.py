"""The decoding side of SpeechRecognizer: from emissions to transcripts, with parameters that need no training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from skmm._checks import check_finite, unknown
from skmm.inputs._columns import shared
from skmm.metrics import check_transcripts, word_error_rate
from skmm.speech.decoding import UNITS, BeamSearch, LanguageModel, greedy_search, tidy
from skmm.table import Table

DECODERS = ("greedy", "beam")
_DECODING = ("decoder", "beam_width", "lm_weight", "word_bonus", "lm_unit", "lm_order", "lm_corpus")


class Decoding:
    """What a recogniser does with its emissions, and the parameters that hold from the moment they are set."""

    decoder: str
    beam_width: int
    lm_weight: float
    word_bonus: float
    lm_unit: str
    lm_order: int
    lm_corpus: Any
    symbols_: list[str]
    emissions: Callable[[Any], list[np.ndarray]]
    set_params: Callable[..., Any]
    _texts: Counter[str]
    _language_made: tuple[Any, LanguageModel]

    def _check_decoding(self) -> None:
        if self.decoder not in DECODERS:
            raise unknown("decoder", self.decoder, DECODERS)
        if self.lm_unit not in UNITS:
            raise unknown("lm_unit", self.lm_unit, UNITS)
        check_scalar(self.beam_width, "beam_width", Integral, min_val=1)
        check_scalar(self.lm_order, "lm_order", Integral, min_val=1)
        check_finite("lm_weight", self.lm_weight, min_val=0)
        check_finite("word_bonus", self.word_bonus)
        self._corpus()

    def _corpus(self) -> list[str]:
        """The sentences of ``lm_corpus``."""
        corpus = self.lm_corpus
        if corpus is None:
            return []
        wanted = "lm_corpus must be a list of sentences"
        if isinstance(corpus, str):
            raise ValueError(f"{wanted}, got one str, {corpus[:40]!r}.")
        if isinstance(corpus, Iterator):
            raise ValueError(f"{wanted}, got a {type(corpus).__name__}, which can be read only once.")
        # a table would be read as the names of its columns
        if not isinstance(corpus, Iterable) or getattr(corpus, "ndim", 1) != 1:
            raise ValueError(f"{wanted}, got {corpus!r}.")
        return check_transcripts(list(corpus), "lm_corpus")

    def _learn_language(self, texts: Counter[str], *, reset: bool) -> None:
        """Remember the transcripts of a fit for the language model, which is made when it is first asked for."""
        # the union of counts is their maximum: going on with the same samples counts none of them twice
        self._texts = texts if reset else self._texts | texts
        self.__dict__.pop("_language_made", None)

    def _language(self) -> LanguageModel:
        """The language model as the parameters have it now, made again only when they change."""
        corpus = self._corpus()
        # the sentences themselves, since a list may be changed in place
        key = (self.lm_unit, self.lm_order, corpus)
        made = self.__dict__.get("_language_made")  # looked up once: another thread may put its own there
        if made is None or made[0] != key:
            texts = [*self._texts.elements(), *corpus]
            made = self._language_made = key, LanguageModel(texts, unit=self.lm_unit, order=self.lm_order)
        return made[1]

    def _check_emissions(self, emissions: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Each sample's frames, or an error that names the row."""
        n_columns = 1 + len(self.symbols_)
        wanted = f"(n_frames, {n_columns}), the blank and the {len(self.symbols_)} symbols"
        shape = getattr(emissions, "shape", ())
        if len(shape) == 2:
            raise ValueError(
                f"emissions must be a list of arrays {wanted}, got one array {shape}; of a single sample give "
                "[emissions]."
            )
        for row, frames in enumerate(emissions):
            array = np.asarray(frames)
            if array.ndim != 2 or array.shape[1] != n_columns:
                raise ValueError(f"emissions, row {row}: expected the shape {wanted}, got {array.shape}.")
            yield array

    def decode(self, emissions: Iterable[np.ndarray], return_alternatives: int | None = None) -> Any:
        """Transcripts of emissions: what ``predict`` does with those of its samples.

        Parameters
        ----------
        emissions : iterable of ndarray of shape (n_frames, 1 + n_symbols)
            As :meth:`emissions` gives them.
        return_alternatives : int, default=None
            As in :meth:`predict`.

        Returns
        -------
        ndarray of str, shape (n_samples,), or list of lists of (str, float)

        Raises
        ------
        ValueError
            If a decoding parameter is wrong, or emissions are of another shape; names the row.
        """
        check_is_fitted(self)
        self._check_decoding()
        if return_alternatives is not None:
            check_scalar(return_alternatives, "return_alternatives", Integral, min_val=1)
            if self.decoder != "beam":
                raise ValueError(f"return_alternatives needs decoder='beam', got decoder={self.decoder!r}.")
        samples = self._check_emissions(emissions)
        if self.decoder == "greedy":
            found = [greedy_search(shared(frames))[0] for frames in samples]
            texts = ["".join(self.symbols_[s - 1] for s in symbols) for symbols in found]
        else:
            search = BeamSearch(
                self.symbols_,
                beam_width=self.beam_width,
                language=self._language() if self.lm_weight or self.word_bonus else None,
                lm_weight=self.lm_weight,
                word_bonus=self.word_bonus,
            )
            beams = [_merge(search(frames)) for frames in samples]
            if return_alternatives is not None:
                return [beam[:return_alternatives] for beam in beams]
            texts = [beam[0][0] for beam in beams]
        return np.array([tidy(text) for text in texts], dtype=object)

    def tune_decoding(
        self,
        X: Any,
        y: Any,
        param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
        *,
        error: Callable[[Any, Any], float] = word_error_rate,
    ) -> Table:
        """Choose decoding parameters on held-out samples, and set them; the network stays as it is.

        Parameters
        ----------
        X : Blocks, dict of arrays, or list or array of audio
            Samples that were not trained on.
        y : array-like of str, shape (n_samples,)
            Their transcripts.
        param_grid : dict of str to list, or list of these
            Values to try, as for GridSearchCV, of ``decoder``, ``beam_width``, ``lm_weight``, ``word_bonus``,
            ``lm_unit``, ``lm_order`` and ``lm_corpus``.
        error : callable, default=word_error_rate
            (y_true, y_pred) to what is to be small, such as :func:`skmm.metrics.character_error_rate`.

        Returns
        -------
        Table
            The parameters and the error of each candidate, in the order tried.

        Raises
        ------
        ValueError
            If the grid is empty, or names what is no decoding parameter.
        """
        candidates = list(ParameterGrid(param_grid))
        names = list(dict.fromkeys(name for candidate in candidates for name in candidate))
        for name in names:
            if name not in _DECODING:
                raise unknown("decoding parameter", name, _DECODING)
        if not names:
            raise ValueError(
                f"param_grid={param_grid!r} has nothing to try; give values of some of {list(_DECODING)}."
            )
        emissions = self.emissions(X)
        before = {name: getattr(self, name) for name in _DECODING}
        tried = []
        try:
            for candidate in candidates:
                self.set_params(**{**before, **candidate})
                tried.append((candidate, error(y, self.decode(emissions))))
        finally:
            self.set_params(**before)
        self.set_params(**min(tried, key=lambda pair: pair[1])[0])
        return Table([{**{n: c.get(n, before[n]) for n in names}, "error": e} for c, e in tried])


def _merge(beam: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """One alternative for those that differ in such spaces alone, the best first."""
    scores: dict[str, float] = {}
    for text, score in beam:
        merged = tidy(text)
        scores[merged] = float(np.logaddexp(scores.get(merged, -math.inf), score))
    return sorted(scores.items(), key=lambda item: -item[1])
