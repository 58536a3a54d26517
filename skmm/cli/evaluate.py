"""``skmm evaluate``: how well a saved model predicts the rows of a file."""

from __future__ import annotations

import argparse
from typing import Any

from skmm.cli._data import check_names, targets_of
from skmm.cli._errors import UsageError, explained
from skmm.cli._models import load, named, read_samples
from skmm.cli._options import add_model, add_seed, positive
from skmm.cli._output import as_json, output


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="score a saved model on the rows of a file, with intervals",
        description="Score a model on rows that it was not fitted to: accuracy, recall and F1 averaged over the "
        "classes, and log-loss; or R2, root mean squared error and mean absolute error. Each with the 95% interval "
        "of the bootstrap over rows (over groups with --groups).",
        epilog="example: skmm evaluate model.skmm test.csv --target genre",
    )
    add_model(parser)
    parser.add_argument("--target", required=True, metavar="NAME", help="column, or array, with the truth")
    parser.add_argument(
        "--groups", metavar="NAME", help="column or array of groups, whose rows are not independent of one another"
    )
    parser.add_argument(
        "--draws", type=positive, default=1000, metavar="N", help="of the bootstrap (default: %(default)s)"
    )
    add_seed(parser)
    parser.add_argument(
        "--json", metavar="OUT", help="also write the result to this file: a new one, or over an earlier result"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    with output("--json", args.json, [args.file, args.model]) as write:
        write(as_json(_evaluated(args)))


def _evaluated(args: argparse.Namespace) -> dict[str, Any]:
    """Print the scores, and return them."""
    model, X, given = read_samples(load(args), args)
    check_names(args.file, targets_of(args), list(given))
    y, groups = (named(given, name) for name in (args.target, args.groups))
    if len(y) == 0:
        raise UsageError(f"{args.file} has no rows.")

    from skmm.cli import _scores

    with explained():
        if hasattr(model, "predict_proba"):
            found = _scores.of_classes(model, X, y, groups, args.draws, args.seed)
        else:
            found = _scores.of_values(model, X, y, groups, args.draws, args.seed)
    print(f"{args.model} on {len(y)} rows of {args.file}; 95% intervals by {args.draws} bootstrap samples\n")
    print(found)
    return {"model": args.model, "file": args.file, "n_samples": len(y), **found.as_dict()}
