"""What tells one fit from another: digests of parameters, samples and weights, the same in every process."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any

import joblib
import numpy as np
import sklearn
import torch

from skmm.blocks._kinds import LazyRows

_LONGEST_REPR = 60
# attributes that change no number of a result
_NO_MATTER = frozenset({"n_jobs", "verbose", "warned_of"})


def digest_of(*values: Any) -> str:
    """The same for equal content, in any process; of a lazily read block its rows' numbers and both ends count."""
    found = hashlib.sha256()
    _feed(found, values, ())
    return found.hexdigest()


def _feed(found: Any, value: Any, above: tuple[int, ...]) -> None:
    """Take up a value inside of those ``above`` it, by whose ids a circle is known."""
    if id(value) in above:
        found.update(b"circle")
        return
    above = (*above, id(value))
    found.update(type(value).__name__.encode() + b"(")
    parts = _parts(value)
    for part in parts if isinstance(parts, list) else []:
        _feed(found, part, above)
    if isinstance(parts, bytes | memoryview):
        found.update(parts)
    found.update(b")")


def _parts(value: Any) -> list[Any] | bytes | memoryview:
    """What a value consists of, or its content where it has no parts."""
    if isinstance(value, bytes | memoryview):
        return value
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value).encode("utf-8", "backslashreplace")
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return [str(value.dtype), tuple(value.shape), flat.numpy().data]
    if isinstance(value, np.ndarray):
        content: Any = value.ravel().tolist()
        if value.dtype.kind != "O":
            content = np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
        return [str(value.dtype), value.shape, content]
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, LazyRows):  # to read all of it would take as long as an epoch
        ends = np.unique([0, max(0, len(value) - 1)])[: len(value)]
        return [value.shape, str(value.dtype), value.rows, *value.read(ends)]
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}".encode()
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if getattr(value, "__dict__", None) and not hasattr(value, "to_numpy"):  # which a package's tables have
        return [{name: part for name, part in vars(value).items() if name not in _NO_MATTER}]
    try:
        return joblib.hash(value).encode()
    except Exception:  # whatever an object's own pickling raises: its type alone is known then
        return b""


def shown(value: Any) -> str:
    """A value as a message quotes it."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST_REPR else text[: _LONGEST_REPR - 3] + "..."


def versions() -> dict[str, str]:
    """Of what computes, since another version may do it in another way."""
    found = {"torch": str(torch.__version__), "numpy": np.__version__, "scikit-learn": sklearn.__version__}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # run from its sources
        found["skmm"] = importlib.metadata.version("skmm")
    return found
