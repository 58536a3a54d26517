"""Warnings at the user's line, through whatever package they came."""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any

# what may stand between the user's line and the one that warns
_BETWEEN = {"skmm", "sklearn", "joblib", "skorch", "tqdm"}


# whose calls fit or predict many times, once for each fold or candidate
_MANY = ("sklearn.", "skmm.model_selection")
# the last call of one of these, and what was said under it, numbers aside
_said: tuple[Any, set[str]] = (None, set())


def warn(message: str) -> None:
    """Warn at the line of the user's own code that led here, once for all folds of a call that has some."""
    global _said
    frame, level, inner = sys._getframe(), 1, None
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        frame, level, inner = frame.f_back, level + 1, frame
    if inner is not None and str(inner.f_globals.get("__name__")).startswith(_MANY):
        call = id(inner), id(frame), frame.f_lasti  # frames cannot be held: they hold all data of the call
        said = _said[1] if _said[0] == call else set()
        _said = call, said | {kind := re.sub(r"\d+", "0", message)}
        if kind in said:
            return
    else:
        _said = (None, set())
    warnings.warn(message, stacklevel=level)


def warn_of_empty(empty: Any) -> None:
    """Warn of samples to predict that have no modality at all, by an array (n_samples,) of bool."""
    if empty.any():
        warn(
            f"{empty.sum()} of {len(empty)} samples have no modality at all, the first is row {empty.argmax()}; "
            "their prediction is the one of training as a whole."
        )
