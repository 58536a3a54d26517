"""From a table to Blocks, one scikit-learn transformer per modality, and back to 2-D."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer

# documented, though private: the one function that selects rows and columns of any table that sklearn reads
from sklearn.utils import Bunch, _safe_indexing, check_consistent_length

# private: without it the diagram shows no modalities, since `transformers` is a list
from sklearn.utils._repr_html.estimator import _VisualBlock

# private: nothing public gives nested parameters (text__ngram_range) of a list of named transformers
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data

from skmm._columns import Positions, check_table, column_names, find_positions, missing_cells, pass_through
from skmm.blocks import Block, Blocks, RaggedArray, block_kind, is_lazy
from skmm.frames import plan_frame
from skmm.table import Table


@contextmanager
def _naming(name: str, table: Any) -> Iterator[None]:
    """Name the modality in whatever its transformer raises."""
    try:
        yield
    except Exception as error:
        given = "a 1-D column (a list of columns gives a table)" if len(table.shape) == 1 else "a 2-D table"
        error.add_note(f"Raised in modality {name!r}, whose transformer is given {given}.")
        raise


def _spread(block: Block, rows: np.ndarray, n_samples: int) -> Block:
    """Put samples into the rows where they belong; the other rows are empty, NaN, or zero in integers."""
    if len(rows) == n_samples:
        return block
    if isinstance(block, RaggedArray):
        return RaggedArray(block.values, _spread_offsets(block.offsets, rows, n_samples))
    if sp.issparse(block):
        indptr = _spread_offsets(block.indptr, rows, n_samples)
        return type(block)((block.data, block.indices, indptr), shape=(n_samples, block.shape[1]))
    if is_lazy(block):  # rows that are missing are never read, whatever they point to
        places = np.zeros(n_samples, dtype=np.int64)
        places[rows] = np.arange(len(rows))
        return block[places]
    fill = np.nan if block.dtype.kind == "f" else 0
    full = np.full((n_samples, *block.shape[1:]), fill, dtype=block.dtype)
    full[rows] = block
    return full


def _spread_offsets(offsets: np.ndarray, rows: np.ndarray, n_samples: int) -> np.ndarray:
    lengths = np.zeros(n_samples, dtype=np.int64)
    lengths[rows] = np.diff(offsets)
    return np.concatenate([[0], np.cumsum(lengths)])


def _without_rows(block: Any) -> Block:
    if is_lazy(block):  # it would keep its file
        return np.empty((0, *block.shape[1:]), block.dtype)
    return block[:0].copy() if isinstance(block, np.ndarray) else block[:0]


@dataclass(frozen=True)
class _Job:
    """One modality of one call: what its transformer is to do with which columns."""

    name: str
    transformer: Any
    table: Any
    # a block without rows, shaped as in fit: what is left if all rows are missing; None in fit itself
    template: Block | None = None
    y: Any = None
    progress: str = ""


def _run(job: _Job) -> tuple[Any, Block, np.ndarray]:
    """The transformer, fitted in fit, its output over all rows, and which of them exist."""
    start = time.perf_counter()
    missing = missing_cells(job.table)
    if missing.ndim == 2:
        missing = np.all(missing, axis=1)
    rows, n_samples = np.flatnonzero(~missing), len(missing)
    if len(rows) == 0:
        if job.template is None:
            raise ValueError(f"modality {job.name!r}: all {n_samples} rows are missing, there is nothing to fit.")
        return job.transformer, _spread(job.template, rows, n_samples), ~missing
    given, y = job.table, job.y
    if len(rows) < n_samples:
        given = _safe_indexing(given, rows)
        y = None if y is None else _safe_indexing(y, rows)
    with _naming(job.name, given):
        if isinstance(job.transformer, str):
            out = pass_through(given)
        elif job.template is not None:
            out = job.transformer.transform(given)
        elif hasattr(job.transformer, "fit_transform"):
            out = job.transformer.fit_transform(given, y)
        else:
            out = job.transformer.fit(given, y).transform(given)
        part = Blocks({job.name: out})
    if len(part) != len(rows):
        transformer = type(job.transformer).__name__
        raise ValueError(f"modality {job.name!r}: {transformer} returned {len(part)} rows, given {len(rows)}.")
    present = ~missing
    present[rows] = part.present[job.name]
    if job.progress:
        print(f"[ModalityTransformer] {job.progress} {job.name}: {time.perf_counter() - start:.1f} s")
    return job.transformer, _spread(part[job.name], rows, n_samples), present


# the output is no array that `set_output` could wrap; scikit-learn, which has no types, takes the keyword
class ModalityTransformer(TransformerMixin, _BaseComposition, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Turn a table into :class:`Blocks`, with one scikit-learn transformer per modality.

    Parameters and attributes are those of :class:`sklearn.compose.ColumnTransformer`, but the outputs stay apart:
    sparse output stays sparse, images and sequences keep their dimensions. A row whose raw value is missing
    (None, NaN, NaT, ``pandas.NA``; with several columns: in all of them) is never handed to the modality's
    transformer, neither in ``fit`` nor in ``transform``, and comes out as a missing row.

    Parameters
    ----------
    transformers : list of (str, transformer, columns)
        Name of the modality, its transformer or ``"drop"`` or ``"passthrough"``, and its columns: a name or a
        position (the transformer is given a 1-D column, which text vectorizers expect), a list of names or of
        positions, a slice, a boolean mask (the transformer is given a 2-D table), or a function of X that returns
        one of these, such as :class:`sklearn.compose.make_column_selector`. A modality for which no column is
        selected is left out. ``"passthrough"`` takes numbers, or one column of arrays or lists, each a sequence.
    remainder : {"drop", "passthrough"} or transformer, default="drop"
        What becomes of the columns that no modality names; if kept, they are the modality ``"remainder"``.
    n_jobs : int, default=None
        Modalities transformed at the same time.
    verbose : bool, default=False
        Print the time that fitting each modality took.

    Attributes
    ----------
    transformers_ : list of (str, fitted transformer, columns)
        The fitted modalities, the remainder last where there is one.
    named_transformers_ : Bunch
        Fitted transformers by modality.
    n_features_in_ : int
        Number of columns of the table.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Names of the columns, if they are strings.

    Raises
    ------
    ValueError
        If X is no table, a column is absent, all rows of a modality are missing in ``fit``, or a transformer
        returns another number of rows than it was given. Errors that a transformer raises keep their type and
        carry a note that names the modality.
    TypeError
        If something given as a transformer has no ``fit`` and ``transform``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skmm.compose import ModalityTransformer
    >>> df = pd.DataFrame({"review": ["good film", None, "bad film"], "price": [3, 4, 5], "age": [1, 8, 3]})
    >>> transformer = ModalityTransformer([
    ...     ("text", TfidfVectorizer(), "review"),
    ...     ("table", StandardScaler(), ["price", "age"]),
    ... ])
    >>> transformer.fit_transform(df)
    Blocks(3 samples)
      text   sparse  (3,)  float64  33.3% missing
      table  vector  (2,)  float64
    """

    def __init__(
        self,
        transformers: list[tuple[str, Any, Any]],
        *,
        remainder: Any = "drop",
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.transformers = transformers
        self.remainder = remainder
        self.n_jobs = n_jobs
        self.verbose = verbose

    # -- from the columns themselves -------------------------------------------------------------------------

    @classmethod
    def from_frame(cls, df: Any, overrides: Mapping[Any, Any] | None = None, /, **named: Any) -> Self:
        """Type the columns of a DataFrame by what they hold, and make a transformer for each modality.

        Numbers, categories and dates become one modality, ``"table"`` (imputed and standardised numbers, one-hot
        categories, dates as the year and the places in year, week and day); each column of texts (TF-IDF), of
        image, audio or video files (by extension, and a file that can be read), and of arrays becomes a modality
        named after it. A column that tells nothing is dropped with a warning: one without values, with one value
        for all rows, or with a number or code of its own for each row. :meth:`describe` tells what was decided.

        Parameters
        ----------
        df : DataFrame of shape (n_samples, n_features)
            A pandas or polars DataFrame.
        overrides : mapping of column to str or transformer, optional
            For columns whose name is no Python identifier.
        **named : str or transformer
            What a column is, by its name: ``"number"``, ``"category"``, ``"date"``, ``"text"``, ``"characters"``
            (a text whose words are not set apart by spaces), ``"image"``, ``"audio"``, ``"video"``, ``"array"``
            (cells of one shape), ``"sequence"``, ``"drop"``; or its transformer.

        Returns
        -------
        ModalityTransformer
            Not fitted.

        Raises
        ------
        ValueError
            If an override names no column or no kind, if a column mixes types or looks like files of which none can
            be read, or if no column is left; names the column.

        Examples
        --------
        >>> import pandas as pd
        >>> from skmm import ModalityTransformer
        >>> df = pd.DataFrame({
        ...     "price": [3.5, 4.0, 5.5, 1.0],
        ...     "shop": ["north", "south", "north", "south"],
        ...     "review": ["a good film", "very bad", None, "good and short"],
        ... })
        >>> transformer = ModalityTransformer.from_frame(df)
        >>> print(transformer.describe().to_markdown())
        | column | kind | modality | transformer | why |
        | :--- | :--- | :--- | :--- | :--- |
        | price | number | table | SimpleImputer + StandardScaler | its type is float64 |
        | shop | category | table | OneHotEncoder | 2 strings in 4 cells |
        | review | text | review | TfidfVectorizer | 3 strings of 2.7 words on average |
        >>> transformer.fit_transform(df)
        Blocks(4 samples)
          table   vector  (3,)  float64
          review  sparse  (6,)  float64  25.0% missing
        """
        reserved = {*inspect.signature(cls).parameters}
        transformers, decisions = plan_frame(df, {**(overrides or {}), **named}, reserved)
        made = cls(transformers)
        made._decisions = decisions
        return made

    def describe(self) -> Table:
        """What :meth:`from_frame` decided of each column.

        Returns
        -------
        Table
            Columns ``column``, ``kind``, ``modality`` (None if dropped), ``transformer`` and ``why``.

        Raises
        ------
        ValueError
            If this was not made by ``from_frame``.
        """
        if not hasattr(self, "_decisions"):
            raise ValueError("describe() tells what from_frame decided, and this was not made by from_frame.")
        return Table(self._decisions)

    def __sklearn_clone__(self) -> Self:
        made = super().__sklearn_clone__()
        if hasattr(self, "_decisions"):
            made._decisions = self._decisions
        return made

    # -- nested parameters -----------------------------------------------------------------------------------

    @property
    def _transformers(self) -> Any:
        """Pairs of name and transformer, the form in which _BaseComposition looks for nested parameters."""
        try:
            return [(name, transformer) for name, transformer, _ in self.transformers]
        except (TypeError, ValueError):  # not a list of triples; `fit` says so
            return self.transformers

    @_transformers.setter
    def _transformers(self, pairs: list[tuple[str, Any]]) -> None:
        self.transformers = [(*pair, old[2]) for pair, old in zip(pairs, self.transformers, strict=True)]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters, with ``deep`` also the transformers by name and their own parameters, ``name__param``."""
        return self._get_params("_transformers", deep=deep)

    def set_params(self, **params: Any) -> ModalityTransformer:
        """Set parameters, replace transformers by name, or set their own parameters, ``name__param``."""
        # without this, _BaseComposition would set the pairs of `_transformers` before the new triples
        if "transformers" in params:
            self.transformers = params.pop("transformers")
        return self._set_params("_transformers", **params)

    # -- fitting ---------------------------------------------------------------------------------------------

    def _check_transformers(self) -> None:
        if not isinstance(self.transformers, (list, tuple)) or not self.transformers:
            raise ValueError(
                f"transformers must be a list of (name, transformer, columns), got {self.transformers!r}."
            )
        for entry in self.transformers:
            if not isinstance(entry, (list, tuple)) or len(entry) != 3 or not isinstance(entry[0], str):
                raise ValueError(f"transformers must hold (name, transformer, columns), got {entry!r}.")
        self._validate_names([name for name, *_ in self.transformers])
        self._check_estimators_are_instances([t for _, t, _ in self.transformers] + [self.remainder])
        for name, transformer in [(name, t) for name, t, _ in self.transformers] + [("remainder", self.remainder)]:
            if isinstance(transformer, str) and transformer in ("drop", "passthrough"):
                continue
            can_fit = hasattr(transformer, "fit") or hasattr(transformer, "fit_transform")
            if not can_fit or not hasattr(transformer, "transform"):
                raise TypeError(
                    f"modality {name!r}: a transformer has fit and transform, or is 'drop' or 'passthrough'; got "
                    f"{transformer!r} ({type(transformer).__name__})."
                )

    def _plan(self, X: Any) -> list[tuple[str, Any, Any, Positions]]:
        """Each modality with its columns, as given and as positions, the remainder last."""
        names, n_columns = column_names(X), X.shape[1]
        plan = []
        used: set[int] = set()
        for name, transformer, columns in self.transformers:
            columns = columns(X) if callable(columns) else columns
            positions = find_positions(columns, names, n_columns, f"modality {name!r}")
            used.update([positions] if isinstance(positions, int) else positions)
            plan.append((name, transformer, columns, positions))
        rest = [i for i in range(n_columns) if i not in used]
        if rest:
            labels = self.feature_names_in_[rest].tolist() if hasattr(self, "feature_names_in_") else rest
            plan.append(("remainder", self.remainder, labels, rest))
        return plan

    def fit(self, X: Any, y: Any = None) -> ModalityTransformer:
        """Fit each modality's transformer on the rows that exist.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            A pandas or polars DataFrame, or a 2-D array.
        y : array-like of shape (n_samples, ...), default=None
            Handed to the transformers.

        Returns
        -------
        self : ModalityTransformer
        """
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Blocks:
        """Fit each modality's transformer and return its outputs.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            A pandas or polars DataFrame, or a 2-D array.
        y : array-like of shape (n_samples, ...), default=None
            Handed to the transformers.

        Returns
        -------
        Blocks
            One modality per transformer that is not dropped, n_samples rows.
        """
        check_table(X)
        self._check_transformers()
        if y is not None:
            check_consistent_length(X, y)
        validate_data(self, X=X, skip_check_array=True)
        plan = self._plan(X)
        active = [entry for entry in plan if not _is_left_out(entry[1], entry[3])]
        if not active:
            raise ValueError(
                f"no modality is left: of {[name for name, *_ in plan]} each is dropped or has no column."
            )
        self._positions = {name: positions for name, _, _, positions in active}
        blocks, fitted = self._run_all(
            _Job(
                name,
                clone(transformer, safe=False),
                _safe_indexing(X, positions, axis=1),
                y=y,
                progress=f"({number} of {len(active)})" if self.verbose else "",
            )
            for number, (name, transformer, _, positions) in enumerate(active, start=1)
        )
        self.transformers_ = [(name, fitted.get(name, given), columns) for name, given, columns, _ in plan]
        self._templates = {name: _without_rows(block) for name, block in blocks.items()}
        return blocks

    def _run_all(self, jobs: Iterator[_Job]) -> tuple[Blocks, dict[str, Any]]:
        """Output of all modalities and their transformers."""
        results = Parallel(n_jobs=self.n_jobs)(delayed(_run)(job) for job in jobs)
        named = dict(zip(self._positions, results, strict=True))
        blocks = Blocks(
            {name: block for name, (_, block, _) in named.items()},
            present={name: present for name, (_, _, present) in named.items()},
        )
        return blocks, {name: transformer for name, (transformer, _, _) in named.items()}

    def transform(self, X: Any) -> Blocks:
        """Transform each modality.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            A DataFrame may have its columns in another order, and others besides, if it had names in ``fit``.

        Returns
        -------
        Blocks
            One modality per transformer that is not dropped, n_samples rows.
        """
        check_is_fitted(self)
        check_table(X)
        names = column_names(X)
        by_name = names is not None and hasattr(self, "feature_names_in_")
        if not by_name and X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but ModalityTransformer is expecting {self.n_features_in_} features "
                "as input."
            )

        def now(name: str, positions: Positions) -> Positions:
            if not by_name:
                return positions
            columns = self.feature_names_in_[positions]
            return find_positions(columns, names, X.shape[1], f"modality {name!r}")

        transformers = self.named_transformers_
        jobs = (
            _Job(name, transformers[name], _safe_indexing(X, now(name, positions), axis=1), self._templates[name])
            for name, positions in self._positions.items()
        )
        return self._run_all(jobs)[0]

    # -- what was fitted -------------------------------------------------------------------------------------

    @property
    def named_transformers_(self) -> Bunch:
        """Fitted transformers by modality."""
        named = Bunch()
        named.update({name: transformer for name, transformer, _ in self.transformers_})
        return named

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the numbers that make up a sample, ``modality__feature``.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the table's columns; if it had names in ``fit``, these must be the same.

        Returns
        -------
        ndarray of str, shape (n_features_out,)
            A modality whose transformer names no features has ``x0``, ``x1``, ..., in the order of its flattened
            sample (for ragged sequences, of one step).
        """
        check_is_fitted(self)
        known = getattr(self, "feature_names_in_", None)
        if input_features is None:
            names = (
                np.array([f"x{i}" for i in range(self.n_features_in_)], dtype=object) if known is None else known
            )
        else:
            names = np.asarray(input_features, dtype=object)
            if known is not None and not np.array_equal(names, known):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(names) != self.n_features_in_:
                raise ValueError(
                    f"input_features has {len(names)} names, X had {self.n_features_in_} columns in fit"
                )
        out = []
        for name, positions in self._positions.items():
            columns = names[np.atleast_1d(positions)]
            features = _feature_names(self.named_transformers_[name], columns, self._templates[name])
            out += [f"{name}__{feature}" for feature in features]
        return np.array(out, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = tags.input_tags.allow_nan = True
        return tags

    def _sk_visual_block_(self) -> _VisualBlock:
        if hasattr(self, "transformers_"):
            shown = [entry for entry in self.transformers_ if entry[0] in self._positions]
        else:
            kept = not isinstance(self.remainder, str) or self.remainder != "drop"
            shown = list(self.transformers) + ([("remainder", self.remainder, "")] if kept else [])
        names, transformers, columns = zip(*shown, strict=True)
        return _VisualBlock("parallel", transformers, names=names, name_details=[str(c) for c in columns])


def _is_left_out(transformer: Any, positions: Positions) -> bool:
    return (isinstance(transformer, str) and transformer == "drop") or positions == []


def _feature_names(transformer: Any, columns: np.ndarray, template: Block) -> list[str]:
    if isinstance(transformer, str):  # passthrough
        if len(columns) == _width(template):
            return columns.tolist()
    elif hasattr(transformer, "get_feature_names_out"):
        try:
            return list(transformer.get_feature_names_out(columns))
        except AttributeError:  # a Pipeline has the method even if one of its steps has none
            pass
    return [f"x{i}" for i in range(_width(template))]


def _width(block: Block) -> int:
    """How many numbers make up a sample, or one step of a ragged sequence."""
    return int(np.prod(block.inner_shape if isinstance(block, RaggedArray) else block.shape[1:]))


def make_modality_transformer(
    *transformers: tuple[Any, Any], remainder: Any = "drop", n_jobs: int | None = None, verbose: bool = False
) -> ModalityTransformer:
    """Build a :class:`ModalityTransformer` whose modalities are named after their transformers.

    Parameters
    ----------
    *transformers : (transformer, columns)
        As in ModalityTransformer, without names.
    remainder : {"drop", "passthrough"} or transformer, default="drop"
        What becomes of the columns that no modality names.
    n_jobs : int, default=None
        Modalities transformed at the same time.
    verbose : bool, default=False
        Print the time that fitting each modality took.

    Returns
    -------
    ModalityTransformer

    Examples
    --------
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skmm.compose import make_modality_transformer
    >>> made = make_modality_transformer((TfidfVectorizer(), "review"), (StandardScaler(), ["price", "age"]))
    >>> [name for name, _, _ in made.transformers]
    ['tfidfvectorizer', 'standardscaler']
    """
    named = make_column_transformer(*transformers).transformers
    return ModalityTransformer(named, remainder=remainder, n_jobs=n_jobs, verbose=verbose)


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
        # by exact type: scipy's dok_array is a dict as well
        if type(X) is dict:
            X = Blocks(X)
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
        return _spread(block[rows], rows, len(present))
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
