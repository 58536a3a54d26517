"""From a table to Blocks, one scikit-learn transformer per modality."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.utils import Bunch, check_consistent_length

# private: nothing public gives nested parameters (text__ngram_range) of a list of named transformers
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from skmm._checks import check_positive, unknown
from skmm._documentation import Documented
from skmm._fitting import all_or_nothing
from skmm._private import VisualBlock
from skmm.blocks import Blocks, LazyTable
from skmm.columns._tables import (
    Positions,
    as_frame,
    check_table,
    column_names,
    find_columns,
    find_positions,
    note_columns,
    select,
    warn_of_another_order,
)
from skmm.compose._feature_names import FeatureNames
from skmm.compose._frames import plan_frame
from skmm.compose._jobs import Job, run, without_rows
from skmm.compose._kinds import ERRORS, Loading
from skmm.compose._lazily import fit_in_passes, sampled, transform_lazily
from skmm.compose._leaks import find_leaks
from skmm.compose._output import FrameOutput
from skmm.compose._params import naming_parameters
from skmm.compose._rows import rows_as_frame
from skmm.compose._selector import ModalitySelector
from skmm.table import Table

# what gives Blocks, and what reads them, from one place
__all__ = ["ModalitySelector", "ModalityTransformer", "make_modality_transformer"]


# the output is no array that scikit-learn's own `set_output` could wrap; it has no types, and takes the keyword
class ModalityTransformer(  # type: ignore[call-arg]
    FeatureNames, FrameOutput, TransformerMixin, Documented, _BaseComposition, auto_wrap_output_keys=None
):
    """Turn a table into :class:`Blocks`, with one scikit-learn transformer per modality.

    Parameters and attributes are those of :class:`sklearn.compose.ColumnTransformer`, but the outputs stay apart:
    sparse output stays sparse, images and sequences keep their dimensions. A row whose raw value is missing
    (None, NaN, NaT, ``pandas.NA``; with several columns: in all of them) is never handed to the modality's
    transformer, neither in ``fit`` nor in ``transform``, and comes out as a missing row.

    A table given to ``transform`` may lack a modality as a whole: where columns have names and none of those of the
    modality is there, it is left out of the Blocks with a warning, and an estimator that learned to do without it
    (see its ``modality_dropout``) predicts.

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
    errors : {"raise", "missing"}, default="raise"
        What becomes in ``transform`` of a row that a modality's transformer cannot read: an error, or a missing row
        of that modality, with one warning.
    n_fit_samples : int or None, default=10000
        Of a :class:`~skmm.LazyTable` the rows, spread evenly over it, that the transformers are fitted to, or as
        many as a quarter of its ``buffer_bytes`` holds. None fits them to all rows, in passes, for which each of
        them needs ``partial_fit``.
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
    feature_names_in_ : ndarray of str, shape (``n_features_in_``,)
        Names of the columns, if they are strings.

    Raises
    ------
    ValueError
        If X is no table, a column is absent (in ``transform`` some of a modality's, or those of every modality),
        all rows of a modality are missing in ``fit``, or a transformer returns another number of rows than it was
        given. Errors that a transformer raises keep their type and carry a note that names the modality.
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
        errors: str = "raise",
        n_fit_samples: int | None = 10_000,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.transformers = transformers
        self.remainder = remainder
        self.errors = errors
        self.n_fit_samples = n_fit_samples
        self.n_jobs = n_jobs
        self.verbose = verbose

    # -- from the columns themselves -------------------------------------------------------------------------

    @classmethod
    def from_frame(
        cls,
        df: Any,
        overrides: Mapping[Any, Any] | None = None,
        /,
        *,
        base_dir: str | os.PathLike[str] | None = None,
        within: str | os.PathLike[str] | None = None,
        errors: str = "raise",
        **named: Any,
    ) -> Self:
        """Type the columns of a DataFrame by what they hold, and make a transformer for each modality.

        Numbers, categories and dates become one modality, ``"table"`` (imputed and standardised numbers, one-hot
        categories, dates as the year and the places in year, week and day); each column of texts (TF-IDF), of
        image, audio or video files (by extension, and a file that can be read), and of arrays becomes a modality
        named after it. Strings are numbers, dates or arrays where all of a column are written as such in one way
        (``$1,200.00``, ``3,50``, ``5 kg``, ``2001-05``, ``[0.1, 0.2]``), and are read in that way from then on. A
        column that tells nothing is dropped with a warning: one without values, with one value for all rows, with
        a number or code of its own for each row, or a saved index. :meth:`describe` tells what was decided.

        Parameters
        ----------
        df : DataFrame of shape (n_samples, n_features)
            A pandas or polars DataFrame, a pyarrow Table, or a Dataset of Hugging Face.
        overrides : mapping of column to str or transformer, optional
            For columns whose name is no Python identifier, or one of this method's parameters.
        base_dir : str or path, default=None
            Folder that relative paths of files start from; None is the working directory. This and the following
            also hold for a loader that is given and says neither.
        within : str or path, default=None
            Folder that all files must lie in, symbolic links followed: cells may come from others, and what they
            name becomes features. None is ``base_dir``; name a folder that holds them all to read files elsewhere.
        errors : {"raise", "missing"}, default="raise"
            What is done with a file that cannot be read, a cell of the table that is no number or date, and in
            ``transform`` with any cell that its transformer cannot read: an error that names the row, or it counts
            as missing, with a warning.
        **named : str or transformer
            What a column is, by its name: ``"number"`` (``"1,234.5"`` or ``"1.234,5"`` where it is text and its
            commas may be either), ``"category"``, ``"date"``, ``"day/month/year"``, ``"month/day/year"``,
            ``"text"``, ``"characters"`` (a text whose words are not set apart by spaces), ``"image"``, ``"audio"``,
            ``"video"``, ``"soundtrack"`` (the sound of a video, or a format that only FFmpeg reads), ``"array"``
            (cells of one shape), ``"sequence"``, ``"tokens"``, ``"drop"``; or its transformer.

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
        return cls._typed(df, {**(overrides or {}), **named}, Loading(errors, base_dir, within))

    @classmethod
    def _typed(
        cls, df: Any, overrides: Mapping[Any, Any], loading: Loading, n_fit_samples: int | None = 10_000
    ) -> Self:
        """As :meth:`from_frame`, of all that transformers are told."""
        if loading.within is None:
            loading = replace(loading, within=os.curdir if loading.base_dir is None else loading.base_dir)
        reserved = {*inspect.signature(cls).parameters}
        if isinstance(df, LazyTable):
            (df,) = sampled(df, n_fit_samples)
        transformers, decisions = plan_frame(as_frame(df), overrides, reserved, loading)
        made = cls(transformers, errors=loading.errors, n_fit_samples=n_fit_samples)
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
        made._container = self._container
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
        with naming_parameters(self, params):
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
        if self.errors not in ERRORS:
            raise unknown("errors", self.errors, ERRORS)
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

    def find_leaks(self, X: Any, y: Any, groups: Any = None) -> list[str]:
        """Name columns that are learned from and alone tell the target, or number the rows; nothing is fitted.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            A table.
        y : array-like of shape (n_samples,)
            What is to be predicted of its rows. Of fewer than 30 rows nothing is said.
        groups : array-like of shape (n_samples,), optional
            Group of each row, where no fold parts a group.

        Returns
        -------
        list of str
            A sentence for each column whose values come again, always with the same target (texts that differ in
            case, spaces and punctuation alone are the same), whose numbers or dates lie in one interval for each
            class or rise or fall with the values to be predicted, or which numbers the rows in another order.
        """
        if isinstance(X, LazyTable):
            X, y, groups = sampled(X, self.n_fit_samples, y, groups)
        X = as_frame(X)
        check_table(X)
        self._check_transformers()
        chosen = [np.atleast_1d(p).tolist() for _, t, _, p in self._plan(X) if not _is_left_out(t, p)]
        return find_leaks(X, sorted({place for places in chosen for place in places}), y, groups)

    def fit(self, X: Any, y: Any = None) -> ModalityTransformer:
        """Fit each modality's transformer on the rows that exist.

        Parameters
        ----------
        X : DataFrame, LazyTable or ndarray of shape (n_samples, n_features)
            A pandas or polars DataFrame, a pyarrow Table, a Dataset of Hugging Face, or a 2-D array. Of a
            :class:`~skmm.LazyTable` see ``n_fit_samples``; the blocks made of it are read batch by batch.
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
        X : DataFrame, LazyTable or ndarray of shape (n_samples, n_features)
            A pandas or polars DataFrame, a pyarrow Table, a Dataset of Hugging Face, or a 2-D array. Of a
            :class:`~skmm.LazyTable` see ``n_fit_samples``; the blocks made of it are read batch by batch.
        y : array-like of shape (n_samples, ...), default=None
            Handed to the transformers.

        Returns
        -------
        Blocks
            One modality per transformer that is not dropped, n_samples rows.
        """
        with all_or_nothing(self):
            if isinstance(X, LazyTable):
                return self._fit_lazily(X, y)
            return self._contained(self._fit_transform(X, y), X)

    def _fit_lazily(self, table: LazyTable, y: Any) -> Blocks:
        """Fit to a table larger than memory."""
        if self.n_fit_samples is not None:
            check_positive("n_fit_samples", self.n_fit_samples)
        if y is not None:
            check_consistent_length(table, y)
        if self.n_fit_samples is None:
            fit_in_passes(self, table, y)
        else:
            self._fit_transform(*sampled(table, self.n_fit_samples, y))
        return self.transform(table)

    def _look_at(self, X: Any) -> list[tuple[str, Any, Any, Positions]]:
        """Note the columns of a table, and what is to be done with them: what :meth:`_plan` says, unfitted."""
        check_table(X)
        self._check_transformers()
        note_columns(self, X)
        # of any type, where scikit-learn's feature_names_in_ knows strings alone
        self._names = column_names(X)
        plan = self._plan(X)
        active = [entry for entry in plan if not _is_left_out(entry[1], entry[3])]
        if not active:
            raise ValueError(
                f"no modality is left: of {[name for name, *_ in plan]} each is dropped or has no column."
            )
        self._positions = {name: positions for name, _, _, positions in active}
        self.transformers_ = [(name, given, columns) for name, given, columns, _ in plan]
        return [(name, clone(t, safe=False), columns, where) for name, t, columns, where in active]

    def _keep(self, fitted: Mapping[str, Any]) -> None:
        """Take fitted transformers in the place of those that were given."""
        self.transformers_ = [
            (name, fitted.get(name, given), columns) for name, given, columns in self.transformers_
        ]

    def _fit_transform(self, X: Any, y: Any) -> Blocks:
        X = as_frame(X)
        if y is not None:
            check_consistent_length(X, y)
            warn_of_another_order(X, y=y)
        active = self._look_at(X)
        blocks, fitted = self._run_all(
            Job(
                name,
                transformer,
                select(X, positions),
                y=y,
                progress=f"({number} of {len(active)})" if self.verbose else "",
            )
            for number, (name, transformer, _, positions) in enumerate(active, start=1)
        )
        self._keep(fitted)
        self._templates = {name: without_rows(block) for name, block in blocks.items()}
        return blocks

    def _run_all(self, jobs: Iterable[Job]) -> tuple[Blocks, dict[str, Any]]:
        """Output of all modalities and their transformers."""
        jobs = list(jobs)
        results = Parallel(n_jobs=self.n_jobs)(delayed(run)(job) for job in jobs)
        named = {job.name: result for job, result in zip(jobs, results, strict=True)}
        blocks = Blocks(
            {name: block for name, (_, block, _) in named.items()},
            present={name: present for name, (_, _, present) in named.items()},
        )
        return blocks, {name: transformer for name, (transformer, _, _) in named.items()}

    def transform(self, X: Any) -> Blocks:
        """Transform each modality.

        Parameters
        ----------
        X : DataFrame, LazyTable or ndarray of shape (n_samples, n_features), dict, Series or list of dicts
            A DataFrame may have its columns in another order, and others besides, if it had names in ``fit``; and
            it may lack all columns of a modality. One row may be a dict or a Series by the names of the columns,
            several a list of dicts.

        Returns
        -------
        Blocks
            One modality per transformer that is not dropped, n_samples rows; without those whose columns X lacks.
            Or what :meth:`set_output` asked for.

        Warns
        -----
        UserWarning
            If X has none of the columns of a modality; names it and them. Of a transformer that ``from_frame`` made
            also if cells are categories that ``fit`` did not see; names the column, and how many hold which.
        """
        check_is_fitted(self)
        if isinstance(X, LazyTable):
            self._check_container()
            return transform_lazily(self, X)
        given, X = X, rows_as_frame(as_frame(X), self._names)
        check_table(X)
        positions = find_columns(X, self._positions, self._names, self.n_features_in_)
        transformers = self.named_transformers_
        blocks, _ = self._run_all(
            Job(name, transformers[name], select(X, where), self._templates[name], errors=self.errors)
            for name, where in positions.items()
        )
        return self._contained(blocks, given)

    # -- what was fitted -------------------------------------------------------------------------------------

    @property
    def named_transformers_(self) -> Bunch:
        """Fitted transformers by modality."""
        named = Bunch()
        named.update({name: transformer for name, transformer, _ in self.transformers_})
        return named

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = tags.input_tags.allow_nan = True
        return tags

    def _sk_visual_block_(self) -> VisualBlock:
        if hasattr(self, "transformers_"):
            shown = [entry for entry in self.transformers_ if entry[0] in self._positions]
        else:
            kept = not isinstance(self.remainder, str) or self.remainder != "drop"
            shown = list(self.transformers) + ([("remainder", self.remainder, "")] if kept else [])
        names, transformers, columns = zip(*shown, strict=True)
        return VisualBlock("parallel", transformers, names=names, name_details=[str(c) for c in columns])


def _is_left_out(transformer: Any, positions: Positions) -> bool:
    return (isinstance(transformer, str) and transformer == "drop") or positions == []


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
