"""``skmm quantize``: an exported model with weights of fewer bits."""

from __future__ import annotations

import argparse
from typing import Any

from skmm.cli._errors import explained


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("quantize", help="write an ONNX file again, with weights of fewer bits")
    parser.add_argument("source", metavar="SOURCE", help="an .onnx file that skmm export wrote")
    parser.add_argument("target", metavar="TARGET", help="what to write")
    parser.add_argument("--to", default="int8", help="int8, or float16 (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    import skmm

    with explained():
        sizes = skmm.quantize(args.source, args.target, to=args.to)["bytes"]
    print(f"{args.target}: {sizes[1] / 1e6:.2f} MB of {sizes[0] / 1e6:.2f} MB")
