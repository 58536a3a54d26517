"""What a model loses, and what it saves, by each way of making it smaller, on the same folds."""

from __future__ import annotations

import os
import statistics
import tempfile
import time as time_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, r2_score
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length

from skmm._optional import import_optional
from skmm._private import safe_indexing
from skmm.blocks._given import blocks_if_named
from skmm.compression._base import Compressed
from skmm.compression._distilled import Distilled
from skmm.compression._pruned import Pruned
from skmm.compression._quantize import quantize
from skmm.deployment import load_onnx, to_onnx
from skmm.estimators._base import MultimodalEstimator
from skmm.model_selection._compare import find_splits
from skmm.model_selection._comparison import check_confidence, corrected_interval
from skmm.table import Table

_MANY = 10_000  # rows of the second time
_SCALES = {"float32": "", "int8": ", int8"}


class _Measured(NamedTuple):
    """One file on one fold: what it predicts, and what it takes."""

    loss: float
    score: float
    one: float
    many: float
    megabytes: float


@dataclass(frozen=True, repr=False)
class CompressionComparison:
    """What :func:`compare_compression` found.

    Attributes
    ----------
    summary : Table
        One row per model, in the order given, each followed by the same with int8 weights: ``model``; means over
        the folds of its ``loss`` (log-loss, of values the mean squared error) and ``score`` (accuracy, of values
        R²); ``rise`` of the loss over the whole estimator's, with the interval ``low`` to ``high``; ``ms_one_row``
        and ``ms_10000_rows``, milliseconds that onnxruntime takes for so many on one thread, without what reads and
        checks X before; ``megabytes`` of the file.
    losses : dict of str to ndarray of shape (n_folds,)
        Loss of each fold by model.
    metric : str
        What the loss is.
    confidence : float
        Level of the intervals.
    """

    summary: Table
    losses: dict[str, np.ndarray]
    metric: str
    confidence: float

    def __repr__(self) -> str:
        return f"{self.summary!r}\n\n{self._legend()}"

    def _repr_html_(self) -> str:
        return f"{self.summary._repr_html_()}<p>{self._legend()}</p>"

    def _legend(self) -> str:
        return (
            f"Loss: {self.metric}, mean of {len(next(iter(self.losses.values())))} folds; low to high: "
            f"{self.confidence:.0%} interval of the rise. Times: onnxruntime alone, one thread."
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the loss of each model against the size of its file.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on; a new figure at None.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot = import_optional("matplotlib.pyplot", extra="plot")
        if ax is None:
            _, ax = pyplot.subplots(layout="constrained")
        whole = float(self.losses[self.summary["model"][0]].mean())
        filed = {row["model"]: row for row in self.summary if row["megabytes"] is not None}
        names = [name for name in filed if not name.endswith(_SCALES["int8"])]
        for number, name in enumerate(names):
            for mark, suffix in (("o", _SCALES["float32"]), ("s", _SCALES["int8"])):
                row = filed[name + suffix]
                bars = np.abs([[row["rise"] - row["low"]], [row["high"] - row["rise"]]])
                style = {"color": f"C{number}", "capsize": 3, "label": None if suffix else name}
                filling = {"markerfacecolor": "white"} if suffix else {}
                ax.errorbar([row["megabytes"]], [row["loss"]], bars, fmt=mark, **style, **filling)
        ax.axhline(whole, color="0.5", linestyle="--", linewidth=1)
        ax.set_xscale("log")
        ax.set_xlabel("Size of the file (MB)")
        ax.set_ylabel(self.metric.capitalize())
        ax.legend(title="squares: int8 weights")
        return ax


def compare_compression(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cv: Any = 5,
    models: Mapping[str, Any] | None = None,
    groups: Any = None,
    confidence: float = 0.95,
    repeats: int = 50,
) -> CompressionComparison:
    """Cross-validate an estimator beside smaller models that are made of it.

    On each fold the estimator is fitted once, and every smaller model made of that fit. All are written as ONNX
    files, with float32 and with int8 weights, and what is measured is what these predict, how long onnxruntime
    takes for that on one thread, all files taking turns, and how large they are.

    Parameters
    ----------
    estimator : MultimodalClassifier, MultimodalRegressor, or Pipeline that ends in one
        What is to be made smaller. Files hold what the last step of a Pipeline is, not those before it.
    X : Blocks, dict of arrays, or whatever ``estimator`` takes
        Samples.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    cv : int, splitter or iterable of splits, default=5
        The folds; at least two. A number of folds means StratifiedKFold for classification and KFold else, with
        ``groups`` StratifiedGroupKFold and GroupKFold, none shuffled.
    models : dict of str to Distilled or Pruned, default=None
        What to make of each fit, by the name that the tables show; of each its ``estimator`` is not looked at.
        None: half of the members, ``Distilled(estimator)`` and ``Pruned(estimator)``.
    groups : array-like of shape (n_samples,), optional
        Group of each sample, for the folds and the fits.
    confidence : float, default=0.95
        Level of the intervals, which are those of :func:`~skmm.model_selection.corrected_interval`.
    repeats : int, default=50
        How often a single row is predicted; the median counts.

    Returns
    -------
    CompressionComparison

    Raises
    ------
    ValueError
        If the estimator is none that can be made smaller, a model is none of these, or there are fewer than two
        folds.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import Blocks, MultimodalClassifier
    >>> from skmm.compression import Distilled, compare_compression
    >>> rng = np.random.default_rng(0)
    >>> X = Blocks(text=rng.normal(size=(60, 8)), image=rng.normal(size=(60, 6)))
    >>> y = X["text"][:, 0] > 0
    >>> clf = MultimodalClassifier(n_members=2, max_epochs=2, experts=None, random_state=0)
    >>> student = MultimodalClassifier(n_members=1, max_epochs=2, experts=None)
    >>> small = {"distilled": Distilled(clf, student, random_state=0)}
    >>> found = compare_compression(clf, X, y, cv=2, models=small, repeats=2)
    >>> found.summary["model"]
    ['whole', 'whole, int8', 'distilled', 'distilled, int8']
    """
    X = blocks_if_named(X)
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    models = _check(last, models)
    check_confidence(confidence)
    check_consistent_length(X, y, groups)
    classifies = is_classifier(last)
    splits = find_splits(cv, X, y, groups, not classifies, np.ndim(y) == 1)
    found: dict[str, list[dict[str, float]]] = {}
    for train, test in splits:
        fold = _fitted(estimator, models, X, y, groups, train)
        held = safe_indexing(X, test)
        if fold.before is not None:
            held = fold.before.transform(held)
        for name, measured in measure(fold.models, held, safe_indexing(y, test), repeats).items():
            found.setdefault(name, []).append(measured._asdict())
    ratio = float(np.mean([len(test) / len(train) for train, test in splits]))
    return summarise(found, ratio, "log-loss" if classifies else "mean squared error", confidence)


def _check(last: Any, models: Mapping[str, Any] | None) -> dict[str, Compressed]:
    """What is to be made of an estimator, by name."""
    if not isinstance(last, MultimodalEstimator):
        raise ValueError(
            "estimator must be a MultimodalClassifier or MultimodalRegressor, or a Pipeline that ends in one, got "
            f"{last!r}."
        )
    if models is None:
        found: dict[str, Compressed] = {}
        if last.n_members > 1:
            half = last.n_members // 2
            found[f"{half} members"] = Pruned(last, members=half, heads=None, modalities=None, tol=np.inf)
        return {**found, "distilled": Distilled(last), "pruned": Pruned(last)}
    for name, model in models.items():
        if not isinstance(model, Compressed):
            raise ValueError(f"model {name!r} must be a Distilled or a Pruned, got {model!r}.")
        if name == "whole" or name.endswith(_SCALES["int8"]):
            raise ValueError(f"model {name!r}: that is what the table calls another; choose another name.")
    return dict(models)


class _Fold(NamedTuple):
    before: Any  # fitted steps before the estimator, if there are any
    models: dict[str, Any]


def _fitted(
    estimator: Any, models: Mapping[str, Compressed], X: Any, y: Any, groups: Any, rows: np.ndarray
) -> _Fold:
    """The estimator of one fold, and what is made of it."""
    own, target = safe_indexing(X, rows), safe_indexing(y, rows)
    before, last = None, clone(estimator)
    if isinstance(last, Pipeline):
        before, last = last[:-1] if len(last) > 1 else None, last[-1]
    if before is not None:
        own = before.fit_transform(own, target)
    given = own, target, None, None if groups is None else safe_indexing(groups, rows), None
    opened = last._fit_open(*given)
    made = {name: clone(model)._compress(last, opened, *given) for name, model in models.items()}
    return _Fold(before, {"whole": last, **made})


def measure(models: Mapping[str, Any], X: Any, y: Any, repeats: int) -> dict[str, _Measured]:
    """Files of models, and what they predict and take."""
    n = len(y)
    many, one = np.resize(np.arange(n), _MANY), np.arange(1)
    loaded, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, model) in enumerate(models.items()):
            files = [Path(folder) / f"{number}{kind}.onnx" for kind in _SCALES]
            to_onnx(model, files[0], preprocessing=False)
            quantize(files[0], files[1])
            for file, suffix in zip(files, _SCALES.values(), strict=True):
                loaded[name + suffix] = load_onnx(file, n_threads=1)
                sizes[name + suffix] = os.path.getsize(file) / 1e6
    row, rows = safe_indexing(X, one), safe_indexing(X, many)
    ones = take_turns({name: _running(model, row) for name, model in loaded.items()}, repeats)
    manys = take_turns({name: _running(model, rows) for name, model in loaded.items()}, 3)
    return {
        name: _Measured(*judged(model, _ask(model)(X), y), 1e3 * ones[name], 1e3 * manys[name], sizes[name])
        for name, model in loaded.items()
    }


