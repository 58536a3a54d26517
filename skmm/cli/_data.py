"""Data of a file, as a command learns from them: a table whose columns are typed, or arrays."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from skmm.cli._batches import TextTable, readable
from skmm.cli._errors import UsageError, explained

TABLES = (".csv", ".tsv", ".parquet")
ENDINGS = (".npz", *TABLES)


@dataclass(frozen=True)
class Data:
    """What is learned from; the transformer, where there is one, makes Blocks of X inside each fold."""

    title: str
    X: Any
    y: Any
    groups: Any = None
    transformer: Any = None

    def check_lengths(self, groups: str | None) -> None:
        """Refuse arrays of different lengths."""
        for label, part in {"the modalities": self.X, f"--groups {groups}": self.groups}.items():
            if part is not None and len(part) != len(self.y):
                raise UsageError(f"the target has {len(self.y)} rows, but {label}: {len(part)}.")


def read(args: argparse.Namespace) -> Data:
    """The data of a file, by its ending."""
    path = existing(args)
    return (_of_arrays if path.suffix.lower() == ".npz" else _of_table)(path, args)


def existing(args: argparse.Namespace) -> Path:
    """The file, after a check of its ending and of the options that go with it."""
    ending = Path(args.file).suffix.lower()
    given = [f"--{option}" for option in ("sep", "encoding") if getattr(args, option)]
    if given and ending not in (".csv", ".tsv"):
        raise UsageError(f"{', '.join(given)} needs a .csv or .tsv file.")
    if Path(args.file).is_dir():
        raise UsageError(f"{args.file} is a folder; give one of its files. Folders are what skmm predict reads.")
    if ending not in ENDINGS:
        raise UsageError(f"{args.file} has no suffix that skmm reads; valid are {', '.join(ENDINGS)}.")
    if not Path(args.file).is_file():
        raise UsageError(f"there is no file {args.file}.")
    return Path(args.file)


def modalities_of(args: argparse.Namespace) -> dict[str, list[str]]:
    """Columns of each modality, as the options name them."""
    chosen: dict[str, list[str]] = {}
    for text in args.modality:
        name, equals, columns = text.partition("=")
        if not (name and equals and columns):
            raise UsageError(f"--modality takes NAME=COLUMNS, for example image=photo,scan; got {text!r}.")
        if name in chosen:
            raise UsageError(f"--modality {name} is given twice; separate its columns by commas.")
        chosen[name] = [column.strip() for column in columns.split(",")]
    return chosen


def _choices(args: argparse.Namespace, valid: list[str], *, auto: bool = False) -> dict[str, list[str]]:
    """Columns of each modality, after a check of every name that was given; with ``auto`` there may be none."""
    what = f"valid are {valid}"
    if not args.target:
        raise UsageError(f"{args.file} needs --target NAME; {what}.")
    if not args.modality and not auto:
        raise UsageError(f"{args.file} needs --modality NAME=COLUMNS, once for each modality; {what}.")
    chosen = modalities_of(args)
    for name, columns in chosen.items():
        if args.target in columns:
            raise UsageError(f"--modality {name}={','.join(columns)} contains the target {args.target!r}.")
    check_names(args.file, [*targets_of(args), *(c for columns in chosen.values() for c in columns)], valid)
    return chosen


def targets_of(args: argparse.Namespace) -> list[str]:
    """What is no feature: the target, and the groups where there are some."""
    return [name for name in (args.target, getattr(args, "groups", None)) if name]


def check_names(file: str, wanted: list[str], valid: list[str]) -> None:
    """Refuse a name that a file does not have."""
    for name in wanted:
        if name not in valid:
            raise UsageError(f"{file} has no {name!r}; valid are {valid}.{did_you_mean(name, valid)}")


def did_you_mean(name: str, valid: list[str]) -> str:
    """The nearest of the names as a question; nothing where none is near."""
    near = nearest(name, valid)
    return f" Did you mean {near!r}?" if near else ""


def nearest(name: str, valid: list[str]) -> str | None:
    """The one of the names that is written most like another, in whatever case."""
    folded = {str(other).casefold().replace("_", " "): str(other) for other in valid}
    near = difflib.get_close_matches(name.casefold().replace("_", " "), list(folded), n=1)
    return folded[near[0]] if near else None


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a .npz file; none of them is a pickle."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored}
    except (ValueError, OSError, BadZipFile) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _of_arrays(path: Path, args: argparse.Namespace) -> Data:
    arrays = read_arrays(path)
    chosen = _choices(args, list(arrays))
    groups = arrays[args.groups] if args.groups else None
    return Data(path.name, as_blocks(arrays, chosen), arrays[args.target], groups)


def as_blocks(arrays: Mapping[str, Any], chosen: Mapping[str, list[str]]) -> Any:
    """Arrays as Blocks, several of one modality side by side; a single one keeps its dimensions."""
    import numpy as np

    from skmm import Blocks

    made = {}
    for name, keys in chosen.items():
        parts = {key: arrays[key] for key in keys}
        for key, part in parts.items():
            if len(parts) > 1 and part.ndim not in (1, 2):
                raise UsageError(
                    f"modality {name!r} joins several arrays, which must be 1-D or 2-D; {key!r} is {part.ndim}-D."
                )
        made[name] = np.column_stack(list(parts.values())) if len(parts) > 1 else parts[keys[0]]
    with explained():
        return Blocks(made)


def read_table(path: Path, args: argparse.Namespace, strings: Collection[str] = ()) -> Any:
    """The table of a file, each of whose columns has a name of its own; ``strings`` are as they are written."""
    with readable(path):
        import pandas as pd

        frame = (
            pd.read_parquet(path) if path.suffix.lower() == ".parquet" else TextTable(path, args, strings).read()
        )
    names = list(frame.columns)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{path} has {names.count(twice)} columns {twice!r}; columns are {names}.")
    return frame


def _of_table(path: Path, args: argparse.Namespace) -> Data:
    frame = read_table(path, args)
    if not len(frame):
        raise UsageError(f"{path} has the columns {list(frame.columns)} and no rows.")
    chosen = _choices(args, list(frame.columns), auto=True)
    y, groups = (column_of(frame, name) for name in (args.target, args.groups))
    return Data(path.name, frame, y, groups, _transformer(frame, chosen, path, args))


def column_of(frame: Any, name: str | None) -> Any:
    """Values of a column without gaps."""
    if name is None:
        return None
    missing = frame[name].isna()
    if missing.any():
        raise UsageError(
            f"column {name!r} lacks {missing.sum()} of its {len(missing)} values, the first in row "
            f"{missing.to_numpy().argmax()}. Leave these rows out, or fill them in."
        )
    return frame[name].to_numpy()


def places_of(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Where relative paths of a table start, and where the files must lie."""
    for option, folder in (("--base", args.base), ("--within", args.within)):
        if folder is not None and not os.path.isdir(folder):
            raise UsageError(f"{option} {folder} is no folder.")
    base = os.fspath(path.parent) if args.base is None else args.base
    return {"base_dir": base, "within": base if args.within is None else args.within}


def _transformer(frame: Any, chosen: dict[str, list[str]], path: Path, args: argparse.Namespace) -> Any:
    """What makes the modalities that were chosen, or without a choice those that the columns say."""
    from skmm.compose import ModalityTransformer
    from skmm.compose._frames import modality_of
    from skmm.compose._kinds import Loading

    places = places_of(path, args)
    with explained():
        if chosen:
            loading = Loading(args.unreadable, **places)
            modalities = [(name, *modality_of(frame, columns, loading)) for name, columns in chosen.items()]
            return ModalityTransformer(modalities)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            transformer = ModalityTransformer.from_frame(
                frame, dict.fromkeys(targets_of(args), "drop"), errors=args.unreadable, **places
            )
    for warning in caught:
        print(f"skmm: {warning.message}", file=sys.stderr)
    print(f"{transformer.describe()}\n")
    return transformer
