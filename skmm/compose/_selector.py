"""One modality, or all side by side, as a 2-D array for any scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skmm._checks import unknown
from skmm._documentation import Documented
from skmm.blocks import Block, Blocks, RaggedArray, block_kind
from skmm.blocks._given import blocks_if_named
from skmm.blocks._kinds import as_kind, side_by_side, spread
from skmm.compose._summary import (
    MOMENTS,
    count_tokens,
    has_steps,
    over_time,
    summarise,
    summary_names,
    token_ids,
)

_FORMS = ("flat", "summary")


class ModalitySelector(TransformerMixin, Documented, BaseEstimator):
    """Read one modality, some, or all side by side, as a 2-D array, for any scikit-learn estimator.

    Parameters
    ----------
    name : str or list of str, default=None
        The modality, or several that stand side by side in the order given; None means all. The array is CSR if
        any of them is.
    form : {"flat", "summary"}, default="flat"
        What becomes of a sample. Vectors and sparse blocks, which stay CSR, are the same in both.

        - ``"flat"``: all its values; of a ragged sequence the mean and the standard deviation over time of each
          channel. Token ids have no such form.
        - ``"summary"``: as many columns for long samples as for short ones, which may then have any number of
          steps. Of a sequence, dense or ragged: mean, standard deviation, minimum, maximum and last value of each
          channel, and the number of steps. Of an image: mean and standard deviation of each channel, and the means
          of a grid of 8 x 8 cells, fewer where there are fewer pixels. Of a video, also one of unequal length: the
          mean and the standard deviation over its frames of what an image has, and the number of frames. Of token
          ids: log(1 + count) of each id that ``fit`` saw, CSR.

    Attributes
    ----------
    shapes_ : dict of str to tuple
        Shape of one sample of each modality read; the first axis of a ragged sequence, in a summary of any
        sequence or video, is ``"time"``.
    ids_ : dict of str to ndarray of int
        The token ids that ``fit`` saw, by modality.

    Raises
    ------
    ValueError
        If ``form`` is unknown, ``name`` an empty list, if X has no such modality, if its samples have another shape
        than in ``fit``, or if a flat form is asked of token ids, whose size says nothing.

    Notes
    -----
    Missing rows are NaN; in a sparse block, and of token ids, they are empty. Sums are of float64.

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

    A sequence of two steps and one of three, in a few numbers each:

    >>> ModalitySelector("walk", form="summary").set_output(transform="pandas").fit_transform(
    ...     {"walk": [np.array([1.0, 3.0]), np.array([5.0, 5.0, 2.0])]}
    ... )
       walk__mean0  walk__std0  walk__min0  walk__max0  walk__last0  walk__steps
    0          2.0    1.000000         1.0         3.0          3.0          2.0
    1          4.0    1.414214         2.0         5.0          2.0          3.0
    """

    def __init__(self, name: str | Sequence[str] | None = None, *, form: str = "flat") -> None:
        self.name = name
        self.form = form

    def _wanted(self, X: Blocks) -> list[str]:
        if self.name is None:
            return list(X)
        names = [self.name] if isinstance(self.name, str) else list(self.name)
        if not names:
            raise ValueError(f"name is an empty list; X has {list(X)}, and None means all.")
        return names

    def _read(self, X: Any, names: Callable[[Blocks], list[str]]) -> Blocks:
        X = blocks_if_named(X)
        if not isinstance(X, Blocks):
            raise ValueError(f"ModalitySelector reads Blocks or a dict of arrays, got {type(X).__name__}.")
        wanted = names(X)
        for name in wanted:
            if name not in X:
                raise ValueError(f"no modality {name!r}; X has {list(X)}.")
            if self.form == "flat" and block_kind(X[name]) == "tokens":
                raise ValueError(
                    f"modality {name!r} holds token ids, which have no flat form. Count them, with "
                    "form='summary' or a CountVectorizer, or give them to an embedding encoder."
                )
        return X.select(wanted)

    def _shape(self, block: Block) -> tuple[Any, ...]:
        """Shape of one sample as far as all must agree in it."""
        if isinstance(block, RaggedArray):
            return ("time", *block.inner_shape)
        if self.form == "summary" and block_kind(block) in ("sequence", "video"):
            return ("time", *block.shape[2:])
        return tuple(block.shape[1:])

    def fit(self, X: Any, y: Any = None) -> ModalitySelector:
        """Note which modalities there are and their shapes, and of token ids which there are.

        Parameters
        ----------
        X : Blocks or dict of arrays
        y : object, default=None
            Ignored.

        Returns
        -------
        self : ModalitySelector
        """
        if self.form not in _FORMS:
            raise unknown("form", self.form, _FORMS)
        X = self._read(X, self._wanted)
        self.shapes_ = {name: self._shape(block) for name, block in X.items()}
        self.ids_ = {
            name: token_ids(block, X.present[name]) for name, block in X.items() if block_kind(block) == "tokens"
        }
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
        return side_by_side([self._part(name, block, X.present[name]) for name, block in X.items()])

    def _part(self, name: str, block: Block, present: np.ndarray) -> Any:
        """The columns of one modality."""
        shape = self.shapes_[name]
        if self._shape(block) != shape:
            raise ValueError(
                f"modality {name!r} has samples of shape {self._shape(block)}, in fit they were of shape {shape}."
            )
        if name in self.ids_:
            if block_kind(block) != "tokens":
                raise ValueError(f"modality {name!r} holds {block.dtype} values, in fit it held token ids.")
            return count_tokens(block, present, self.ids_[name])
        if self._is_summed_up(shape):
            # whole numbers that were fractions in fit are no ids
            return summarise(as_kind(block, ("sequence", "image", "video")), present, shape, _float_type(block))
        return _as_2d(block, present)

    def _is_summed_up(self, shape: tuple[Any, ...]) -> bool:
        return self.form == "summary" and (has_steps(shape) or len(shape) > 1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns, such as ``modality__x0``.

        Of what is summed up they name the statistic and the channel, ``modality__mean0``, of a grid its row, column
        and channel, ``modality__cell0_0_0``; of token ids the id, ``modality__id7``.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        ndarray of str, shape (n_columns,)
        """
        check_is_fitted(self)
        names = [f"{name}__{column}" for name in self.shapes_ for column in self._columns(name)]
        return np.array(names, dtype=object)

    def _columns(self, name: str) -> list[str]:
        shape = self.shapes_[name]
        if name in self.ids_:
            return [f"id{i}" for i in self.ids_[name].tolist()]
        if self._is_summed_up(shape):
            return summary_names(shape)
        if has_steps(shape):
            return [f"{statistic}{i}" for statistic in MOMENTS for i in range(int(np.prod(shape[1:])))]
        return [f"x{i}" for i in range(int(np.prod(shape)))]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.dict = tags.input_tags.sparse = tags.input_tags.allow_nan = True
        return tags


def _as_2d(block: Block, present: np.ndarray) -> Any:
    dtype = _float_type(block)
    if sp.issparse(block):
        block = sp.csr_array(block, dtype=dtype)
        rows = np.flatnonzero(present)
        return spread(block[rows], rows, len(present))
    if isinstance(block, RaggedArray):
        full = np.flatnonzero(present & (block.lengths > 0))
        out = np.full((len(present), len(MOMENTS) * int(np.prod(block.inner_shape))), np.nan, dtype=dtype)
        if len(full):
            out[full] = over_time(block[full].values, block.lengths[full], MOMENTS)
        return out
    out = np.array(block, dtype=dtype).reshape(len(present), -1)
    out[~present] = np.nan
    return out


def _float_type(block: Block) -> np.dtype:
    """The type of the columns: integers become floats, floats keep their precision."""
    return np.result_type(block.dtype, np.float32)
