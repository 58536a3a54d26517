"""Warnings at the user's line, through whatever package they came."""

from __future__ import annotations

import re
import sys
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sklearn

from skmm._ranks import current

# what may stand between the user's line and the one that warns
_BETWEEN = {"skmm", "sklearn", "joblib", "skorch", "tqdm"}
# where folds are fitted and scored
_FOLDS = {
    "sklearn.model_selection._validation",
    "skmm.model_selection._folds",
    "skmm.model_selection._search_tasks",
}


# what runs the fits of a cross-validation, while it does, and what was said under it, numbers aside
_running: weakref.ref[Any] | None = None
_said: set[str] = set()
_block: set[str] | None = None  # the same of a block that says each warning once


@contextmanager
def once() -> Iterator[None]:
    """In the block each warning comes once, of the first rows that it is about."""
    global _block
    before, _block = _block, set()
    try:
        yield
    finally:
        _block = before


def warn(message: str, about: str | None = None) -> None:
    """Warn at the line of the user's own code that led here, once for all folds that run there.

    Two warnings are one where they are ``about`` the same, by default where they differ in numbers alone.
    """
    global _running, _said
    if current().rank:  # what it would say, the first rank says
        return
    level, runner = 1, None
    for name, frame in _between():
        if frame.f_code.co_name == "__call__" and name == "joblib.parallel":
            runner = frame.f_locals["self"]  # the outermost is that of the user's call, and ends with it
        level += 1
    if _block is None and runner is not None and (_running is None or _running() is not runner):
        _running, _said = weakref.ref(runner), set()
    said = _said if _block is None else _block
    if _block is not None or runner is not None:
        kind = re.sub(r"\d+", "0", message) if about is None else about
        if kind in said:
            return
        said.add(kind)
    warnings.warn(message, stacklevel=level)


def in_folds() -> bool:
    """Whether a fold of a cross-validation, search or comparison is fitted or scored here."""
    return any(name in _FOLDS for name, _ in _between())


def warn_of_forgotten_groups() -> None:
    """Warn of a fit without groups in a cross-validation or search whose folds are divided by groups.

    Not with metadata routing, where whoever gives groups has said who is to get them.
    """
    if sklearn.get_config()["enable_metadata_routing"]:
        return
    for name, frame in _between():
        if name.startswith(("sklearn.model_selection.", "skmm.model_selection.")):
            splitter = getattr(frame.f_locals.get("routed_params"), "splitter", {})
            if splitter.get("split", {}).get("groups") is not None:
                warn(
                    "the folds of the cross-validation are divided by groups, and fit is not given them: what its "
                    "members leave out, for the stack, has others of the same group in training. Give them to fit "
                    "too: cross_validate(..., groups=groups, params={'groups': groups}); in a search, "
                    "sklearn.set_config(enable_metadata_routing=True) and "
                    "estimator.set_fit_request(groups=True)."
                )
                return


def _between() -> Iterator[tuple[str, Any]]:
    """Modules and frames from the caller's up to the user's line, without that."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None:
        name = str(frame.f_globals.get("__name__"))
        if name.partition(".")[0] not in _BETWEEN:
            return
        yield name, frame
        frame = frame.f_back


def warn_of_empty(empty: Any) -> None:
    """Warn of samples to predict that have no modality at all, by an array (n_samples,) of bool."""
    if empty.any():
        warn(
            f"{empty.sum()} of {len(empty)} samples have no modality at all, the first is row {empty.argmax()}; "
            "their prediction is the one of training as a whole."
        )
