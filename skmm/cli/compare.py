"""``skmm compare``: which fusion, and whether any, beside linear models and trees."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from skmm.cli import _training
from skmm.cli._data import Data, read
from skmm.cli._errors import UsageError, explained
from skmm.cli._options import add_data, add_force, add_seed, add_task, names, positive
from skmm.cli._output import as_json, check_new, output

# What is compared by default is to be done within a few minutes on two cores.
_QUICK_EPOCHS = 20
_QUICK = {"n_members": 4, "experts": None}  # each fusion by itself, beside the baselines


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="cross-validate fusions and baselines, linear models and trees, on the same folds",
        description="Cross-validate fusions and baselines on the same folds and say whether a deep fusion "
        "helps. By default a few fusions of every level, in short trainings that answer in minutes; with --all "
        "every fusion, trained in full. Without FILE, on spoken digits that come with the package.",
        epilog="examples: skmm compare    |    skmm compare films.csv --target genre --out model.skmm    |    "
        "skmm compare films.csv --target genre --modality text=review --modality table=year,length    |    "
        "skmm compare features.npz --target y --modality audio=mfcc --modality video=frames --all",
    )
    add_data(parser, optional=True)
    _add_comparison(parser)
    parser.set_defaults(run=run)


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    """What is compared, and how."""
    add_task(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--fusions",
        metavar="NAMES",
        help="comma-separated: auto, or names that skmm list fusions shows, trained in full (default: a few of "
        "every level that can read the data, in short trainings)",
    )
    which.add_argument("--all", action="store_true", help="every fusion, trained in full, which may take hours")
    parser.add_argument(
        "--out",
        metavar="MODEL",
        help="fit the best fusion to all rows, as skmm fit does, and save it as .skmm file",
    )
    add_force(parser)
    parser.add_argument(
        "--cv", type=positive, default=5, metavar="K", help="number of folds (default: %(default)s)"
    )
    parser.add_argument(
        "--scoring", metavar="NAMES", help="scikit-learn scorers, comma-separated; the first ranks the methods"
    )
    parser.add_argument("--rows", type=positive, metavar="N", help="use N rows drawn at random (default: all)")
    for option, param, quick in (("--epochs", "max_epochs", _QUICK_EPOCHS), ("--members", "n_members", 4)):
        parser.add_argument(
            option,
            type=positive,
            dest=param,
            metavar="N",
            help=f"{param} of the fusions' estimator (default: {quick} in short trainings, else its own)",
        )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--baselines",
        metavar="NAMES",
        help="comma-separated, such as 'LR concat,boosting' (default: all, linear models, boosting and trees)",
    )
    chosen.add_argument("--no-baselines", action="store_true", help="compare the fusions alone")
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(os.cpu_count() or 1, 8),
        metavar="N",
        help="fits at once (default: %(default)s)",
    )
    add_seed(parser)
    parser.add_argument(
        "--json", metavar="OUT", help="also write the result to this file: a new one, or over an earlier result"
    )


def run(args: argparse.Namespace) -> None:
    read_files = [args.file] if args.file else []
    out = None
    if args.out is not None:
        out = check_new("--out", args.out, read_files, [".skmm"], force=args.force)
        _training.check_can_save()
    with output("--json", args.json, read_files) as write:
        data = read(args) if args.file else _demo(args)
        result, regression = _compared(data, args)
        write(_as_json(result))
    if out is not None:
        _fit_best(data, result, regression, out, args)


def _compared(data: Data, args: argparse.Namespace) -> tuple[Any, bool]:
    """Print the comparison; it, and whether its task is regression."""
    # imported late: it takes seconds, and a wrong file name should not
    from skmm.model_selection import compare_fusions

    X, y, groups = _drawn(data, args)
    _training.tell_suspects(data, X, y, groups)
    regression = _training.is_regression(y, args.task)
    params = _params(len(y), args)
    rows = f"{len(y)} of {len(data.y)} samples"
    setting = "".join(f", {name}={value}" for name, value in params.items())
    head = f"{data.title}: {rows}, {args.cv} folds{setting}; times in seconds"
    with explained(), _showing_what_is_finished(head):
        result = compare_fusions(
            X,
            y,
            estimator=_estimator(data, regression, params),
            fusions=None if args.all else names(args.fusions) or "few",
            cv=_folds(regression, groups, args),
            scoring=names(args.scoring),
            baselines=names(args.baselines) or not args.no_baselines,
            groups=groups,
            n_jobs=args.jobs,
            verbose=1,
            random_state=args.seed,
        )
    print(f"{head}\n\n{result}")
    return result, regression


@contextlib.contextmanager
def _showing_what_is_finished(head: str) -> Iterator[None]:
    """Print what a comparison that Ctrl-C ends has of methods that are finished."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if (finished := getattr(interrupt, "comparison", None)) is not None:
            print(f"{head}\n\n{finished}", flush=True)
        raise


