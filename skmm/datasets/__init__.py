"""Data sets with several modalities."""

from skmm.datasets._generated import make_multimodal_classification, make_multimodal_regression
from skmm.datasets._spoken_digits import load_spoken_digits

__all__ = ["load_spoken_digits", "make_multimodal_classification", "make_multimodal_regression"]
