"""Smaller and faster models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skmm.compression._pruned import Pruned

__all__ = ["Pruned"]

# what needs torch is imported when it is asked for
_HOME = {"Pruned": "_pruned"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'skmm.compression' has no attribute {name!r}")
    return getattr(import_module(f"skmm.compression.{_HOME[name]}"), name)
