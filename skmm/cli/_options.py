"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import math
import re

_UNITS = {"h": 3600, "m": 60, "s": 1}
_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(f"{value} is not positive")
    return value


positive.__name__ = "positive integer"  # what argparse calls the type in its errors


def duration(text: str) -> float:
    """Seconds of a time such as ``10m``, ``1h30m``, ``90s`` or ``90``."""
    parts = _TIME.fullmatch(text.replace(" ", "").lower())
    if not parts or not any(parts.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 10m, 1h30m, or 90 for seconds")
    seconds = sum(float(number or 0) * unit for number, unit in zip(parts.groups(), _UNITS.values(), strict=True))
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} leaves no time to train in; give more than 0 seconds")
    return seconds


def names(text: str | None) -> list[str] | None:
    """Names that commas separate."""
    return None if text is None else [name.strip() for name in text.split(",")]


def add_data(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The file, what of it is learned from, and how it is read."""
    parser.add_argument(
        "file", nargs="?" if optional else None, metavar="FILE", help="a .npz, .csv, .tsv or .parquet file"
    )
    parser.add_argument(
        "--target", required=not optional, metavar="NAME", help="column, or array of a .npz file, to predict"
    )
    add_modality(
        parser,
        "a modality and its columns (or arrays), separated by commas; once for each modality (default: of a table "
        "what its columns hold; see what is found above the result)",
    )
    parser.add_argument("--groups", metavar="NAME", help="column or array of groups that no fold may split")
    add_reading(parser)


def add_modality(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--modality", action="append", default=[], metavar="NAME=COLUMNS", help=text)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """How a table is read, and the files that it names."""
    parser.add_argument(
        "--sep",
        metavar="CHARACTER",
        help="what separates the columns of a .csv or .tsv file (default: is found out)",
    )
    parser.add_argument(
        "--encoding",
        metavar="NAME",
        help="encoding of a .csv or .tsv file (default: what its first bytes say, UTF-8, or else Windows-1252)",
    )
    parser.add_argument(
        "--base", metavar="FOLDER", help="where relative paths in a table start (default: the folder of FILE)"
    )
    parser.add_argument(
        "--within",
        metavar="FOLDER",
        help="where all files must lie that a table names, since it may come from others (default: --base)",
    )
    parser.add_argument(
        "--unreadable",
        choices=["raise", "missing"],
        default="raise",
        help="what a file that cannot be read is: an error, or a missing row (default: %(default)s)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """A saved model, and the file that it is to read."""
    parser.add_argument("model", metavar="MODEL", help="a .skmm file, as skmm fit and skmm.save write it")
    parser.add_argument("file", metavar="FILE", help="a .csv, .tsv, .parquet or .npz file with what MODEL reads")
    add_modality(
        parser,
        "of a .npz file: the arrays of a modality, once for each (default: the array of the modality's name)",
    )
    add_reading(parser)
    add_trust(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="TYPE",
        help="a type of MODEL that skmm does not trust by itself, such as mypackage.MyTransformer; may be repeated",
    )


def add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task",
        choices=["classification", "regression"],
        help="what to do with the target (default: fractions are regressed, all else is classified)",
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="random seed (default: %(default)s)")


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is no seed; give one from 0 to 2**32 - 1")
    return value


_seed.__name__ = "whole number"


def add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="write over a file that exists")
