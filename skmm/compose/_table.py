"""Modalities side by side as one dense table, for estimators that read nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmm.blocks import Blocks
from skmm.blocks._given import as_blocks
from skmm.blocks._kinds import as_kind, sample_shape
from skmm.compose._selector import ModalitySelector
from skmm.compose._summary import segment_means

N_COMPONENTS = 64  # columns that a sparse block, which may have many thousands, is compressed to
_N_SEGMENTS = 4  # of a sequence's time; on spoken digits better than 8 of them, or than all steps


def columns_of(name: str, kind: str, form: str = "flat") -> list[Any]:
    """Steps of a pipeline that read one modality as a 2-D array; token ids as TF-IDF, an id counting as a word."""
    if kind == "tokens":
        words = TfidfVectorizer(analyzer=np.ndarray.tolist, sublinear_tf=True)
        return [FunctionTransformer(_tokens, kw_args={"name": name}), words]
    return [ModalitySelector(name, form=form)]


def dense_table(blocks: Blocks, names: Iterable[str], random_state: Any = None) -> Pipeline:
    """What reads modalities, as they are in these blocks, as one dense array of floats.

    Dense blocks are summaries, with NaN where a row is missing; sequences of up to 64 channels also have the means
    over each quarter of their time. Sparse ones and TF-IDF of token ids go through a truncated SVD; there a missing
    row is as one without words.
    """
    parts: list[Any] = []
    for name in names:
        kind = blocks.kinds[name]
        steps = columns_of(name, kind, form="summary")
        if kind in ("sparse", "tokens"):
            steps.append(_Compression(N_COMPONENTS, random_state))
        parts.append(make_pipeline(*steps))
        if kind == "sequence" and np.prod(sample_shape(blocks[name])) <= N_COMPONENTS:
            parts.append(FunctionTransformer(_segments, kw_args={"name": name}))
    # scikit-learn forbids some names here ("__", "n_jobs"), and a modality's name can be any string
    return make_pipeline(FeatureUnion([(f"part{i}", part) for i, part in enumerate(parts)]), _KnownColumns())


class _KnownColumns(TransformerMixin, BaseEstimator):
    """Zeros in the place of columns of which ``fit`` saw NaN alone, which scikit-learn's boosting cannot bin."""

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        self.unknown_ = np.isnan(X).all(axis=0)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return np.where(self.unknown_, np.zeros((), X.dtype), X)


class _Compression(TransformerMixin, BaseEstimator):
    """The first components of a sparse array as a dense one; as it is where it has no more columns than that."""

    def __init__(self, n_components: int, random_state: Any = None) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        self.svd_ = None
        if X.shape[1] > self.n_components:
            with np.errstate(invalid="ignore"):  # the share of variance of a block that is empty: 0 of 0
                self.svd_ = TruncatedSVD(self.n_components, random_state=self.random_state).fit(X)
        return self

    def transform(self, X: Any) -> np.ndarray:
        return sp.csr_array(X).toarray() if self.svd_ is None else self.svd_.transform(X)


def _tokens(X: Blocks | Mapping[str, Any], name: str) -> list[np.ndarray]:
    """Token ids of each sample, none where they are missing."""
    X = as_blocks(X, reset=True)
    return [ids if there else ids[:0] for ids, there in zip(X[name], X.present[name], strict=True)]


def _segments(X: Blocks | Mapping[str, Any], name: str) -> np.ndarray:
    """Means of a sequence over parts of its time: what statistics of all of it leave out is their order."""
    X = as_blocks(X, reset=True)
    return segment_means(as_kind(X[name], ("sequence",)), X.present[name], _N_SEGMENTS)
