"""Multimodal fusion networks as ordinary scikit-learn estimators."""

# the families register themselves with the specs
from skmm import encoders, fusion
from skmm.blocks import Blocks
from skmm.compose import ModalityTransformer, make_modality_transformer
from skmm.compose._transformer import ModalitySelector
from skmm.estimators import MultimodalClassifier, MultimodalRegressor
from skmm.model_selection import compare_fusions
from skmm.persistence import load, save
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
    "Blocks",
    "Encoder",
    "Fusion",
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
    "make_modality_transformer",
    "register_encoder",
    "register_fusion",
    "save",
]
