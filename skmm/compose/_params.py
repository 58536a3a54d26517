"""Parameters that reach inside of transformers, and what is said of those that are not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_ALIKE = 0.75  # of a part of a name, which is short


@contextmanager
def naming_parameters(estimator: Any, keys: Iterable[str], hint: str = "") -> Iterator[None]:
    """Say of a parameter that is to be set, and is not there, which there are; ``hint`` is what else helps.

    scikit-learn names the parameters of one transformer, and not the transformers that are inside of it.
    """
    try:
        yield
    except ValueError as error:
        known = list(estimator.get_params(deep=True))
        wrong = next((key for key in keys if key not in known), None)
        if wrong is None:  # a value was refused
            raise
        inside, valid = _level(wrong, known)
        where = f" after {inside!r}" if inside else ""
        near = _nearest(wrong, inside, valid, known)
        raise ValueError(
            f"Invalid parameter {wrong!r} of {type(estimator).__name__}; valid{where} are {valid}."
            f"{f' Did you mean {near!r}?' if near else hint}"
        ) from error


def _level(wrong: str, known: list[str]) -> tuple[str, list[str]]:
    """How far the beginning of a parameter leads, and the names that there are behind it."""
    names = wrong.split("__")[:-1]
    ends = ["__".join(names[:n]) + "__" for n in range(len(names), 0, -1)]
    inside = next((end for end in ends if end[:-2] in known), "")
    return inside, sorted({key[len(inside) :].partition("__")[0] for key in known if key.startswith(inside)})


def _nearest(wrong: str, inside: str, valid: list[str], known: list[str]) -> str | None:
    """The parameter that may be meant: of the same name further inside, or written alike."""
    if inside:
        deeper = [key for key in known if key.startswith(inside) and key.endswith(f"__{wrong.rpartition('__')[2]}")]
        if deeper:
            return deeper[0]
    if whole := difflib.get_close_matches(wrong, known, n=1):
        return whole[0]
    name, under, rest = wrong[len(inside) :].partition("__")
    part = difflib.get_close_matches(name, valid, n=1, cutoff=_ALIKE)
    return f"{inside}{part[0]}{under}{rest}" if part else None
