"""Files of other people's servers: downloaded once, whole, and checked each time that they are read."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import secrets
import ssl
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from skmm._checks import at_least, check_below, unknown
from skmm._warnings import warn

MIB = 1 << 20
TIMEOUT = 60  # seconds without a byte after which a server is given up
SUBSETS = ("all", "train", "test")
# what may be over in a minute: no answer, an answer that ends in the middle, a server that is busy
_PASSING = (URLError, TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException)
_BUSY = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set.

    Parameters
    ----------
    name : str
        What it is called in the folder of its set.
    max_bytes : int
        A longer file is another one, and its download ends there.
    url : str, default=None
        Where it is; None where no program can fetch it.
    sha256 : str, default=None
        Its digest. With None the first copy is trusted: its digest is written to ``name + ".sha256"`` beside it.
    page : str, default=None
        Where people find it.
    """

    name: str
    max_bytes: int
    url: str | None = None
    sha256: str | None = None
    page: str | None = None

    @property
    def advice(self) -> str:
        """What a person downloads who has a network elsewhere."""
        if self.url is None:
            return f"{self.name} of {self.page}"
        return self.url if self.page is None else f"{self.url} (or {self.name} of {self.page})"


@dataclass(frozen=True)
class Fetching:
    """How files are fetched: the parameters that all ``fetch_*`` share.

    Parameters
    ----------
    data_home : str or path, default=None
        Folder that holds one folder per set, as in :func:`get_data_home`.
    download_if_missing : bool, default=True
        Whether to download what is not there, instead of raising an error.
    n_retries : int, default=3
        Further tries where the network fails.
    delay : float, default=1.0
        Seconds between them.
    """

    data_home: str | os.PathLike[str] | None = None
    download_if_missing: bool = True
    n_retries: int = 3
    delay: float = 1.0

    def __post_init__(self) -> None:
        at_least(0, n_retries=self.n_retries)
        check_below("delay", self.delay)

    def path(self, folder: str, remote: RemoteFile) -> Path:
        """Where a file of a set lies, downloaded if need be, and what it should be.

        Raises
        ------
        FileNotFoundError
            If it is not there and may not, or cannot, be downloaded by a program.
        OSError
            If the folder cannot be made or written to, if the download fails, or if the file is another one than
            it should be.
        """
        path = Path(get_data_home(self.data_home)) / folder / remote.name
        make_folder(path.parent)
        recorded = path.with_name(path.name + ".sha256")
        if remote.sha256 is None and recorded.exists():
            remote = replace(remote, sha256=recorded.read_text().partition(" ")[0].strip())
        if path.exists():
            digest = sha256_of(path)
            if remote.sha256 not in (None, digest):
                raise OSError(
                    f"{str(path)!r} has the SHA-256 {digest}, expected {remote.sha256}: it is damaged, or another "
                    f"version than {remote.advice}. Delete it{_or_record(recorded)}."
                )
        elif not self.download_if_missing or remote.url is None:
            why = "no program can download it" if remote.url is None else "download_if_missing=False"
            raise FileNotFoundError(
                f"there is no file {str(path)!r}, and {why}: download {remote.advice} and put it there, or name "
                "the folder that holds it by data_home."
            )
        else:
            digest = self._download(remote, path, recorded)
        if remote.sha256 is None:
            # a folder that is only read keeps its files by itself
            with suppress(OSError), _whole_or_not_at_all(recorded) as part:
                part.write_text(f"{digest}  {path.name}\n")  # what sha256sum -c reads
        return path

    def _download(self, remote: RemoteFile, path: Path, recorded: Path) -> str:
        url = str(remote.url)
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"url={url!r} must begin with https:// or http://.")
        with _whole_or_not_at_all(path) as part:
            digest = self._tries(remote, part, path)
            if remote.sha256 not in (None, digest):
                raise OSError(
                    f"what {url} answered has the SHA-256 {digest}, expected {remote.sha256}: it is another file, "
                    f"such as a page that asks to log in, or another version. Nothing was kept"
                    f"{_or_record(recorded)}."
                )
        return digest

    def _tries(self, remote: RemoteFile, part: Path, path: Path) -> str:
        url = str(remote.url)
        for left in range(self.n_retries, -1, -1):
            try:
                return _receive(url, part, remote.max_bytes)
            except _PASSING as error:
                for_good = isinstance(error, HTTPError) and error.code not in _BUSY
                if for_good or not left:
                    raise OSError(
                        f"{url} could not be downloaded: {_reason(error)}. Without a network, or where a browser "
                        f"gets it, download {remote.advice} and put it at {str(path)!r}."
                    ) from error
                warn(f"{url}: {_reason(error)}; trying again, {left} more time{'s' if left > 1 else ''}.")
                time.sleep(self.delay)
        raise AssertionError("the last try returns or raises")


