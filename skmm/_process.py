"""What a process has one of: torch's random numbers, and the threads it computes in, which a fork leaves behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# torch has one random generator for all threads: of two that draw at once neither would be reproducible
_one_at_a_time = threading.RLock()
_computed = False


def computing() -> None:
    """Note that torch computes in this process, maybe in several threads."""
    global _computed
    _computed = True


def _after_fork() -> None:
    """In the child: whoever held the lock is not here to give it back, and neither are the parent's threads.

    OpenMP would wait for them for ever; in one thread it does not ask for any.
    """
    global _one_at_a_time
    _one_at_a_time = threading.RLock()
    if _computed and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside the block, and leave the caller's random state as it was; other threads wait."""
    computing()
    devices = [device] if device.type == "cuda" else []
    with _one_at_a_time, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
