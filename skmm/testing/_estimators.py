"""The check of estimators on what scikit-learn's checks do not know: several modalities, some of them missing."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, clone, is_classifier
from skorch.callbacks import Callback

from skmm._optional import import_optional
from skmm.blocks import Blocks
from skmm.blocks._blocks import BlockInfo
from skmm.testing._modules import NAMES, takes

_N = 41  # an odd number, so that a last batch holds one sample


def _data(n_modalities: int = 2, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Vectors of whole numbers that tell of y, 0 or 1; of two modalities the second sometimes contradicts."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(_N) % 2)
    return {
        name: 4.0 * y[:, None] + rng.integers(-3, 4, (_N, 3 + m % 2)) for m, name in enumerate(NAMES[:n_modalities])
    }, y


def _fit(estimator: Any, X: Any, y: np.ndarray, **params: Any) -> Any:
    return clone(estimator).set_params(random_state=0, batch_size=20, max_epochs=2, **params).fit(X, y)


def _outputs(estimator: Any, X: Any) -> np.ndarray:
    return estimator.predict_proba(X) if is_classifier(estimator) else estimator.predict(X)


def _require(holds: Any, text: str) -> None:
    if not holds:
        raise AssertionError(text)


def _require_same(a: np.ndarray, b: np.ndarray, text: str, atol: float = 1e-6) -> None:
    worst = float(np.abs(np.asarray(a) - np.asarray(b)).max())
    _require(worst <= atol, f"{text} predictions differ by {worst:.3g}.")


def _rows_stay_apart(estimator: Any) -> None:
    """A sample is predicted alone as among others."""
    X, y = _data()
    blocks = Blocks(X)
    fitted = _fit(estimator, blocks, y)
    together = _outputs(fitted, blocks)
    for i in range(0, _N, 5):
        _require_same(_outputs(fitted, blocks[i : i + 1])[0], together[i], f"Row {i}:")


def _repeats_itself(estimator: Any) -> None:
    """The same seed gives the same fit bit for bit, of a clone as of itself, and a pickle predicts the same."""
    X, y = _data()
    fitted = _fit(estimator, X, y)
    expected = _outputs(fitted, X)
    others = {
        "fitted again": fitted.fit(X, y),
        "cloned and fitted": clone(fitted).fit(X, y),
        "pickled": pickle.loads(pickle.dumps(fitted)),
    }
    for how, other in others.items():
        _require(np.array_equal(_outputs(other, X), expected), f"{how.capitalize()} it predicts something else.")


def _takes_every_form(estimator: Any) -> None:
    """What form the numbers come in means nothing."""
    X, y = _data()
    first, *rest = X
    expected = _outputs(_fit(estimator, X, y), X)
    locked = X[first].copy()
    locked.flags.writeable = False
    forms = {
        "integers": X[first].astype(np.int64),
        "column order": np.asfortranarray(X[first]),
        "read only": locked,
        "lists": X[first].tolist(),
        "a tensor": torch.as_tensor(X[first]),
    }
    with contextlib.suppress(ImportError):
        forms["a DataFrame"] = import_optional("pandas", extra="dataframe").DataFrame(X[first])
    for form, block in forms.items():
        given = {first: block, **{name: X[name] for name in rest}}
        _require_same(_outputs(_fit(estimator, given, y), given), expected, f"As {form},", 1e-5)


def _each_kind(y: np.ndarray, soiled: np.ndarray) -> dict[str, tuple[BlockInfo, Any, Any]]:
    """Blocks beside vectors, of whole numbers that tell of y: what they are, and two ways to say the same.

    Of the second, some rows are soiled.
    """
    rng = np.random.default_rng(1)
    steps = 4.0 * y[:, None, None] + rng.integers(-3, 4, (_N, 5, 2))
    sequence = np.asfortranarray(np.where(soiled[:, None, None], 2**40, steps).astype(np.int64))
    sequence.flags.writeable = False
    lengths = rng.integers(1, 6, _N)
    ragged = [x[:length] for x, length in zip(steps, lengths, strict=True)]
    longer = np.empty(_N, dtype=object)
    longer[:] = [np.full((9, 2), np.nan) if bad else x.copy() for x, bad in zip(ragged, soiled, strict=True)]
    entries = np.where(rng.random((_N, 6)) < 0.5, 4.0 * y[:, None] + rng.integers(-3, 4, (_N, 6)), 0.0)
    return {
        "sequence": (BlockInfo("sequence", (2,), 5), steps, sequence),
        "ragged": (BlockInfo("sequence", (2,)), ragged, longer),
        "sparse": (
            BlockInfo("sparse", (6,)),
            sp.csr_array(entries),
            sp.csc_array(np.where(soiled[:, None], 1e30, entries)),
        ),
    }


def _reads_every_kind(estimator: Any) -> None:
    """Of sequences, ragged and sparse blocks no form, no other row, and nothing in a missing row means anything."""
    X, y = _data()
    first, second = X
    missing = np.arange(_N) % 3 == 0
    link = "softmax" if is_classifier(estimator) else "identity"
    for kind, (info, block, other) in _each_kind(y, missing).items():
        if not takes(estimator.fusion, {first: info, second: BlockInfo("vector", X[second].shape[1:])}, link):
            continue
        clean, soiled = (Blocks({first: x, second: X[second]}, present={first: ~missing}) for x in (block, other))
        fitted = _fit(estimator, clean, y)
        expected = _outputs(fitted, clean)
        _require(np.isfinite(expected).all(), f"A {kind} block gives NaN.")
        _require_same(_outputs(fitted, soiled), expected, f"A {kind} block with other missing rows:")
        # training rounds to float32, and so do the steps that follow
        again = _outputs(_fit(estimator, soiled, y), clean)
        _require_same(again, expected, f"Fitted on a {kind} block in another form:", 1e-3)
        for i in range(0, _N, 10):
            _require_same(_outputs(fitted, clean[i : i + 1])[0], expected[i], f"A {kind} block, row {i} alone:")


def _takes_any_number(estimator: Any) -> None:
    """One modality and seven, of any names, work."""
    for n in (1, 7):
        X, y = _data(n)
        _require(np.isfinite(_outputs(_fit(estimator, X, y), X)).all(), f"{n} modalities give NaN.")


def _ignores_what_is_missing(estimator: Any) -> None:
    """What stands in a missing row changes no prediction, and neither does leaving the modality out."""
    X, y = _data()
    first = next(iter(X))
    missing = np.arange(_N) % 3 == 0
    fitted = _fit(estimator, Blocks(X, present={first: ~missing}), y)
    clean = _outputs(fitted, Blocks(X, present={first: ~missing}))
    for garbage in (1e30, np.nan, np.inf):
        soiled = {**X, first: np.where(missing[:, None], garbage, X[first])}
        _require_same(_outputs(fitted, Blocks(soiled, present={first: ~missing})), clean, f"With {garbage} there,")
    without = _outputs(fitted, {name: x for name, x in X.items() if name != first})
    absent = _outputs(fitted, Blocks(X, present={first: np.zeros(_N, dtype=bool)}))
    _require_same(without, absent, "Left out or marked missing,")


def _names_labels(estimator: Any) -> None:
    """Labels may be strings."""
    if is_classifier(estimator):
        X, y = _data()
        labels = np.where(y == 1, "yes", "no")
        found = _fit(estimator, X, labels).predict(X)
        _require(set(found) <= {"yes", "no"}, f"Labels 'yes' and 'no' were predicted as {sorted(set(found))}.")


def _leaves_the_rest_alone(estimator: Any) -> None:
    """Fitting and predicting change neither global state nor the caller's arrays."""
    X, y = _data()
    before = {name: x.copy() for name, x in X.items()}

    def state() -> tuple[Any, ...]:
        numbers: Any = np.random.get_state()  # noqa: NPY002 the global state is what is looked at
        return (
            numbers[1].tobytes(),
            torch.get_rng_state().numpy().tobytes(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            list(warnings.filters),
        )

    with warnings.catch_warnings():
        warnings.resetwarnings()  # a filter that an earlier fit set is set anew
        at_first = state()
        _outputs(_fit(estimator, X, y), X)
        after = state()
    _require(
        after == at_first,
        "A random state, the number of threads, the default dtype or the warning filters are others now.",
    )
    for name, x in X.items():
        _require(np.array_equal(x, before[name]), f"The block of modality {name!r} was changed.")


class _Watch(Callback):
    """Notes which samples train, and which stop the training, by a modality that holds their numbers / 128."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.trained: set[int] = set()
        self.held_out: set[int] = set()

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
        values, _ = batch[0]
        numbers = (values[self.name] * 128).round().int().flatten().tolist()
        (self.trained if training else self.held_out).update(numbers)


def _holds_out_what_was_asked_for(estimator: Any) -> None:
    """Early stopping holds out the share asked for, of each class alike, and nothing outside of fit is seen."""
    name, other = NAMES[:2]
    classes = np.repeat([1, 0, 1, 0], [16, 64, 8, 32])
    noise = np.random.default_rng(0).normal(size=len(classes))
    y = classes if is_classifier(estimator) else classes + noise
    X = Blocks({name: np.arange(len(y))[:, None] / 128, other: (classes + noise)[:, None]})
    watch, inside = _Watch(name), 80  # the others are an outer fold
    params = {"early_stopping": True, "validation_fraction": 0.25, "scale_inputs": False, "callbacks": [watch]}
    _fit(estimator, X[:inside], y[:inside], **params)
    held_out = sorted(watch.held_out)
    _require(len(held_out) == 20, f"validation_fraction=0.25 of {inside} samples held out {len(held_out)}.")
    _require(watch.trained.isdisjoint(held_out), "Samples that are held out are trained on.")
    _require(
        watch.trained | watch.held_out == set(range(inside)), "Not all samples are used, or others than were given."
    )
    if is_classifier(estimator):
        share = classes[held_out].mean()
        _require(share == 0.2, f"A class with 20 % of the samples has {share:.0%} of those held out.")


def _names_what_is_wrong(estimator: Any) -> None:
    """NaN in a part of a row is an error that names the modality and the row."""
    X, y = _data()
    name = list(X)[-1]
    X[name][7, 1] = np.nan
    try:
        _fit(estimator, X, y)
    except ValueError as error:
        _require(repr(name) in str(error) and "row 7" in str(error), f"It said: {error}")
    else:
        raise AssertionError("It was taken without a word.")


_RULES: tuple[Callable[[Any], None], ...] = (
    _rows_stay_apart,
    _repeats_itself,
    _takes_every_form,
    _takes_any_number,
    _ignores_what_is_missing,
    _reads_every_kind,
    _names_labels,
    _leaves_the_rest_alone,
    _holds_out_what_was_asked_for,
    _names_what_is_wrong,
)


def check_estimator_on_blocks(estimator: BaseEstimator) -> None:
    """Check an estimator on several modalities, as scikit-learn's ``check_estimator`` does on one table.

    Samples never see each other; the same seed gives the same fit; forms of input, names and the number of
    modalities mean nothing, of vectors, sequences, ragged and sparse blocks; nor does what stands in a missing row;
    early stopping holds out what was asked for; global state stays as it is; errors name the modality and the row.

    Kinds of block that the fusion's constructor refuses with a ``ValueError`` are passed over.

    Parameters
    ----------
    estimator : MultimodalClassifier, MultimodalRegressor or an estimator with their parameters
        What to check; it is cloned, and trained for two epochs at a time.

    Raises
    ------
    AssertionError
        If a rule does not hold; the message names the rule.

    Examples
    --------
    >>> from skmm import MultimodalRegressor
    >>> from skmm.testing import check_estimator_on_blocks
    >>> check_estimator_on_blocks(MultimodalRegressor("late", n_members=1))
    """
    for rule in _RULES:
        statement = (rule.__doc__ or rule.__name__).splitlines()[0]
        try:
            rule(estimator)
        except AssertionError as broken:
            raise AssertionError(f"{estimator!r}: this must hold: {statement} {broken}") from None
        except Exception as error:
            raise AssertionError(
                f"{estimator!r}: this must hold: {statement} It raised {type(error).__name__}: {error}"
            ) from error
