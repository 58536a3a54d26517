"""What inside a modality a prediction comes from: words, pixels, frames and bands, columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skmm._checks import check_above_zero, check_positive, is_whole, unknown
from skmm._optional import import_optional
from skmm._warnings import warn
from skmm.blocks import BlockInfo, Blocks
from skmm.deployment._module import predicting
from skmm.estimators._base import MultimodalEstimator
from skmm.inspection._attributing import MOST_STEPS, Asked, explain, joined_values, labels_of, said_of_each
from skmm.inspection._explained import Explained, Goal
from skmm.inspection._names import Names, frame_names
from skmm.speech._recognizer import SpeechRecognizer

METHODS = ("integrated_gradients", "occlusion", "saliency")
LEVELS = ("feature", "column")


@dataclass(frozen=True, eq=False)  # arrays have no one answer to whether they are equal
class Attributions:
    """What :func:`attributions` found in a modality of some samples.

    Attributes
    ----------
    values : ndarray of shape (n_samples, ...), or sparse array of shape (n_samples, n_features)
        Attributions in the shape of the block; sparse ones for a sparse block. Sequences and token ids are
        (n_samples, n_steps, ...), n_steps that of the longest sample. NaN where a sample has no such step, or lacks
        the modality; of a sparse block nothing is stored there. With ``level="column"`` (n_samples, n_columns).
    names : ndarray of str or None
        Of features or columns, of a sequence those of its bands; of token ids the words (n_samples, n_steps). None
        where nothing is known, and of pictures.
    target : ndarray of shape (n_samples,)
        The class, label, or number of the value that each sample is asked about.
    output, baseline_output : ndarray of shape (n_samples,)
        What is explained, of the sample and with the baseline in place of the modality.
    baseline : ndarray
        As used, in the shape of a sample, of a sequence in that of a step; it can be given again.
    present : ndarray of bool, shape (n_samples,)
        Which samples have the modality.
    completeness_error : ndarray of shape (n_samples,) or None
        By how much the sum of the attributions misses the change from ``baseline_output`` to ``output``, less what
        is ``unattributed``, as a share of that change; of a change below 0.1 (log-odds, or standard deviations of
        y) as a share of 0.1. It is 0 for a sample that lacks the modality. None for "saliency".
    n_steps : ndarray of int, shape (n_samples,), or None
        Points of integrated gradients that were taken.
    unattributed : ndarray of shape (n_samples,)
        Part of the change of the output that ``held_experts`` would make.
    held_experts : list of str
        Experts that keep what they said of the whole sample.
    unit : {"log-odds", "predicted value"}
        Of outputs and attributions.
    modality, method, kind, level : str
        What was asked, and the kind of the block.
    seconds : float or None
        From one step to the next, where a transformer before the estimator says so.
    hertz : ndarray of shape (n_bands,), or None
        Of the bands of a spectrogram, where a transformer before the estimator says so.
    n_outputs : int
        Classes, labels or values that the estimator predicts.

    Methods
    -------
    over_time()
        Sums over all that each step holds.
    """

    values: Any
    names: np.ndarray | None
    target: np.ndarray
    output: np.ndarray
    baseline_output: np.ndarray
    baseline: np.ndarray
    present: np.ndarray
    completeness_error: np.ndarray | None
    n_steps: np.ndarray | None
    unattributed: np.ndarray
    held_experts: list[str]
    unit: str
    modality: str
    method: str
    kind: str
    level: str
    seconds: float | None = None
    hertz: np.ndarray | None = None
    n_outputs: int = 1

    def over_time(self) -> np.ndarray:
        """What each step of a sequence, or frame of a video, adds up to.

        Returns
        -------
        ndarray of shape (n_samples, n_steps)
            NaN where a sample has no such step.

        Raises
        ------
        ValueError
            If the modality has no steps.
        """
        if self.kind not in ("sequence", "video", "tokens"):
            raise ValueError(f"modality {self.modality!r} is {self.kind}, and has no steps.")
        return self.values.reshape(*self.values.shape[:2], -1).sum(axis=2)


def attributions(
    estimator: Any,
    X: Any,
    modality: str,
    target: Any = None,
    method: str = "integrated_gradients",
    *,
    baseline: Any = None,
    window: Any = None,
    level: str = "feature",
    feature_names: Any = None,
    n_steps: int | str = "auto",
    tolerance: float = 0.05,
) -> Attributions:
    """How much each word, pixel, frame, band or column of a modality speaks for a prediction, or against it.

    Of classes and labels the log-odds are shared out, of a regressor the predicted value. It is what scaling,
    networks, heads, experts and stack make of the modality; all others stay as they are. A sample that lacks the
    modality has no attributions.

    Parameters
    ----------
    estimator : MultimodalClassifier, MultimodalRegressor, or Pipeline with one
        Fitted.
    X : Blocks, dict of arrays, or whatever ``estimator`` takes
        Samples.
    modality : str
        The modality to look into.
    target : label, int or array-like of shape (n_samples,), optional
        The class that is spoken for, of all samples or of each; of several labels or values the label, or number,
        of one. Default: the class that a sample is predicted as, or the only value.
    method : {"integrated_gradients", "occlusion", "saliency"}, default="integrated_gradients"
        "integrated_gradients": shares of the change from the baseline to the sample, which they sum up to. Experts
        that are trees have no gradients: they keep what they say of the sample, and ``unattributed`` is what they
        would change. "occlusion": the fall where a part is replaced by the baseline and all else stays, which sees
        trees, too, and misses what two parts say alike. "saliency": the gradient at the sample, for a change of 1
        of each number.
    baseline : float or array-like, optional
        What stands for nothing in dense blocks, a number or what fits the shape of a sample (of a sequence, of a
        step). Default: the mean of training, per feature or channel, which the network reads as zeros; without
        ``scale_inputs`` zeros. Of sparse blocks it is zero, and of token ids that there is no such token.
    window : int or tuple of int, optional
        With "occlusion", how much is replaced at a time, along each axis of a sample, the time first; an int is of
        the first axis. Default: columns, words and steps one by one, pictures in an eighth of their height and
        width, videos by whole frames. Numbers that go together share their fall equally.
    level : {"feature", "column"}, default="feature"
        Whether numbers of the block are told, or raw columns of a table, with the features that a column was made
        into, such as its categories, together. Of vectors and sparse blocks.
    feature_names : array-like of str, optional
        Names of the features of a vector or sparse block, or of a sequence's bands. Default: those of the
        transformers that made them, or of the columns of a DataFrame.
    n_steps : int or "auto", default="auto"
        Points of integrated gradients between baseline and sample. "auto" takes 16, and up to 512 for samples of
        which the sum is off by more than ``tolerance``; a warning says if that was not enough.
    tolerance : float, default=0.05
        Largest ``completeness_error`` that "auto" lets pass.

    Returns
    -------
    Attributions
        The values in the shape of the block, and what is known of them.

    Raises
    ------
    ImportError
        If captum is not installed; says how to install it.
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is none of skmm that reads modalities; says what works instead.
    ValueError
        If a modality, class or method is unknown, the baseline does not fit, or an encoder reads raw samples by
        another package's code.

    Warns
    -----
    UserWarning
        If the error of some samples stays above ``tolerance``, or trees make more than half of the changes.

    See Also
    --------
    modality_contributions : How much each modality as a whole adds to a prediction.
    modality_importances : How much of a score each modality makes, over all samples.
    skmm.MultimodalClassifier.frame_evidence : How the log-probability falls where frames are hidden.
    skmm.MultimodalClassifier.gates : How much of each modality the fusion takes up, whatever it says.
    skmm.MultimodalClassifier.attention_weights : Which tokens read which, not what they make of it.
    AttributionDisplay : Draws the attributions of one sample.

    Notes
    -----
    Computed by captum on the estimator's deployed module, on the CPU. Integrated gradients are the same whatever
    the other samples are, up to rounding. Standardised inputs end at 5 deviations and what a head says of a class
    at a log-probability of -8: beyond, "saliency" is 0. On the way from the baseline both are passed, so that
    integrated gradients see what lies before. The log-odds have no such ends, which is why they are explained. The
    way leads from the baseline to the sample with both cut to 5 deviations, so that an outlier leaves enough points
    to where something changes, and on to what lies beyond where experts see more than the network.
    Fusions that take roots of products (``"mfb"``, ``"mfh"``, ``"mcb"``) are so steep near 0 that 512 steps are too
    few for some samples.

    References
    ----------
    Sundararajan, Taly and Yan 2017, Axiomatic attribution for deep networks, equation 1; Zeiler and Fergus 2014,
    Visualizing and understanding convolutional networks, for occlusion; Simonyan, Vedaldi and Zisserman 2014, Deep
    inside convolutional networks, for saliency; Kokhlikyan et al. 2020, Captum.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import MultimodalClassifier
    >>> from skmm.inspection import attributions
    >>> rng = np.random.default_rng(0)
    >>> X = {"sensor": rng.normal(size=(80, 6, 3)), "table": rng.normal(size=(80, 2))}
    >>> y = X["sensor"][:, 4, 0] > 0  # the fifth of six steps decides
    >>> clf = MultimodalClassifier(max_epochs=10, n_members=2, random_state=0).fit(X, y)
    >>> found = attributions(clf, X, "sensor")
    >>> found.values.shape
    (80, 6, 3)
    >>> int(np.abs(found.values).mean(axis=(0, 2)).argmax())
    4
    >>> bool(found.completeness_error.max() < 0.05)
    True
    """
    how = {"baseline": baseline, "window": window, "level": level, "feature_names": feature_names}
    return attributed(estimator, X, modality, target, method, **how, n_steps=n_steps, tolerance=tolerance)[0]


def attributed(
    estimator: Any,
    X: Any,
    modality: str,
    target: Any,
    method: str,
    *,
    baseline: Any,
    window: Any,
    level: str,
    feature_names: Any,
    n_steps: int | str = "auto",
    tolerance: float = 0.05,
    row: Any = None,
) -> tuple[Attributions, Blocks]:
    """The attributions, of one row if it is named, and the blocks that they are of."""
    import_optional("captum", extra="explain")
    _check_options(method, level, n_steps, tolerance)
    whole = predicting(_ours(estimator))
    model, blocks = _read(whole, X)
    if row is not None:
        blocks = blocks[[checked_row(row, len(blocks))]]
    blocks = model.inputs_.check(blocks)
    if not isinstance(modality, str) or modality not in model.modalities_ or modality not in blocks:
        raise unknown("modality", modality, [name for name in model.modalities_ if name in blocks])
    info = model.modalities_[modality]
    goal = Goal(model, target)
    names = _names(whole, X, modality, info, feature_names)
    owners, columns = _owners(names, modality, info, level)
    how = Asked(method, info, baseline, _window(window, info, method), owners, n_steps, tolerance)
    explained = Explained(model, modality, goal, hold_trees=method != "occlusion")
    found = explain(explained, how, blocks, goal.places(len(blocks)))
    result = Attributions(
        values=joined_values(found, info, len(blocks), owners, len(columns)),
        names=labels_of(names, found, info, len(blocks), columns),
        held_experts=explained.held,
        unit=goal.unit,
        modality=modality,
        method=method,
        kind=info.kind,
        level=level,
        seconds=names.seconds,
        hertz=names.hertz,
        n_outputs=goal.of.n_outputs,
        **said_of_each(found, len(blocks), goal, method),
    )
    _warn(result, how)
    return result, blocks


# -- what was given ---------------------------------------------------------------------------------------------


def _check_options(method: str, level: str, n_steps: Any, tolerance: float) -> None:
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if level not in LEVELS:
        raise unknown("level", level, LEVELS)
    if n_steps != "auto":
        check_positive("n_steps", n_steps)
    check_above_zero("tolerance", tolerance)


def _ours(estimator: Any) -> Any:
    """A fitted estimator that has a network of modalities, or a pipeline that ends with one."""
    last = estimator
    while isinstance(last, Pipeline):
        last = last[-1]
    if hasattr(last, "best_estimator_"):
        raise TypeError(f"{type(last).__name__} is a search; give attributions its best_estimator_.")
    if isinstance(last, SpeechRecognizer):
        raise TypeError(
            "a SpeechRecognizer writes symbols, as many as it hears, and has no one prediction that attributions "
            "could explain; its emissions(X) say what is heard in each frame."
        )
    if not isinstance(predicting(last), MultimodalEstimator):
        raise TypeError(
            "attributions reads the network of a fitted MultimodalClassifier or MultimodalRegressor, alone or last "
            f"in a Pipeline, got {type(last).__name__}. For any other estimator there are "
            "modality_importances(..., level='column', method='permutation'), "
            "sklearn.inspection.permutation_importance, and the package shap."
        )
    check_is_fitted(last)
    return estimator


def _read(estimator: Any, X: Any) -> tuple[Any, Blocks]:
    """The multimodal estimator, and X as the blocks that it reads, in whatever form ``predict`` takes it."""
    while isinstance(estimator, Pipeline):
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1]
    return estimator, estimator._read(X)


def checked_row(row: Any, n_samples: int) -> int:
    """The number of one of the samples."""
    if not is_whole(row) or not 0 <= row < n_samples:
        valid = f", 0 to {n_samples - 1}" if n_samples else ""
        raise ValueError(f"row={row!r} is none of the {n_samples} samples{valid}.")
    return int(row)


def _names(estimator: Any, X: Any, modality: str, info: BlockInfo, given: Any) -> Names:
    width = 0 if info.kind in ("tokens", "image", "video") else math.prod(info.shape)
    names = Names(estimator, modality, width)
    if given is not None:
        names.features = _given_names(given, modality, info, width)
    elif (own := frame_names(X, modality)) is not None:
        names.are_columns(own, width)
    return names


def _given_names(given: Any, modality: str, info: BlockInfo, width: int) -> np.ndarray:
    """feature_names, one of each feature."""
    if isinstance(given, str | bytes) or not np.iterable(given):
        raise ValueError(f"feature_names={given!r} must be a list of the names of {width} features.")
    own = [str(name) for name in given]
    if not width or len(own) != width:
        raise ValueError(
            f"feature_names has {len(own)} names; modality {modality!r} ({info.kind}) has {width} to name."
        )
    return np.array(own, dtype=object)


def _owners(names: Names, modality: str, info: BlockInfo, level: str) -> tuple[np.ndarray | None, list[str]]:
    """The raw column of each feature, and the columns, if these are asked for."""
    if level == "feature":
        return None, []
    if info.kind not in ("vector", "sparse"):
        raise ValueError(
            f"level='column' sums up features of a vector or sparse block; modality {modality!r} is {info.kind}."
        )
    return names.by_column(modality)


def _window(given: Any, info: BlockInfo, method: str) -> tuple[int, ...]:
    """What is occluded at a time, along the axes of a sample; 0 is the whole of an axis."""
    if given is not None and method != "occlusion":
        raise ValueError(f"window={given!r} is of method='occlusion', not of {method!r}.")
    step = info.shape if info.kind == "sequence" else ()
    n_axes = 1 + len(step) if info.kind in ("sequence", "tokens") else len(info.shape)
    if given is None:
        patch = tuple(max(1, size // 8) for size in info.shape[:2])
        first = {"image": patch}.get(info.kind, (1,))
        return first + (0,) * (n_axes - len(first))
    sizes = (given,) if is_whole(given) else tuple(given) if isinstance(given, list | tuple) else ()
    if not 1 <= len(sizes) <= n_axes or not all(is_whole(size) and size >= 1 for size in sizes):
        raise ValueError(
            f"window={given!r} must be whole numbers of 1 or more, for up to {n_axes} axes of a sample "
            f"({info.kind}), the time first."
        )
    return tuple(int(size) for size in sizes) + (0,) * (n_axes - len(sizes))


def _warn(result: Attributions, how: Asked) -> None:
    """Tell of sums that are off, and of a change that trees make."""
    error = result.completeness_error
    if how.method == "integrated_gradients" and how.n_steps == "auto" and error is not None:
        late = error >= how.tolerance
        if late.any():
            warn(
                f"integrated gradients of {late.sum()} of {len(late)} samples miss the change of the output by up "
                f"to {error.max():.2g} of it, above tolerance={how.tolerance}, after {MOST_STEPS} steps: see "
                "completeness_error."
            )
    changed = np.abs(result.output - result.baseline_output).sum()
    share = np.abs(result.unattributed).sum() / max(float(changed), 1e-12)
    if result.held_experts and share > 0.5:
        warn(
            f"the experts {result.held_experts} are trees, which have no gradients and make {share:.0%} of what "
            f"modality {result.modality!r} changes: {how.method!r} tells of the rest. method='occlusion' sees them."
        )
