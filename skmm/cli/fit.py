"""``skmm fit``: a file of data to a saved model."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from skmm.cli import _training
from skmm.cli._data import read
from skmm.cli._errors import explained
from skmm.cli._options import add_data, add_force, add_seed, add_task, duration, positive
from skmm.cli._output import check_new


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "fit",
        help="fit a model to a table or to arrays, and save it",
        description="Fit the default estimator to a file and save it for skmm predict, evaluate, and skmm.load. "
        "Says before what it fits and about how long that takes, and after how well it predicts rows that it did "
        "not see.",
        epilog="examples: skmm fit films.csv --target genre --out model.skmm    |    skmm fit films.csv --target "
        "genre --time-limit 10m --out model.skmm    |    skmm fit features.npz --target y --modality audio=mfcc "
        "--modality video=frames --groups speaker --out model.skmm",
    )
    add_data(parser)
    parser.add_argument("--out", required=True, metavar="MODEL", help="the .skmm file to write")
    add_force(parser)
    add_task(parser)
    parser.add_argument(
        "--time-limit",
        type=duration,
        metavar="TIME",
        help="such as 10m, 1h30m or 90s: training is shortened to fit into it (default: none)",
    )
    parser.add_argument(
        "--fusion",
        metavar="NAME",
        help="how modalities are joined; see skmm list fusions (default: auto)",
    )
    for option, param in {"--epochs": "max_epochs", "--members": "n_members"}.items():
        parser.add_argument(
            option, type=positive, dest=param, metavar="N", help=f"{param} of the estimator (default: its own)"
        )
    add_seed(parser)
    parser.set_defaults(run=run)


def check_fusion(name: str | None) -> None:
    """Refuse a fusion that there is not before anything is read or tried."""
    from skmm.spec import Fusion

    if name not in (None, "auto"):
        Fusion(name).target()


def run(args: argparse.Namespace) -> None:
    out = check_new("--out", args.out, [args.file], [".skmm"], force=args.force)
    _training.check_can_save()
    with explained():
        check_fusion(args.fusion)
    data = read(args)
    data.check_lengths(args.groups)
    _training.tell_suspects(data, data.X, data.y, data.groups)
    regression = _training.is_regression(data.y, args.task)
    model = _training.make_model(
        regression,
        fusion=args.fusion,
        max_epochs=args.max_epochs,
        n_members=args.n_members,
        random_state=args.seed,
        verbose=int(sys.stderr.isatty()),
    )
    _training.tell_plan(data, model, data.X, data.y, regression)
    fitted = _training.fit(data, model, data.X, data.y, data.groups, args.time_limit, args.seed)
    _training.tell_score(model, data.y, regression)
    _training.save(fitted, out, args)
