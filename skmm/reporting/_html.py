"""A report as HTML: one file that needs neither network nor script."""

from __future__ import annotations

import base64
import html
import re

from skmm.reporting._document import Document, Numbers, Picture, Section, Text
from skmm.table import Table

# Nothing is loaded and nothing is run, whatever a browser is led to believe the file says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_SHORT = 20  # rows that stay on one page of paper
_SENTENCE = 30  # characters

_STYLE = """
.skmm-report { --ink: #1c2329; --soft: #56616b; --page: #ffffff; --line: #d6dbe0; --band: #f3f5f7; --mark: #b54708;
  --lead: #0b5cad; color: var(--ink); background: var(--page); color-scheme: light dark; max-width: 58rem;
  margin: 0 auto; padding: 1.5rem; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.skmm-report * { box-sizing: border-box; }
.skmm-report h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; overflow-wrap: anywhere; }
.skmm-report h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--line); }
.skmm-report p { margin: .6rem 0; overflow-wrap: anywhere; }
.skmm-report .answer { background: var(--band); border-left: .3rem solid var(--lead); border-radius: .3rem;
  padding: .5rem 1rem; font-size: 1.05rem; }
.skmm-report .byline { color: var(--soft); font-size: .875rem; }
.skmm-report .beware { border-left: .3rem solid var(--mark); padding: .1rem 0 .1rem .8rem; }
.skmm-report figure { margin: 1rem 0 1.4rem; }
.skmm-report .wide { overflow-x: auto; }
.skmm-report table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
.skmm-report figcaption { color: var(--soft); font-size: .875rem; padding: .2rem 0; break-after: avoid; }
.skmm-report th, .skmm-report td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; max-width: 26rem; overflow-wrap: break-word; }
.skmm-report th { font-weight: 600; background: var(--band); }
.skmm-report .long { min-width: 13rem; }
.skmm-report .number { text-align: right; white-space: nowrap; }
.skmm-report img { display: block; max-width: 100%; height: auto; background: #ffffff; border-radius: .3rem;
  margin: .8rem 0; padding: .3rem; }
@media (prefers-color-scheme: dark) {
  .skmm-report { --ink: #e4e8ec; --soft: #a3adb7; --page: #14181c; --line: #39424b; --band: #1f262d;
    --mark: #f2a35e; --lead: #6cb2ff; }
  .skmm-report img { background: #f4f5f6; }
}
@media (max-width: 40rem) {
  .skmm-report { padding: .9rem; }
  .skmm-report th, .skmm-report td { padding: .25rem .45rem; max-width: 14rem; }
}
@media print {
  .skmm-report { --ink: #000; --soft: #333; --page: #fff; --line: #999; --band: #fff; --mark: #000; --lead: #000;
    max-width: none; padding: 0; font-size: 10.5pt; }
  .skmm-report .wide { overflow: visible; }
  .skmm-report h2 { break-after: avoid; }
  .skmm-report tr, .skmm-report img, .skmm-report .answer, .skmm-report .short { break-inside: avoid; }
  .skmm-report img { max-height: 8cm; width: auto; }
  .skmm-report table { font-size: 8.5pt; }
  .skmm-report .number { white-space: normal; }
  .skmm-report thead { display: table-header-group; }
}
"""
_PAGE = """
html { background: #ffffff; }
body { margin: 0; }
@media (prefers-color-scheme: dark) { html { background: #14181c; } }
"""


def page(document: Document) -> str:
    """The whole file."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(document.title)}</title>\n<style>{_PAGE}</style>\n</head>\n<body>\n"
        f"{fragment(document)}\n</body>\n</html>\n"
    )


def fragment(document: Document) -> str:
    """What stands on the page, for a notebook that has a page already."""
    answer = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in document.answer)
    return "\n".join(
        [
            f"<style>{_STYLE}</style>",
            '<main class="skmm-report">',
            f"<h1>{html.escape(document.title)}</h1>",
            f'<div class="answer">{answer}</div>',
            f'<p class="byline">{html.escape(document.byline)}</p>',
            *(_section(section) for section in document.sections),
            "</main>",
        ]
    )


def _section(section: Section) -> str:
    parts = "\n".join(_part(part) for part in section.parts)
    return f"<section>\n<h2>{html.escape(section.title)}</h2>\n{parts}\n</section>"


def _part(part: Text | Numbers | Picture) -> str:
    if isinstance(part, Text):
        return f"<p{' class=beware' if part.beware else ''}>{html.escape(part.text)}</p>"
    if isinstance(part, Picture):
        data = base64.b64encode(part.svg).decode()
        return f'<img alt="{html.escape(part.alt)}" src="data:image/svg+xml;base64,{data}">'
    return _table(part)


def _table(part: Numbers) -> str:
    columns, cells = part.table.columns, part.table.cells()
    looks = [_look(part.table, name, [row[i] for row in cells]) for i, name in enumerate(columns)]
    head = "".join(f'<th scope="col"{c}>{html.escape(name)}</th>' for name, c in zip(columns, looks, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{c}>{html.escape(cell)}</td>" for cell, c in zip(row, looks, strict=True)) + "</tr>"
        for row in cells
    )
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    short = ' class="short"' if len(cells) <= _SHORT else ""
    caption = html.escape(part.caption)
    return f'<figure{short}><figcaption>{caption}</figcaption><div class="wide">{table}</div></figure>'


def _look(table: Table, name: str, cells: list[str]) -> str:
    """How a column is set: numbers and shares to the right, sentences not too narrow."""
    if table.is_numeric(name) or all(re.fullmatch(r"[\d.]+%|[-\d.]+ ± [\d.]+|–|", cell) for cell in cells):
        return ' class="number"'
    return ' class="long"' if max(map(len, cells), default=0) > _SENTENCE else ""
