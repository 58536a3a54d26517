"""Text: sequences of token ids, and embeddings of pretrained sentence models."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.utils.validation import check_is_fitted

from skmm._checks import check_positive
from skmm._devices import find_device, seeded
from skmm._documentation import Documented
from skmm._fitting import all_or_nothing
from skmm._missing import is_missing
from skmm._optional import import_optional
from skmm._pretrained import quiet
from skmm.blocks._blocks import RaggedArray
from skmm.preprocessing._files import as_column, describe


def as_texts(X: Any) -> list[str]:
    """The rows of a column of text."""
    texts = as_column(X)
    for row, text in enumerate(texts):
        if is_missing(text):
            raise ValueError(f"row {row}: the text is missing ({text}). ModalityTransformer leaves such rows out.")
        if not isinstance(text, str):
            raise ValueError(f"row {row}: expected text (str), got {describe(text)}.")
    return texts


class TextTransformer(TransformerMixin, Documented, BaseEstimator):
    """Base of the transformers that read a column of text."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = tags.input_tags.string = True
        return tags


class TextTokens(TextTransformer):
    """Turn each text into the sequence of its token ids, for the ``"embedding"`` encoder.

    The vocabulary is learned in ``fit`` as :class:`~sklearn.feature_extraction.text.CountVectorizer` learns it; the
    order of the tokens is kept. All tokens outside the vocabulary share one id, the first after the vocabulary. If
    ``min_df`` or ``max_features`` left tokens of the training texts out, training sees this id and learns what a
    rare word means; if not, it lies past all ids that training saw, and the encoder lets it add nothing.

    Parameters
    ----------
    max_features : int, default=None
        Size of the vocabulary: the most frequent tokens. None keeps all.
    min_df : int or float, default=1
        Texts that a token must stand in to enter the vocabulary: a number, or a share of the texts.
    max_length : int, default=None
        Tokens of a text that are read, from its start; later ones do not count for the vocabulary either. None
        reads all.
    analyzer : {"word", "char", "char_wb"} or callable, default="word"
        What a token is, as in CountVectorizer. A callable turns a text into a list of tokens.
    token_pattern : str, default=r"(?u)\\b\\w+\\b"
        Regular expression of a word. Unlike CountVectorizer's, the default keeps words of one letter, which have
        their place in a sequence.
    lowercase : bool, default=True
        Whether to lower the case first.

    Attributes
    ----------
    vocabulary_ : dict of str to int
        Id of each token.
    unknown_id_ : int
        Id of the tokens outside the vocabulary, ``len(vocabulary_)``.

    Raises
    ------
    ValueError
        If a row is missing or no string (names the row), if no token is left for the vocabulary, or if a parameter
        is wrong.

    Notes
    -----
    A text without any token, such as ``""``, becomes a single unknown token: it was given, so it is not missing,
    and a sequence has at least one step.

    Examples
    --------
    >>> from skmm.preprocessing import TextTokens
    >>> tokens = TextTokens().fit(["a good film", "a bad film"])
    >>> tokens.vocabulary_
    {'a': 0, 'bad': 1, 'film': 2, 'good': 3}
    >>> [ids.tolist() for ids in tokens.transform(["a film, a good one", ""])]
    [[0, 2, 0, 3, 4], [4]]
    """

    def __init__(
        self,
        *,
        max_features: int | None = None,
        min_df: float = 1,
        max_length: int | None = None,
        analyzer: Any = "word",
        token_pattern: str = r"(?u)\b\w+\b",
        lowercase: bool = True,
    ) -> None:
        self.max_features = max_features
        self.min_df = min_df
        self.max_length = max_length
        self.analyzer = analyzer
        self.token_pattern = token_pattern
        self.lowercase = lowercase

    def _tokens_of(self, texts: list[str]) -> list[list[str]]:
        analyze = CountVectorizer(
            analyzer=self.analyzer, token_pattern=self.token_pattern, lowercase=self.lowercase
        ).build_analyzer()
        return [list(analyze(text))[: self.max_length] for text in texts]

    def fit(self, X: Any, y: Any = None) -> TextTokens:
        """Learn the vocabulary.

        Parameters
        ----------
        X : list, 1-D array, Series or one-column DataFrame of str, shape (n_samples,)
            The texts.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : TextTokens
        """
        if self.max_length is not None:
            check_positive("max_length", self.max_length)
        # the tokens are cut already: the analyzer of the counting hands them on
        counter = CountVectorizer(analyzer=list, min_df=self.min_df, max_features=self.max_features)
        vocabulary = counter.fit(self._tokens_of(as_texts(X))).vocabulary_
        self.vocabulary_ = {token: int(i) for token, i in sorted(vocabulary.items(), key=lambda item: item[1])}
        self.unknown_id_ = len(vocabulary)
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
        unknown = self.unknown_id_
        tokens = self._tokens_of(as_texts(X))
        rows = [[self.vocabulary_.get(token, unknown) for token in row] or [unknown] for row in tokens]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
        return RaggedArray(np.array([i for row in rows for i in row], dtype=np.int64), offsets)


