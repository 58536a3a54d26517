"""Packages that only some parts of skmm need."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")  # of a requirement, after its semicolon
_OWN = re.compile(r"skmm\[([\w,-]+)\]")  # an extra that takes in others


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
            f"the package {module.partition('.')[0]!r} cannot be imported: {how_to_install(extra)} ({error})"
        ) from error


def how_to_install(extra: str) -> str:
    """The command that installs what an extra names, into the environment that runs, from wherever it is typed.

    It names the packages: skmm itself may have been installed from a folder, where pip does not look again.
    """
    try:
        packages = _packages(extra, requires("skmm") or [])
    except PackageNotFoundError:  # its source is on the path, and not installed
        packages = []
    pip = f"{shlex.quote(sys.executable)} -m pip" if sys.executable else "pip"
    if packages:
        return f"{pip} install {' '.join(f'{chr(34)}{name}{chr(34)}' for name in packages)} (for skmm[{extra}])"
    return f'{pip} install ".[{extra}]" in the folder of skmm (for skmm[{extra}])'


def _packages(extra: str, requirements: list[str]) -> list[str]:
    """The packages of an extra, and of those that it takes in, with their least versions."""
    found: list[str] = []
    for requirement in requirements:
        package, _, marker = (part.strip() for part in requirement.partition(";"))
        if extra not in _EXTRA.findall(marker):
            continue
        own = _OWN.fullmatch(package)
        inner = [name for part in own[1].split(",") for name in _packages(part, requirements)] if own else [package]
        found += [name for name in inner if name not in found]
    return found
