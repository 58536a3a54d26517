"""``skmm predict``: a saved model and a file to a file of predictions."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skmm.cli._data import check_names
from skmm.cli._errors import UsageError, explained
from skmm.cli._models import load, read_samples
from skmm.cli._options import add_force, add_model
from skmm.cli._output import check_new, replacing


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="predict the rows of a file by a saved model",
        description="Predict the rows of a file, in their order: the column prediction and, of classes, the "
        "probability of each. FILE needs the columns that MODEL learned from; others are not looked at.",
        epilog="example: skmm predict model.skmm new.csv --out predictions.csv --id film",
    )
    add_model(parser)
    parser.add_argument(
        "--out", required=True, metavar="OUT", help="what to write, by its ending: .csv, .tsv, .parquet or .npz"
    )
    add_force(parser)
    parser.add_argument(
        "--id",
        action="append",
        default=[],
        metavar="NAME",
        help="column (or array) of FILE that is copied before the predictions; may be repeated",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    out = check_new("--out", args.out, [args.file, args.model], list(_WRITERS), force=args.force)
    model, X, given = read_samples(load(args), args)
    check_names(args.file, args.id, list(given))
    with explained():
        columns = {name: _values(given[name]) for name in args.id}
        found = _predictions(model, X)
        for name in found.keys() & columns.keys():
            raise UsageError(f"--id {name} has the name of a column that is written; rename it.")
        with replacing(out) as part:
            _WRITERS[out.suffix.lower()](columns | found, part)
    print(f"{out}: {len(next(iter(found.values())))} rows of {', '.join(columns | found)}.")


def _values(column: Any) -> Any:
    return column.to_numpy() if hasattr(column, "to_numpy") else column


def _predictions(model: Any, X: Any) -> dict[str, Any]:
    """Columns of predictions, and of the probability of each class; several targets have a column each."""
    if not hasattr(model, "predict_proba"):
        return _numbered("prediction", model.predict(X))
    proba, classes = model.predict_proba(X), model.classes_
    predicted = model.predict(X)
    names = [f"probability_{label}" for label in classes]
    return _numbered("prediction", predicted) | {name: proba[:, i] for i, name in enumerate(names)}


def _numbered(name: str, values: Any) -> dict[str, Any]:
    if values.ndim == 1:
        return {name: values}
    return {f"{name}_{i}": column for i, column in enumerate(values.T)}


def _write_text(columns: Mapping[str, Any], path: Path) -> None:
    import csv

    with path.open("x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        writer.writerow(columns)
        writer.writerows(zip(*(_cells(values) for values in columns.values()), strict=True))


def _cells(values: Any) -> list[Any]:
    """Cells of a column, nothing for what is missing."""
    from skmm._missing import is_missing

    return ["" if is_missing(cell) else cell for cell in values.tolist()]


def _write_parquet(columns: Mapping[str, Any], path: Path) -> None:
    from skmm._optional import import_optional

    import_optional("pyarrow", extra="dataframe")
    import_optional("pandas", extra="dataframe").DataFrame(dict(columns)).to_parquet(path, index=False)


def _write_arrays(columns: Mapping[str, Any], path: Path) -> None:
    import numpy as np

    # strings as numpy has them: a file with pickles is read by nobody who is careful
    arrays = {name: values.astype(str) if values.dtype == object else values for name, values in columns.items()}
    with path.open("xb") as stream:
        np.savez(stream, **arrays)


_WRITERS = {".csv": _write_text, ".tsv": _write_text, ".parquet": _write_parquet, ".npz": _write_arrays}
