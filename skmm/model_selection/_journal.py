"""What of a search or a comparison is finished, on disk line by line: one that was killed does not repeat it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skmm._warnings import warn
from skmm.training._identity import digest_of, versions

_FORMAT = 1
_BEGINNING = b'{"journal":'


class Journal:
    """Finished fits in a file, a line for what was finished at once; several processes may add to it.

    Parameters
    ----------
    path : path
        The file, which is made where there is none.
    parts : mapping of str to object
        What makes up the whole, by the names under which a message knows it; the content of each is compared.

    Attributes
    ----------
    done : dict
        What the file had when it was opened, by key.

    Raises
    ------
    ValueError
        If the file is another's, of another version, or no journal.
    """

    def __init__(self, path: Any, parts: Mapping[str, Any]) -> None:
        self.path = Path(path)
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise ValueError(f"journal={str(path)!r} must be a file in a folder that there is.")
        self.identity = {name: digest_of(part) for name, part in parts.items()}
        self.done: dict[Any, Any] = {}
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if not whole and content.startswith(_BEGINNING[: len(content)]):
            self._begin()  # nothing there, or killed in its first line
            self._number = self.path.stat().st_ino
            return
        first, *lines = whole.splitlines() or [b""]
        self._check(first)
        self._number = self.path.stat().st_ino
        if len(whole) < len(content):  # the last line is cut: killed while it was written
            os.truncate(self.path, len(whole))
        self._read(lines)

    def add(self, finished: Iterable[tuple[Hashable, Any]]) -> None:
        """Write down what was finished at once, by key: after a kill all of it is there or nothing.

        Raises
        ------
        FileNotFoundError
            If the file is not the one that was opened, or there is none: on a worker that has a disk of its own.
        """
        if not self.path.exists() or self.path.stat().st_ino != self._number:
            raise FileNotFoundError(errno.ENOENT, "the journal is not here", str(self.path))
        self._append({"done": list(finished)})

    def _begin(self) -> None:
        if self.path.exists():
            os.truncate(self.path, 0)
        self._append({"journal": _FORMAT, "versions": versions(), "identity": self.identity})

    def _append(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, default=_plain).encode() + b"\n"  # floats as what reads back to the same bits
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            if os.write(file, line) < len(line):  # at once, so that no other process writes into it
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(file)
        finally:
            os.close(file)

    def _check(self, first: bytes) -> None:
        """Refuse what is no journal of this search, and say what differs."""
        head = _parsed(first)
        if not isinstance(head, dict) or "journal" not in head:
            raise ValueError(f"journal={str(self.path)!r} is a file that holds something else; name another.")
        if head["journal"] != _FORMAT:
            raise ValueError(
                f"journal={str(self.path)!r} is of format {head['journal']!r}, this version reads {_FORMAT}; go on "
                "with the version that wrote it, or name another file."
            )
        there, before = head["identity"], head["versions"]
        differs = [f"the {name}" for name in self.identity if there.get(name) != self.identity[name]]
        differs += [
            f"the version of {name} ({before.get(name)} there, {version} here)"
            for name, version in versions().items()
            if before.get(name) != version
        ]
        if differs:
            raise ValueError(
                f"journal={str(self.path)!r} is another's; what differs: {'; '.join(differs)}. Name another file, "
                "or delete this one to begin anew."
            )

    def _read(self, lines: list[bytes]) -> None:
        broken = 0
        for line in lines:
            entry = _parsed(line)
            if not isinstance(entry, dict) or "done" not in entry:
                broken += 1
                continue
            self.done |= {tuple(key): value for key, value in entry["done"]}
        if broken:
            warn(f"{broken} lines of the journal {str(self.path)!r} cannot be read; their fits are repeated.")


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _plain(value: Any) -> Any:
    """A number of numpy's as one of Python's of the same value."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a journal holds numbers, a score is {value!r}.")
