"""A report as the README of a model on a hub: Markdown below a head that machines read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from skmm.reporting._document import Document
from skmm.reporting._markdown import plain, section

_TASKS = {
    "Classes": ("classification", "Classification"),
    "Labels": ("multi-label-classification", "Multi-label classification"),
    "Values": ("regression", "Regression"),
    "Transcripts": ("automatic-speech-recognition", "Speech recognition"),
}
_USE = """## How to use it

```py
import skmm

model = skmm.load("model.skmm")  # a file that runs nothing when it is read
model.predict(X)
```"""
_TYPES = {"f1_macro": "f1", "mae": "mae", "rmse": "rmse", "word_error_rate": "wer", "character_error_rate": "cer"}


def card(
    document: Document, task: str, scores: Sequence[Mapping[str, Any]], kinds: Sequence[str], n_rows: int
) -> str:
    """The whole file.

    Parameters
    ----------
    document : Document
        What stands below the head.
    task : str
        Name of the type of the outcome.
    scores : sequence of mappings
        Rows of :attr:`Quality.scores`.
    kinds : sequence of str
        Of the modalities.
    n_rows : int
        That were scored.
    """
    identifier, name = _TASKS[task]
    tags = ["skmm", "scikit-learn", *(["multimodal"] if len(kinds) > 1 else []), identifier, *dict.fromkeys(kinds)]
    head = [
        "---",
        "# license: yours to say; a hub lists a model without one as of unknown licence",
        "library_name: skmm",
        "tags:",
        *(f"- {_quoted(tag)}" for tag in tags),
        "model-index:",
        f"- name: {_quoted(document.title)}",
        "  results:",
        "  - task:",
        f"      type: {_quoted(identifier)}",
        f"      name: {_quoted(name)}",
        "    dataset:",
        '      type: "unknown"',
        f"      name: {_quoted(f'{n_rows} rows given to skmm.report')}",
        "    metrics:",
        *(line for score in scores if math.isfinite(score["score"]) for line in _metric(score)),
        "---",
    ]
    body = [f"# {plain(document.title)}", *map(plain, document.answer), plain(document.byline), _USE]
    return "\n".join(head) + "\n\n" + "\n\n".join([*body, *map(section, document.sections)]) + "\n"


def _metric(score: Mapping[str, Any]) -> list[str]:
    name = score["metric"]
    return [
        f"    - type: {_quoted(_TYPES.get(name, name))}",
        f"      value: {score['score']!r}",
        f"      name: {_quoted(name.replace('_', ' '))}",
    ]


def _quoted(text: str) -> str:
    """A string of YAML, of which those of JSON are a part."""
    return json.dumps(text)
