"""Warnings at the user's line, through whatever package they came."""

from __future__ import annotations

import sys
import warnings
from typing import Any

# what may stand between the user's line and the one that warns
_BETWEEN = {"skmm", "sklearn", "joblib", "skorch", "tqdm"}


def warn(message: str) -> None:
    """Warn at the line of the user's own code that led here."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def warn_of_empty(empty: Any) -> None:
    """Warn of samples to predict that have no modality at all, by an array (n_samples,) of bool."""
    if empty.any():
        warn(
            f"{empty.sum()} of {len(empty)} samples have no modality at all, the first is row {empty.argmax()}; "
            "their prediction is the one of training as a whole."
        )
