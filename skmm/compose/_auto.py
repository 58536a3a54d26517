"""Modalities that a table is found to hold when it is fitted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skmm.blocks import Blocks
from skmm.columns._lazy import without_rows_of
from skmm.columns._tables import as_frame, note_columns
from skmm.compose._frames import told_in_a_line
from skmm.compose._kinds import KINDS, Loading
from skmm.compose._output import FrameOutput
from skmm.compose._params import naming_parameters
from skmm.compose._transformer import ModalityTransformer
from skmm.table import Table

_OWN = ("text", "characters", "image", "audio", "video", "soundtrack")  # kinds whose transformer can be chosen


_OF_A_KIND = (
    " A parameter of a transformer goes by the kind of its columns, text__ngram_range; the transformer of one "
    "column is in overrides, {'review': TfidfVectorizer(ngram_range=(1, 2))}."
)


# the output is no array that scikit-learn's own `set_output` could wrap; it has no types, and takes the keyword
class AutoModalities(  # type: ignore[call-arg]
    FrameOutput, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """Find out in ``fit`` what the columns of a table hold, and turn them into :class:`Blocks`.

    What :meth:`ModalityTransformer.from_frame` decides once for a DataFrame is here decided by each fit of the
    table that it is given, with parameters that a search reaches. As the estimators' ``modalities`` it says how
    they read a table: ``modalities=AutoModalities(errors="missing")``, and ``modalities__image__size`` is then a
    parameter of theirs.

    Parameters
    ----------
    overrides : mapping of column to str or transformer, default=None
        What is known better of a column: a kind as ``from_frame`` takes it, ``"drop"``, or its transformer.
    text, characters, image, audio, video, soundtrack : transformer, default=None
        What reads each column of that kind; None is ``TfidfVectorizer`` of words or characters, ``ImageLoader``,
        ``AudioLoader`` and ``LogMel`` in a pipeline, ``VideoFrames``, ``VideoAudio`` and ``LogMel``. A parameter of
        it can be set at once, ``set_params(image__size=64, audio__logmel__n_mels=64)``.
    base_dir, within : str or path, default=None
        Folder that relative paths of files start from, and folder that all files must lie in; see ``from_frame``.
    errors : {"raise", "missing"}, default="raise"
        What is done with a file that cannot be read, a cell of the table that is no number or date, and in
        ``transform`` with any cell that its transformer cannot read: an error that names the row, or it counts as
        missing, with a warning.
    n_fit_samples : int or None, default=10000
        Of a :class:`~skmm.LazyTable` the rows that columns are typed by and transformers are fitted to; see
        :class:`ModalityTransformer`.
    n_jobs : int, default=None
        Processes that read files, where a loader that is given does not say.
    verbose : bool, default=False
        Print a line that says what the columns were taken for.

    Attributes
    ----------
    transformer_ : ModalityTransformer
        What reads the columns.
    n_features_in_ : int
        Number of columns of the table.
    feature_names_in_ : ndarray of str, shape (n_features,)
        Names of the columns, if they are strings.

    Raises
    ------
    ValueError
        If X is no table with named columns, an override names no column or no kind, a column mixes types, or no
        column is left; names the column.

    Examples
    --------
    >>> import pandas as pd
    >>> from skmm import AutoModalities, MultimodalClassifier
    >>> df = pd.DataFrame({
    ...     "price": [3.5, 4.0, 5.5, 1.0] * 5,
    ...     "review": [f"{w} film of {i} minutes" for i, w in enumerate(["good", "bad", "long", "short"] * 5)],
    ... })
    >>> AutoModalities(verbose=True).fit_transform(df)
    [AutoModalities] table (1 number), review (text)
    Blocks(20 samples)
      table   vector  (1,)   float64
      review  sparse  (17,)  float64
    >>> clf = MultimodalClassifier(modalities=AutoModalities(errors="missing"), n_members=1, max_epochs=2)
    >>> clf.set_params(modalities__text__ngram_range=(1, 2)).fit(df, [0, 1] * 10).modalities_["review"].shape
    (43,)
    """

    def __init__(
        self,
        overrides: Mapping[Any, Any] | None = None,
        *,
        text: Any = None,
        characters: Any = None,
        image: Any = None,
        audio: Any = None,
        video: Any = None,
        soundtrack: Any = None,
        base_dir: str | os.PathLike[str] | None = None,
        within: str | os.PathLike[str] | None = None,
        errors: str = "raise",
        n_fit_samples: int | None = 10_000,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.overrides = overrides
        self.text = text
        self.characters = characters
        self.image = image
        self.audio = audio
        self.video = video
        self.soundtrack = soundtrack
        self.base_dir = base_dir
        self.within = within
        self.errors = errors
        self.n_fit_samples = n_fit_samples
        self.n_jobs = n_jobs
        self.verbose = verbose

    def set_params(self, **params: Any) -> Self:
        """Set parameters; where one of a kind's transformer is set that was left at None, it is that of the kind.

        Parameters
        ----------
        **params
            Parameters, and those of transformers, ``image__size``.

        Returns
        -------
        self
        """
        for key in params:
            kind, _, inner = key.partition("__")
            if inner and kind in _OWN and params.get(kind, getattr(self, kind)) is None:
                made: Any = KINDS[kind].make
                setattr(self, kind, made())
                params = {name: value for name, value in params.items() if name != kind}
        with naming_parameters(self, params, _OF_A_KIND):
            return super().set_params(**params)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Have ``transform`` return a DataFrame, as :meth:`ModalityTransformer.set_output` does.

        Parameters
        ----------
        transform : {"default", "pandas"} or None, default=None
            "default" are Blocks again; None changes nothing. An estimator that this is the ``modalities`` of reads
            Blocks whatever is set.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If ``transform`` is none of these.
        """
        super().set_output(transform=transform)
        if hasattr(self, "transformer_"):
            self.transformer_.set_output(transform=transform)
        return self

    def __sklearn_clone__(self) -> Self:
        made = super().__sklearn_clone__()
        made._container = self._container
        return made

    def typed(self, X: Any) -> ModalityTransformer:
        """A transformer for each modality of a table.

        Parameters
        ----------
        X : DataFrame
            A pandas or polars DataFrame, a pyarrow Table, a Dataset of Hugging Face, or a LazyTable.

        Returns
        -------
        ModalityTransformer
            Not fitted.
        """
        chosen = {kind: getattr(self, kind) for kind in _OWN if getattr(self, kind) is not None}
        loading = Loading(self.errors, self.base_dir, self.within, self.n_jobs, chosen)
        made = ModalityTransformer._typed(X, self.overrides or {}, loading, self.n_fit_samples)
        if self.verbose:
            print(f"[{type(self).__name__}] {told_in_a_line(made._decisions)}")
        return made

    def fit(self, X: Any, y: Any = None) -> Self:
        """Type the columns, and fit the transformer of each modality.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_features)
            A pandas or polars DataFrame, a pyarrow Table, a Dataset of Hugging Face, or a LazyTable.
        y : array-like of shape (n_samples, ...), default=None
            Handed to the transformers.

        Returns
        -------
        self
        """
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Blocks:
        """Type the columns, fit the transformer of each modality, and return their outputs.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_features)
            A pandas or polars DataFrame, a pyarrow Table, a Dataset of Hugging Face, or a LazyTable.
        y : array-like of shape (n_samples, ...), default=None
            Handed to the transformers.

        Returns
        -------
        Blocks
            One modality per transformer, n_samples rows.
        """
        X = as_frame(X)
        made = self.typed(X).set_output(transform=self._container)
        blocks = made.fit_transform(X, y)
        note_columns(self, without_rows_of(X))
        self.transformer_ = made
        return blocks

    def transform(self, X: Any) -> Blocks:
        """Transform each modality.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_features), dict, Series or list of dicts
            As :meth:`ModalityTransformer.transform` takes it.

        Returns
        -------
        Blocks
            One modality per transformer, n_samples rows.
        """
        check_is_fitted(self)
        return self.transformer_.transform(X)

    def describe(self) -> Table:
        """What was decided of each column, as :meth:`ModalityTransformer.describe` tells it.

        Returns
        -------
        Table
            Columns ``column``, ``kind``, ``modality`` (None if dropped), ``transformer`` and ``why``.
        """
        check_is_fitted(self)
        return self.transformer_.describe()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the numbers that make up a sample, ``modality__feature``.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the table's columns; if it had names in ``fit``, these must be the same.

        Returns
        -------
        ndarray of str, shape (n_features_out,)
        """
        check_is_fitted(self)
        return self.transformer_.get_feature_names_out(input_features)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = tags.input_tags.allow_nan = True
        return tags
