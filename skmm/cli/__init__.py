"""The command ``skmm``: a file of data to a comparison, a model, predictions and their scores.

Each file holds one command: ``add_parser`` its options, ``run`` what it does. What a command needs is imported when
it runs, so that ``--help`` does not wait for torch.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from skmm.cli import compare, evaluate, export, fit, listing, predict, quantize, report
from skmm.cli._errors import UsageError

_COMMANDS = (compare, fit, predict, evaluate, report, export, quantize, listing)
_INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skmm",
        description="Multimodal fusion networks as ordinary scikit-learn estimators.",
        epilog="from a table to predictions: skmm fit films.csv --target genre --out model.skmm, then "
        "skmm predict model.skmm new.csv --out predictions.csv",
    )
    parser.add_argument("--version", action="version", version=f"skmm {version('skmm')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def _tell(message: Warning | str, *place: Any, **where: Any) -> None:
    """A warning without the line of code: it is not the user's."""
    print(f"skmm: {message}", file=sys.stderr)


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
            warnings.showwarning = _tell
            args.run(args)
    except UsageError as error:
        print(f"skmm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print("\n".join(["skmm: interrupted.", *getattr(error, "__notes__", [])]), file=sys.stderr)
        return _INTERRUPTED
    return 0
