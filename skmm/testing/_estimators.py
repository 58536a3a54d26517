"""The check of estimators on what scikit-learn's checks do not know: several modalities, some of them missing."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, clone, is_classifier

from skmm.blocks import Blocks
from skmm.testing._modules import NAMES

_N = 41  # an odd number, so that a last batch holds one sample


def _data(n_modalities: int = 2, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Vectors of whole numbers that tell of y, 0 or 1; of two modalities the second sometimes contradicts."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(_N) % 2)
    return {
        name: 4.0 * y[:, None] + rng.integers(-3, 4, (_N, 3 + m % 2)) for m, name in enumerate(NAMES[:n_modalities])
    }, y


def _fit(estimator: Any, X: Any, y: np.ndarray) -> Any:
    return clone(estimator).set_params(random_state=0, batch_size=20, max_epochs=2).fit(X, y)


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
    for form, block in forms.items():
        given = {first: block, **{name: X[name] for name in rest}}
        _require_same(_outputs(_fit(estimator, given, y), given), expected, f"As {form},", 1e-5)
    blocks = {first: sp.csr_array(X[first]), **{name: X[name] for name in rest}}
    _require(np.isfinite(_outputs(_fit(estimator, blocks, y), blocks)).all(), "A sparse block gives NaN.")


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
        )

    at_first = state()
    _outputs(_fit(estimator, X, y), X)
    _require(state() == at_first, "A random state, the number of threads or the default dtype is another one now.")
    for name, x in X.items():
        _require(np.array_equal(x, before[name]), f"The block of modality {name!r} was changed.")


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
    _names_labels,
    _leaves_the_rest_alone,
    _names_what_is_wrong,
)


def check_estimator_on_blocks(estimator: BaseEstimator) -> None:
    """Check an estimator on several modalities, as scikit-learn's ``check_estimator`` does on one table.

    Samples never see each other; the same seed gives the same fit; forms of input, names and the number of
    modalities mean nothing; nor does what stands in a missing row; global state stays as it is; errors name the
    modality and the row.

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
