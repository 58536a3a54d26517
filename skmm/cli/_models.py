"""A saved model, and the samples of a file as it reads them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from skmm.cli._data import (
    as_blocks,
    check_names,
    did_you_mean,
    existing,
    modalities_of,
    nearest,
    places_of,
    read_arrays,
    read_table,
)
from skmm.cli._errors import UsageError, explained


def load(args: argparse.Namespace) -> Any:
    """The model of a file; nothing of it is run."""
    existing(args)  # what is wrong with the other file is said before seconds of imports
    if not Path(args.model).is_file():
        raise UsageError(f"there is no model {args.model}.")

    import skmm

    with explained():
        model = skmm.load(args.model, trusted=args.trust)
    if not hasattr(model, "predict"):
        raise UsageError(f"{args.model} holds a {type(model).__name__}, which does not predict.")
    return model


def read_samples(model: Any, args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The samples of a file, what predicts them, and all of the file by name.

    Steps of a pipeline before the last are behind them, so that files are not read for each kind of prediction.
    """
    X, given = _read(model, args)
    if not hasattr(model, "steps") or len(model.steps) < 2:
        return model, X, given
    with explained():
        return model[-1], model[:-1].transform(X), given


def _read(model: Any, args: argparse.Namespace) -> tuple[Any, Any]:
    """The samples of a file as the model reads them, and all of the file by name."""
    path = existing(args)
    transformer = _transformer(model)
    if path.suffix.lower() == ".npz":
        if transformer is not None:
            raise UsageError(
                f"{args.model} reads a table with the columns {columns_of(transformer)}; {path} holds arrays."
            )
        arrays = read_arrays(path)
        return _blocks(model, arrays, args), arrays
    if args.modality:
        raise UsageError(f"--modality is for .npz files; of a table {args.model} knows the columns.")
    frame = read_table(path, args)
    if transformer is None:
        return _numbers(model, frame, args), frame
    _check_columns(transformer, frame, args)
    _place(transformer, path, args)
    return frame, frame


def _transformer(model: Any) -> Any:
    """What makes Blocks of a table in a fitted model, if it reads one."""
    from sklearn.pipeline import Pipeline

    from skmm import ModalityTransformer

    first = model.steps[0][1] if isinstance(model, Pipeline) else model
    found = first if isinstance(first, ModalityTransformer) else getattr(first, "modality_transformer_", None)
    inner = getattr(first, "estimator_", None)  # of one that is made smaller
    return _transformer(inner) if found is None and inner is not None else found


def columns_of(transformer: Any) -> list[str]:
    """Names of the columns that a fitted transformer reads, in their order."""
    import numpy as np

    places = {int(place) for where in transformer._positions.values() for place in np.atleast_1d(where)}
    return [transformer._names[place] for place in sorted(places)]


def _check_columns(transformer: Any, frame: Any, args: argparse.Namespace) -> None:
    """Refuse a table that lacks columns, and name those that they may have become."""
    if transformer._names is None:  # learned from an array
        return
    wanted, there = columns_of(transformer), [str(name) for name in frame.columns]
    lacking = [name for name in wanted if name not in there]
    if lacking:
        left = [name for name in there if name not in wanted]
        hints = "".join(f" Is {name!r} now {near!r}?" for name in lacking if (near := nearest(name, left)))
        raise UsageError(
            f"{args.file} lacks {len(lacking)} of the {len(wanted)} columns that {args.model} learned from: "
            f"{lacking}.{hints} It has {there}. Rename them, or give what is not known as a column of empty cells."
        )


def _place(transformer: Any, path: Path, args: argparse.Namespace) -> None:
    """Tell loaders of files where those of this table lie."""
    told = {**places_of(path, args), "errors": args.unreadable}
    for loader in transformer.named_transformers_.values():
        params = loader.get_params() if hasattr(loader, "get_params") else {}
        prefixes = [name.removesuffix("base_dir") for name in params if name.rpartition("__")[2] == "base_dir"]
        if prefixes:
            loader.set_params(**{f"{prefix}{name}": value for prefix in prefixes for name, value in told.items()})


def _blocks(model: Any, arrays: dict[str, Any], args: argparse.Namespace) -> Any:
    """Arrays as the modalities of a model, by their own names unless others are given."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    wanted = list(getattr(last, "modalities_", {}))
    chosen = modalities_of(args)
    for name in chosen:
        if name not in wanted:
            raise UsageError(f"--modality {name}: {args.model} has no such modality; valid are {wanted}.")
    for name in wanted:
        if name not in arrays and name not in chosen:
            raise UsageError(
                f"{args.file} has no array {name!r}, as {args.model} reads it; it has {list(arrays)}."
                f"{did_you_mean(name, list(arrays))} Say which with --modality {name}=ARRAY."
            )
    check_names(args.file, [key for keys in chosen.values() for key in keys], list(arrays))
    return as_blocks(arrays, {name: chosen.get(name, [name]) for name in wanted})


def _numbers(model: Any, frame: Any, args: argparse.Namespace) -> Any:
    """The columns of numbers that a model was fitted to, which knows their names."""
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        last = model.steps[-1][1] if hasattr(model, "steps") else model
        raise UsageError(
            f"{args.model} reads arrays, {list(getattr(last, 'modalities_', {}))}, and no table; give a .npz file."
        )
    lacking = [name for name in names if name not in frame.columns]
    if lacking:
        raise UsageError(f"{args.file} lacks the columns {lacking}; it has {list(frame.columns)}.")
    return frame[list(names)]
