"""Warnings at the user's line, through whatever package they came."""

from __future__ import annotations

import sys
import warnings

# what may stand between the user's line and the one that warns
_BETWEEN = {"skmm", "sklearn", "joblib", "skorch", "tqdm"}


def warn(message: str) -> None:
    """Warn at the line of the user's own code that led here."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
