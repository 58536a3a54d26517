"""Progress on stderr: which part of the work is being done, how far it is, how fast, and how long it still takes.

Who starts the work says whether it is shown, with :func:`showing`. Who does a part of it says how far that is, with
:func:`progress`, and need not know.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from skmm._ranks import current

_SHOWN: ContextVar[bool] = ContextVar("skmm_progress_shown", default=False)
_DEPTH: ContextVar[int] = ContextVar("skmm_progress_depth", default=0)

_EVERY = 0.25  # seconds between two states of a bar
_LINE_EVERY = 10.0  # and between two lines, where what is written stays
_NESTED = 1.0  # seconds after which a part of a part is shown, so that nothing flickers
_LINE = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} {unit} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
_ENDLESS = "{desc}: {n_fmt} {unit} [{elapsed}, {rate_fmt}{postfix}]"


class Progress:
    """How far a part of the work is; without a ``bar`` all of it does nothing."""

    def __init__(self, bar: Any = None) -> None:
        self._bar = bar

    @property
    def shown(self) -> bool:
        """Whether anyone sees it."""
        return self._bar is not None

    def advance(self, steps: int = 1) -> None:
        """So many steps are done."""
        if self._bar is not None:
            self._bar.update(steps)

    def expect(self, steps: int) -> None:
        """So many steps are still to come, which may not have been known before."""
        if self._bar is not None:
            self._bar.total = self._bar.n + steps

    def note(self, **values: Any) -> None:
        """What is told behind the bar."""
        if self._bar is not None:
            self._bar.set_postfix(refresh=False, **values)


@contextmanager
def showing(shown: bool) -> Iterator[None]:
    """Show the progress of what is done in the block, or leave that to who called."""
    before = _SHOWN.get()
    _SHOWN.set(before or shown)
    try:
        yield
    finally:
        _SHOWN.set(before)


@contextmanager
def progress(
    name: str, total: int | None = None, unit: str = "step", *, after: float = 0.0, shown: bool = False
) -> Iterator[Progress]:
    """A part of the work, of so many steps, that is shown if who called is :func:`showing`.

    On a terminal and in a notebook it is a bar. Where what is written stays, in a log, and in processes of joblib,
    whose bars would overwrite each other, it is a line now and then.

    Parameters
    ----------
    name : str
        What is done.
    total : int or None
        Steps; None where nobody knows.
    unit : str
        What a step is.
    after : float
        Seconds for which nothing is shown: of what is mostly done before.
    shown : bool
        Show it whoever called.

    Yields
    ------
    Progress
    """
    if not (shown or _SHOWN.get()) or total == 0 or sys.stderr is None or current().rank:
        yield Progress()
        return
    depth = _DEPTH.get()
    bar = _make_bar(name, total, unit, after, depth)
    _DEPTH.set(depth + 1)
    try:
        yield Progress(bar)
    finally:
        _DEPTH.set(depth)
        bar.close()


def write_line(text: str, file: TextIO | None = None) -> None:
    """Print a line, by default to stdout, above any bars."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stdout if file is None else file)


def in_words(seconds: float) -> str:
    """A time as it is said, no more exact than it is known."""
    if seconds < 1:
        return "less than a second"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5700:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _make_bar(name: str, total: int | None, unit: str, after: float, depth: int) -> Any:
    from tqdm.auto import tqdm
    from tqdm.std import tqdm as on_terminal

    in_worker = multiprocessing.parent_process() is not None
    in_notebook = tqdm.status_printer is not on_terminal.status_printer
    how: dict[str, Any] = {"mininterval": _EVERY, "leave": depth == 0, "file": sys.stderr}
    patience = max(after, _NESTED) if depth else after
    if in_worker or not (in_notebook or sys.stderr.isatty()):
        tqdm = on_terminal
        how |= {"mininterval": _LINE_EVERY, "leave": True, "file": _Lines(sys.stderr)}
        how["bar_format"] = _ENDLESS if total is None else _LINE
        patience = _LINE_EVERY if depth or in_worker else after
    return tqdm(total=total, desc=name, unit=unit, miniters=1, delay=patience, **how)


class _Lines:
    """A stream on which each state of a bar is a line, written at once, so that no two mix."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        """Write a state without what moves the cursor."""
        state = text.replace("\x1b[A", "").strip()
        if state:
            self.stream.write(f"{state}\n")

    def flush(self) -> None:
        self.stream.flush()