def get_data_home(data_home: str | os.PathLike[str] | None = None) -> str:
    """Return the folder that downloaded data sets are kept in, and make it if it is not there.

    Parameters
    ----------
    data_home : str or path, default=None
        The folder. None is the one that the environment variable ``SKMM_DATA_HOME`` names, or ``~/skmm_data``.

    Returns
    -------
    str
        The folder, ``~`` expanded.

    Raises
    ------
    OSError
        If it cannot be made; says how to choose another.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skmm.datasets import get_data_home
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     home = get_data_home(Path(folder) / "sets")
    ...     Path(home).is_dir()
    True
    """
    chosen = os.environ.get("SKMM_DATA_HOME") or "~/skmm_data" if data_home is None else data_home
    folder = Path(chosen).expanduser()
    make_folder(folder)
    return str(folder)


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there, with an error that says how to choose another."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def members(path: Path, pattern: str, max_bytes: int) -> Iterator[tuple[re.Match[str], bytes]]:
    """The members of a zip archive whose whole name matches, in order of their names.

    They are read into memory: nothing is unpacked, so that a name such as ``../../x`` leads nowhere.

    Raises
    ------
    ValueError
        If nothing matches, or if what does takes more than ``max_bytes`` together.
    """
    with zipfile.ZipFile(path) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.filename)
        found = [(match, info) for info in infos if (match := re.fullmatch(pattern, info.filename))]
        if not found:
            names = [info.filename for info in infos[:3]]
            raise ValueError(f"none of its {len(infos)} members is called {pattern}; the first are {names}.")
        total = sum(info.file_size for _, info in found)
        if total > max_bytes:
            raise ValueError(f"its members take {total} bytes unpacked, where {max_bytes} are the limit.")
        for match, info in found:
            yield match, archive.read(info)  # at most as much as it announced, and its checksum is checked


def check_subset(subset: str) -> None:
    """Refuse a subset that is none."""
    if subset not in SUBSETS:
        raise unknown("subset", subset, SUBSETS)


def sha256_of(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` if the body ends, and vanishes if it is left by an error.

    Its name is its own, so that two processes that download the same file do not meet.
    """
    part = path.with_name(f"{path.name}.part-{secrets.token_hex(8)}")
    try:
        try:
            part.touch(exist_ok=False)
        except OSError as error:
            raise _unwritable(path.parent, error) from error
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _receive(url: str, part: Path, max_bytes: int) -> str:
    """Write what a server answers to a file, from its beginning; the digest."""
    from tqdm.auto import tqdm

    digest, received = hashlib.sha256(), 0
    request = Request(url, headers={"User-Agent": "skmm"})
    with urlopen(request, timeout=TIMEOUT) as answer, open(part, "wb") as file:
        announced = answer.headers.get("Content-Length")
        size = int(announced) if announced is not None and announced.isdecimal() else None
        if size is not None and size > max_bytes:
            raise OSError(f"{url} announces {size} bytes, where at most {max_bytes} are expected: another file.")
        # shown where it takes more than two seconds
        with tqdm(total=size, desc=part.name.partition(".part-")[0], unit="B", unit_scale=True, delay=2) as bar:
            while chunk := answer.read(MIB):
                received += len(chunk)
                if received > max_bytes:
                    raise OSError(f"{url} sends more than the {max_bytes} bytes that are expected: another file.")
                digest.update(chunk)
                file.write(chunk)
                bar.update(len(chunk))
    if size is not None and received != size:
        raise URLError(f"it ended after {received} of {size} bytes")
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, HTTPError):
        return f"the server answers {error.code} {error.reason}"
    return str(error.reason if isinstance(error, URLError) else error or type(error).__name__)


def _unwritable(folder: Path, error: OSError) -> OSError:
    return OSError(
        f"the folder {str(folder)!r} cannot be written to ({error.strerror or error}): choose another by "
        "data_home, or by the environment variable SKMM_DATA_HOME."
    )


def _or_record(recorded: Path) -> str:
    """What else to delete, where a digest was recorded by the first download."""
    return f", and {recorded.name!r} beside it if the new version is to be trusted" if recorded.exists() else ""
