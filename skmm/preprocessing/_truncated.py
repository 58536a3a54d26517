"""Audio files that end before they should, which the decoders read as shorter ones."""

from __future__ import annotations

import io
import re
import struct
from typing import Any

# what the formats call the size of their samples: WAV, CAF; AIFF; AU; SVX; and of the whole file: RF64; W64
_SIZES = re.compile(r"^ *(?:data|SSND|Data Size|BODY|Riff size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
# what writers put there who do not know the size yet, such as a pipe: 0xFFFFFFFF, 0x80000000 or a little less
_UNKNOWN_SIZE = 2**31 - 2**12
_UNKNOWN_LENGTH = 2**62  # what libsndfile says of a FLAC file that was written to a pipe is more
# where the chunks of a container begin, and the header of each: its name and its size
_CHUNKS = {"wav": (12, struct.Struct("<4sI")), "caf": (8, struct.Struct(">4sq"))}
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
    if file.format == "FLAC" and n_read < n_wanted < _UNKNOWN_LENGTH:
        raise ValueError(f"it is truncated: it has {n_read} of {n_wanted} samples")
    if file.format == "OGG" and _ends_inside_a_page(source):
        raise ValueError("it is truncated: its last page is incomplete")


def check_chunks(source: str | io.BytesIO, container: str) -> None:
    """Raise a ValueError if a sound that libsndfile does not read was cut, or is one that FFmpeg misreads.

    Parameters
    ----------
    source : str or BytesIO
        Path or content.
    container : str
        FFmpeg's name of the format; of WAV, CAF and Ogg alone something is known.
    """
    if container == "ogg" and _ends_inside_a_page(source):
        raise ValueError("it is truncated: its last page is incomplete")
    if container not in _CHUNKS:
        return
    head, header = _CHUNKS[container]
    with open(source, "rb") if isinstance(source, str) else io.BytesIO(source.getbuffer()) as file:
        if file.read(4) == b"RIFX":
            raise ValueError("it is a RIFX file, whose order of bytes FFmpeg does not heed, of an unknown form")
        n_bytes = file.seek(0, io.SEEK_END)
        place = head
        while place + header.size <= n_bytes:
            file.seek(place)
            name, size = header.unpack(file.read(header.size))
            place += header.size
            if name == b"data":  # what programs write behind it is of no form that is known
                if n_bytes - place < size < _UNKNOWN_SIZE:
                    raise ValueError(f"it is truncated: it has {n_bytes - place} of {size} bytes")
                return
            place += max(0, size) + (size % 2 if container == "wav" else 0)


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
