"""Checks of parameters, and the errors that they raise."""

from __future__ import annotations

import difflib
import math
from numbers import Integral, Real
from typing import Any


def unknown(what: str, value: Any, valid: Any) -> ValueError:
    """Error for a name that is not among the valid ones: quotes it, lists them, suggests the nearest."""
    names = [str(v) for v in valid]
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {what} {value!r}, valid are {names}.{hint}")


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number by its type: not 2.0, and not True."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def at_least(least: int, **values: Any) -> None:
    """Refuse hyperparameters that are no whole numbers of ``least`` or more, by name."""
    for name, value in values.items():
        if not is_whole(value) or value < least:
            raise ValueError(f"{name}={value!r} must be at least {least}, a whole number.")


def at_least_one(**values: Any) -> None:
    """Refuse sizes, ranks and numbers of layers that are no whole numbers of 1 or more, by name."""
    at_least(1, **values)


def divisors(size: int) -> list[int]:
    """The numbers that divide a size."""
    return [n for n in range(1, size + 1) if size % n == 0]


def check_positive(name: str, value: Any) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}.")


def check_real(name: str, value: Any) -> None:
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < math.inf:
        raise ValueError(f"{name} must be a number above 0, got {value!r}.")
