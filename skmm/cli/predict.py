"""``skmm predict``: a saved model and a file to a file of predictions."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from skmm.cli import _folders
from skmm.cli._data import check_names
from skmm.cli._errors import UsageError, explained
from skmm.cli._models import load, predictions, read_samples
from skmm.cli._options import add_force, add_model, positive
from skmm.cli._output import check_new, replacing, write_parquet, write_text


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="predict the rows of a file by a saved model",
        description="Predict the rows of a file, in their order: the column prediction and, of classes, the "
        "probability of each. FILE needs the columns that MODEL learned from; others are not looked at. "
        "Of a folder of .csv, .tsv or .parquet files, and where OUT is a folder, predictions are parts in that "
        "folder, made some rows at a time; the same command again goes on after the parts that are whole.",
        epilog="examples: skmm predict model.skmm new.csv --out predictions.csv --id film    |    skmm predict "
        "model.skmm films/ --out predictions/ --id film",
    )
    add_model(parser)
    parser.add_argument(
        "--out",
        required=True,
        metavar="OUT",
        help="what to write, by its ending: .csv, .tsv, .parquet or .npz; or a folder, which of one file ends in /",
    )
    add_force(parser)
    parser.add_argument(
        "--id",
        action="append",
        default=[],
        metavar="NAME",
        help="column (or array) of FILE that is copied before the predictions; may be repeated",
    )
    parser.add_argument(
        "--part-rows",
        type=positive,
        metavar="N",
        help=f"rows of a part of one large file (default: {_folders.PART_ROWS})",
    )
    parser.add_argument(
        "--batch",
        type=positive,
        default=4096,
        metavar="N",
        help="rows of parts that are read and predicted at a time (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    if _folders.is_asked_for(args):
        _folders.run(args)
        return
    if args.part_rows:
        raise UsageError(
            f"--part-rows divides what is written to a folder, and --out {args.out} is one file; end it in /."
        )
    out = check_new("--out", args.out, [args.file, args.model], list(_WRITERS), force=args.force)
    ids = args.id if out.suffix.lower() in _TEXT else []
    model, X, given = read_samples(load(args), args, ids)
    check_names(args.file, args.id, list(given))
    with explained():
        columns = {name: _values(given[name]) for name in args.id}
        found = predictions(model, X)
        for name in found.keys() & columns.keys():
            raise UsageError(f"--id {name} has the name of a column that is written; rename it.")
        with replacing(out) as part:
            _WRITERS[out.suffix.lower()]([columns | found], part)
    print(f"{out}: {len(next(iter(found.values())))} rows of {', '.join(columns | found)}.")


def _values(column: Any) -> Any:
    return column.to_numpy() if hasattr(column, "to_numpy") else column


def _write_arrays(parts: Iterable[Mapping[str, Any]], path: Path) -> None:
    import numpy as np

    (columns,) = parts
    # strings as numpy has them: a file with pickles is read by nobody who is careful
    arrays = {name: values.astype(str) if values.dtype == object else values for name, values in columns.items()}
    with path.open("xb") as stream:
        np.savez(stream, **arrays)


_TEXT = (".csv", ".tsv")
_WRITERS: dict[str, Any] = {**dict.fromkeys(_TEXT, write_text), ".parquet": write_parquet, ".npz": _write_arrays}