def _ask(model: Any) -> Callable[[Any], np.ndarray]:
    """What a model predicts its loss by."""
    return model.predict_proba if hasattr(model, "predict_proba") else model.predict


def _running(model: Any, X: Any) -> Callable[[], Any]:
    """A call of onnxruntime alone, on what it reads of samples."""
    fed = [given for _, given in model._fed(model._read(X))]
    return lambda: [model._run(given) for given in fed]


def judged(model: Any, said: np.ndarray, y: Any) -> tuple[float, float]:
    """Loss and score of probabilities or values."""
    y = np.asarray(y)
    if not hasattr(model, "predict_proba"):
        return float(mean_squared_error(y, said)), float(r2_score(y, said))
    if y.ndim == 2:
        losses = [log_loss(own, p, labels=[0, 1]) for own, p in zip(y.T, said.T, strict=True)]
        return float(np.mean(losses)), float(accuracy_score(y, said > 0.5))
    chosen = np.asarray(model.classes_)[said.argmax(axis=1)]
    return float(log_loss(y, said, labels=model.classes_)), float(accuracy_score(y, chosen))


def take_turns(contenders: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each, one call of all before the next, so that ratios hold where seconds do not."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, call in contenders.items():
            call()  # what the others have put out of the caches is no matter
            start = time_module.process_time()  # that of this process: others may be at work
            call()
            seconds[name].append(time_module.process_time() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def summarise(
    found: Mapping[str, list[dict[str, float]]], test_to_train: float, metric: str, confidence: float = 0.95
) -> CompressionComparison:
    """The comparison of what was measured of each model on each fold, the ``"whole"`` estimator among them."""
    losses = {name: np.array([m["loss"] for m in each]) for name, each in found.items()}
    rows = []
    for name, each in found.items():
        rise = losses[name] - losses["whole"]
        low, high = (0.0, 0.0) if name == "whole" else (None, None)
        if name != "whole" and len(rise) > 1:
            low, high = corrected_interval(rise, test_to_train, confidence=confidence)
        mean = {
            key: float(np.mean([m[key] for m in each])) if key in each[0] else None for key in _Measured._fields
        }
        rows.append(
            {
                "model": name,
                "loss": mean["loss"],
                "rise": float(rise.mean()),
                "low": low,
                "high": high,
                "score": mean["score"],
                "ms_one_row": mean["one"],
                "ms_10000_rows": mean["many"],
                "megabytes": mean["megabytes"],
            }
        )
    return CompressionComparison(Table(rows), losses, metric, confidence)
