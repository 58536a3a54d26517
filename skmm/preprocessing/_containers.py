"""Containers of video and sound as FFmpeg opens them: which ones, and what they may claim and name."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skmm._optional import import_optional
from skmm.preprocessing._files import Source

# FFmpeg's names of the containers that are read. All hold what they show. Not among them are playlists (HLS, DASH,
# ffconcat) and descriptions of what a network sends (SDP), which would open other files and sockets
MP4 = "mov"
CONTAINERS = (
    *("matroska", "avi", "asf", "flv", "mpeg", "mpegts", "mpegvideo", "m4v", "h264", "hevc", "ivf", "gif", "apng"),
    *("ogg", "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "aac", "ac3", "eac3", "amr", "wv", "tta", "ape"),
)
# pixels of a frame: those of 8K television, of which decoders keep some twenty
MAX_FRAME_PIXELS = 7680 * 4320
# bytes of a file's packets for each byte of the file: Matroska compresses some, such as subtitles and silence
_INFLATED = 16
# of an MP4 file the boxes that say how many samples there are, and the place of that number behind the name
_COUNTS = {b"stsz": 8, b"stz2": 8, b"trun": 4, b"tfra": 12}
_BOX = re.compile(b"|".join([*_COUNTS, b"cmvd"]))
# samples of an MP4 file for each byte: ADPCM counts two to a byte, all else at most one
_SAMPLES = 2
_FEW = 2**16  # so many are no burden
_CHUNK = 2**20


@contextmanager
def open_container(source: Source, kind: str, max_pixels: int) -> Iterator[tuple[Any, Any]]:
    """A container and its first stream of a kind, "video" or "audio".

    Raises
    ------
    ValueError
        If it is of another container format, has no such stream or one that FFmpeg cannot decode, or claims what it
        cannot hold.
    """
    av = import_optional("av", extra="video")
    # what is within the default is told by its size, which FFmpeg forgets of what it does not probe
    with _opened(av, source, max(max_pixels, MAX_FRAME_PIXELS)) as container:
        cover = av.stream.Disposition.attached_pic
        streams = [s for s in getattr(container.streams, kind) if not s.disposition & cover]
        if not streams:
            raise ValueError(f"it has no {kind}")
        stream = streams[0]
        if stream.codec_context is None:
            raise ValueError(f"its {kind} is of a form that FFmpeg does not decode")
        # a stream may change its size on its way; FFmpeg counts the rims of its buffers too
        stream.codec_context.options = {"max_pixels": str(2 * max_pixels + _FEW)}
        yield container, stream


def _opened(av: Any, source: Source, max_pixels: int) -> Any:
    for formats in (",".join(CONTAINERS), MP4):
        if formats == MP4:  # FFmpeg makes an index when it opens one, as long as the file says
            check_counts(source)
        # "file:" is no part of the name; nothing else is opened, and of content in bytes nothing at all
        target: Any = f"file:{source}" if isinstance(source, str) else source
        if not isinstance(source, str):
            source.seek(0)
        allowed = {
            "format_whitelist": formats,
            "protocol_whitelist": "file" if isinstance(source, str) else "none",
        }
        try:
            return av.open(target, container_options=allowed, options={"max_pixels": str(max_pixels)})
        except av.error.ArgumentError:  # the container is not among these
            continue
    raise ValueError(f"it is of no container format that is read; these are {MP4}, {', '.join(CONTAINERS)}")


def check_counts(source: Source) -> None:
    """Raise a ValueError if an MP4 file claims more samples than it can hold.

    It looks for the boxes that count them wherever FFmpeg might, which is everywhere but in the media data.
    """
    with open(source, "rb") if isinstance(source, str) else io.BytesIO(source.getbuffer()) as file:
        n_bytes = file.seek(0, io.SEEK_END)
        claimed = 0
        for start, end in _outside_media(file, n_bytes):
            for name, count in _counts(file, start, end):
                if name == b"cmvd":
                    raise ValueError("its index is compressed, as QuickTime did once, which is not read")
                claimed += count
                if claimed > _SAMPLES * n_bytes + _FEW:
                    raise ValueError(f"it claims {claimed} samples or more, where it has {n_bytes} bytes")


def _outside_media(file: Any, n_bytes: int) -> Iterator[tuple[int, int]]:
    """The parts of an MP4 file, from and to which byte, that are no media data."""
    place = 0
    while place + 8 <= n_bytes:
        file.seek(place)
        header = file.read(16)
        size, name = struct.unpack_from(">I4s", header)
        if size == 1 and len(header) == 16:
            size = struct.unpack_from(">Q", header, 8)[0]
        if size < 8 or size > n_bytes - place:  # the last one, or no box at all
            size = n_bytes - place
        if name != b"mdat":
            yield place, place + size
        place += size


def _counts(file: Any, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Names of boxes in a part of a file, and the numbers in them."""
    overlap = 20  # a name and its number may lie across two chunks
    for place in range(start, end, _CHUNK):
        file.seek(place)
        content = file.read(min(_CHUNK + overlap, end - place))
        for match in _BOX.finditer(content):
            if match.start() < _CHUNK:
                number = content[match.end() + _COUNTS.get(match[0], 0) :][:4]
                yield match[0], int.from_bytes(number, "big")


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream, as long as they are no more than the file can hold."""
    limit = _INFLATED * container.size + _FEW
    n_bytes = 0
    for packet in container.demux(stream):
        n_bytes += max(1, packet.size)
        if n_bytes > limit:
            raise ValueError(f"it claims more than {limit} bytes of packets, where it has {container.size} bytes")
        yield packet
