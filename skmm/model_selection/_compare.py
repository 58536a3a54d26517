"""Compare fusions with one another and with what scikit-learn alone gives."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_regressor
from sklearn.metrics import check_scoring
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, check_cv
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import indexable
from sklearn.utils.validation import has_fit_parameter

from skmm._devices import draw_shared_seed
from skmm._private import safe_indexing
from skmm.blocks import Blocks
from skmm.blocks._given import blocks_if_named, refuse_unnamed
from skmm.columns._tables import as_frame
from skmm.compose import ModalityTransformer
from skmm.compose._leaks import ignore_leaks, warn_of_leaks
from skmm.estimators import MultimodalClassifier, MultimodalRegressor
from skmm.estimators._base import MultimodalEstimator
from skmm.estimators._profile import refused_fusions
from skmm.estimators._reading import reader_of
from skmm.model_selection._baselines import check_task
from skmm.model_selection._candidates import Candidate
from skmm.model_selection._compare_baselines import Baselines, baselines_of_folds, check_baselines, read_blocks
from skmm.model_selection._compare_fits import Compared, find_metrics, find_removals, run_fits, suffix
from skmm.model_selection._comparison import FusionComparison, check_confidence, summarise
from skmm.model_selection._journal import Journal
from skmm.network._network import known_fusion
from skmm.spec import Fusion, list_fusions

FEW = ("early", "concat", "sum", "gated", "mfb", "attention", "late")  # one or more of every level


def compare_fusions(
    X: Any,
    y: Any,
    *,
    estimator: BaseEstimator | None = None,
    fusions: Any = None,
    cv: Any = 5,
    scoring: Any = None,
    baselines: Baselines = True,
    missing_rates: Mapping[str, float | Sequence[float]] | float | Sequence[float] | None = None,
    groups: Any = None,
    params: Mapping[str, Any] | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    random_state: Any = None,
    confidence: float = 0.95,
    journal: Any = None,
    refit: bool = False,
) -> FusionComparison:
    """Cross-validate fusions and baselines, linear models and trees, on the same folds.

    Parameters
    ----------
    X : Blocks, dict of arrays, table, or whatever ``estimator`` takes
        A DataFrame of pandas or polars, a pyarrow Table or a Dataset of Hugging Face whose cells are not all
        numbers is typed in each fold anew, as the estimators do it.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    estimator : estimator, optional
        What is fitted with each fusion: an estimator with a parameter ``fusion``, or a pipeline that ends in one
        and whose earlier steps give Blocks. Default: MultimodalClassifier or MultimodalRegressor, by the type of
        ``y`` (integers are classes).
    fusions : list of str, Fusion, or class, optional
        What to compare; ``"auto"`` is the choice that the estimators make of the samples, ``"few"`` are seven of
        every level: early, concat, sum, gated, mfb, attention and late. Default: every registered fusion with its
        default parameters. Of these, and of the few, those whose network cannot be built for these samples are
        left out, and the result lists them as ``skipped``.
    cv : int, splitter or iterable of splits, default=5
        The folds; at least two. A number of folds means StratifiedKFold for classification and KFold else, with
        ``groups`` StratifiedGroupKFold and GroupKFold, none shuffled.
    scoring : str, callable, or list or dict of them, optional
        Metrics; the first ranks the methods. Default: accuracy, recall and F1 averaged over the classes, or R²
        and mean absolute error. scikit-learn's ``"neg_<error>"`` are reported as the error itself, positive, and
        less is better.
    baselines : bool, list of str, or dict of str to estimator, default=True
        Whether to add :func:`make_baselines`, which of them by name, such as ``["LR concat", "boosting"]``, or
        what to use in their place: estimators on Blocks, or pairs ``(estimator, modalities)`` of an estimator on
        2-D arrays and a list of names or None for all: ``{"forest": (RandomForestClassifier(), ["text",
        "table"])}``. It reads these side by side as ``"boosting"`` does, NaN where they are missing. All take the
        earlier steps of a pipeline before them.
    missing_rates : float, sequence of float, or dict of str to these, optional
        Shares, from 0 to 1, of those test samples of each fold that have a modality, which are to lose it: one
        modality after the other, or each of those named. Every method is scored again on what is left, not fitted
        again, and all lack the same. Linear baselines fill in what they learned in training, of a dense modality
        the column means; boosting and trees read NaN.
    groups : array-like of shape (n_samples,), optional
        Group of each sample. The splitter sees it, and within each fold the fusions whose ``fit`` takes
        ``groups`` and the baseline ``"stacked"``.
    params : dict, optional
        Passed to each fusion's ``fit`` (``sample_weight``, cut to the fold's rows). Needs ``baselines=False``,
        for they would be fitted without it.
    n_jobs : int, optional
        Processes among which the fusions, and the folds of the baselines, are divided.
    verbose : int, default=0
        1 says on stderr what is fitted and, once the first fits have ended, about how long all of them take; and
        shows how many are done, and what the present one is at.
    random_state : int, RandomState instance or None, default=None
        Given to every candidate and to the baselines' inner folds; at None the estimator keeps its own, and where
        that is None too one is drawn for each fold. Also chooses the samples that lose a modality.
    confidence : float, default=0.95
        Level of the intervals.
    journal : path, optional
        File to which the scores of each finished fit are written. A comparison that was killed, and is called again
        with the same methods, samples and folds, does not repeat what is there, and finds the same scores; any
        other is refused. The file stays.
    refit : bool, default=False
        Fit the best fusion to all samples, as ``best_estimator_`` of the result; also where a baseline is better,
        which the result then says.

    Returns
    -------
    FusionComparison
        With the table ``summary``, the table ``differences`` to the best baseline, ``verdict``, ``skipped``,
        ``suspects`` and, with ``refit``, ``best_estimator_``.

    Raises
    ------
    ValueError
        Before anything is fitted: if a fusion, one of its parameters or a scorer is unknown, a fusion that is named
        cannot be built for these samples, a name occurs twice, the estimator has no parameter ``fusion``, there are
        fewer than two folds, a baseline is unknown, no estimator, or reads an unknown modality, or
        ``missing_rates`` names an unknown modality or a rate out of range. An error in a fit is raised with a note
        that names the method and the fold.
    KeyboardInterrupt
        After Ctrl-C. Its attribute ``comparison`` is the comparison of the methods that are finished on all folds,
        if a fusion is among them; no fit that was interrupted is ever scored.

    Warns
    -----
    UserWarning
        Once, before anything is fitted, if X is a table of which a column alone tells ``y``, or numbers the rows.
        Also if a metric cannot be computed, such as a log-loss on a fold that lacks a class: its score is then nan,
        and so are the means over it, which rank last.

    Notes
    -----
    The folds of a fusion train together, as candidates of :class:`FusionSearchCV` do; each fold is prepared, and
    its experts are fitted, once for all fusions (by more processes than folds, once for each). Without dropout the
    scores are those of fits one by one up to the rounding of float32; what is dropped is drawn otherwise side by
    side. The time of a fit is its share, and all of what it has in common with others.

    The intervals are those of :func:`corrected_interval`, each on its own. The best of many fusions and the best
    of several baselines are both chosen on the folds that they are judged by, so read a narrow win as no win.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import Blocks, MultimodalClassifier
    >>> from skmm.model_selection import compare_fusions
    >>> rng = np.random.default_rng(0)
    >>> X = Blocks(text=rng.normal(size=(60, 3)), image=rng.normal(size=(60, 4)))
    >>> y = np.where(X["text"][:, 0] + X["image"][:, 0] > 0, "up", "down")
    >>> quick = MultimodalClassifier(max_epochs=5, n_members=2)
    >>> result = compare_fusions(
    ...     X, y, estimator=quick, fusions=["late", "mfb"], baselines=["LR concat", "boosting"], cv=3,
    ...     random_state=0,
    ... )
    >>> sorted(result.summary["method"])
    ['LR concat', 'boosting', 'late', 'mfb']
    >>> result.scores["mfb"]["accuracy"].shape
    (3,)

    The same without the image of half of the test samples:

    >>> result = compare_fusions(
    ...     X, y, estimator=quick, fusions=["late"], baselines=["LR text"], cv=3, missing_rates={"image": 0.5},
    ...     random_state=0,
    ... )
    >>> text = result.scores["LR text"]  # which does not read the image
    >>> text["accuracy"].tolist() == text["accuracy_missing_image_0.5"].tolist()
    True

    Against nearest neighbours that read both modalities side by side:

    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> own = {"neighbours": (KNeighborsClassifier(), ["text", "image"])}
    >>> result = compare_fusions(X, y, estimator=quick, fusions=["late"], baselines=own, cv=3, random_state=0)
    >>> sorted(result.summary["method"])
    ['late', 'neighbours']

    The best of the fusions, fitted to all samples:

    >>> result = compare_fusions(
    ...     X, y, estimator=quick, fusions=["late", "mfb"], baselines=False, cv=3, random_state=0, refit=True
    ... )
    >>> result.best_estimator_.fusion == result.best_fusion
    True
    >>> result.best_estimator_.predict(X[:2]).shape
    (2,)
    """
    X = blocks_if_named(as_frame(X))
    estimator, regression, one_target = _read_task(estimator, X, y)
    candidates = _candidates(estimator, fusions, random_state)
    check_confidence(confidence)
    baselines = check_baselines(baselines)
    if params and baselines:
        raise ValueError("params go to the fusions alone; a fair comparison needs baselines=False with them.")
    splits = find_splits(cv, X, y, groups, regression, one_target)
    metrics = find_metrics(scoring, regression)
    # an unknown scorer fails here, before any fit; one that cannot score a fold does not end the comparison
    scorer = check_scoring(estimator, metrics, raise_exc=False)

    suspects = _suspects(estimator, X, y, groups, verbose)
    warn_of_leaks(suspects)
    networks = isinstance(_last(estimator)[0], MultimodalEstimator)
    train = splits[0][0]
    blocks: Any = None
    if networks or read_blocks(baselines) or missing_rates is not None:
        # the earlier steps of a pipeline are fitted to one fold's training rows only to see what Blocks they give
        blocks = _before(estimator, "passthrough").fit_transform(_rows(X, train), _rows(y, train))
    refused = _refused(candidates, blocks, _rows(y, train)) if networks else {}
    candidates = _without(refused, candidates, named=not (fusions is None or _are_few(fusions)))
    removals = find_removals(missing_rates, blocks)
    seed = draw_shared_seed(random_state) if removals else 0
    references = baselines_of_folds(
        baselines, blocks, y, splits, groups, regression=regression, random_state=random_state
    )
    own = _fit_params(estimator, dict(params or {}), groups)
    methods = _methods(estimator, candidates, references)
    more: dict[str, Any] = {"leaks_told": True, "removals": removals, "seed": seed}
    X, y = indexable(X, y)
    data = Compared(X, y, splits, own, {}, scorer, "raise", **more)
    known = None if journal is None else _open_journal(journal, methods, data, metrics)
    found, interrupted = run_fits(methods, data, n_jobs, verbose, known)
    if interrupted is not None and not set(found) & set(candidates):
        raise interrupted
    result = summarise(
        found,
        set(references[0]),
        list(metrics),
        [suffix(*removal) for removal in removals],
        float(np.mean([len(test) / len(train) for train, test in splits])),
        confidence,
        skipped={name: str(error) for name, error in refused.items()},
        suspects=suspects,
    )
    if interrupted is not None:
        raise _with_comparison(interrupted, result)
    return _refitted(result, candidates, X, y, own) if refit else result


def _with_comparison(interrupt: Any, result: FusionComparison) -> KeyboardInterrupt:
    """An interrupt that has what was finished before it."""
    interrupt.comparison = result
    interrupt.add_note(f"What is finished on all folds, {list(result.scores)}, is the interrupt's .comparison.")
    return interrupt


def _refitted(
    result: FusionComparison, candidates: Mapping[str, Any], X: Any, y: Any, params: Mapping[str, Any]
) -> FusionComparison:
    """The comparison with its best fusion fitted to all samples."""
    try:
        with warnings.catch_warnings():
            ignore_leaks()  # they are told
            best = clone(candidates[result.best_fusion]).fit(X, y, **params)
    except KeyboardInterrupt as interrupt:
        raise _with_comparison(interrupt, result) from None
    return replace(result, best_estimator_=best)


def _read_task(estimator: Any, X: Any, y: Any) -> tuple[Any, bool, bool]:
    """The estimator, by default the one for the target, whether to regress, and whether there is one target."""
    regression, one_target = check_task(y, None if estimator is None else is_regressor(estimator))
    if estimator is None:
        estimator = MultimodalRegressor() if regression else MultimodalClassifier()
    if isinstance(estimator, MultimodalEstimator):
        refuse_unnamed(X)
    return estimator, regression, one_target


def find_splits(
    cv: Any, X: Any, y: Any, groups: Any, regression: bool, one_target: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test rows of each fold; a number of folds keeps groups whole, if there are any."""
    if groups is not None and isinstance(cv, int):
        cv = GroupKFold(cv) if regression or not one_target else StratifiedGroupKFold(cv)
    splits = list(check_cv(cv, y, classifier=not regression).split(X, y, groups))
    if len(splits) < 2:
        raise ValueError(f"a comparison needs at least 2 folds, cv={cv!r} gives {len(splits)}.")
    return splits


