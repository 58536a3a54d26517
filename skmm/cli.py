"""The command ``skmm``."""

from __future__ import annotations

import argparse
import codecs
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

# Each command imports what it needs, so that --help does not wait for torch.

_INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended

# The built-in comparison is to be done within a few minutes on two cores.
_DEMO_ROWS = 400
_DEMO_PARAMS = {"max_epochs": 20, "n_members": 4, "experts": None}  # each fusion by itself, beside the baselines
_DEMO_FUSIONS = ["early", "concat", "sum", "gated", "mfb", "attention", "late"]  # some of every kind


# bytes of a file that is looked at for an earlier result
_MAX_RESULT = 2**24


class UsageError(Exception):
    """What the user gave cannot be used; the message says why."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skmm", description="Multimodal fusion networks as ordinary scikit-learn estimators."
    )
    parser.add_argument("--version", action="version", version=f"skmm {version('skmm')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    compare = commands.add_parser(
        "compare",
        help="cross-validate fusions and baselines, linear models and trees, on the same folds",
        description="Cross-validate fusions and baselines on the same folds and say whether a deep fusion "
        "helps. Without FILE, on spoken digits that come with the package.",
        epilog="examples: skmm compare    |    skmm compare films.csv --target genre    |    "
        "skmm compare films.csv --target genre --modality text=review "
        "--modality table=year,length    |    skmm compare features.npz --target y --modality audio=mfcc "
        "--modality video=frames",
    )
    _add_data(compare)
    _add_comparison(compare)
    compare.set_defaults(run=_compare)

    export = commands.add_parser(
        "export",
        help="write a saved model as an ONNX file or a program of torch",
        description="Write a model that skmm.save wrote as one file that predicts without skmm's training code: "
        "ONNX, read by skmm.load_onnx or any other runtime, or a program of torch.export.",
        epilog="examples: skmm export model.skmm model.onnx    |    skmm export model.skmm model.pt2",
    )
    export.add_argument("model", metavar="MODEL", help="a .skmm file")
    export.add_argument("file", metavar="FILE", help="what to write, by its ending: .onnx or .pt2")
    export.add_argument(
        "--from-blocks",
        action="store_true",
        help="leave preprocessing of tables out: FILE reads what the ModalityTransformer makes of one",
    )
    export.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="TYPE",
        help="a type of MODEL that skmm does not trust by itself, such as mypackage.MyTransformer; may be repeated",
    )
    export.set_defaults(run=_export)

    quantize = commands.add_parser("quantize", help="write an ONNX file again, with weights of fewer bits")
    quantize.add_argument("source", metavar="SOURCE", help="an .onnx file that skmm export wrote")
    quantize.add_argument("target", metavar="TARGET", help="what to write")
    quantize.add_argument("--to", default="int8", help="int8, or float16 (default: %(default)s)")
    quantize.set_defaults(run=_quantize)

    listing = commands.add_parser("list", help="list fusions, encoders or optimizers with their parameters")
    listing.add_argument("what", choices=["fusions", "encoders", "optimizers"])
    listing.set_defaults(run=_list)
    return parser


def _add_data(compare: argparse.ArgumentParser) -> None:
    """The file, and how it is read."""
    compare.add_argument("file", nargs="?", metavar="FILE", help="a .npz, .csv, .tsv or .parquet file")
    compare.add_argument("--target", metavar="NAME", help="column, or array of a .npz file, to predict")
    compare.add_argument(
        "--modality",
        action="append",
        default=[],
        metavar="NAME=COLUMNS",
        help="a modality and its columns (or arrays), separated by commas; once for each modality (default: of a "
        "table what its columns hold; see what is found above the result)",
    )
    compare.add_argument(
        "--sep",
        metavar="CHARACTER",
        help="what separates the columns of a .csv or .tsv file (default: is found out)",
    )
    compare.add_argument(
        "--encoding",
        metavar="NAME",
        help="encoding of a .csv or .tsv file (default: what its first bytes say, UTF-8, or else Windows-1252)",
    )
    compare.add_argument(
        "--base", metavar="FOLDER", help="where relative paths in a table start (default: the folder of FILE)"
    )
    compare.add_argument(
        "--within",
        metavar="FOLDER",
        help="where all files must lie that a table names, since it may come from others (default: --base)",
    )
    compare.add_argument("--groups", metavar="NAME", help="column or array of groups that no fold may split")
    compare.add_argument(
        "--unreadable",
        choices=["raise", "missing"],
        default="raise",
        help="what a file that cannot be read is: an error, or a missing row (default: %(default)s)",
    )


def _add_comparison(compare: argparse.ArgumentParser) -> None:
    """What is compared, and how."""
    compare.add_argument(
        "--task",
        choices=["classification", "regression"],
        help="what to do with the target (default: fractions are regressed, all else is classified)",
    )
    compare.add_argument(
        "--fusions",
        metavar="NAMES",
        help="comma-separated: auto, or names that skmm list fusions shows (default: all that can read the data; "
        f"without FILE: {','.join(_DEMO_FUSIONS)})",
    )
    compare.add_argument(
        "--cv", type=_positive, default=5, metavar="K", help="number of folds (default: %(default)s)"
    )
    compare.add_argument(
        "--scoring", metavar="NAMES", help="scikit-learn scorers, comma-separated; the first ranks the methods"
    )
    compare.add_argument(
        "--rows", type=_positive, metavar="N", help=f"use N rows drawn at random (without FILE: {_DEMO_ROWS})"
    )
    for option, param in {"--epochs": "max_epochs", "--members": "n_members"}.items():
        compare.add_argument(
            option,
            type=_positive,
            dest=param,
            metavar="N",
            help=f"{param} of the fusions' estimator (without FILE: {_DEMO_PARAMS[param]})",
        )
    chosen = compare.add_mutually_exclusive_group()
    chosen.add_argument(
        "--baselines",
        metavar="NAMES",
        help="comma-separated, such as 'LR concat,boosting' (default: all, linear models, boosting and trees)",
    )
    chosen.add_argument("--no-baselines", action="store_true", help="compare the fusions alone")
    compare.add_argument(
        "--jobs",
        type=int,
        default=min(os.cpu_count() or 1, 8),
        metavar="N",
        help="fits at once (default: %(default)s)",
    )
    compare.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: %(default)s)")
    compare.add_argument(
        "--json", metavar="OUT", help="also write the result to this file: a new one, or over an earlier result"
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(f"{value} is not positive")
    return value


_positive.__name__ = "positive integer"  # what argparse calls the type in its errors


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``skmm``.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    int
        0; 2 where what the user gave cannot be used (the reason goes to stderr); 130 after Ctrl-C, which reports
        nothing.

    Examples
    --------
    >>> from skmm.cli import main
    >>> main(["compare", "nowhere.csv", "--target", "y"])
    2
    """
    args = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():  # what a command says itself, no library need say again
            args.run(args)
    except UsageError as error:
        print(f"skmm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print("\n".join(["skmm: interrupted.", *getattr(error, "__notes__", [])]), file=sys.stderr)
        return _INTERRUPTED
    return 0


def _list(args: argparse.Namespace) -> None:
    import skmm

    print(getattr(skmm, f"list_{args.what}")(describe=True))


def _export(args: argparse.Namespace) -> None:
    import skmm

    to_onnx = partial(skmm.to_onnx, preprocessing=not args.from_blocks)
    writers: dict[str, Callable[..., None]] = {".onnx": to_onnx, ".pt2": skmm.to_torch}
    ending = Path(args.file).suffix.lower()
    if ending not in writers:
        raise UsageError(f"{args.file} ends in {ending!r}; it must end in one of {list(writers)}.")
    try:
        writers[ending](skmm.load(args.model, trusted=args.trust), args.file)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error
    print(f"{args.file}: {os.path.getsize(args.file) / 1e6:.1f} MB")


def _quantize(args: argparse.Namespace) -> None:
    import skmm

    try:
        sizes = skmm.quantize(args.source, args.target, to=args.to)["bytes"]
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error
    print(f"{args.target}: {sizes[1] / 1e6:.2f} MB of {sizes[0] / 1e6:.2f} MB")


def _compare(args: argparse.Namespace) -> None:
    with _output("--json", args.json, args.file) as write:
        write(_compared(args))


def _compared(args: argparse.Namespace) -> str:
    """Print the comparison, and return it as JSON."""
    data = _read(args)

    # imported late: it takes seconds, and a wrong file name should not
    from skmm.compose._leaks import ignore_leaks
    from skmm.model_selection import compare_fusions

    X, y, groups = _drawn(data, args)
    for suspect in [] if data.transformer is None else data.transformer.find_leaks(X, y, groups):
        print(f"skmm: {suspect}; if that will not be known of new rows, leave it out", file=sys.stderr)
    ignore_leaks()
    asked = {name: getattr(args, name) for name in ("max_epochs", "n_members")}
    params = {**data.params, **{name: value for name, value in asked.items() if value is not None}}
    try:
        estimator, cv = _estimator_and_folds(data, y, groups, params, args)
        result = compare_fusions(
            X,
            y,
            estimator=estimator,
            fusions=_names(args.fusions) or data.fusions,
            cv=cv,
            scoring=_names(args.scoring),
            baselines=_names(args.baselines) or not args.no_baselines,
            groups=groups,
            n_jobs=args.jobs,
            verbose=sys.stderr.isatty(),
            random_state=args.seed,
        )
    except ValueError as error:
        raise UsageError("\n".join([str(error), *getattr(error, "__notes__", [])])) from error
    rows = f"{len(y)} of {len(data.y)} samples"
    setting = "".join(f", {name}={value}" for name, value in params.items())
    print(f"{data.title}: {rows}, {args.cv} folds{setting}; times in seconds\n\n{result}")
    return _as_json(result)


def _drawn(data: _Data, args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Samples, targets and groups, or as many at random as are asked for."""
    import numpy as np

    from skmm._private import safe_indexing

    X, y, groups = data.X, data.y, data.groups
    for label, part in {"the modalities": X, f"--groups {args.groups}": groups}.items():
        if part is not None and len(part) != len(y):
            raise UsageError(f"the target has {len(y)} rows, but {label}: {len(part)}.")
    rows = args.rows or data.rows or len(y)
    if rows < len(y):
        chosen = np.sort(np.random.default_rng(args.seed).permutation(len(y))[:rows])
        X, y, groups = (None if part is None else safe_indexing(part, chosen) for part in (X, y, groups))
    return X, y, groups


def _estimator_and_folds(
    data: _Data, y: Any, groups: Any, params: dict[str, Any], args: argparse.Namespace
) -> tuple[Any, Any]:
    """What is compared, behind the transformer of a table, and the splitter that suits the task and the groups."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.utils.multiclass import type_of_target

    from skmm import MultimodalClassifier, MultimodalRegressor

    regression = args.task == "regression" or (
        args.task is None and type_of_target(y, input_name="the target").startswith("continuous")
    )
    kinds = (KFold, GroupKFold) if regression else (StratifiedKFold, StratifiedGroupKFold)
    model = (MultimodalRegressor if regression else MultimodalClassifier)(**params)
    estimator = model if data.transformer is None else make_pipeline(data.transformer, model)
    return estimator, kinds[groups is not None](args.cv, shuffle=True, random_state=args.seed)


def _as_json(result: Any) -> str:
    found = {
        "metric": result.metric,
        "summary": list(result.summary),
        "differences": list(result.differences),
        "skipped": result.skipped,
        "suspects": result.suspects,
        "verdict": result.verdict,
    }
    found = json.loads(json.dumps(found), parse_constant=lambda _: None)  # a score that is none: JSON has no NaN
    return json.dumps(found, indent=2) + "\n"


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


# -- writing --------------------------------------------------------------------------------------------------


@contextmanager
def _output(option: str, out: str | None, read: str | None) -> Iterator[Callable[[str], None]]:
    """What writes the file that an option names, which is opened before the work begins.

    Nothing is written over but an earlier result: what is read, such as the files that a table names, may have many
    names. A file that is new is removed again where the work fails.

    Parameters
    ----------
    option : str
        The option, for messages.
    out : str or None
        The file; without one nothing is written.
    read : str or None
        The file that the work reads.
    """
    if out is None:
        yield lambda text: None
        return
    path = Path(out)
    there = os.path.exists(path)  # False too of a name that cannot be
    if there and read is not None and os.path.exists(read) and os.path.samefile(path, read):
        raise UsageError(f"{option} {out} is the file that is read; name another.")
    if there and path.is_file() and not _is_result(path):
        raise UsageError(f"{option} {out} exists and holds no earlier result; remove it, or name another.")
    if not there and not path.parent.is_dir():
        raise UsageError(f"{option} {out}: there is no folder {path.parent}.")
    try:
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115  # closed below, before the file may be removed
    except OSError as error:
        raise UsageError(f"{option} {out} cannot be written: {error.strerror or error}.") from error
    done = False

    def write(text: str) -> None:
        nonlocal done
        try:
            if path.is_file():
                file.truncate(0)
            file.write(text)
            file.flush()
        except OSError as error:
            raise UsageError(f"{option} {out} cannot be written: {error.strerror or error}.") from error
        done = True

    try:
        yield write
    finally:
        with suppress(OSError):  # of what `write` has told
            file.close()
        if not there and not done:
            os.unlink(os.path.realpath(path))  # not the link that leads to it


def _is_result(path: Path) -> bool:
    """Whether a file is empty or holds what the command writes."""
    try:
        content = path.read_bytes() if path.stat().st_size < _MAX_RESULT else b"too large"
        found = json.loads(content) if content else {"verdict": "", "summary": []}
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"verdict", "summary"} <= found.keys()


# -- reading --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Data:
    """What is compared on; the transformer, where there is one, makes Blocks of X inside each fold."""

    title: str
    X: Any
    y: Any
    groups: Any = None
    transformer: Any = None
    rows: int | None = None
    fusions: list[str] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


def _read(args: argparse.Namespace) -> _Data:
    """The data of a file, by its suffix, or those that come along."""
    suffix = None if args.file is None else Path(args.file).suffix.lower()
    given = [f"--{option}" for option in ("sep", "encoding") if getattr(args, option)]
    if given and suffix not in (".csv", ".tsv"):
        raise UsageError(f"{', '.join(given)} needs a .csv or .tsv file.")
    if suffix is None:
        return _demo(args)
    if suffix not in _READERS:
        raise UsageError(f"{args.file} has no suffix that skmm reads; valid are {', '.join(_READERS)}.")
    return _READERS[suffix](_existing(args.file), args)


def _demo(args: argparse.Namespace) -> _Data:
    given = [f"--{option}" for option in ("target", "modality", "groups") if getattr(args, option)]
    if given:
        raise UsageError(f"{', '.join(given)} needs a FILE.")

    from skmm.datasets import load_spoken_digits

    X, y = load_spoken_digits(return_X_y=True)
    return _Data("spoken digits", X, y, rows=_DEMO_ROWS, params=_DEMO_PARAMS, fusions=_DEMO_FUSIONS)


def _existing(file: str) -> Path:
    if not Path(file).is_file():
        raise UsageError(f"there is no file {file}.")
    return Path(file)


def _choices(args: argparse.Namespace, valid: list[str], *, auto: bool = False) -> dict[str, list[str]]:
    """Columns of each modality, after a check of every name that was given; with ``auto`` there may be none."""
    what = f"valid are {valid}"
    if not args.target:
        raise UsageError(f"{args.file} needs --target NAME; {what}.")
    if not args.modality and not auto:
        raise UsageError(f"{args.file} needs --modality NAME=COLUMNS, once for each modality; {what}.")
    chosen: dict[str, list[str]] = {}
    for text in args.modality:
        name, equals, columns = text.partition("=")
        if not (name and equals and columns):
            raise UsageError(f"--modality takes NAME=COLUMNS, for example image=photo,scan; got {text!r}.")
        if name in chosen:
            raise UsageError(f"--modality {name} is given twice; separate its columns by commas.")
        chosen[name] = [column.strip() for column in columns.split(",")]
        if args.target in chosen[name]:
            raise UsageError(f"--modality {text} contains the target {args.target!r}.")
    extra = [args.groups] if args.groups else []
    for column in [args.target, *extra, *(c for columns in chosen.values() for c in columns)]:
        if column not in valid:
            raise UsageError(f"{args.file} has no {column!r}; {what}.")
    return chosen


def _read_arrays(path: Path, args: argparse.Namespace) -> _Data:
    import numpy as np

    from skmm import Blocks

    try:
        with np.load(path, allow_pickle=False) as stored:
            chosen = _choices(args, list(stored))
            y = stored[args.target]
            groups = stored[args.groups] if args.groups else None
            arrays = {name: {key: stored[key] for key in keys} for name, keys in chosen.items()}
        return _Data(path.name, Blocks({name: _join(name, parts) for name, parts in arrays.items()}), y, groups)
    except (ValueError, OSError, BadZipFile) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _join(name: str, parts: dict[str, Any]) -> Any:
    """The arrays of one modality side by side; a single one keeps its dimensions."""
    import numpy as np

    if len(parts) == 1:
        return next(iter(parts.values()))
    for key, part in parts.items():
        if part.ndim not in (1, 2):
            raise ValueError(
                f"modality {name!r} joins several arrays, which must be 1-D or 2-D; {key!r} is {part.ndim}-D."
            )
    return np.column_stack(list(parts.values()))


def _read_table(path: Path, args: argparse.Namespace) -> _Data:
    try:
        import pandas as pd

        frame = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path, args)
    except ImportError as error:
        raise UsageError(
            f"reading {path.suffix} files needs more packages: pip install 'skmm[dataframe]'."
        ) from error
    except (ValueError, OSError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    names = list(frame.columns)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{path} has {names.count(twice)} columns {twice!r}; columns are {names}.")
    chosen = _choices(args, list(frame.columns), auto=True)
    for column in [args.target, *([args.groups] if args.groups else [])]:
        missing = frame[column].isna()
        if missing.any():
            raise UsageError(
                f"column {column!r} lacks {missing.sum()} of its {len(missing)} values, the first in row "
                f"{missing.to_numpy().argmax()}."
            )
    return _Data(
        path.name,
        frame,
        frame[args.target].to_numpy(),
        frame[args.groups].to_numpy() if args.groups else None,
        _transformer(frame, chosen, [args.target, *([args.groups] if args.groups else [])], path, args),
    )


def _read_csv(path: Path, args: argparse.Namespace) -> Any:
    """The table of a file of which separator and encoding are given or found out."""
    import pandas as pd

    from skmm.files._csv import find_encoding, find_separator

    encoding = args.encoding
    if encoding is None:
        encoding = find_encoding(path)
        if not encoding.startswith("utf"):
            print(f"skmm: {path} is not UTF-8, and read as {encoding}; --encoding says another.", file=sys.stderr)
    else:
        try:
            codecs.lookup(encoding)
        except LookupError as error:
            raise UsageError(f"--encoding {encoding} is none that Python knows; such as utf-8, cp1252.") from error
    separator = {"tab": "\t", "\\t": "\t"}.get(args.sep, args.sep)
    if separator is None:
        separator = "\t" if path.suffix.lower() == ".tsv" else find_separator(path, encoding)
    elif len(separator) != 1 or separator in '\r\n"':
        raise UsageError(f"--sep takes one character, or 'tab'; got {args.sep!r}.")
    frame = pd.read_csv(path, sep=separator, encoding=encoding, skipinitialspace=separator != " ", low_memory=False)
    return frame.rename(columns=lambda name: name.strip() if isinstance(name, str) else name)


def _transformer(
    frame: Any, chosen: dict[str, list[str]], extra: list[str], path: Path, args: argparse.Namespace
) -> Any:
    """What makes the modalities that were chosen, or without a choice those that the columns say."""
    from skmm.compose import ModalityTransformer
    from skmm.compose._frames import modality_of
    from skmm.compose._kinds import Loading

    base = path.parent if args.base is None else args.base
    places = {"base_dir": base, "within": base if args.within is None else args.within}
    for option, folder in (("--base", args.base), ("--within", args.within)):
        if folder is not None and not os.path.isdir(folder):
            raise UsageError(f"{option} {folder} is no folder.")
    try:
        if chosen:
            loading = Loading(args.unreadable, **places)
            modalities = [(name, *modality_of(frame, columns, loading)) for name, columns in chosen.items()]
            return ModalityTransformer(modalities)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            transformer = ModalityTransformer.from_frame(
                frame, dict.fromkeys(extra, "drop"), errors=args.unreadable, **places
            )
    except ValueError as error:
        raise UsageError(str(error)) from error
    for warning in caught:
        print(f"skmm: {warning.message}", file=sys.stderr)
    print(f"{transformer.describe()}\n")
    return transformer


_READERS = {".npz": _read_arrays, ".csv": _read_table, ".tsv": _read_table, ".parquet": _read_table}
