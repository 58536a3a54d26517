"""What every fit, and every file that is written, keeps to: it succeeds, or all stays as it was."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def all_or_nothing(estimator: Any, undo: Callable[[], None] | None = None) -> Iterator[None]:
    """Of what the block does to an estimator all or, where it raises, nothing: Ctrl-C included.

    Attributes that are assigned in the block are those of before again. What is changed in place is not known here:
    copy it first, or say by ``undo`` how to bring it back.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        estimator.__dict__ = before
        if undo is not None:
            undo()
        raise


def forget_fit(estimator: Any) -> None:
    """Drop what an earlier fit left, so that nothing of it stands beside what a new one finds."""
    for name in [name for name in vars(estimator) if name.endswith("_") and not name.startswith("__")]:
        delattr(estimator, name)


def write_whole(file: Path, content: bytes | memoryview) -> None:
    """Put a file in the place of another, whole or not at all."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}.part")  # a name that nobody can have put a link at
    try:
        with part.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
