"""Checks of parameters, and the errors that they raise."""

from __future__ import annotations

import difflib
import inspect
import math
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_scalar


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


def check_channels(channels: Any) -> None:
    """Refuse sizes of the layers of an encoder, one after the other, that are no whole numbers of 1 or more."""
    rows = isinstance(channels, list | tuple) or (isinstance(channels, np.ndarray) and channels.ndim == 1)
    if not rows or not all(is_whole(n) and n >= 1 for n in channels):
        raise ValueError(f"channels={channels!r} must be whole numbers of 1 or more, such as (16, 32).")


def check_width(kernel_size: Any, kept: str) -> None:
    """Refuse a width of convolutions over time that is no odd whole number; ``kept`` is what a step is called."""
    at_least_one(kernel_size=kernel_size)
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size={kernel_size} must be odd, so that every {kept} keeps its place.")


def check_declared(parameter: inspect.Parameter, value: Any) -> None:
    """Refuse a value that is not of the type that a signature declares, of switches and of numbers.

    Any word is true, "no" as well, and what is no number would be one until it is used.
    """
    name, declared = parameter.name, parameter.annotation
    declared = declared if isinstance(declared, str) else inspect.formatannotation(declared)
    kinds = {kind.strip() for kind in declared.split("|")}
    if value is None and ("None" in kinds or parameter.default is None):
        return
    if kinds <= {"bool", "None"} and not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r} must be True or False.")
    if "float" in kinds and not (isinstance(value, str) and "str" in kinds):
        if not isinstance(value, Real) or isinstance(value, bool):
            raise ValueError(f"{name}={value!r} must be a number.")
        if not math.isfinite(value):
            raise ValueError(f"{name} == {value}, must be finite.")


def divisors(size: int) -> list[int]:
    """The numbers that divide a size."""
    return [n for n in range(1, size + 1) if size % n == 0]


def check_positive(name: str, value: Any) -> None:
    """Refuse a parameter that is no whole number of 1 or more."""
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}.")


def check_above_zero(name: str, value: Any) -> None:
    """Refuse a parameter that is no finite number above 0."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < math.inf:
        raise ValueError(f"{name} must be a number above 0, got {value!r}.")


def check_finite(name: str, value: Any, **bounds: Any) -> None:
    """Refuse a parameter that is no finite number, or out of the bounds of scikit-learn's ``check_scalar``."""
    check_scalar(value, name, Real, **bounds)
    if not math.isfinite(value):
        raise ValueError(f"{name} == {value}, must be finite.")


def check_below(name: str, value: Any, high: float = math.inf, *, closed: bool = False) -> None:
    """Refuse a parameter that is no number from 0 to ``high``, which is valid itself if ``closed``."""
    if not isinstance(value, int | float | np.number) or not (0 <= value < high or (closed and value == high)):
        raise ValueError(f"{name} must be a number in [0, {high}{']' if closed else ')'}, got {value!r}.")


def check_rate(name: str, value: Any) -> None:
    """Refuse what is no share from 0 to 1."""
    if not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value!r}.")
