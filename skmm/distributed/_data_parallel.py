"""Fits inside of a group of processes."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from numbers import Real
from typing import Any

import torch
from sklearn.utils import check_scalar

from skmm._checks import unknown
from skmm._ranks import ALONE, GroupRanks, Ranks, check_together, current, using

_PARALLEL = ("rows", "members")
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun and accelerate launch set


@contextlib.contextmanager
def data_parallel(parallel: str = "rows", *, backend: str | None = None, timeout: float = 600.0) -> Iterator[Ranks]:
    """Let all processes that run this block fit each estimator in it together.

    Under ``torchrun`` or ``accelerate launch`` every process, a rank, runs the same script on the same samples, and
    ends with the same estimator. Passes over the samples are divided: scaling, training, early stopping, what
    members say of what they left out, and the fits of experts. In one process without a launcher the block does
    nothing, so that a script runs either way.

    Predictions are not divided: each rank predicts what it is given.

    Parameters
    ----------
    parallel : {"rows", "members"}, default="rows"
        What is divided in training. Of ``"rows"`` each rank has its share of every batch, and gradients are summed
        in one exchange a step: the same steps as one process makes, whatever their number. Of ``"members"`` each
        rank trains its own, without any exchange until all are trained: for many members, or slow networks between
        machines.
    backend : str, optional
        Of ``torch.distributed``; by default gloo for tensors on CPUs and, where there is a GPU, nccl for those on
        GPUs. A group that there is already is taken as it is.
    timeout : float, default=600.0
        Seconds after which a rank that waits for another in vain ends with an error; of the first such block in a
        process, whose group the later ones use.

    Yields
    ------
    ranks : object
        With ``rank``, the number of this process from 0, and ``world_size``, how many there are.

    Raises
    ------
    ValueError
        If a parameter is none of these, or, in ``fit``, if the ranks' samples or parameters differ: on every rank,
        before the first step.
    RuntimeError
        If the launcher's variables are incomplete, or, in ``fit``, if another rank ended or did not answer.

    Notes
    -----
    Without randomness in training, at ``dropout=0``, the result is that of one process up to rounding. With it each
    rank draws its own.

    One device must hold the network: there is no sharding of weights.

    References
    ----------
    Li et al. 2020, PyTorch Distributed: experiences on accelerating data parallel training.

    Examples
    --------
    In ``train.py``, started by ``torchrun --nproc-per-node 2 train.py``:

    >>> import numpy as np
    >>> from skmm import MultimodalClassifier
    >>> from skmm.distributed import data_parallel
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=60)
    >>> X = {"a": rng.normal(size=(60, 4)) + y[:, None], "b": rng.normal(size=(60, 3))}
    >>> clf = MultimodalClassifier(max_epochs=2, n_members=2, experts=None, random_state=0)
    >>> with data_parallel() as ranks:
    ...     clf = clf.fit(X, y)
    ...     if ranks.rank == 0:  # the others have the same
    ...         print(clf.predict(X).shape)
    (60,)
    """
    if parallel not in _PARALLEL:
        raise unknown("parallel", parallel, _PARALLEL)
    check_scalar(timeout, "timeout", Real, min_val=0, include_boundaries="neither")
    if current() is not ALONE:
        raise RuntimeError("data_parallel is entered already; leave the inner one out.")
    check_together()
    import torch.distributed as dist

    there = dist.is_available() and dist.is_initialized()
    if not there and "WORLD_SIZE" not in os.environ and "RANK" not in os.environ:
        yield ALONE
        return
    local = os.environ.get("LOCAL_RANK")
    local_rank = None if local is None else int(local)
    if not there:
        _start(dist, backend, timeout, local_rank)
    ranks = GroupRanks(local_rank, timeout, members=parallel == "members")
    with using(ranks if ranks.world_size > 1 else ALONE):
        yield ranks


def _start(dist: Any, backend: str | None, timeout: float, local_rank: int | None) -> None:
    """Join the group of the launcher."""
    lacking = [name for name in _NEEDED if name not in os.environ]
    if lacking:
        raise RuntimeError(
            f"the environment has WORLD_SIZE or RANK, but not {', '.join(lacking)}: start the script by torchrun "
            "--nproc-per-node N script.py, or accelerate launch script.py."
        )
    gpus = torch.cuda.is_available()
    if gpus and local_rank is not None:
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    chosen = backend or ("cpu:gloo,cuda:nccl" if gpus else "gloo")
    try:
        dist.init_process_group(chosen, timeout=timedelta(seconds=timeout))
    except (RuntimeError, ValueError) as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RuntimeError(
            f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} found no group at {address} within "
            f"{timeout:g} s, with backend={chosen!r}: {str(error).splitlines()[0]}"
        ) from error
    # not at the end of the block: where another follows, some ranks would meet the others' old group
    atexit.register(_leave, dist)


def _leave(dist: Any) -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
