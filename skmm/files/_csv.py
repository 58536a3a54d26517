"""How a file of comma-separated values was written: its encoding, and what separates its columns."""

from __future__ import annotations

import codecs
import csv
import io
from contextlib import suppress
from itertools import islice
from pathlib import Path

_SEPARATORS = ",;\t|"
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_ROWS = 100  # that are looked at for what separates their columns
_CHUNK = 2**20
# those of 4 bytes first: the mark of UTF-32 begins as that of UTF-16
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def find_encoding(path: Path) -> str:
    """Encoding of a text file: what its first bytes mark, UTF-16 where every other byte is zero, UTF-8, or cp1252.

    The last, of Windows in the languages of western Europe, is what remains for a file that is not UTF-8; where it
    has bytes that cp1252 lacks, latin-1, which lacks none.
    """
    with path.open("rb") as file:
        head = file.read(_CHUNK)
        for mark, encoding in _MARKS.items():
            if head.startswith(mark):
                return encoding
        zeros = [head[side::2].count(0) for side in (0, 1)]
        if max(zeros) > len(head) // 8:  # letters of UTF-16, whose other byte is zero, without a mark
            return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return next(encoding for encoding in ("utf-8", "cp1252", "latin-1") if _decodes(path, encoding))


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def find_separator(path: Path, encoding: str) -> str:
    """The one of comma, semicolon, tab and bar at which most rows have as many columns as the header, two or more.

    Raises
    ------
    ValueError
        If two do so equally well, or the rows of none are as long as the header.
    """
    with path.open(encoding=encoding, newline="") as file:
        lines = file.read(_CHUNK)
    shares: dict[str, float] = {}
    for separator in _SEPARATORS:
        counts: list[int] = []
        with suppress(csv.Error):  # at a cell of more characters than the csv module reads
            rows = csv.reader(io.StringIO(lines), delimiter=separator, skipinitialspace=True)
            counts.extend(len(row) for row in islice(rows, _ROWS) if row)
        if counts and counts[0] > 1:
            shares[separator] = counts.count(counts[0]) / len(counts)
    if not shares:
        return ","  # a single column
    best = [separator for separator, share in shares.items() if share == max(shares.values())]
    if len(best) > 1:
        either = " or by ".join(_NAMES[separator] for separator in best)
        raise ValueError(f"its columns may be separated by {either}; say which with --sep")
    return best[0]
