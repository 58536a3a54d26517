"""The fit of a model on the data of a file: what it will be, how long it takes, what came of it."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skmm._progress import in_words
from skmm.cli._data import Data
from skmm.cli._errors import UsageError, explained

# A first fit on some of the rows says how long all of them take.
_SHARE, _LEAST, _MOST = 0.2, 100, 400
_WARM = 20  # rows of a fit before, which is not timed: the first of a process imports and compiles
_LEAST_LIMIT = 300  # seconds; of less a first fit would take too much
_SHORT = 60  # seconds of a limit that the least that is done may be longer than
_SHOWN = 8  # classes that are listed


def is_regression(y: Any, task: str | None) -> bool:
    """Whether the target is to be regressed: as the option says, or else if it holds fractions."""
    from sklearn.utils.multiclass import type_of_target

    if task == "regression" and y.dtype.kind not in "iufb":
        raise UsageError(f"regression needs numbers, and the target holds {y[0]!r}.")
    with explained():
        return task == "regression" or (
            task is None and type_of_target(y, input_name="the target").startswith("continuous")
        )


def make_model(regression: bool, **params: Any) -> Any:
    """An estimator of the task with the parameters that are given, the others at their defaults."""
    from skmm import MultimodalClassifier, MultimodalRegressor

    given = {name: value for name, value in params.items() if value is not None}
    return (MultimodalRegressor if regression else MultimodalClassifier)(**given)


def check_can_save() -> None:
    """Say before the work that what writes models is lacking."""
    from skmm._optional import import_optional

    with explained():
        import_optional("skops.io", extra="files")


def tell_suspects(data: Data, X: Any, y: Any, groups: Any) -> None:
    """Say which columns alone tell the target, or number the rows."""
    import sys

    from skmm.compose._leaks import ignore_leaks

    for suspect in [] if data.transformer is None else data.transformer.find_leaks(X, y, groups):
        print(f"skmm: {suspect}; if that will not be known of new rows, leave it out", file=sys.stderr)
    ignore_leaks()


def target_in_words(y: Any, regression: bool) -> str:
    """What there is to predict."""
    import numpy as np

    if regression:
        return f"values from {np.min(y):.4g} to {np.max(y):.4g}"
    classes, counts = np.unique(np.asarray(y).astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_SHOWN]
    shown = ", ".join(f"{classes[i]} ({counts[i]})" for i in order)
    return f"{len(classes)} classes: {shown}{', ...' if len(classes) > _SHOWN else ''}"


@dataclass(frozen=True)
class Estimate:
    """How long a fit of all rows takes, by what a fit of some of them took."""

    rows: int
    took: float
    seconds: float
    most: float  # where training goes on as long as that pays

    def __str__(self) -> str:
        most = f", up to {in_words(self.most)} where more epochs pay" if self.most > 1.2 * self.seconds else ""
        return (
            f"about {in_words(self.seconds)} on this machine{most} (by a first fit of {self.rows} rows, which "
            f"took {in_words(self.took)})"
        )


def estimate(data: Data, model: Any, X: Any, y: Any, seed: int) -> Estimate | None:
    """How long the fit takes, measured on some rows and two epochs; None where a fit of so few cannot be."""
    import warnings

    import numpy as np
    from sklearn.base import clone

    from skmm._private import safe_indexing
    from skmm.training._optimizers import MOST_EPOCHS, auto_batch_size, auto_epochs, goes_on

    n = len(y)
    rows = min(n, max(_LEAST, min(_MOST, int(_SHARE * n))))
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[:rows])
    batch = auto_batch_size(n) if model.batch_size == "auto" else model.batch_size
    epochs = auto_epochs(n, batch) if model.max_epochs == "auto" else model.max_epochs
    trial = clone(model).set_params(max_epochs=2, verbose=0, time_limit=None, batch_size=min(batch, rows))
    part, target = safe_indexing(X, chosen), np.asarray(y)[chosen]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit of all rows will say it
            start = time.monotonic()
            blocks = part if data.transformer is None else clone(data.transformer).fit_transform(part)
            read = time.monotonic() - start
            some = slice(None, None, max(1, rows // _WARM))  # a file may be sorted by its target
            clone(trial).set_params(max_epochs=1).fit(blocks[some], target[some])
            start = time.monotonic()
            trial.fit(blocks, target)
    except ValueError:  # of so few rows, such as a class of one; what is wrong with all of them the fit says
        return None
    took = read + time.monotonic() - start
    durations = [row["dur"] for row in trial.net_.history]
    once, epoch = (took - sum(durations)) * n / rows, durations[-1] * n / rows
    most = MOST_EPOCHS if model.max_epochs == "auto" and goes_on(n) else epochs
    return Estimate(rows, took, once + epochs * epoch, once + max(most, epochs) * epoch)


def tell_plan(data: Data, model: Any, X: Any, y: Any, regression: bool) -> None:
    """Say what will be fitted, and to what."""
    names = [name for name, *_ in data.transformer.transformers] if data.transformer is not None else list(X)
    print(
        f"Will fit {type(model).__name__} with fusion {model.fusion!r} and {model.n_members} members to {len(y)} "
        f"rows; modalities: {', '.join(names)}; {target_in_words(y, regression)}.",
        flush=True,
    )


def fit(data: Data, model: Any, X: Any, y: Any, groups: Any, limit: float | None, seed: int) -> Any:
    """The fitted model, behind the transformer of a table; says how long it will take, and took.

    Parameters
    ----------
    data : Data
        Whose transformer reads X.
    model : estimator
        Fitted here.
    X, y, groups : samples, targets, groups or None
    limit : float or None
        Seconds for all of it.
    seed : int
        Of the rows that are tried first.
    """
    from sklearn.pipeline import Pipeline

    start = time.monotonic()
    found = estimate(data, model, X, y, seed) if limit is None or limit >= _LEAST_LIMIT else None
    if limit is not None:
        within = f"at most about {in_words(limit)}, as --time-limit says"
        if found:
            within += f"; without it {found}"
        elif limit < _SHORT:
            within += ", or as long as reading the data and one epoch take, which are the least"
    else:
        within = str(found) if found else "cannot be said: too few rows of some class for a first fit"
    print(f"Time: {within}.", flush=True)
    begin = time.monotonic()
    with explained():
        transformer = data.transformer
        blocks = X if transformer is None else transformer.fit_transform(X)
        left = None if limit is None else limit - (time.monotonic() - start)
        if limit is not None and left is not None and left <= 0:
            raise UsageError(
                f"--time-limit of {in_words(limit)} was spent before training began: the data took "
                f"{in_words(limit - left)} to read. Give more time, or fewer rows."
            )
        model.set_params(time_limit=left).fit(blocks, y, groups=groups)
    took = time.monotonic() - begin
    longer = limit is not None and took > max(1.5 * limit, limit + 1)
    print(f"Fitted in {in_words(took)}{', which is the least: --time-limit was shorter' if longer else ''}.")
    model.set_params(time_limit=limit, verbose=0)
    if transformer is None:
        return model
    return Pipeline([("modalitytransformer", transformer), (type(model).__name__.lower(), model)])


def tell_score(model: Any, y: Any, regression: bool) -> None:
    """Print what is known of predictions of new rows, by those that members made of rows that they left out."""
    import numpy as np

    if not hasattr(model, "oof_score_"):
        print("No out-of-fold score: that needs at least 2 members, each of which leaves rows out.")
        return
    if regression:
        name, other = "R2", "0 is that of the mean"
    else:
        most = np.unique(np.asarray(y).astype(str), return_counts=True)[1].max() / len(y)
        name, other = "accuracy", f"{most:.4f} is that of the most frequent class"
    print(
        f"Out-of-fold {name}: {model.oof_score_:.4f} ({other}). Each row is predicted by members that did not see "
        "it."
    )


def save(fitted: Any, out: Path, args: argparse.Namespace) -> None:
    """Write the model, and say what to type next."""
    import os

    import skmm

    with explained():
        skmm.save(fitted, out)
    print(f"Saved {out}, {os.path.getsize(out) / 1e6:.1f} MB.")
    ending = Path(args.file).suffix.lower() if args.file else ".npz"
    arrays = "".join(f" --modality {text}" for text in args.modality) if ending == ".npz" else ""
    print(f"Next: skmm predict {out} NEW{ending}{arrays} --out predictions{'.csv' if ending == '.npz' else ending}")