class TextEmbedder(ClassNamePrefixFeaturesOutMixin, TextTransformer):
    """Turn each text into the vector that a pretrained sentence model gives it.

    Needs the package sentence-transformers: ``pip install "skmm[text]"``.

    Parameters
    ----------
    model : str or path
        Folder of a model, or a name that sentence-transformers finds (a name may be downloaded; a folder never
        needs a network).
    batch_size : int, default=32
        Texts that go through the model at a time.
    device : str, default="auto"
        Where the model runs; "auto" takes a GPU where there is one.
    normalize : bool, default=False
        Whether to scale each vector to length 1.

    Attributes
    ----------
    n_features_out_ : int
        Size of the vectors.

    Raises
    ------
    ImportError
        If sentence-transformers cannot be imported.
    ValueError
        If the model cannot be loaded, a row is missing or no string (names the row), or a parameter is wrong.

    Notes
    -----
    Nothing is learned. The same texts give the same vectors up to the rounding of a float32, which depends on what
    shares a batch with a text. A pickle holds the model's name, not its weights: where it is read, the model must
    be found under the same name.

    Code that a model brings with it is never run.

    Examples
    --------
    >>> from skmm.preprocessing import TextEmbedder
    >>> embedder = TextEmbedder("path/to/a/model", normalize=True)
    >>> embedder.get_params()["batch_size"]
    32
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        batch_size: int = 32,
        device: str = "auto",
        normalize: bool = False,
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.device = device
        self.normalize = normalize

    def _load(self) -> Any:
        package = import_optional("sentence_transformers", extra="text")
        name = os.fspath(self.model)
        device = find_device(self.device)
        # layers draw their first weights before they are given those of the file
        with quiet(), seeded(0, device):
            try:
                return package.SentenceTransformer(name, device=str(device), trust_remote_code=False)
            except (OSError, ValueError) as error:
                raise ValueError(f"model={name!r} cannot be loaded as a sentence model: {error}") from error

    def _embed(self, texts: list[str]) -> np.ndarray:
        vectors = self._loaded.encode(
            texts,
            batch_size=self.batch_size,
            normalize_embeddings=self.normalize,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in super().__getstate__().items() if key != "_loaded"}

    def fit(self, X: Any, y: Any = None) -> TextEmbedder:
        """Load the model.

        Parameters
        ----------
        X : list, 1-D array, Series or one-column DataFrame of str, shape (n_samples,)
            The texts; only their types are looked at.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : TextEmbedder
        """
        check_positive("batch_size", self.batch_size)
        as_texts(X)
        with all_or_nothing(self):
            self._loaded = self._load()
            self.n_features_out_ = self._n_features_out = self._embed([""]).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed the texts.

        Parameters
        ----------
        X : list, 1-D array, Series or one-column DataFrame of str, shape (n_samples,)
            The texts.

        Returns
        -------
        ndarray of float32, shape (n_samples, ``n_features_out_``)
        """
        check_is_fitted(self)
        texts = as_texts(X)
        if not hasattr(self, "_loaded"):  # after unpickling
            self._loaded = self._load()
        return self._embed(texts).reshape(len(texts), self.n_features_out_)
