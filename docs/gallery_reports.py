"""Make the reports that pages of the gallery link to, by the code on these pages.

    python docs/gallery_reports.py

runs each page up to its report, some forty seconds in all, and puts that beside the page.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import shutil
from pathlib import Path
from typing import Any

GALLERY = Path(__file__).parent / "gallery"
PAGES = ("sentiment", "video", "speech")


def make(page: str) -> Path:
    """Run a page until it has written its report, and keep that."""
    names: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples((GALLERY / f"{page}.md").read_text(encoding="utf-8")):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(example.source, page, "single"), names)
        written = Path(names.get("folder", GALLERY)) / "report.html"
        if written.is_file():
            return Path(shutil.copy(written, GALLERY / f"{page}_report.html"))
    raise ValueError(f"{page}.md writes no report.html into its folder.")


if __name__ == "__main__":
    for name in PAGES:
        print(make(name))
