"""Distilled: a small network that learns what a large model says."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import nullcontext
from numbers import Integral
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.callback import with_callbacks
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skmm._checks import check_rate, is_whole
from skmm._devices import draw_seed, draw_shared_seed
from skmm._fitting import all_or_nothing, forget_fit
from skmm._private import check_sample_weight, num_samples, safe_indexing
from skmm._progress import showing
from skmm.blocks import Blocks
from skmm.blocks._given import blocks_if_named, refuse_unnamed
from skmm.blocks._joined import join
from skmm.columns._tables import as_frame
from skmm.compression._base import Compressed, Given
from skmm.compression._mixing import can_mix, mix
from skmm.compression._teachers import (
    check_probabilities,
    fit_params,
    is_frozen,
    last_step,
    own_left_out,
    predicted,
    predicted_left_out,
    target_of,
)
from skmm.estimators import MultimodalClassifier, MultimodalRegressor
from skmm.estimators._base import MultimodalEstimator
from skmm.estimators._targets import ClassTarget, Target
from skmm.training._plan import encode_marks, splits_of
from skmm.training._tasks import FitTasks, refuse_propagated

_SHARED = ("modalities", "device", "n_jobs", "verbose")  # parameters of a teacher that the default student has too
_MIXED, _ENOUGH = 10, 20_000  # samples in between, for each, and so many that there need not be more
_PATIENCE = 20  # epochs on what there is with these


class Distilled(Compressed):
    """A small network that learns what a large model says: the predictions of a teacher, not the labels alone.

    The teacher is fitted first. The student then learns from its probabilities, of which those of the classes that
    are not the right one tell more than a label does [1]_ [2]_, or of values from its predictions. What a teacher
    says of its own training samples is too sure of itself, and what it says of samples that it left out is that of
    a teacher of fewer samples: the targets are a mixture of both.

    Parameters
    ----------
    estimator : estimator
        The teacher: any classifier with ``predict_proba``, or any regressor, that reads the same X as the student,
        such as a :class:`~skmm.MultimodalClassifier`, a Pipeline, a forest or a search. A
        :class:`~sklearn.frozen.FrozenEstimator` is not fitted again.
    student : MultimodalClassifier, MultimodalRegressor, or Pipeline that ends in one, default=None
        What is to be learned into. None is one network, ``n_members=1``, with the ``modalities``, ``device`` and
        ``n_jobs`` of the teacher where that is of skmm, and behind the same steps where it is a Pipeline.
    alpha : float, default=0.5
        Share, from 0 to 1, of the prediction out of folds in the targets; the rest is what the fitted teacher says.
    n_mixed : int or "auto", default="auto"
        Samples in between, of which the teacher is asked too: so many for each of X, weighted means of it and
        another one [4]_. "auto": 10, or fewer where there are then more than 20,000, at least one; none for tables
        with other columns than numbers, lazily read blocks, or with ``time``. A student whose ``max_epochs`` is
        "auto" then trains for 20.
    cv : int, splitter or iterable of splits, default=5
        Folds of the predictions of a teacher that has no ``oof_prediction_`` of its own, in each of which it is
        fitted anew; with ``alpha=0`` there are none. A number is that of folds as scikit-learn makes them, which
        never part a group. Of samples that no fold leaves out the targets are what the fitted teacher says.
    keep_teacher : bool, default=False
        Whether ``teacher_`` and ``soft_targets_`` stay after the fit, and in a pickle.
    random_state : int, RandomState instance or None, default=None
        Seeds teacher and student, and the parts of both, where their own ``random_state`` is None.

    Attributes
    ----------
    student_ : estimator
        The fitted student, by which everything is predicted.
    teacher_ : estimator
        With ``keep_teacher``, the fitted teacher.
    soft_targets_ : ndarray of shape (n_samples, n_classes) or (n_samples, n_outputs)
        With ``keep_teacher``, what the student learned from; of ``X_unlabelled``, and then
        of mixed samples, after those of X.
    classes_ : ndarray
        Class labels, of a classifier.
    n_features_in_ : int
        Columns of a 2-D X; of a Blocks all numbers of a sample.
    feature_names_in_ : ndarray of str
        Column names, where X was a DataFrame.

    Notes
    -----
    The predictions out of folds of a MultimodalClassifier or MultimodalRegressor are its own ``oof_prediction_``,
    which costs nothing, also where it is last in a Pipeline, or refitted by a search. Nobody knows what a
    FrozenEstimator was fitted to, so that what it says is taken as it is, whatever ``alpha``.

    What a user gives as ``estimator`` stays a parameter: a FrozenEstimator, or one that is fitted, goes into a
    pickle with the rest. Pickle or save ``student_`` alone then.

    The student reads what it is given as it says of itself: encoders that the teacher names are to be named for the
    student too. A search over ``student__hidden_dim`` needs a student that is not None.

    References
    ----------
    .. [1] Hinton, G., Vinyals, O. and Dean, J. (2015). Distilling the knowledge in a neural network.
       arXiv:1503.02531.
    .. [2] Bucilă, C., Caruana, R. and Niculescu-Mizil, A. (2006). Model compression. KDD, with unlabelled samples
       that a teacher labels.
    .. [3] Fakoor, R., Mueller, J., Erickson, N., Chaudhari, P. and Smola, A. J. (2020). Fast, accurate, and simple
       models for tabular data via augmented distillation. NeurIPS, with whole AutoML ensembles as teachers.
    .. [4] Beyer, L., Zhai, X., Royer, A., Markeeva, L., Anil, R. and Kolesnikov, A. (2022). Knowledge distillation:
       a good teacher is patient and consistent. CVPR, section 3, where both see the same mixed pictures.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import Blocks, MultimodalClassifier
    >>> from skmm.compression import Distilled
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=60)
    >>> X = Blocks(text=y[:, None] + rng.normal(size=(60, 5)), image=y[:, None] + rng.normal(size=(60, 3)))
    >>> teacher = MultimodalClassifier(n_members=2, max_epochs=10, experts=None)
    >>> small = Distilled(teacher, random_state=0).fit(X, y)
    >>> small.student_.n_members
    1
    >>> small.predict_proba(X[:3]).shape
    (3, 2)
    """

    def __init__(
        self,
        estimator: Any,
        student: Any = None,
        *,
        alpha: float = 0.5,
        n_mixed: Any = "auto",
        cv: Any = 5,
        keep_teacher: bool = False,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.student = student
        self.alpha = alpha
        self.n_mixed = n_mixed
        self.cv = cv
        self.keep_teacher = keep_teacher
        self.random_state = random_state

    @property
    def _predicts_by(self) -> Any:
        check_is_fitted(self)
        return self.student_

    def _will_predict_by(self) -> Any:
        return self.student_ if hasattr(self, "student_") else self._given_student()

    def _given_student(self) -> Any:
        return _default_student(self.estimator) if self.student is None else self.student

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        *,
        X_unlabelled: Any = None,
        sample_weight: Any = None,
        groups: Any = None,
        time: Any = None,
    ) -> Self:
        """Fit the teacher, and the student to what it says.

        Parameters
        ----------
        X : Blocks, dict of arrays, DataFrame, or array-like or sparse matrix of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or for multilabel a matrix of 0 and 1; for regression the values.
        X_unlabelled : the same as X, optional
            More samples, without y, of which the student learns what the fitted teacher says, each with weight 1,
            or the mean of ``sample_weight``, and in a group of its own. With metadata routing,
            ``set_fit_request(X_unlabelled=True)``, they come through
            ``cross_validate(..., params={"X_unlabelled": ...})``. Beware that scikit-learn cuts any parameter with
            as many rows as X to the folds, as if it belonged to these samples.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the samples, for teacher and student.
        groups : array-like of shape (n_samples,), optional
            Group of each sample; no group is parted between folds, of the teacher or the student.
        time : array-like of shape (n_samples,), optional
            When each sample was, for a teacher and student that hold out later samples. Any other teacher needs
            ``cv`` to be a splitter or ``alpha=0``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If something is wrong with the parameters or the samples. The estimator is then as it was before.
        KeyboardInterrupt
            After Ctrl-C. What the student learned in whole epochs is kept, and the estimator is fitted; before that
            it is as it was before.
        """
        self._check_params()
        for estimator in (self.estimator, last_step(self._given_student())):
            refuse_propagated(estimator)
        tasks = FitTasks(self, 3, X, y, sample_weight)
        verbose = bool(last_step(self._given_student()).verbose)
        with showing(verbose), all_or_nothing(self):
            interrupt = self._distil(X, y, X_unlabelled, sample_weight, groups, time, tasks)
            if interrupt is None:
                tasks.finish()
        if interrupt is not None:
            raise interrupt
        return self

    # -- checks --------------------------------------------------------------------------------------------------

    def _check_params(self) -> None:
        for name in ("estimator", "student"):
            value = getattr(self, name)
            if isinstance(value, type):
                raise TypeError(f"{name}={value.__name__} is a class; give an instance, {value.__name__}().")
        if not hasattr(self.estimator, "fit"):
            raise TypeError(f"estimator={self.estimator!r} is no estimator.")
        check_rate("alpha", self.alpha)
        if isinstance(self.cv, Integral) and (isinstance(self.cv, bool) or self.cv < 2):
            raise ValueError(f"cv={self.cv!r} must be at least 2, a splitter or splits; alpha=0 needs no folds.")
        if isinstance(self.cv, str) or not isinstance(self.cv, Iterable):
            check_cv(self.cv)  # its error says what is valid
        if self.n_mixed != "auto" and not (is_whole(self.n_mixed) and self.n_mixed >= 0):
            raise ValueError(f"n_mixed={self.n_mixed!r} must be 'auto' or a whole number of 0 or more.")
        self._check_student()
        # some know only after their fit whether they have them
        if is_classifier(self.estimator) and not hasattr(type(self.estimator), "predict_proba"):
            check_probabilities(self.estimator)

    def _check_student(self) -> None:
        """Refuse a student that cannot learn what the teacher says."""
        wanted: type[MultimodalEstimator]
        if is_classifier(self.estimator):
            task, wanted = "classifier", MultimodalClassifier
        elif is_regressor(self.estimator):
            task, wanted = "regressor", MultimodalRegressor
        else:
            raise ValueError(f"estimator={self.estimator!r} is neither a classifier nor a regressor.")
        student = self._given_student()
        last = last_step(student)
        if not isinstance(last, MultimodalEstimator):
            raise ValueError(
                f"student={student!r} cannot learn from predictions: it must be a {wanted.__name__}, or a Pipeline "
                "that ends in one."
            )
        if not isinstance(last, wanted):
            raise ValueError(f"student={student!r} is no {task}, as the teacher {self.estimator!r} is.")
        last._check_params()

    # -- fit -----------------------------------------------------------------------------------------------------

    def _distil(
        self, X: Any, y: Any, more: Any, sample_weight: Any, groups: Any, time: Any, tasks: FitTasks
    ) -> KeyboardInterrupt | None:
        """All of a fit; the interrupt that ended the student's training early, if there was one."""
        forget_fit(self)
        teacher, student = self._seeded()
        last_step(student)._check_supervised(y)
        X = _given_as(X)
        if not isinstance(student, Pipeline):
            refuse_unnamed(X)
        check_consistent_length(X, y, groups, time)
        everything = X
        if more is not None:
            if time is not None:
                raise ValueError("X_unlabelled has no time, so it cannot be given together with time.")
            everything = join(X, _given_as(more), "X_unlabelled")
        if isinstance(X, Blocks) or hasattr(X, "columns"):  # of anything else the teacher says first what is wrong
            self._check_mixing(everything, time)
        params = fit_params(teacher, {"sample_weight": sample_weight, "groups": groups, "time": time})
        fitted = clone(teacher)
        with tasks.fitting("teacher", fitted):
            fitted = fitted.fit(X, y, **params)
        given = X, y, sample_weight, groups, time
        return self._learn(student, fitted, params, given, everything, tasks)

    def _learn(
        self,
        student: Any,
        fitted: Any,
        params: dict[str, Any],
        given: Given,
        everything: Any,
        tasks: FitTasks | None = None,
    ) -> KeyboardInterrupt | None:
        """Fit the student to what a fitted teacher says of what it was fitted to, and of what else there is."""
        X, y, sample_weight, groups, time = given
        if is_classifier(fitted):
            check_probabilities(fitted)
        target, encoded = target_of(last_step(student), fitted, y)
        soft = predicted(fitted, target, X)
        if self.alpha > 0 and not is_frozen(fitted):
            left_out = own_left_out(fitted, target, len(soft))
            if left_out is None:
                splits = self._splits(y, len(soft), target, groups, time)
                with nullcontext() if tasks is None else tasks.task("teacher-folds"):
                    left_out = predicted_left_out(fitted, target, X, y, len(soft), splits, params)
            mixed = self.alpha * left_out + (1 - self.alpha) * soft
            soft = np.where(np.isnan(left_out), soft, mixed)
        n = num_samples(everything)
        if n > len(soft):
            more = safe_indexing(everything, np.arange(len(soft), n))
            soft = np.concatenate([soft, predicted(fitted, target, more)])
        sample_weight, groups = _extended(sample_weight, groups, encoded, len(soft))
        self._check_mixing(everything, time)
        often = self._often(everything, time)
        if often:
            weights = check_sample_weight(sample_weight, soft, dtype=np.float64, ensure_non_negative=True)
            mixed_in, own = mix(everything, often, weights, self._mixing_random(student))
            soft = np.concatenate([soft, predicted(fitted, target, mixed_in)])
            everything = join(everything, mixed_in, "what is mixed")
            sample_weight, groups = _extended(weights, groups, weights, len(soft))
            sample_weight[len(weights) :] = own
        if len(soft) > len(encoded):
            places = soft.argmax(axis=1) if target.competing else soft
            y = target.given(np.concatenate([encoded, places[len(encoded) :]]))
        if often and last_step(student).max_epochs == "auto":
            last_step(student).max_epochs = _PATIENCE
        with nullcontext() if tasks is None else tasks.fitting("student", last_step(student)):
            interrupt = _fit_student(student, target, soft, everything, y, sample_weight, groups, time)
        self.student_ = student
        if self.keep_teacher:
            self.teacher_, self.soft_targets_ = fitted, soft
        return interrupt

    def _compress(self, fitted: Any, opened: Any, *given: Any) -> Self:
        self.estimator = clone(fitted)
        self._check_params()
        _, student = self._seeded()
        X, *others = given
        X = _given_as(X)
        interrupt = self._learn(student, fitted, {}, (X, *others), X)
        if interrupt is not None:
            raise interrupt
        return self

    def _often(self, X: Any, time: Any) -> int:
        """How many mixed samples there are of each."""
        if self.n_mixed != "auto":
            return int(self.n_mixed)
        return min(_MIXED, max(1, _ENOUGH // num_samples(X))) if time is None and self._mixable(X) else 0

    def _mixable(self, X: Any) -> bool:
        """Whether X can be mixed, and is not read as columns of which each says what it is."""
        typed = getattr(last_step(self._given_student()), "modalities", None)
        return can_mix(X) and not (isinstance(typed, str) and hasattr(X, "columns"))

    def _check_mixing(self, X: Any, time: Any) -> None:
        """Refuse to mix what cannot be mixed."""
        if self.n_mixed == "auto" or not self.n_mixed:
            return
        if time is not None:
            raise ValueError(f"n_mixed={self.n_mixed}: samples in between have no time; set n_mixed=0.")
        if not self._mixable(X):
            raise ValueError(
                f"n_mixed={self.n_mixed}: there is nothing between rows of a {type(X).__name__} whose columns "
                "are not all numbers, or whose blocks are read lazily; set n_mixed=0."
            )

    def _mixing_random(self, student: Any) -> np.random.RandomState:
        """What mixed samples are drawn from."""
        seed = self.random_state if self.random_state is not None else last_step(student).random_state
        return np.random.RandomState(draw_shared_seed(copy.deepcopy(seed)))

    def _seeded(self) -> tuple[Any, Any]:
        """Teacher and student, not fitted."""
        made = clone(self.estimator), clone(self._given_student())
        if self.random_state is None:
            return made
        random = check_random_state(self.random_state)
        for estimator in made:
            params = estimator.get_params(deep=True)
            named = [name for name in sorted(params) if name.rpartition("__")[2] == "random_state"]
            estimator.set_params(**{name: draw_seed(random) for name in named if params[name] is None})
        return made

    def _splits(self, y: Any, n: int, target: Target, groups: Any, time: Any) -> list[Any]:
        """Folds for a teacher that leaves out nothing by itself."""
        cv = 5 if self.cv is None else self.cv
        if isinstance(cv, Integral):
            if time is not None:
                raise ValueError(
                    f"cv={cv!r} knows nothing of time, and the teacher leaves out no later samples by itself: set "
                    "cv to a splitter, or alpha=0."
                )
            if groups is not None:
                n_groups = len(np.unique(encode_marks(column_or_1d(groups), "groups")))
                if n_groups < 2:
                    raise ValueError("groups: all samples are of one group, of which no fold can be left out.")
                cv = (StratifiedGroupKFold if target.competing else GroupKFold)(min(int(cv), n_groups))
        try:
            return splits_of(cv, y, groups, n, classify=target.competing)
        except ValueError as error:
            raise ValueError(f"cv={self.cv!r}: {error} Set another cv, or alpha=0.") from error

    def __sklearn_tags__(self) -> Any:
        tags, of_teacher = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.input_tags.sparse &= of_teacher.input_tags.sparse
        tags.target_tags.multi_output &= of_teacher.target_tags.multi_output
        if tags.classifier_tags is not None and of_teacher.classifier_tags is not None:
            tags.classifier_tags.multi_label &= of_teacher.classifier_tags.multi_label
        return tags


# -- estimators ---------------------------------------------------------------------------------------------------


def _default_student(estimator: Any) -> Any:
    """One network that reads what a teacher reads."""
    found = _student_of(estimator)
    if found is not None:
        return found
    n_jobs = estimator.get_params(deep=False).get("n_jobs")
    return (MultimodalRegressor if is_regressor(estimator) else MultimodalClassifier)(n_members=1, n_jobs=n_jobs)


def _student_of(estimator: Any) -> Any:
    """The same of a teacher that is of skmm, or fits one; else None."""
    if isinstance(estimator, Pipeline):
        *before, (name, last) = estimator.steps
        student = _student_of(last)
        return None if student is None else Pipeline([*before, (name, student)])
    if isinstance(estimator, MultimodalEstimator):
        of = MultimodalClassifier if isinstance(estimator, MultimodalClassifier) else MultimodalRegressor
        return of(n_members=1, **{name: getattr(estimator, name) for name in _SHARED})
    inner = getattr(estimator, "estimator", None)  # of a search, one that is frozen, or one that is compressed
    return None if inner is None or isinstance(inner, type) else _student_of(inner)


def _given_as(X: Any) -> Any:
    """X as Blocks, a table, or an array of numbers, where it is one of these; anything else as it is."""
    X = as_frame(blocks_if_named(X))
    if isinstance(X, Blocks) or sp.issparse(X) or hasattr(X, "columns"):
        return X
    try:
        array = np.asarray(X)
        array = array.astype(np.float64) if array.dtype == object and array.ndim == 2 else array
    except (ValueError, TypeError):  # of lists of unequal length, or of words
        return X
    return array if array.ndim == 2 and array.dtype.kind in "fiu" else X


# -- what the student learns --------------------------------------------------------------------------------------


def _extended(sample_weight: Any, groups: Any, encoded: np.ndarray, n: int) -> tuple[Any, Any]:
    """Weights and groups of n samples, of which those after the encoded ones have none of their own."""
    n_more = n - len(encoded)
    if not n_more:
        return sample_weight, groups
    if sample_weight is not None:
        weights = check_sample_weight(sample_weight, encoded, dtype=np.float64, ensure_non_negative=True)
        sample_weight = np.concatenate([weights, np.full(n_more, weights.mean())])
    if groups is not None:
        marks = encode_marks(column_or_1d(groups), "groups")
        groups = np.concatenate([marks, marks.max() + 1 + np.arange(n_more)])
    return sample_weight, groups


def _fit_student(
    student: Any, target: Target, soft: np.ndarray, X: Any, y: Any, sample_weight: Any, groups: Any, time: Any
) -> KeyboardInterrupt | None:
    """Fit the student; the interrupt that ended its training after whole epochs, if there was one."""
    last = last_step(student)
    if isinstance(student, Pipeline) and len(student.steps) > 1:
        before = student[:-1]
        X = before.fit_transform(X, y)
        student.steps = [*before.steps, student.steps[-1]]
    classes = target.classes if isinstance(target, ClassTarget) else None
    try:
        last._fit_open(X, y, sample_weight, groups, time, classes=classes, soft=soft)
    except KeyboardInterrupt as error:
        if not hasattr(last, "net_"):
            raise
        return error
    return None
