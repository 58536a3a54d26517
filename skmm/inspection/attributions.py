"""What inside a modality a prediction comes from: words, pixels, frames and bands, columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skmm._checks import check_above_zero, check_positive, is_whole, unknown
from skmm._optional import import_optional
from skmm._warnings import warn
from skmm.blocks import BlockInfo, Blocks
from skmm.deployment._module import predicting
from skmm.estimators._base import MultimodalEstimator
from skmm.inspection._explained import Explained, Goal
from skmm.inspection._names import Names, frame_names
from skmm.inspection.removal import at_blocks
from skmm.speech._recognizer import SpeechRecognizer

METHODS = ("integrated_gradients", "occlusion", "saliency")
LEVELS = ("feature", "column")
_STEPS, _MOST_STEPS = 16, 512  # of integrated gradients: the first number that is tried, and the last
_ROWS = 2048  # samples, each with a value of its own, that the network is asked about at a time, at most
_NUMBERS = 1 << 22  # that the modality may hold of these


@dataclass(frozen=True)
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
        As used.
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
    integrated gradients see what lies before. The log-odds have no such ends, which is why they are explained.

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
) -> tuple[Attributions, Blocks]:
    """The attributions, and the blocks that they are of."""
    import_optional("captum", extra="explain")
    _check_options(method, level, n_steps, tolerance)
    whole = predicting(_ours(estimator))
    model, blocks = _read(whole, X)
    blocks = model.inputs_.check(blocks)
    if modality not in model.modalities_ or modality not in blocks:
        raise unknown("modality", modality, [name for name in model.modalities_ if name in blocks])
    info = model.modalities_[modality]
    goal = Goal(model, target)
    names = _names(whole, X, modality, info, feature_names)
    owners, columns = _owners(names, modality, info, level)
    how = _How(method, info, baseline, _window(window, info, method), owners, n_steps, tolerance)
    explained = Explained(model, modality, goal, hold_trees=method != "occlusion")
    found = _explain(explained, how, blocks, goal.places(len(blocks)))
    result = Attributions(
        values=_values(found, info, len(blocks), owners, len(columns)),
        names=_labels(names, found, info, len(blocks), columns),
        held_experts=explained.held,
        unit=goal.unit,
        modality=modality,
        method=method,
        kind=info.kind,
        level=level,
        seconds=names.seconds,
        hertz=names.hertz,
        **_said(found, len(blocks), goal, method),
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
    """The multimodal estimator, and X as the blocks that it reads."""
    model, blocks = at_blocks(estimator, X)
    while isinstance(model, Pipeline):
        blocks = model[:-1].transform(blocks) if len(model) > 1 else blocks
        model = model[-1]
    return model, blocks


def _names(estimator: Any, X: Any, modality: str, info: BlockInfo, given: Any) -> Names:
    width = 0 if info.kind in ("tokens", "image", "video") else math.prod(info.shape)
    names = Names(estimator, modality, width)
    own = frame_names(X, modality) if given is None else [str(name) for name in given]
    if given is not None and (not width or len(own or []) != width):
        raise ValueError(
            f"feature_names has {len(own or [])} names; modality {modality!r} ({info.kind}) has {width} to name."
        )
    if own is not None and len(own) == width:
        names.features = np.array(own, dtype=object)
    return names


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


# -- the computation --------------------------------------------------------------------------------------------


@dataclass
class _How:
    """What is asked."""

    method: str
    info: BlockInfo
    baseline: Any
    window: tuple[int, ...]
    owners: np.ndarray | None
    n_steps: int | str
    tolerance: float


@dataclass
class _Found:
    """Of some samples their attributions, as the module read them, and all that is said of each."""

    rows: np.ndarray
    values: np.ndarray
    there: np.ndarray
    stored: np.ndarray | None  # ids of tokens, or of sparse rows the columns
    places: np.ndarray
    output: np.ndarray
    base: np.ndarray
    changed: np.ndarray
    n_steps: np.ndarray
    baseline: np.ndarray

    @property
    def exists(self) -> np.ndarray:
        """Which samples have the modality, (B,)."""
        return np.asarray(self.there.any(axis=1) if self.there.ndim == 2 else self.there)


def _explain(explained: Explained, how: _How, blocks: Blocks, places: np.ndarray | None) -> list[_Found]:
    found = []
    for rows in explained.read(blocks, places):
        nothing = _baseline(explained, how)
        there = explained.there if explained.there.ndim == 1 else explained.there.any(1)
        known = torch.where(there)[0]
        values = torch.zeros(explained.x.shape, dtype=torch.float64)
        base, held = explained.output.clone(), explained.output.clone()
        n_steps = np.zeros(len(rows), dtype=np.int64)
        for part in known.split(_at_a_time(explained, 1)):
            base[part] = explained.of_baseline(nothing, part, hold=False)
            held[part] = explained.of_baseline(nothing, part, hold=True)
        changed = explained.output - held
        if how.method == "integrated_gradients":
            n_steps[known.numpy()] = _integrate(explained, how, known, nothing, changed, values)
        elif how.method == "occlusion":
            for part in known.split(_at_a_time(explained, 1)):
                values[part] = _occlude(explained, how, part, nothing)
        else:
            for part in known.split(_at_a_time(explained, 1)):
                values[part] = _slope(explained, part)
        kind = how.info.kind
        found.append(
            _Found(
                rows=rows,
                values=values.numpy(),
                there=explained.there.numpy(),
                stored=explained.stored.numpy() if kind in ("sparse", "tokens") else None,
                places=explained.places.numpy(),
                output=explained.output.numpy(),
                base=base.numpy(),
                changed=changed.numpy(),
                n_steps=n_steps,
                baseline=np.asarray(0.0) if kind in ("sparse", "tokens") else nothing[0].numpy(),
            )
        )
    return found


def _baseline(explained: Explained, how: _How) -> Tensor:
    given, info = how.baseline, how.info
    if given is not None and info.kind in ("sparse", "tokens"):
        raise ValueError(
            f"baseline: of modality {explained.modality!r}, {info.kind}, nothing is that nothing is stored; leave "
            "it at None."
        )
    try:
        nothing = explained.baseline(given)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"baseline of shape {np.shape(given)} does not fit modality {explained.modality!r}, {info.kind} of "
            f"shape {info.shape}; give a number, or numbers of that shape."
        ) from None
    if not bool(nothing.isfinite().all()):
        raise ValueError(f"baseline of modality {explained.modality!r} holds NaN or infinity.")
    return nothing


def _at_a_time(explained: Explained, each: int) -> int:
    """Samples that are asked about together, each with so many values."""
    numbers = max(1, math.prod(explained.x.shape[1:]))
    return max(1, min(_ROWS, _NUMBERS // numbers) // each)


def _integrate(
    explained: Explained, how: _How, rows: Tensor, nothing: Tensor, changed: Tensor, values: Tensor
) -> np.ndarray:
    """Write integrated gradients of some rows into the values; points that each took."""
    captum = import_optional("captum.attr", extra="explain")
    integrated = captum.IntegratedGradients(explained)
    taken = np.zeros(len(rows), dtype=np.int64)
    adapts = how.n_steps == "auto"
    n_steps = _STEPS if isinstance(how.n_steps, str) else int(how.n_steps)
    open_ = torch.arange(len(rows))
    while len(open_):
        for part in open_.split(_at_a_time(explained, n_steps)):
            own = rows[part]
            values[own] = integrated.attribute(
                explained.x[own], nothing, additional_forward_args=(own,), n_steps=n_steps
            ).double()
        taken[open_.numpy()] = n_steps
        if not adapts or n_steps >= _MOST_STEPS:
            break
        own = rows[open_]
        smallest = explained.goal.smallest[explained.places[own].numpy()]
        sums = values[own].flatten(1).sum(1).numpy()
        error = _error(sums, changed[own].numpy(), smallest)
        open_ = open_[torch.from_numpy(error >= how.tolerance)]
        n_steps *= 2
    return taken


def _error(sums: np.ndarray, changed: np.ndarray, smallest: np.ndarray) -> np.ndarray:
    """By how much sums of attributions miss a change, as a share of it."""
    return np.abs(sums - changed) / np.maximum(np.abs(changed), smallest)


def _slope(explained: Explained, rows: Tensor) -> Tensor:
    captum = import_optional("captum.attr", extra="explain")
    x = explained.x[rows].clone().requires_grad_()
    return captum.Saliency(explained).attribute(x, abs=False, additional_forward_args=(rows,)).detach().double()


def _occlude(explained: Explained, how: _How, rows: Tensor, nothing: Tensor) -> Tensor:
    captum = import_optional("captum.attr", extra="explain")
    groups = _groups(explained, how, rows)
    several = max(1, _at_a_time(explained, 1) // max(1, len(rows)))
    fall = captum.FeatureAblation(explained).attribute(
        explained.x[rows],
        nothing,
        additional_forward_args=(rows,),
        feature_mask=groups,
        perturbations_per_eval=several,
    )
    # what goes together shares the fall, so that a sum over it is the fall
    flat = groups.expand(len(rows), *explained.x.shape[1:]).flatten(1)
    real = _real(explained, rows).flatten(1).double()
    sizes = torch.zeros(len(rows), int(flat.max()) + 1, dtype=torch.float64).scatter_add(1, flat, real)
    return (fall.double().flatten(1) * real / sizes.gather(1, flat).clamp(min=1)).reshape(fall.shape)


def _groups(explained: Explained, how: _How, rows: Tensor) -> Tensor:
    """Numbers that are occluded together, by the number of their group: (1, ...), or (R, N) of sparse rows."""
    shape = explained.x.shape[1:]
    if how.owners is not None:
        owners = torch.from_numpy(how.owners)
        return owners[explained.stored[rows]] if how.info.kind == "sparse" else owners.unsqueeze(0)
    group = torch.zeros(shape, dtype=torch.int64)
    window = (1,) if how.info.kind == "sparse" else how.window
    for axis, (size, width) in enumerate(zip(shape, window, strict=True)):
        cells = torch.arange(size) // (width or max(1, size))
        place = cells.reshape(-1, *[1] * (len(shape) - axis - 1))
        group = group * (int(cells.max()) + 1 if size else 1) + place
    return group.unsqueeze(0)


def _real(explained: Explained, rows: Tensor) -> Tensor:
    """Which numbers of x are there, and no filling."""
    x = explained.x[rows]
    if explained.there.ndim == 2:
        return explained.there[rows].reshape(*explained.there[rows].shape, *[1] * (x.ndim - 2)).expand(x.shape)
    if explained.info.kind == "sparse":
        return x != 0
    return torch.ones(x.shape, dtype=torch.bool)


# -- the result -------------------------------------------------------------------------------------------------


def _said(found: list[_Found], n: int, goal: Goal, method: str) -> dict[str, Any]:
    """What is said of each sample, in the order that they were given."""

    def joined(each: list[np.ndarray]) -> np.ndarray:
        out = np.zeros(n, dtype=each[0].dtype)
        for part, own in zip(found, each, strict=True):
            out[part.rows] = own
        return out

    output, base, changed, places, n_steps = (
        joined([getattr(part, name) for part in found])
        for name in ("output", "base", "changed", "places", "n_steps")
    )
    present = joined([part.exists for part in found])
    sums = joined([part.values.reshape(len(part.rows), -1).sum(axis=1) for part in found])
    error = np.where(present, _error(sums, changed, goal.smallest[places]), 0.0)
    return {
        "target": goal.labels[places],
        "output": output,
        "baseline_output": base,
        "baseline": found[-1].baseline,
        "present": present,
        "completeness_error": None if method == "saliency" else error,
        "n_steps": n_steps if method == "integrated_gradients" else None,
        "unattributed": output - base - changed,
    }


def _values(found: list[_Found], info: BlockInfo, n: int, owners: np.ndarray | None, n_columns: int) -> Any:
    """Attributions of all samples, of features or of the columns that own these."""
    values = _sparse(found, n, info.shape[0]) if info.kind == "sparse" else _dense(found, n)
    if owners is None:
        return values
    ones = (np.ones(len(owners)), (np.arange(len(owners)), owners))
    summed = values @ sp.csr_array(ones, shape=(len(owners), n_columns))
    if sp.issparse(summed):
        summed = summed.toarray()
        for part in found:
            summed[part.rows[~part.exists]] = np.nan
    return summed


def _steps(found: list[_Found]) -> int:
    """Of the longest sample; what a batch was filled up with is more."""
    return max(int(part.there.sum(axis=1).max(initial=0)) for part in found)


def _dense(found: list[_Found], n: int) -> np.ndarray:
    shape = list(np.max([part.values.shape[1:] for part in found], axis=0))
    if found[0].there.ndim == 2:
        shape[0] = _steps(found)
    values = np.full((n, *shape), np.nan)
    for part in found:
        there = part.there.reshape(part.there.shape + (1,) * (part.values.ndim - part.there.ndim))
        own = np.where(there, part.values, np.nan)[:, : shape[0]]
        values[part.rows, : own.shape[1]] = own
    return values


def _sparse(found: list[_Found], n: int, width: int) -> Any:
    rows, columns, values = [], [], []
    for part in found:
        at, place = np.nonzero(part.values)
        rows.append(part.rows[at])
        columns.append(place if part.stored is None else part.stored[at, place])
        values.append(part.values[at, place])
    return sp.csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (n, width))


def _labels(names: Names, found: list[_Found], info: BlockInfo, n: int, columns: list[str]) -> np.ndarray | None:
    if columns:
        return np.array(columns, dtype=object)
    if info.kind != "tokens":
        return names.features
    words = np.full((n, _steps(found)), "", dtype=object)
    for part in found:
        assert part.stored is not None
        own = np.where(part.there, names.words(part.stored), "")[:, : words.shape[1]]
        words[part.rows, : own.shape[1]] = own
    return words


def _warn(result: Attributions, how: _How) -> None:
    """Tell of sums that are off, and of a change that trees make."""
    error = result.completeness_error
    if how.method == "integrated_gradients" and how.n_steps == "auto" and error is not None:
        late = error >= how.tolerance
        if late.any():
            warn(
                f"integrated gradients of {late.sum()} of {len(late)} samples miss the change of the output by up "
                f"to {error.max():.2g} of it, above tolerance={how.tolerance}, after {_MOST_STEPS} steps: see "
                "completeness_error."
            )
    changed = np.abs(result.output - result.baseline_output).sum()
    share = np.abs(result.unattributed).sum() / max(float(changed), 1e-12)
    if result.held_experts and share > 0.5:
        warn(
            f"the experts {result.held_experts} are trees, which have no gradients and make {share:.0%} of what "
            f"modality {result.modality!r} changes: {how.method!r} tells of the rest. method='occlusion' sees them."
        )