def _without(
    refused: Mapping[str, ValueError], candidates: Mapping[str, BaseEstimator], *, named: bool
) -> dict[str, BaseEstimator]:
    """The candidates whose network can be built; that one cannot is an error where it was asked for by name."""
    if refused and (named or len(refused) == len(candidates)):
        name, error = next(iter(refused.items()))
        error.add_note(f"Raised by {name!r}, before anything was fitted.")
        raise error
    return {name: model for name, model in candidates.items() if name not in refused}


def _methods(
    estimator: Any, candidates: Mapping[str, BaseEstimator], references: Sequence[Mapping[str, BaseEstimator]]
) -> list[Candidate]:
    """Every fusion, fitted with parameters; and every baseline, behind the same reading of X."""
    names = list(references[0])
    twice = set(candidates) & set(names)
    if twice:
        raise ValueError(f"{sorted(twice)} name both fusions and baselines.")
    before = "the pipeline of the fusions" if isinstance(estimator, Pipeline) else None
    methods = [Candidate(name, {}, model, before) for name, model in candidates.items()]
    for name in names:
        own = [fold[name] for fold in references]
        reading = _before(estimator, own[0])
        methods.append(Candidate(name, {}, reading, "that of the baselines", own, with_params=False))
    return methods


def _fit_params(estimator: Any, params: dict[str, Any], groups: Any) -> dict[str, Any]:
    """What each fusion's ``fit`` is given: also the groups, where it knows them."""
    last, prefix = _last(estimator)
    if groups is not None and has_fit_parameter(last, "groups"):
        params.setdefault(f"{prefix}groups", groups)
    return params


