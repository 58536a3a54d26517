"""Where torch computes: devices, its one random generator, and its threads, which a fork leaves behind."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from skmm._ranks import current

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


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside the block, and leave the caller's random state as it was; other threads wait."""
    computing()
    devices = [device] if device.type == "cuda" else []
    with _one_at_a_time, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def find_device(device: str | torch.device) -> torch.device:
    """The device by name; ``"auto"`` is a GPU where there is one."""
    local = current().local_rank
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and local is not None and torch.cuda.is_available():
        device = f"cuda:{local % torch.cuda.device_count()}"  # ranks side by side on a machine have a GPU each
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} is none: {error}") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}: no GPU can be used here; 'auto' takes one where there is one.")
    return found


def free_memory(device: torch.device) -> int:
    """Bytes that are free, and that a container's limit leaves."""
    if device.type == "cuda":  # torch keeps what was freed, for itself, which the driver takes for used
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    found = []
    with contextlib.suppress(OSError), open("/proc/meminfo") as lines:
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    with contextlib.suppress(OSError, ValueError):  # no limit reads "max"
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{what}").read_text()) for what in ("max", "current"))
        found.append(max(0, limit - used))
    if not found:
        with contextlib.suppress(AttributeError, ValueError, OSError):
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    return min(found, default=4 * 2**30)


def draw_seed(random_state: Any) -> int:
    """A seed from ``random_state``; at None one apart from numpy's global state, which is left alone."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


def draw_shared_seed(random_state: Any) -> int:
    """The same, of all ranks that fit together: what the first draws."""
    return current().first(lambda: draw_seed(random_state))
