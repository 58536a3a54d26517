"""How training ends before its last epoch: skorch knows a KeyboardInterrupt alone, Ctrl-C must be told from it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class EndOfTraining(KeyboardInterrupt):
    """How a callback ends training."""


@contextlib.contextmanager
def noting_ctrl_c() -> Iterator[list[int]]:
    """Note in the list that is given whether Ctrl-C was pressed in the block; it raises as it always does.

    Only the main thread is ever interrupted. A handler of the user's own is left alone.
    """
    noted: list[int] = []

    def handler(number: int, frame: Any) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    watched = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if watched:
        signal.signal(signal.SIGINT, handler)
    try:
        yield noted
    finally:
        if watched and signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
