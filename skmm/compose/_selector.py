"""One modality, or all side by side, as a 2-D array for any scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skmm.blocks import Block, Blocks, RaggedArray, block_kind
from skmm.blocks._given import blocks_if_named
from skmm.blocks._kinds import spread


class ModalitySelector(TransformerMixin, BaseEstimator):
    """Read one modality, or all side by side, as a 2-D array, for any scikit-learn estimator.

    Dense blocks are flattened, sparse ones stay CSR, and a ragged sequence becomes the mean and the standard
    deviation over time of each of its channels.

    Parameters
    ----------
    name : str, default=None
        The modality; None puts all side by side, in a CSR array if any is sparse.

    Attributes
    ----------
    shapes_ : dict of str to tuple
        Shape of one sample of each modality read; the first axis of a ragged sequence is ``"time"``.

    Raises
    ------
    ValueError
        If X has no such modality, if its samples have another shape than in ``fit``, or if it holds token ids,
        whose mean says nothing.

    Notes
    -----
    Missing rows are NaN; in a sparse block they are empty.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skmm import Blocks
    >>> from skmm.compose import ModalitySelector
    >>> X = Blocks(text=[[0.0], [1.0], [2.0], [3.0]], image=np.zeros((4, 8, 8, 3)))
    >>> ModalitySelector("image").fit_transform(X).shape
    (4, 192)
    >>> make_pipeline(ModalitySelector("text"), LogisticRegression()).fit(X, [0, 0, 1, 1]).predict(X[[0, 3]])
    array([0, 1])
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def _read(self, X: Any, names: Callable[[Blocks], list[str]]) -> Blocks:
        X = blocks_if_named(X)
        if not isinstance(X, Blocks):
            raise ValueError(f"ModalitySelector reads Blocks or a dict of arrays, got {type(X).__name__}.")
        wanted = names(X)
        for name in wanted:
            if name not in X:
                raise ValueError(f"no modality {name!r}; X has {list(X)}.")
            if block_kind(X[name]) == "tokens":
                raise ValueError(
                    f"modality {name!r} holds token ids, which have no 2-D form. Count them first, e.g. with "
                    "CountVectorizer, or give them to an embedding encoder."
                )
        return X.select(wanted)

    def fit(self, X: Any, y: Any = None) -> ModalitySelector:
        """Note which modalities there are and their shapes.

        Parameters
        ----------
        X : Blocks or dict of arrays
        y : object, default=None
            Ignored.

        Returns
        -------
        self : ModalitySelector
        """
        X = self._read(X, lambda X: list(X) if self.name is None else [self.name])
        self.shapes_ = {name: _shape(block) for name, block in X.items()}
        return self

    def transform(self, X: Any) -> Any:
        """Read the modality.

        Parameters
        ----------
        X : Blocks or dict of arrays

        Returns
        -------
        ndarray or csr_array of shape (n_samples, n_columns)
            Of dtype float32 or float64.
        """
        check_is_fitted(self)
        X = self._read(X, lambda _: list(self.shapes_))
        for name, shape in self.shapes_.items():
            if _shape(X[name]) != shape:
                raise ValueError(
                    f"modality {name!r} has samples of shape {_shape(X[name])}, in fit they were of shape {shape}."
                )
        parts = [_as_2d(block, X.present[name]) for name, block in X.items()]
        if len(parts) == 1:
            return parts[0]
        return sp.hstack(parts, format="csr") if any(map(sp.issparse, parts)) else np.hstack(parts)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns: ``modality__x0``; of a ragged sequence ``modality__mean0`` and ``modality__std0``.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        ndarray of str, shape (n_columns,)
        """
        check_is_fitted(self)
        names = []
        for name, shape in self.shapes_.items():
            ragged = shape[0] == "time"
            width = int(np.prod(shape[1:] if ragged else shape))
            names += [f"{name}__{s}{i}" for s in (["mean", "std"] if ragged else ["x"]) for i in range(width)]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.dict = tags.input_tags.sparse = tags.input_tags.allow_nan = True
        return tags


def _shape(block: Block) -> tuple[Any, ...]:
    return ("time", *block.inner_shape) if isinstance(block, RaggedArray) else tuple(block.shape[1:])


def _as_2d(block: Block, present: np.ndarray) -> Any:
    dtype = np.result_type(block.dtype, np.float32)  # integers become floats, floats keep their precision
    if sp.issparse(block):
        block = sp.csr_array(block, dtype=dtype)
        rows = np.flatnonzero(present)
        return spread(block[rows], rows, len(present))
    if isinstance(block, RaggedArray):
        out = _mean_and_std(block, dtype)
    else:
        out = np.array(block, dtype=dtype).reshape(len(present), -1)
    out[~present] = np.nan
    return out


def _mean_and_std(block: RaggedArray, dtype: np.dtype) -> np.ndarray:
    """Mean and standard deviation over time of each channel, shape (n_samples, 2 * n_channels)."""
    values = block.values.reshape(len(block.values), -1).astype(np.float64)
    out = np.full((len(block), 2 * values.shape[1]), np.nan, dtype=dtype)
    full = np.flatnonzero(block.lengths)  # a missing sample has no step, and reduceat no empty segment
    if len(full):
        starts, lengths = block.offsets[full], block.lengths[full]
        mean = np.add.reduceat(values, starts) / lengths[:, None]
        squares = (values - np.repeat(mean, lengths, axis=0)) ** 2
        std = np.sqrt(np.add.reduceat(squares, starts) / lengths[:, None])
        out[full] = np.hstack([mean, std])
    return out