def _demo(args: argparse.Namespace) -> Data:
    given = [f"--{option}" for option in ("target", "modality", "groups") if getattr(args, option)]
    if given:
        raise UsageError(f"{', '.join(given)} needs a FILE.")

    from skmm.datasets import load_spoken_digits

    X, y = load_spoken_digits(return_X_y=True)
    return Data("spoken digits", X, y)


def _drawn(data: Data, args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Samples, targets and groups, or as many at random as are asked for."""
    import numpy as np

    from skmm._private import safe_indexing

    X, y, groups = data.X, data.y, data.groups
    data.check_lengths(args.groups)
    rows = args.rows or len(y)
    if rows < len(y):
        chosen = np.sort(np.random.default_rng(args.seed).permutation(len(y))[:rows])
        X, y, groups = (None if part is None else safe_indexing(part, chosen) for part in (X, y, groups))
    return X, y, groups


def _params(n_samples: int, args: argparse.Namespace) -> dict[str, Any]:
    """Parameters of the estimator: those that are asked for, and of short trainings unless fusions are named."""
    from skmm.training._optimizers import auto_batch_size, auto_epochs

    params: dict[str, Any] = {}
    if not (args.all or args.fusions):
        # half of those in full, which find which fusion is better, as far as these folds tell
        epochs = min(_QUICK_EPOCHS, max(5, auto_epochs(n_samples, auto_batch_size(n_samples)) // 2))
        params = {"max_epochs": epochs, **_QUICK}
    asked = {name: getattr(args, name) for name in ("max_epochs", "n_members")}
    return {**params, **{name: value for name, value in asked.items() if value is not None}}


def _estimator(data: Data, regression: bool, params: dict[str, Any]) -> Any:
    """What is compared, behind the transformer of a table."""
    from sklearn.pipeline import make_pipeline

    model = _training.make_model(regression).set_params(**params)
    return model if data.transformer is None else make_pipeline(data.transformer, model)


def _folds(regression: bool, groups: Any, args: argparse.Namespace) -> Any:
    """The splitter that suits the task and the groups."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    kinds = (KFold, GroupKFold) if regression else (StratifiedKFold, StratifiedGroupKFold)
    return kinds[groups is not None](args.cv, shuffle=True, random_state=args.seed)


def _as_json(result: Any) -> str:
    return as_json(
        {
            "metric": result.metric,
            "summary": list(result.summary),
            "differences": list(result.differences),
            "skipped": result.skipped,
            "suspects": result.suspects,
            "verdict": result.verdict,
        }
    )


def _fit_best(data: Data, result: Any, regression: bool, out: Any, args: argparse.Namespace) -> None:
    """Fit the best fusion to all rows of the file, trained in full and with experts, and save it."""
    best = result.best_fusion
    print(f"\nThe best fusion, {best}, is fitted to all rows, in full and with experts (linear models, trees).")
    if (first := result.summary["method"][0]) != best:
        print(
            f"Beware: the baseline {first} had the better {result.metric}. Experts bring such models into the "
            "fit; whether it is better then, its out-of-fold score says."
        )
    model = _training.make_model(
        regression,
        fusion=best,
        max_epochs=args.max_epochs,
        n_members=args.n_members,
        random_state=args.seed,
        verbose=int(sys.stderr.isatty()),
    )
    _training.tell_plan(data, model, data.X, data.y, regression)
    fitted = _training.fit(data, model, data.X, data.y, data.groups, None, args.seed)
    _training.tell_score(model, data.y, regression)
    _training.save(fitted, out, args)
