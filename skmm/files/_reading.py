"""Files that somebody else made: what goes wrong in reading one is one error, which names it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


@contextmanager
def reading(path: str, what: str) -> Iterator[None]:
    """Turn whatever is raised inside into a ValueError that names the file.

    A damaged file fails in the libraries that read it with errors of any type, and with a MemoryError where it
    says that it holds more than it does.

    Parameters
    ----------
    path : str
        The file.
    what : str
        What it is read as, for the message, such as ``"HDF5"``.

    Raises
    ------
    ValueError
        If the body raises anything but an ImportError, or an error that names the file already.
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and repr(path) in str(error):
            raise
        # what readers raise themselves is a ValueError, and a MemoryError has no text
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
        raise ValueError(f"{path!r} cannot be read as {what}: {reason.strip().rstrip('.')}.") from error


def check_regular(path: str) -> int:
    """Bytes of a file; what is no file, such as a device or a pipe, might never end.

    Raises
    ------
    OSError
        If it cannot be found.
    ValueError
        If it is no regular file.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path!r} is {'a folder' if stat.S_ISDIR(status.st_mode) else 'no regular file'}.")
    return status.st_size


class Budget:
    """Bytes that the content of one file may take: 256 MiB, or a multiple of its size if that is more.

    Parameters
    ----------
    size : int
        Of the file, in bytes.
    times : int
        By which its content may be larger.
    """

    small: ClassVar[int] = 2**28  # bytes that the content of a small file may take

    def __init__(self, size: int, times: int) -> None:
        self.most = self.left = max(self.small, times * size)

    def take(self, n_bytes: int) -> None:
        """Count bytes before they are taken.

        Raises
        ------
        ValueError
            If they are more than are left.
        """
        self.left -= n_bytes
        if self.left < 0:
            raise ValueError(
                f"its content takes {self.most - self.left:.1e} bytes or more, the most for a file of its size is "
                f"{self.most:.1e}"
            )
