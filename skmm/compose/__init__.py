"""From a table to blocks: one transformer per modality."""

from skmm.compose._auto import AutoModalities
from skmm.compose._flat import FlatEstimator
from skmm.compose._selector import ModalitySelector
from skmm.compose._transformer import ModalityTransformer, make_modality_transformer

__all__ = [
    "AutoModalities",
    "FlatEstimator",
    "ModalitySelector",
    "ModalityTransformer",
    "make_modality_transformer",
]
