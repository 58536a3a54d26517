"""What a report says, whatever it is written as: sections of sentences, tables and figures.

All text is held as it is: it is escaped where it is written, and only there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skmm.table import Table

_LONGEST = 80  # characters of a name in a table or sentence


@dataclass(frozen=True)
class Text:
    """A paragraph; with ``beware`` one that must not be overlooked."""

    text: str
    beware: bool = False


@dataclass(frozen=True)
class Numbers:
    """A table, and what it shows."""

    table: Table
    caption: str


@dataclass(frozen=True)
class Picture:
    """A figure as SVG, whose numbers a table has too."""

    svg: bytes
    alt: str


@dataclass(frozen=True)
class Section:
    """A part of a report with a heading of its own."""

    title: str
    parts: Sequence[Text | Numbers | Picture]


@dataclass(frozen=True)
class Document:
    """A whole report: its title, what it answers in two sentences, the line below, and sections."""

    title: str
    answer: Sequence[str]
    byline: str
    sections: Sequence[Section]


def clip(value: Any, longest: int = _LONGEST) -> str:
    """A name or value in one line, cut where it is long."""
    # only as many characters are looked at as may be shown: a cell may hold a book
    text = " ".join(str(value)[: 4 * longest].split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def names(values: Sequence[Any], most: int = 10) -> str:
    """Names one after the other, as a sentence has them, the first of many."""
    shown = ", ".join(f"“{clip(value, 40)}”" for value in values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"


def distinct(values: Sequence[Any], longest: int = 40) -> list[str]:
    """Names for columns, each in one line and by itself: what is cut alike gets a number."""
    found: list[str] = []
    seen: dict[str, int] = {}
    for value in values:
        text = clip(value, longest)
        seen[text] = seen.get(text, 0) + 1
        while seen[text] > 1 and f"{text} ({seen[text]})" in found:
            seen[text] += 1
        found.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return found


def clipped(table: Table, most: int = 60) -> Table:
    """A table that a page has room for: names and cells in one line each, and the first rows of many."""
    rows, headings = list(table), distinct(table.columns)
    shown = [
        dict(zip(headings, (clip(v) if isinstance(v, str) else v for v in row.values()), strict=True))
        for row in rows[:most]
    ]
    if len(rows) > most:
        shown.append({**dict.fromkeys(headings), headings[0]: f"… and {len(rows) - most} more"})
    return Table(shown)
