"""Results of a long run as lines of JSON, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Records:
    """The lines of one file, and the results among them by key. Of several with one key the last counts.

    ``path`` may be None: nothing is read or kept then.
    """

    def __init__(self, path: Path | None, *key: str) -> None:
        self.path, self.key = path, key
        self.found: dict[tuple[Any, ...], dict[str, Any]] = {}
        if path is not None and path.exists():
            text = path.read_text()
            whole = text[: text.rfind("\n") + 1]
            if whole != text:  # the run was stopped as it wrote a line
                path.write_text(whole)
            for line in whole.splitlines():
                self._keep(json.loads(line))

    def __contains__(self, key: tuple[Any, ...]) -> bool:
        return key in self.found

    def add(self, result: dict[str, Any]) -> None:
        """Keep one result, in the file too."""
        self._keep(result)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(result) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        return list(self.found.values())

    def _keep(self, result: dict[str, Any]) -> None:
        self.found[tuple(result[name] for name in self.key)] = result
