"""``skmm list``: what there is to choose from."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("list", help="list fusions, encoders or optimizers with their parameters")
    parser.add_argument("what", choices=["fusions", "encoders", "optimizers"])
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    import skmm

    print(getattr(skmm, f"list_{args.what}")(describe=True))
