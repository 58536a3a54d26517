"""Fits side by side, as joblib is told to run them: here, in other processes, or on the workers of a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import scipy.sparse as sp
from joblib import parallel_config
from joblib.parallel import get_active_backend
from sklearn.utils.parallel import Parallel, delayed

from skmm._optional import import_optional


class Shared:
    """What many calls read, the attributes of an object, which tells how large it is.

    Engines put into a cluster once, and not with every call, an argument that they see to be large.
    """

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + size_of(vars(self))


def size_of(value: Any) -> int:
    """Bytes that a value takes, with what it consists of."""
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        return sys.getsizeof(value) + sum(map(size_of, value))
    if sp.issparse(value):
        return size_of(vars(value))
    # of a view Python knows nothing but its head
    return max(sys.getsizeof(value), getattr(value, "nbytes", 0) if hasattr(value, "__array_interface__") else 0)


def on_cluster() -> bool:
    """Whether joblib is told to run elsewhere, on an engine that is not its own."""
    return type(get_active_backend()[0]).__module__ != "joblib._parallel_backends"


def call_all(
    function: Callable[..., Any],
    calls: Iterable[tuple[Any, ...]],
    *,
    n_jobs: int | None,
    shared: Sequence[Any] = (),
    in_order: bool = True,
    **how: Any,
) -> Iterable[Any]:
    """What a function returns for each tuple of arguments, one by one as they end where the engine can.

    Parameters
    ----------
    function : callable
        A function of a module. On a cluster nothing in it is divided once more.
    calls : iterable of tuple
        Positional arguments of each call.
    n_jobs : int or None
    shared : sequence of object
        Arguments of several calls, by identity: each worker of a cluster has them once, from the beginning, so that
        they are there still where one of them dies.
    in_order : bool
        Whether results come in the order of the calls, or in that in which they end.
    **how
        Parameters of joblib.Parallel.

    Returns
    -------
    iterable
        A list from an engine that hands over nothing before all is done.
    """
    calls = list(calls)
    shared = list(shared) if len(calls) > 1 else []
    backend, _ = get_active_backend()
    if getattr(backend, "supports_return_generator", False):
        how["return_as"] = "generator" if in_order else "generator_unordered"
    engine = type(backend).__name__
    if engine == "DaskDistributedBackend":
        patience = backend.wait_for_workers_timeout
        how["backend"] = type(backend)(
            client=backend.client, scatter=shared, wait_for_workers_timeout=patience, **backend.submit_kwargs
        )
    elif engine == "RayBackend" and shared:
        calls = _kept_by_ray(calls, shared)
    do = _on_worker if on_cluster() else function
    before = (function,) if on_cluster() else ()
    return Parallel(n_jobs=n_jobs, **how)(delayed(do)(*before, *arguments) for arguments in calls)


def _kept_by_ray(calls: Iterable[tuple[Any, ...]], shared: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Calls with what they share in Ray's store: what Ray does so of joblib's calls it no longer knows as such."""
    ray = import_optional("ray", extra="distributed")
    kept = {id(argument): _Kept(ray.put(argument)) for argument in shared}
    return (tuple(kept.get(id(argument), argument) for argument in arguments) for arguments in calls)


class _Kept:
    """An argument in Ray's store."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference

    def get(self) -> Any:
        return import_optional("ray", extra="distributed").get(self.reference)


def _on_worker(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function on a worker, which is busy with it, as are the others with theirs."""
    with parallel_config(backend="sequential"):
        return function(*(given.get() if isinstance(given, _Kept) else given for given in arguments))
