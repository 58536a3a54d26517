"""What a folder of predictions holds: by which model, of which files, and which parts of it are whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skmm.cli._errors import UsageError
from skmm.cli._output import replacing

NAME = "_skmm.json"  # what reads a folder as one table leaves out names that begin so
_FORMAT = 1
_HALF = re.compile(r"\..+\.[0-9a-f]{16}\.part\.\w+")  # what a process that was killed leaves, see `replacing`
_ANEW = "Name another folder, or begin anew with --force."


class Manifest:
    """The parts of a folder that are whole, so that a run goes on where another was stopped.

    Parameters
    ----------
    folder : Path
        Of the predictions; made where it is not there.
    told : dict of str to object
        What the predictions depend on, by the option that says it.
    sources : dict of str to Path
        Files to predict, by name.
    is_part : callable
        Whether a file of some name may be a part.
    force : bool
        Whether to forget what was done for other sources, or told otherwise.

    Raises
    ------
    UsageError
        If the folder holds what is none of these predictions.
    """

    def __init__(
        self, folder: Path, told: dict[str, Any], sources: Mapping[str, Path], is_part: Any, *, force: bool
    ) -> None:
        self.folder = folder
        fresh: dict[str, Any] = {"format": _FORMAT, "told": told, "sources": {}}
        try:
            folder.mkdir(exist_ok=True)
            names = os.listdir(folder)
            there = {name for name in names if not _HALF.fullmatch(name)}
            for name in set(names) - there if NAME in there or not there else ():
                (folder / name).unlink()
        except OSError as error:
            raise UsageError(f"--out {folder} cannot be written: {error.strerror or error}.") from error
        self._content = self._read() if NAME in there else fresh
        strange = sorted(name for name in there - {NAME} - self._parts() if not (NAME in there and is_part(name)))
        if strange:
            raise UsageError(
                f"--out {folder} holds other things, {', '.join(strange[:3])}{', ...' if len(strange) > 3 else ''};"
                " name a new folder, or an empty one."
            )
        if force:
            for name in self._parts() & there:
                (folder / name).unlink()
            self._content = fresh
        else:
            self._compare(told, sources)
        self._write()

    def _parts(self) -> set[str]:
        return {part for source in self._content["sources"].values() for part in source["parts"]}

    def _read(self) -> dict[str, Any]:
        path = self.folder / NAME
        try:
            content = json.loads(path.read_bytes())
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}")
            if not all(
                {"size", "changed", "parts", "whole"} <= entry.keys() for entry in content["sources"].values()
            ):
                raise ValueError("its parts are not described")
            return {"format": _FORMAT, "told": dict(content["told"]), "sources": content["sources"]}
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise UsageError(f"{path} cannot be read ({error}); name another folder.") from error

    def _compare(self, told: dict[str, Any], sources: Mapping[str, Path]) -> None:
        """Refuse to go on with what was written otherwise."""
        strange = next((name for name in self._content["sources"] if name not in sources), None)
        if strange is not None:
            raise UsageError(f"--out {self.folder} was written for another input, with {strange}. {_ANEW}")
        for option, value in told.items():
            was = self._content["told"].get(option)
            if was != value and option == "model":
                raise UsageError(f"--out {self.folder} was written by another model. {_ANEW}")
            if was != value:
                raise UsageError(
                    f"--out {self.folder} was written with --{option} {was}, and now it is {value}. {_ANEW}"
                )
        for name, entry in self._content["sources"].items():
            if stamp(sources[name]) != [entry["size"], entry["changed"]]:
                raise UsageError(
                    f"--out {self.folder} was written for another input: {sources[name]} has changed since. {_ANEW}"
                )

    def _write(self) -> None:
        with replacing(self.folder / NAME) as part:
            part.write_text(json.dumps(self._content, indent=1), encoding="utf-8")

    def done(self, source: str) -> dict[str, int]:
        """Rows of the parts of a source that are whole."""
        parts = self._content["sources"].get(source, {}).get("parts", {})
        return {name: rows for name, (rows, size) in parts.items() if _size(self.folder / name) == size}

    def is_whole(self, source: str) -> bool:
        """Whether all parts of a source are whole."""
        entry = self._content["sources"].get(source)
        return entry is not None and entry["whole"] and len(self.done(source)) == len(entry["parts"])

    def begin(self, source: str, stamped: list[int]) -> None:
        """A source is begun, or gone on with; nothing is known of it where it was not yet."""
        size, changed = stamped
        entry = {"size": size, "changed": changed, "parts": {}, "whole": False}
        self._content["sources"].setdefault(source, entry)

    def note(self, source: str, part: str, rows: int) -> None:
        """A part is whole."""
        self._content["sources"][source]["parts"][part] = [rows, _size(self.folder / part)]
        self._write()

    def end(self, source: str) -> None:
        """All parts of a source are whole."""
        self._content["sources"][source]["whole"] = True
        self._write()

    def counts(self) -> tuple[int, int]:
        """Number of parts that are whole, and of their rows."""
        rows = [n for source in self._content["sources"] for n in self.done(source).values()]
        return len(rows), sum(rows)


def stamp(path: Path) -> list[int]:
    """Size and time of the last change of a file, by which it is known again."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
