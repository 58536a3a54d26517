"""A saved model, and the samples of a file as it reads them."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

from skmm.cli._data import (
    as_blocks,
    check_names,
    column_of,
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
    check_model(args)
    return load_model(args)


def check_model(args: argparse.Namespace) -> None:
    """Refuse a model that is not there."""
    if not Path(args.model).is_file():
        raise UsageError(f"there is no model {args.model}.")


def load_model(args: argparse.Namespace) -> Any:
    """As :func:`load`, of a model whose file is there, whatever it is to read."""
    import skmm

    with explained():
        model = skmm.load(args.model, trusted=args.trust)
    if not hasattr(model, "predict"):
        raise UsageError(f"{args.model} holds a {type(model).__name__}, which does not predict.")
    return model


def read_samples(model: Any, args: argparse.Namespace, ids: Collection[str] = ()) -> tuple[Any, Any, Any]:
    """The samples of a file, what predicts them, and all of the file by name; ``ids`` are as they are written."""
    X, given = read_rows(model, args, ids)
    return *before_last(model, X), given


def before_last(model: Any, X: Any) -> tuple[Any, Any]:
    """What predicts, and the samples with the steps of a pipeline before it behind them.

    Files are so not read for each kind of prediction.
    """
    if not hasattr(model, "steps") or len(model.steps) < 2:
        return model, X
    with explained():
        return model[-1], model[:-1].transform(X)


def read_rows(model: Any, args: argparse.Namespace, ids: Collection[str] = ()) -> tuple[Any, Any]:
    """The samples of a file as the model reads them, and all of the file by name."""
    path = existing(args)
    transformer = transformer_of(model)
    if path.suffix.lower() == ".npz":
        if transformer is not None:
            raise UsageError(
                f"{args.model} reads a table with the columns {columns_of(transformer)}; {path} holds arrays."
            )
        arrays = read_arrays(path)
        return _blocks(model, arrays, args), arrays
    if args.modality:
        raise UsageError(f"--modality is for .npz files; of a table {args.model} knows the columns.")
    frame = read_table(path, args, strings_of(model, ids))
    check_columns(model, list(frame.columns), args)
    return of_table(model, frame, path, args), frame


def named(given: Any, name: str | None) -> Any:
    """What a file holds under a name: an array, or a column, which must have no gaps."""
    return given[name] if isinstance(given, dict) and name else column_of(given, name)


def of_table(model: Any, frame: Any, path: Path, args: argparse.Namespace) -> Any:
    """What a model reads of a table of which :func:`check_columns` has no complaint."""
    transformer = transformer_of(model)
    if transformer is None:
        return frame[list(model.feature_names_in_)]
    _place(transformer, path, args)
    return frame


def columns_wanted(model: Any) -> list[str] | None:
    """Names of the columns that a model reads; None where it goes by their places."""
    transformer = transformer_of(model)
    if transformer is None:
        return list(getattr(model, "feature_names_in_", [])) or None
    return None if transformer._names is None else columns_of(transformer)


def strings_of(model: Any, ids: Collection[str] = ()) -> set[str]:
    """Columns of a text file that are strings, whatever they look like; ``ids`` too, but for those of the model."""
    import numpy as np

    from skmm.compose._kinds import as_written

    found = set(ids) - set(columns_wanted(model) or ids)
    transformer = transformer_of(model)
    if transformer is None or transformer._names is None:
        return found
    for name, inner, _ in transformer.transformers_:
        if name in transformer._positions:
            places = np.atleast_1d(transformer._positions[name]).tolist()
            found |= as_written(inner, [transformer._names[place] for place in places])
    return found


def transformer_of(model: Any) -> Any:
    """What makes Blocks of a table in a fitted model, if it reads one."""
    from sklearn.pipeline import Pipeline

    from skmm import ModalityTransformer

    first = model.steps[0][1] if isinstance(model, Pipeline) else model
    found = first if isinstance(first, ModalityTransformer) else getattr(first, "modality_transformer_", None)
    inner = getattr(first, "estimator_", None)  # of one that is made smaller
    return transformer_of(inner) if found is None and inner is not None else found


def columns_of(transformer: Any) -> list[str]:
    """Names of the columns that a fitted transformer reads, in their order."""
    import numpy as np

    places = {int(place) for where in transformer._positions.values() for place in np.atleast_1d(where)}
    return [transformer._names[place] for place in sorted(places)]


def check_columns(model: Any, names: list[Any], args: argparse.Namespace) -> None:
    """Refuse a table that lacks columns, and name those that they may have become."""
    if transformer_of(model) is None and getattr(model, "feature_names_in_", None) is None:
        last = model.steps[-1][1] if hasattr(model, "steps") else model
        raise UsageError(
            f"{args.model} reads arrays, {list(getattr(last, 'modalities_', {}))}, and no table; give a .npz file."
        )
    wanted, there = columns_wanted(model), [str(name) for name in names]
    if wanted is None:  # learned from an array
        return
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


def predictions(model: Any, X: Any) -> dict[str, Any]:
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
