"""Data sets with several modalities."""

from skmm.datasets._spoken_digits import load_spoken_digits

__all__ = ["load_spoken_digits"]
