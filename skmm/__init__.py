"""Multimodal fusion networks as ordinary scikit-learn estimators."""

from skmm.blocks import Blocks

__all__ = ["Blocks"]
