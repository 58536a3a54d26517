"""What a fitted estimator is outside of Python: one module, files in open formats, and what predicts from them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skmm.deployment._onnx_model import OnnxClassifier, OnnxModel, OnnxRecognizer, OnnxRegressor, load_onnx

if TYPE_CHECKING:
    from skmm.deployment._export import to_onnx, to_torch
    from skmm.deployment._module import DeployedModule

__all__ = [
    "DeployedModule",
    "OnnxClassifier",
    "OnnxModel",
    "OnnxRecognizer",
    "OnnxRegressor",
    "load_onnx",
    "to_onnx",
    "to_torch",
]

# what needs torch is imported when it is asked for: predicting from a file does not
_HOME = {"DeployedModule": "_module", "to_onnx": "_export", "to_torch": "_export"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'skmm.deployment' has no attribute {name!r}")
    return getattr(import_module(f"skmm.deployment.{_HOME[name]}"), name)
