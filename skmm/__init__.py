"""Multimodal fusion networks as ordinary scikit-learn estimators."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skmm import encoders, fusion
    from skmm.blocks import Blocks, LazyTable
    from skmm.compose import (
        AutoModalities,
        FlatEstimator,
        ModalitySelector,
        ModalityTransformer,
        make_modality_transformer,
    )
    from skmm.compression import quantize
    from skmm.deployment import load_onnx, to_onnx, to_torch
    from skmm.estimators import MultimodalClassifier, MultimodalRegressor
    from skmm.model_selection import compare_fusions
    from skmm.persistence import load, save
    from skmm.reporting import report
    from skmm.spec import (
        Encoder,
        Fusion,
        Optimizer,
        list_encoders,
        list_fusions,
        list_optimizers,
        register_encoder,
        register_fusion,
    )
    from skmm.speech import SpeechRecognizer

__version__ = "0.1.0"

__all__ = [
    "AutoModalities",
    "Blocks",
    "Encoder",
    "FlatEstimator",
    "Fusion",
    "LazyTable",
    "ModalitySelector",
    "ModalityTransformer",
    "MultimodalClassifier",
    "MultimodalRegressor",
    "Optimizer",
    "SpeechRecognizer",
    "compare_fusions",
    "encoders",
    "fusion",
    "list_encoders",
    "list_fusions",
    "list_optimizers",
    "load",
    "load_onnx",
    "make_modality_transformer",
    "quantize",
    "register_encoder",
    "register_fusion",
    "report",
    "save",
    "to_onnx",
    "to_torch",
]

# Where each name lives. It is imported when it is first asked for: an exported model predicts without torch, and
# what loads it need not wait for torch either.
_HOMES = {
    "skmm.blocks": ["Blocks", "LazyTable"],
    "skmm.compose": [
        "AutoModalities",
        "FlatEstimator",
        "ModalitySelector",
        "ModalityTransformer",
        "make_modality_transformer",
    ],
    "skmm.compression": ["quantize"],
    "skmm.deployment": ["load_onnx", "to_onnx", "to_torch"],
    "skmm.estimators": ["MultimodalClassifier", "MultimodalRegressor"],
    "skmm.model_selection": ["compare_fusions"],
    "skmm.persistence": ["load", "save"],
    "skmm.reporting": ["report"],
    "skmm.spec": [
        "Encoder",
        "Fusion",
        "Optimizer",
        "list_encoders",
        "list_fusions",
        "list_optimizers",
        "register_encoder",
        "register_fusion",
    ],
    "skmm.speech": ["SpeechRecognizer"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        found = getattr(import_module(_HOME[name]), name)
    else:  # a part of the package that was not imported yet
        try:
            found = import_module(f"skmm.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"skmm.{name}":
                raise
            raise AttributeError(f"module 'skmm' has no attribute {name!r}") from None
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
