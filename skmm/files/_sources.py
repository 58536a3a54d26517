"""What a cell names or holds: the path of a file, or its content in one of several forms."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

# what a file holds, by the end of its name
_EXTENSIONS = {
    "image": (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "jp2"),
        *("avif", "heic", "heif"),
    ),
    "audio": ("wav", "flac", "ogg", "mp3", "oga", "aiff", "aif", "opus", "m4a", "aac", "mka", "weba", "wma"),
    "video": ("mp4", "mkv", "avi", "webm", "mov", "m4v", "mpg", "mpeg"),
}
KIND_OF = {extension: kind for kind, extensions in _EXTENSIONS.items() for extension in extensions}
ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://")


def extension(cell: str) -> str:
    """The end of a file's name, or of what an address names, in small letters; "" where there is none."""
    cell = cell.strip()
    path = re.split(r"[?#]", cell)[0] if ADDRESS.match(cell) else cell
    return os.path.splitext(path)[1][1:].lower()


def unpacked(item: Any) -> Any:
    """The path, content or sound in a dict of Hugging Face's data sets; any other object as it is.

    Pictures and sounds are ``{"bytes": ..., "path": ...}``, of which either may be None: without bytes the path
    counts, without both the row is missing. A sound that is decoded is ``{"array": ..., "sampling_rate": ...}``.
    """
    if not isinstance(item, Mapping):
        return item
    if item.keys() == {"bytes", "path"} or item.keys() == {"bytes"}:
        return item["bytes"] if item["bytes"] is not None else item.get("path")
    if item.keys() - {"path"} == {"array", "sampling_rate"}:
        return None if item["array"] is None else (np.asarray(item["array"]), item["sampling_rate"])
    return item


# how the files begin that base64 text is taken for
_BEGINNINGS = re.compile(
    b"|".join(
        [
            rb"\xff\xd8\xff|\x89PNG|GIF8|BM....\0\0\0\0|II\*\0|MM\0\*|P[1-6]\s|\0\0\0\x0cjP  ",  # pictures
            rb"RIFF....(WAVE|WEBP|AVI )|RIFX|fLaC|OggS|FORM....AIF[FC]|ID3|caff|RF64|riff|\.snd",  # sounds
            # MPEG frames; the third byte has a bit rate and a sample rate, neither of which is reserved
            rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][%b]" % b"".join(rb"\x%x0-\x%xb" % (n, n) for n in range(1, 15)),
            rb"....ftyp|\x1a\x45\xdf\xa3|\0\0\x01\xba",  # videos
        ]
    ),
    re.DOTALL,
)
# characters of base64 alone, more than a name without a dot has and less than any of these files
_BASE64 = re.compile(r"\s*([A-Za-z0-9+/_-]{64})")
_DATA_URL = re.compile(r"data:[\w.+/-]*(;[\w.+=-]*)*,", re.ASCII)


def is_encoded(item: Any) -> bool:
    """Whether a row is the content of a file as text: a ``data:`` URL, or base64 of a file that is known."""
    if not isinstance(item, str):
        return False
    if _DATA_URL.match(item):
        return True
    head = _BASE64.match(item)
    return head is not None and _BEGINNINGS.match(base64.b64decode(_standard(head[1][:24]))) is not None


def _standard(base64_text: str) -> str:
    """With the standard's characters, where it has those for URLs."""
    return base64_text.replace("-", "+").replace("_", "/")


def decoded(text: str) -> bytes:
    """The content that base64 text or a ``data:`` URL holds."""
    url = _DATA_URL.match(text)
    if url and not url[0].endswith(";base64,"):
        raise ValueError(f"its content is not in base64: {url[0]!r} should end in ';base64,'")
    plain = _standard("".join(text[url.end() if url else 0 :].split()))
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"its base64 is broken ({error})") from error


_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://|(file):", re.IGNORECASE)


def local_path(path: str | os.PathLike[str], base_dir: Any = None, within: Any = None) -> str:
    """Where the file of a row lies.

    Parameters
    ----------
    path : str or path
        As the row has it.
    base_dir : str or path, optional
        Folder that a relative path starts from; None is the working directory.
    within : str or path, optional
        Folder that the file must lie in, when all symbolic links are followed; None is anywhere.

    Raises
    ------
    ValueError
        If the path is an address, such as a URL, or leads out of ``within``.
    """
    given = os.fsdecode(path)
    address = _ADDRESS.match(given)
    if address:
        raise ValueError(
            f"it is an address ({address[0]}), and what stands there is not fetched; store it in files, and give "
            "their paths"
        )
    # a name such as "concat:x" is no protocol where a folder stands before it
    full = os.path.join(os.curdir if base_dir is None else os.fsdecode(base_dir), given)
    if within is None:
        return full
    real, folder = os.path.realpath(full), os.path.realpath(os.fsdecode(within))
    if os.path.commonpath([real, folder]) != folder:
        raise ValueError(
            f"it leads to {real}, outside of {folder}; if files elsewhere are to be read, name a folder that holds "
            f"them all, such as within={os.path.commonpath([real, folder])!r}"
        )
    return real  # what was looked at is what is opened


def check_folder(name: str, folder: Any) -> None:
    """Raise if a parameter is neither None nor a folder that exists."""
    if folder is not None and not (isinstance(folder, (str, os.PathLike)) and os.path.isdir(folder)):
        raise ValueError(f"{name} must be a folder that exists, or None, got {folder!r}.")
