"""Smaller and faster models: distilled, pruned, with weights of fewer bits."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skmm.compression._quantize import quantize

if TYPE_CHECKING:
    from skmm.compression._compare import CompressionComparison, compare_compression
    from skmm.compression._distilled import Distilled
    from skmm.compression._pruned import Pruned
    from skmm.compression._quantize_torch import quantize_weights

__all__ = ["CompressionComparison", "Distilled", "Pruned", "compare_compression", "quantize", "quantize_weights"]

# what needs torch is imported when it is asked for: a file is made smaller without
_HOME = {
    "CompressionComparison": "_compare",
    "Distilled": "_distilled",
    "Pruned": "_pruned",
    "compare_compression": "_compare",
    "quantize_weights": "_quantize_torch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'skmm.compression' has no attribute {name!r}")
    return getattr(import_module(f"skmm.compression.{_HOME[name]}"), name)