def _open_journal(path: Any, methods: Sequence[Candidate], data: Compared, metrics: Mapping[str, Any]) -> Journal:
    """The journal of this comparison, with what is finished of it."""
    parts = {
        "methods": [(method.name, method.estimator, method.of_folds) for method in methods],
        "samples": data.X,
        "targets": data.y,
        "folds": data.splits,
        "parameters of fit": data.fit_params,
        "scoring": metrics,
        "missing_rates": data.removals,
        "seed of what goes missing (set random_state)": data.seed,
    }
    return Journal(path, parts)


def _suspects(estimator: Any, X: Any, y: Any, groups: Any, verbose: int) -> list[str]:
    """Columns of a table that the estimator learns from and that alone tell the target, or number the rows."""
    first = estimator.steps[0][1] if isinstance(estimator, Pipeline) else estimator
    if isinstance(X, Blocks) or not hasattr(X, "columns"):
        return []
    if isinstance(first, MultimodalEstimator):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each fit will say what it drops
            first = reader_of(first.modalities, X, told="compare_fusions" if verbose else "")
    return first.find_leaks(X, y, groups) if isinstance(first, ModalityTransformer) else []


def _candidates(estimator: BaseEstimator, fusions: Any, random_state: Any) -> dict[str, BaseEstimator]:
    """One unfitted estimator per fusion, by the name that the tables show."""
    last, prefix = _last(estimator)
    if not hasattr(last, "get_params") or "fusion" not in last.get_params(deep=False):
        raise ValueError(
            "estimator must have a parameter 'fusion', or be a pipeline whose last step has one; got "
            f"{type(last).__name__}."
        )
    if fusions is None:
        fusions = list_fusions()
    elif _are_few(fusions):
        fusions = FEW
    elif isinstance(fusions, (str, type, Fusion)):
        fusions = [fusions]
    found: dict[str, BaseEstimator] = {}
    for fusion in fusions:
        spec = known_fusion(fusion)  # an unknown name or parameter fails here, before any fit
        if isinstance(spec, Fusion) and spec.name != "auto":
            spec.resolve()
        label = fusion if isinstance(fusion, str) else _label(fusion)
        if label in found:
            raise ValueError(f"fusion {label!r} is listed twice.")
        found[label] = clone(estimator).set_params(**{f"{prefix}fusion": fusion})
        if random_state is not None:
            found[label].set_params(**{f"{prefix}random_state": random_state})
    if not found:
        raise ValueError("there is no fusion to compare.")
    return found


