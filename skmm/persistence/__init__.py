"""Files that hold a fitted model and run nothing when they are read."""

from skmm.persistence._files import load, save

__all__ = ["load", "save"]
