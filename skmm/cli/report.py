"""``skmm report``: what people who did not train a saved model should know of it, as one file."""

from __future__ import annotations

import argparse
from typing import Any

from skmm.cli._data import check_names, targets_of
from skmm.cli._errors import UsageError, explained
from skmm.cli._models import columns_wanted, load, named, read_rows
from skmm.cli._options import add_force, add_model, add_seed
from skmm.cli._output import check_new

_ENDINGS = [".html", ".htm", ".md", ".markdown"]


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="write a report on a saved model, for people who did not train it",
        description="Write one file that needs neither network nor script: whether the model is any good on rows "
        "that it was not fitted to, what it relies on, where it fails, and how it was made.",
        epilog="example: skmm report model.skmm test.csv --target genre --out report.html",
    )
    add_model(parser)
    parser.add_argument("--target", required=True, metavar="NAME", help="column, or array, with the truth")
    parser.add_argument(
        "--out", default="report.html", metavar="OUT", help="an .html or .md file to write (default: %(default)s)"
    )
    parser.add_argument("--groups", metavar="NAME", help="column or array by whose values errors are told apart")
    parser.add_argument(
        "--worst",
        type=int,
        default=0,
        metavar="N",
        help="show the N rows that went most wrong, which may be personal (default: none)",
    )
    add_seed(parser)
    add_force(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_new("--out", args.out, [args.file, args.model], _ENDINGS, force=args.force)
    model = load(args)
    X, given = read_rows(model, args)
    check_names(args.file, targets_of(args), list(given))
    y, groups = (named(given, name) for name in (args.target, args.groups))
    if len(y) == 0:
        raise UsageError(f"{args.file} has no rows.")
    if hasattr(X, "columns"):  # without the answers, which the report would show among what is known
        X = X[columns_wanted(model) or [name for name in X.columns if name not in targets_of(args)]]

    from skmm.reporting import report

    with explained():
        found = report(
            model,
            X,
            y,
            args.out,
            groups=None if groups is None else {args.groups: groups},
            worst=args.worst,
            random_state=args.seed,
        )
    print("\n".join([*found.answer, f"wrote {args.out}"]))
