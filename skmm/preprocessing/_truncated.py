"""Audio files that end before they should, which libsndfile reads as shorter ones."""

from __future__ import annotations

import io
import re
from typing import Any

# what the formats call the size of their samples: WAV, CAF; AIFF; AU; SVX; and of the whole file: RF64; W64
_SIZES = re.compile(r"^ *(?:data|SSND|Data Size|BODY|Riff size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
# what writers put there who do not know the size yet, such as a pipe: 0xFFFFFFFF, 0x80000000 or a little less
_UNKNOWN_SIZE = 2**31 - 2**12
_OGG_HEADER, _OGG_PAGE = 27, 65307  # bytes of a page's header without its table of segments, and of all at most


def check_whole(file: Any, source: str | io.BytesIO, n_wanted: int, n_read: int) -> None:
    """Raise a ValueError if an audio file says that it was longer.

    Parameters
    ----------
    file : soundfile.SoundFile
        The file, open.
    source : str or BytesIO
        What it was opened from.
    n_wanted, n_read : int
        Samples asked for, and found.
    """
    for announced, there in _SIZES.findall(file.extra_info):
        if int(there) < int(announced) < _UNKNOWN_SIZE:
            raise ValueError(f"it is truncated: it has {there} of {announced} bytes")
    # only of a file that says how long it is does libsndfile say "variable"; else it guesses from the size
    if file.format == "MP3" and re.search(r"bitrate mode *: variable", file.extra_info):
        frame = 576 if file.samplerate < 32000 else 1152  # some writers count the frame that says it
        if n_read + frame < n_wanted:
            raise ValueError(f"it is truncated: it has {n_read} of {n_wanted} samples")
    if file.format == "OGG" and _ends_inside_a_page(source):
        raise ValueError("it is truncated: its last page is incomplete")


def _ends_inside_a_page(source: str | io.BytesIO) -> bool:
    if isinstance(source, str):
        with open(source, "rb") as file:
            tail = _tail(file)
    else:
        tail = _tail(source)
    start = tail.rfind(b"OggS")
    if start < 0:
        return False
    header = tail[start : start + _OGG_HEADER]
    segments = tail[start + _OGG_HEADER :][: header[-1]] if len(header) == _OGG_HEADER else b""
    whole = len(header) == _OGG_HEADER and len(segments) == header[-1]
    return not whole or start + _OGG_HEADER + len(segments) + sum(segments) > len(tail)


def _tail(file: Any) -> bytes:
    file.seek(0, io.SEEK_END)
    file.seek(max(0, file.tell() - _OGG_PAGE))
    return file.read()
