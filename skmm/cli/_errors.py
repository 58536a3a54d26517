"""What the command says no to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(Exception):
    """What the user gave cannot be used; the message says why."""


@contextmanager
def explained() -> Iterator[None]:
    """Errors that the package raises of what it was given are said with their notes, without a traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise UsageError("\n".join([str(error), *getattr(error, "__notes__", [])])) from error
