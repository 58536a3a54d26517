"""Tables: categories as token ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from skmm._checks import is_whole
from skmm._documentation import Documented
from skmm._fitting import all_or_nothing
from skmm.blocks._blocks import RaggedArray
from skmm.columns._cells import columns_of
from skmm.columns._levels import Known, levels, warn_of_new


class TableTokens(
    OneToOneFeatureMixin,
    TransformerMixin,
    Documented,
    BaseEstimator,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]
):
    """Turn categorical columns into token ids, for the ``"embedding"`` encoder.

    Each column gives one token, so each row is a sequence of ``n_features_in_`` ids. Every category of every column
    has an id of its own: "yes" in one column is not "yes" in another. So has each column's missing value, and its
    unknown one, which stands for all categories that ``fit`` did not see and, with ``min_frequency``, for the rare
    ones.

    Parameters
    ----------
    min_frequency : int or float, default=1
        Rows that a category must stand in to have an id of its own: a number, or a share of the rows. The rarer
        ones share their column's unknown id.

    Attributes
    ----------
    ids_ : list of dict, length ``n_features_in_``
        Id of each category of each column.
    missing_ids_ : list of int, length ``n_features_in_``
        Id of each column's missing value.
    unknown_ids_ : list of int, length ``n_features_in_``
        Id of each column's unknown categories.
    n_seen_ids_ : int
        Ids that occur in the table given to ``fit``: these are ``0`` to ``n_seen_ids_ - 1``. The others, such as
        the unknown id of a column without rare categories, come after: training never sees them, and the encoder
        lets such ids add nothing.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str, shape (``n_features_in_``,)
        Names of the columns, if they are strings.

    Raises
    ------
    ValueError
        If ``min_frequency`` is neither an integer of at least 1 nor a share between 0 and 1, if the columns differ
        from those in ``fit``, or if a cell holds a list or another thing that is no category (names row and
        column).

    Notes
    -----
    Categories are equal by their value, whatever their type: 1, 1.0 and True are the same, and so is the string
    "1" where the column held numbers in ``fit``. A warning tells of the categories of a column that are new at
    ``transform``; of more than 40 that ``fit`` saw, only where nearly all cells are new. Bin continuous
    columns first, e.g. with :class:`~sklearn.preprocessing.KBinsDiscretizer`, or leave them to a modality of their
    own.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmm.preprocessing import TableTokens
    >>> df = pd.DataFrame({"city": ["Bern", "Rome", "Bern"], "colour": ["red", None, "blue"]})
    >>> tokens = TableTokens().fit(df)
    >>> tokens.ids_
    [{'Bern': 0, 'Rome': 1}, {'red': 2, 'blue': 3}]
    >>> [row.tolist() for row in tokens.transform(df)]
    [[0, 2], [1, 4], [0, 3]]
    """

    def __init__(self, *, min_frequency: float = 1) -> None:
        self.min_frequency = min_frequency

    def _columns(self, X: Any, *, reset: bool) -> list[tuple[np.ndarray, np.ndarray]]:
        """Values of each column and which of them are missing, after the checks of scikit-learn."""
        if sp.issparse(X):
            raise TypeError("TableTokens reads a dense table or a DataFrame, not a sparse matrix.")
        if len(getattr(X, "shape", ())) == 1:  # one column of a ModalityTransformer
            X = X.to_frame() if hasattr(X, "to_frame") else X.reshape(-1, 1)
        if not hasattr(X, "columns"):
            X = np.asarray(X) if hasattr(X, "dtype") else np.array(X, dtype=object)
            if X.ndim != 2 or X.dtype.kind == "c":
                raise ValueError(
                    f"expected a table of categories, shape (n_samples, n_features), got {X.dtype} of shape "
                    f"{X.shape}. Complex data not supported."
                )
        validate_data(self, X=X, skip_check_array=True, reset=reset)
        if 0 in X.shape:
            what = "sample(s)" if X.shape[0] == 0 else "feature(s)"
            raise ValueError(f"Found array with 0 {what} (shape={X.shape}) while a minimum of 1 is required.")
        # each column by itself: of all together numpy would make objects, or floats that round large integers
        return [(values, missing) for _, values, missing in columns_of(X)]

    def _column_name(self, j: int) -> str:
        return repr(self.feature_names_in_[j]) if hasattr(self, "feature_names_in_") else str(j)

    def _categories(self, j: int, values: np.ndarray, missing: np.ndarray) -> list[Hashable]:
        """Cells of a column that are not missing."""
        cells = levels(values[~missing])
        for place, cell in enumerate(cells):
            if not isinstance(cell, Hashable):
                row = int(np.flatnonzero(~missing)[place])
                raise ValueError(
                    f"row {row}, column {self._column_name(j)}: a {type(cell).__name__} is no category: {cell!r}."
                )
        return cells

    def fit(self, X: Any, y: Any = None) -> TableTokens:
        """Give an id to each category.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features), or one column of shape (n_samples,)
            The categories: strings, numbers, or any hashable objects.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : TableTokens
        """
        with all_or_nothing(self):
            self._learn(X)
        return self

    def _learn(self, X: Any) -> None:
        columns = self._columns(X, reset=True)
        least = self._least_count(len(columns[0][0]))
        self.ids_: list[dict[Any, int]] = []
        missing_ids: list[int | None] = []
        unknown_ids: list[int | None] = []
        n = 0  # ids given so far
        for j, (values, missing) in enumerate(columns):
            counts = Counter(self._categories(j, values, missing))
            frequent = [category for category, count in counts.items() if count >= least]
            self.ids_.append({category: n + i for i, category in enumerate(frequent)})
            n += len(frequent)
            for ids, seen in ((missing_ids, missing.any()), (unknown_ids, len(frequent) < len(counts))):
                ids.append(n if seen else None)
                n += bool(seen)
        self.n_seen_ids_ = n
        # what this table did not hold has its ids past all others, where the encoder takes them for unseen
        self.missing_ids_ = _fill(missing_ids, n)
        self.unknown_ids_ = _fill(unknown_ids, n + missing_ids.count(None))

    def _least_count(self, n_samples: int) -> float:
        least = self.min_frequency
        if is_whole(least) and least >= 1:
            return int(least)
        if isinstance(least, Real) and 0 < least < 1:
            return float(least) * n_samples
        raise ValueError(
            f"min_frequency must be an integer of at least 1 or a share between 0 and 1, got {least!r}."
        )

    def transform(self, X: Any) -> RaggedArray:
        """Ids of each row's categories.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features), or one column of shape (n_samples,)
            The columns given to ``fit``.

        Returns
        -------
        RaggedArray of int64, n_samples rows of length ``n_features_in_``
            A block of kind "tokens".
        """
        check_is_fitted(self)
        columns = self._columns(X, reset=False)
        out = np.empty((len(columns[0][0]), len(columns)), dtype=np.int64)
        for j, (values, missing) in enumerate(columns):
            known, unknown = Known(self.ids_[j]), self.unknown_ids_[j]
            there = self._categories(j, values, missing)
            found = [known.get(category) for category in there]
            if unknown >= self.n_seen_ids_:  # else it stands for rare categories, of which training learned
                name = self.feature_names_in_[j] if hasattr(self, "feature_names_in_") else j
                warn_of_new(name, there, found, self.ids_[j])
            out[missing, j] = self.missing_ids_[j]
            out[~missing, j] = [unknown if i is None else i for i in found]
        return RaggedArray(out.reshape(-1), np.arange(len(out) + 1, dtype=np.int64) * out.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = tags.input_tags.string = tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _fill(ids: list[int | None], start: int) -> list[int]:
    """Ids with the numbers from ``start`` on in place of None."""
    fresh = iter(range(start, start + len(ids)))
    return [next(fresh) if i is None else i for i in ids]
