"""Packages that only some parts of skmm need."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def import_optional(module: str, *, extra: str) -> Any:
    """Import a package that is not among the core dependencies.

    Parameters
    ----------
    module : str
        Name to import, such as ``"PIL.Image"``.
    extra : str
        The extra of skmm that installs it.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it cannot be imported, or lacks a library of the system; says how to install it.
    """
    try:
        return import_module(module)
    except (ImportError, OSError) as error:  # a package raises OSError where its library of the system is absent
        raise ImportError(
            f'the package {module.partition(".")[0]!r} cannot be imported: pip install "skmm[{extra}]" ({error})'
        ) from error
