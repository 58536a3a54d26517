"""``skmm export``: a saved model as a file of an open format."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from skmm.cli._errors import UsageError, explained
from skmm.cli._options import add_trust


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write a saved model as an ONNX file or a program of torch",
        description="Write a model that skmm.save wrote as one file that predicts without skmm's training code: "
        "ONNX, read by skmm.load_onnx or any other runtime, or a program of torch.export.",
        epilog="examples: skmm export model.skmm model.onnx    |    skmm export model.skmm model.pt2",
    )
    parser.add_argument("model", metavar="MODEL", help="a .skmm file")
    parser.add_argument("file", metavar="FILE", help="what to write, by its ending: .onnx or .pt2")
    parser.add_argument(
        "--from-blocks",
        action="store_true",
        help="leave preprocessing of tables out: FILE reads what the ModalityTransformer makes of one",
    )
    add_trust(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    import skmm

    to_onnx = partial(skmm.to_onnx, preprocessing=not args.from_blocks)
    writers: dict[str, Callable[..., None]] = {".onnx": to_onnx, ".pt2": skmm.to_torch}
    ending = Path(args.file).suffix.lower()
    if ending not in writers:
        raise UsageError(f"{args.file} ends in {ending!r}; it must end in one of {list(writers)}.")
    with explained():
        writers[ending](skmm.load(args.model, trusted=args.trust), args.file)
    print(f"{args.file}: {os.path.getsize(args.file) / 1e6:.1f} MB")
