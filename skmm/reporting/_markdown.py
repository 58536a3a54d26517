"""A report as Markdown: sentences and tables, without the figures."""

from __future__ import annotations

import re

from skmm.reporting._document import Document, Numbers, Picture, Section, Text
from skmm.table import Table

# What Markdown, or HTML inside of it, would take for markup. The bar is a table's own business.
_MARKUP = re.compile(r"([\\`*_{}\[\]#~$])")


def plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", line)


def markdown(document: Document) -> str:
    """The whole file."""
    head = [f"# {plain(document.title)}", *(f"**{plain(sentence)}**" for sentence in document.answer)]
    return "\n\n".join([*head, plain(document.byline), *map(section, document.sections)]) + "\n"


def section(part: Section) -> str:
    """A section with its heading."""
    written = [_part(inner) for inner in part.parts if not isinstance(inner, Picture)]
    return "\n\n".join([f"## {plain(part.title)}", *written])


def _part(part: Text | Numbers) -> str:
    if isinstance(part, Text):
        return f"> {plain(part.text)}" if part.beware else plain(part.text)
    rows = [
        {plain(name): plain(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
        for row in part.table
    ]
    return f"{plain(part.caption)}\n\n{Table(rows).to_markdown()}"
