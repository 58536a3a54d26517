"""Text as the pretrained model of an encoder reads it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skmm._checks import check_positive
from skmm._pretrained import load_tokenizer, model_name, sentence_limit
from skmm.blocks._blocks import RaggedArray
from skmm.preprocessing.text import TextTransformer, as_texts
from skmm.spec import Encoder

_UNLIMITED = 10**9  # a tokenizer that knows of no limit says more


class PretrainedTokens(TextTransformer):
    """Turn each text into token ids by the tokenizer of a pretrained model, for the ``"pretrained"`` encoder.

    Parameters
    ----------
    model : str, path or Encoder
        Folder of a model saved with ``save_pretrained``, with its tokenizer, or a name that transformers finds; or
        the encoder that reads the tokens, so that the model is named once.
    max_length : int or None, default=None
        Tokens of a text that are kept, the model's own marks among them; None keeps as many as the tokenizer says
        that its model can read, or as sentence-transformers has saved beside the model, if these are fewer.

    Attributes
    ----------
    n_ids_ : int
        Ids that the tokenizer knows.

    Raises
    ------
    ValueError
        If the tokenizer cannot be loaded, or a row is missing or no string (names the row).
    ImportError
        If transformers is not installed.

    Notes
    -----
    Nothing is learned. A pickle holds the model's name, not its tokenizer.

    Examples
    --------
    >>> from skmm.preprocessing import PretrainedTokens
    >>> PretrainedTokens("path/to/a/model", max_length=64).get_params()["max_length"]
    64

    For an encoder, whose model it is: the same goes to ``encoders={"text": encoder}`` of the estimator.

    >>> from skmm import Encoder
    >>> encoder = Encoder.pretrained(model="path/to/a/model")
    >>> PretrainedTokens(encoder)
    PretrainedTokens(model=Encoder('pretrained', model='path/to/a/model'))
    """

    def __init__(self, model: str | os.PathLike[str] | Encoder, *, max_length: int | None = None) -> None:
        self.model = model
        self.max_length = max_length

    def fit(self, X: Any, y: Any = None) -> PretrainedTokens:
        """Load the tokenizer.

        Parameters
        ----------
        X : list, 1-D array, Series or one-column DataFrame of str, shape (n_samples,)
            The texts; only their types are looked at.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : PretrainedTokens
        """
        if self.max_length is not None:
            check_positive("max_length", self.max_length)
        as_texts(X)
        self._tokenizer = load_tokenizer(model_name(self.model))
        self.n_ids_ = len(self._tokenizer)
        return self

    def transform(self, X: Any) -> RaggedArray:
        """Token ids of each text.

        Parameters
        ----------
        X : list, 1-D array, Series or one-column DataFrame of str, shape (n_samples,)
            The texts.

        Returns
        -------
        RaggedArray of int64, n_samples rows
            A block of kind "tokens".
        """
        check_is_fitted(self)
        texts = as_texts(X)
        if not hasattr(self, "_tokenizer"):  # after unpickling
            self._tokenizer = load_tokenizer(model_name(self.model))
        if not texts:
            return RaggedArray(np.zeros(0, np.int64), np.zeros(1, np.int64))
        longest = self.max_length
        if longest is None:
            longest = min(self._tokenizer.model_max_length, sentence_limit(model_name(self.model)) or _UNLIMITED)
        rows = self._tokenizer(texts, truncation=longest < _UNLIMITED, max_length=longest)["input_ids"]
        return RaggedArray.from_list([np.array(row, dtype=np.int64) for row in rows])

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in super().__getstate__().items() if key != "_tokenizer"}
