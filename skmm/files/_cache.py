"""Vectors of pretrained models, kept in a folder that others may write to."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from pathlib import Path

import numpy as np

from skmm._warnings import warn

_DTYPE = np.dtype("<f4")
_DIGEST = hashlib.sha256


class VectorCache:
    """Vectors of one model, a file each, by the content that they were made of.

    A file holds a digest and float32 numbers, nothing that could run. It is written whole or not at all, and what
    is read is checked: an entry that is damaged, of another size, or that belongs to another key counts as absent,
    and is written anew. A folder that cannot be written to, such as on a full disk, is a warning.

    Parameters
    ----------
    folder : str or path
        Where the files are. It may be shared by models and by processes.
    model : str
        Hash of all that vectors depend on beside the content.
    dim : int
        Size of the vectors.

    Warns
    -----
    UserWarning
        Once of each object: if an entry is damaged, and if one cannot be written; then no other is tried.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skmm.files._cache import VectorCache
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = VectorCache(folder, "model", dim=2)
    ...     cache.write("content", np.array([1.5, -2.0]))
    ...     cache.read("content"), cache.read("other")
    (array([ 1.5, -2. ], dtype=float32), None)
    """

    def __init__(self, folder: str | os.PathLike[str], model: str, dim: int) -> None:
        self.model, self.dim = model, dim
        self.folder = Path(folder) / _DIGEST(f"{model} {dim}".encode()).hexdigest()[:32]
        self.writes = True
        self.warned = False

    def _file(self, content: str) -> Path:
        return self.folder / f"{_DIGEST(content.encode()).hexdigest()}.vector"

    def _digest(self, content: str, numbers: bytes) -> bytes:
        return _DIGEST(f"{self.model} {self.dim} {content} ".encode() + numbers).digest()

    def read(self, content: str) -> np.ndarray | None:
        """The vector of a content, by its hash; None if there is none that can be trusted to be whole."""
        file = self._file(content)
        n_bytes = self.dim * _DTYPE.itemsize
        try:
            status = file.lstat()  # neither a pipe, which would be waited for, nor a link to elsewhere
            if not stat.S_ISREG(status.st_mode) or status.st_size != _DIGEST().digest_size + n_bytes:
                self._warn_of(file)
                return None
            stored = file.read_bytes()
        except OSError:
            return None
        digest, numbers = stored[:-n_bytes], stored[-n_bytes:]
        vector = np.frombuffer(numbers, _DTYPE).astype(np.float32)
        if digest != self._digest(content, numbers) or not np.isfinite(vector).all():
            self._warn_of(file)
            return None
        return vector

    def _warn_of(self, file: Path) -> None:
        if not self.warned:
            self.warned = True
            warn(f"the cached vector {os.fspath(file)!r} is damaged, and is computed anew.")

    def write(self, content: str, vector: np.ndarray) -> None:
        """Keep a vector of shape (dim,), unless it is not finite."""
        if not self.writes or not np.isfinite(vector).all():
            return
        numbers = np.asarray(vector, dtype=_DTYPE).tobytes()
        file = self._file(content)
        part = self.folder / f"{secrets.token_hex(16)}.part"  # a name that nobody can have put a link at
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("xb") as stream:
                    stream.write(self._digest(content, numbers) + numbers)
                part.replace(file)  # whole or not at all: another process may be reading
            except BaseException:
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)
                raise
        except OSError as error:
            self.writes = False
            warn(
                f"vectors cannot be kept in {os.fspath(self.folder)!r} ({error.strerror or error}); they are "
                "computed anew each time."
            )