def _are_few(fusions: Any) -> bool:
    return isinstance(fusions, str) and fusions == "few"


def _refused(candidates: Mapping[str, BaseEstimator], blocks: Blocks, y: Any) -> dict[str, ValueError]:
    """What candidates say against such samples when their network is built, as a fit does first."""
    trial: Any = clone(_last(next(iter(candidates.values())))[0])
    return refused_fusions(trial, blocks, y, {name: _last(model)[0].fusion for name, model in candidates.items()})


def _last(estimator: Any) -> tuple[Any, str]:
    """The estimator itself or the last step of a pipeline, and the prefix of its parameters."""
    if isinstance(estimator, Pipeline):
        return estimator.steps[-1][1], f"{estimator.steps[-1][0]}__"
    return estimator, ""


def _rows(data: Any, rows: np.ndarray) -> Any:
    return safe_indexing(data, rows)


def _label(fusion: Any) -> str:
    if isinstance(fusion, Fusion):
        return repr(fusion)
    return fusion.__name__ if isinstance(fusion, type) else type(fusion).__name__


def _before(estimator: Any, model: Any) -> Pipeline:
    """The model behind all that makes Blocks of the estimator's X: earlier steps of a pipeline, ``modalities``."""
    steps: list[Any] = []
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        steps.append(estimator[:-1])
    last, _ = _last(estimator)
    if isinstance(last, MultimodalEstimator):
        steps.append(_Reader(last))
    return clone(make_pipeline(*steps, model))


class _Reader(TransformerMixin, BaseEstimator):
    """X as an estimator reads it, which learns in its fit how."""

    def __init__(self, estimator: MultimodalEstimator) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any = None) -> Self:
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Blocks:
        blocks, self.reader_ = self.estimator._first_read(X)
        return blocks

    def transform(self, X: Any) -> Blocks:
        return self.reader_._read(X)
