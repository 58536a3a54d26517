"""What a fitted estimator says of samples with some of their modalities, or columns, taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone, is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.model_selection import cross_val_predict
from sklearn.utils.parallel import Parallel, delayed

from skmm._checks import unknown
from skmm._private import safe_indexing
from skmm.blocks import Blocks
from skmm.blocks._blocks import without
from skmm.columns._lazy import LazyTable
from skmm.estimators._base import MultimodalEstimator
from skmm.inspection._inside import inside
from skmm.inspection.removal import as_rows, at_blocks, gaps_expected

# a modality or column, or several that come and go together
Names = str | tuple[str, ...]

T = TypeVar("T")

_SETS = 32  # of modalities whose outputs are held together
RESPONSES = ("predict", "predict_proba", "predict_log_proba", "decision_function")


class Answers:
    """An estimator that has answered already: given rows of its samples, it repeats what it said of them.

    What scorers of scikit-learn ask for works; of each method all rows are asked once.

    Parameters
    ----------
    model : estimator
        What answers; fitted, unless there is ``cv``.
    X : object
        Samples, as ``model`` takes them.
    refit : dict, optional
        ``y`` and ``cv``, where the answers are those of clones that left the sample's fold out.
    """

    def __init__(self, model: Any, X: Any, refit: Mapping[str, Any] | None = None) -> None:
        self._model, self._X, self._refit = model, X, refit
        self._said: dict[str, np.ndarray] = {}
        if is_classifier(model):
            self.classes_ = model.classes_ if refit is None else np.unique(refit["y"])

    def __sklearn_tags__(self) -> Any:
        return self._model.__sklearn_tags__()

    def __getattr__(self, name: str) -> Any:
        if name not in RESPONSES or not hasattr(self._model, name):
            raise AttributeError(f"{type(self).__name__} of {type(self._model).__name__} has no attribute {name!r}")

        def repeat(rows: np.ndarray) -> np.ndarray:
            return self.all(name)[rows]

        repeat.__name__ = name  # by which scikit-learn knows what it was given
        return repeat

    def all(self, name: str) -> np.ndarray:
        """What the method says of all samples."""
        if name not in self._said:
            with gaps_expected():
                if self._refit is None:
                    self._said[name] = np.asarray(getattr(self._model, name)(self._X))
                else:
                    self._said[name] = cross_val_predict(clone(self._model), self._X, method=name, **self._refit)
        return self._said[name]


class Removal:
    """A fitted estimator, samples, and what can be taken away from them.

    Parameters
    ----------
    estimator : fitted estimator
        What predicts.
    X : object
        Samples.
    names : sequence of Names or None
        What comes and goes; None for each modality, or column, by itself.
    columns : bool
        Whether these are columns of a table, rather than modalities.
    """

    def __init__(self, estimator: Any, X: Any, names: Sequence[Names] | None, *, columns: bool) -> None:
        if columns:
            frame = as_rows(estimator, X)
            if isinstance(frame, LazyTable):
                raise ValueError(
                    f"level='column' changes columns of a table in memory, and this LazyTable has {len(frame):,} "
                    "rows: give some of them, X.head(1000)."
                )
            if not hasattr(frame, "columns"):
                raise ValueError(f"level='column' needs a table whose columns have names, got {type(X).__name__}.")
            self.model, self.X = estimator, frame
            self.labels = {str(name): name for name in frame.columns}
        else:
            self.model, self.X = at_blocks(estimator, X)
            self.labels = {name: name for name in self.X}
        self.valid = list(self.labels)
        self.columns = columns
        asked: Any = names
        if columns and isinstance(asked, list | tuple):  # of a table they may be numbers
            asked = [key if isinstance(key, str | list | tuple) else str(key) for key in asked]
        self.names = chosen(asked, self.valid, "column" if columns else "modality", apart=True)
        self.n_samples = len(self.X)
        if not self.n_samples:
            raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")

    @property
    def n_names(self) -> int:
        return len(self.names)

    @property
    def everything(self) -> int:
        """The set of all that can be taken away, as a number: bit i for the name i."""
        return (1 << self.n_names) - 1

    def members(self, kept: int) -> list[str]:
        """What is there of a set that is kept, and what is never taken away."""
        gone = {name for i, key in enumerate(self.names) if not kept >> i & 1 for name in as_tuple(key)}
        return [name for name in self.valid if name not in gone]

    def without(self, kept: int) -> Any:
        """The samples without what is not in the set, as :attr:`model` takes them."""
        gone = self.gone(kept)
        if self.columns:
            return _with_columns(self.X, {self.labels[name]: None for name in self.valid if name in gone})
        return without(self.X, gone)

    def shuffled(self, i: int, rows: np.ndarray) -> Any:
        """The samples, each with what another has of the name ``i``: rows (n,) say which."""
        own = as_tuple(self.names[i])
        if self.columns:
            moved = safe_indexing(self.X, rows)
            return _with_columns(self.X, {self.labels[name]: moved[self.labels[name]] for name in own})
        moved = self.X[rows]
        return Blocks(
            {name: moved[name] if name in own else block for name, block in self.X.items()},
            present={name: (moved if name in own else self.X).present[name] for name in self.X},
        )

    def ask(
        self,
        sets: Sequence[int],
        question: Callable[[Answers, int], T],
        refit: Mapping[str, Any] | None = None,
        *,
        n_jobs: int | None = None,
    ) -> list[tuple[Answers, T]]:
        """What the estimator says with each of several sets, and to a question about that and the set.

        Estimators of this package say it of many sets at once.
        """
        model = inside(self.model)
        if refit is not None or self.columns or not isinstance(model, MultimodalEstimator):

            def asked(kept: int) -> tuple[Answers, T]:
                answers = self.answers(kept, refit)
                return answers, question(answers, kept)

            return Parallel(n_jobs=n_jobs)(delayed(asked)(kept) for kept in sets)
        most = min(_SETS, max(1, -(-len(sets) // effective_n_jobs(n_jobs))))
        parts = [[self.gone(kept) for kept in sets[i : i + most]] for i in range(0, len(sets), most)]
        found = Parallel(n_jobs=n_jobs)(delayed(model._outputs_without)(self.X, part) for part in parts)
        each = (Answers(model._saying(outputs), self.X) for part in found for outputs in part)
        return [(answers, question(answers, kept)) for kept, answers in zip(sets, each, strict=True)]

    def gone(self, kept: int) -> set[str]:
        """What is taken away where a set is kept."""
        return set(self.valid) - set(self.members(kept))

    def answers(self, kept: int, refit: Mapping[str, Any] | None = None) -> Answers:
        """What the estimator says with a set of names; its clones, fitted to that set alone, with ``refit``."""
        if refit is None:
            return Answers(self.model, self.without(kept))
        there = self.members(kept)
        if not there:  # what there is to say without any sample's features
            prior = DummyClassifier(strategy="prior") if is_classifier(self.model) else DummyRegressor()
            return Answers(prior, np.zeros((self.n_samples, 1)), refit)
        left = self.X[[self.labels[name] for name in there]] if self.columns else self.X.select(there)
        return Answers(self.model, left, refit)


def as_tuple(key: Names) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key


def label(key: Names) -> str:
    """A name to print, of several joined."""
    return " and ".join(as_tuple(key))


def chosen(names: Any, valid: Sequence[str], what: str, *, apart: bool = False) -> list[Names]:
    """The names that were asked for, checked against those that there are; each by itself if None were.

    ``apart`` if no two of them may hold the same.
    """
    plural = "modalities" if what == "modality" else f"{what}s"
    if names is None:
        return list(valid)
    if isinstance(names, str):
        raise ValueError(f"{plural}={names!r} is one name; give a list, [{names!r}].")
    if not isinstance(names, Iterable):
        raise ValueError(f"{plural}={names!r} must be a list; valid are {list(valid)}.")
    found: list[Names] = []
    for given in names:
        key = tuple(given) if isinstance(given, list) else given
        if key == ():
            raise ValueError(f"{plural}={list(names)!r} has a tuple without a name; valid are {list(valid)}.")
        for name in as_tuple(key) if isinstance(key, str | tuple) else [key]:
            if name not in valid:
                raise unknown(what, name, valid)
        if key in found or len(set(as_tuple(key))) < len(as_tuple(key)):
            raise ValueError(f"{what} {key!r} is named twice in {plural}={list(names)!r}.")
        found.append(key)
    if not found:
        raise ValueError(f"{plural} is empty; valid are {list(valid)}.")
    if apart:
        every = [name for key in found for name in as_tuple(key)]
        twice = next((name for name in every if every.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{what} {twice!r} is named twice in {plural}={list(names)!r}, and comes but once.")
    return found


def _with_columns(frame: Any, columns: Mapping[Any, Any]) -> Any:
    """A copy of a pandas or polars table with other columns; None for one without any value.

    Types stay where these know what is missing.
    """
    if hasattr(frame, "with_columns"):
        import polars as pl

        new = [
            pl.lit(None, dtype=frame.schema[name]).alias(name) if column is None else pl.Series(name, column)
            for name, column in columns.items()
        ]
        return frame.with_columns(new)
    import pandas as pd

    changed = frame.copy(deep=False)
    for name, column in columns.items():
        if column is not None:
            changed[name] = np.asarray(column, dtype=object) if column.dtype == object else column.to_numpy()
        elif pd.api.types.is_numeric_dtype(frame[name].dtype):
            changed[name] = np.full(len(frame), np.nan)
        else:
            kind = object if frame[name].dtype.kind in "OSUb" else frame[name].dtype
            changed[name] = pd.Series([None] * len(frame), index=frame.index, dtype=kind)
    return changed
