"""The sections of a report on the rows, and on those that went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skmm._missing import is_missing, missing_cells
from skmm._private import safe_indexing
from skmm.columns._tables import as_frame
from skmm.reporting import _figures
from skmm.reporting._asked import Asked
from skmm.reporting._document import Numbers, Picture, Section, Text, clip, clipped, distinct
from skmm.reporting._scores import Classes, Labels, Transcripts, Values
from skmm.table import Table

_MOST_CELLS = 8  # columns of the table that are shown of a row
_MOST_BARS = 12
_MOST_CLASSES = 20  # each of which has a row in another table, too

Part = Text | Numbers | Picture


def data_section(asked: Asked) -> Section:
    """What the rows are."""
    parts: list[Part] = [Text(f"{len(asked):,} rows were predicted, with their true answers at hand.")]
    parts += [Text(note, beware=True) for note in asked.notes]
    modalities = _modalities(asked)
    if modalities:
        parts.append(Numbers(clipped(Table(modalities)), "What each row has: modalities as the model reads them"))
    columns = _columns(asked)
    if columns:
        parts.append(Numbers(clipped(Table(columns)), "Columns of the table"))
    return Section("The data", [*parts, *_target(asked)])


def percent(share: float) -> str:
    """A share as people write it."""
    return f"{share:.1%}"


def _modalities(asked: Asked) -> list[dict[str, Any]]:
    if asked.blocks is None:
        return []
    rows = asked.blocks._rows_of_repr()
    present = asked.blocks.present
    return [
        {
            "modality": clip(name),
            "kind": kind,
            "shape of a row": shape,
            "type": dtype,
            "missing": percent(1 - present[name].mean()),
        }
        for name, kind, shape, dtype, _ in rows
    ]


def _columns(asked: Asked) -> list[dict[str, Any]]:
    frame = as_frame(asked.X)
    if not hasattr(frame, "columns"):
        return []
    missing = missing_cells(frame).mean(axis=0)
    return [
        {"column": clip(name), "type": clip(dtype), "missing": percent(share)}
        for name, dtype, share in zip(frame.columns, frame.dtypes, missing, strict=True)
    ]


def _target(asked: Asked) -> list[Part]:
    """What is to be predicted, and how it is spread."""
    outcome = asked.outcome
    if isinstance(outcome, Classes):
        counts = np.bincount(outcome.truth, minlength=len(outcome.labels))
        order = np.argsort(-counts, kind="stable")
        rows = [
            {"class": clip(outcome.labels[i]), "rows": int(counts[i]), "share": percent(counts[i] / len(outcome))}
            for i in order
        ]
        table = clipped(Table(rows), _MOST_CLASSES)
        return [Numbers(table, "The answer: how many rows are of each class"), *_bars(rows, "class")]
    if isinstance(outcome, Labels):
        counts = outcome.truth.sum(axis=0)
        rows = [
            {"label": clip(name), "rows": int(count), "share": percent(count / len(outcome))}
            for name, count in zip(outcome.labels, counts, strict=True)
        ]
        return [
            Numbers(clipped(Table(rows)), "The answer: how many rows have each label"),
            *_bars(rows, "label"),
        ]
    if isinstance(outcome, Transcripts):
        words = sum(len(text.split()) for text in outcome.truth)
        return [Text(f"The answer: transcripts, {words:,} words in all, {words / len(outcome):.1f} in a row.")]
    return _spread(outcome)


def _bars(rows: list[dict[str, Any]], what: str) -> list[Part]:
    if len(rows) > _MOST_BARS:
        return []
    alt = f"Rows of each {what}, as in the table."
    return [*_figures.bars([row[what] for row in rows], [row["rows"] for row in rows], alt)]


def _spread(outcome: Values) -> list[Part]:
    points = {"least": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "most": 1.0}
    rows = []
    for i, values in enumerate(outcome.truth.T):
        quantiles = {name: float(np.quantile(values, q)) for name, q in points.items()}
        target: dict[str, Any] = {"target": str(i)} if outcome.truth.shape[1] > 1 else {}
        rows.append(
            {**target, **quantiles, "mean": float(values.mean()), "standard deviation": float(values.std())}
        )
    parts: list[Part] = [Numbers(clipped(Table(rows)), "The answer, a number: how it is spread")]
    if outcome.truth.shape[1] == 1:
        parts += _figures.histogram(outcome.truth[:, 0])
    return parts


def worst_section(asked: Asked, worst: int) -> Section:
    """The rows that went most wrong, only if they were asked for."""
    title = "Where it fails"
    if worst == 0:
        return Section(
            title,
            [
                Text(
                    "Single rows are not shown, since they may be about people. worst=10 (in the command --worst "
                    "10) "
                    "shows the ten that went most wrong, with what they hold."
                )
            ],
        )
    badness = _badness(asked)
    order = np.argsort(-badness, kind="stable")[:worst]
    order = order[badness[order] > 0]
    if len(order) == 0:
        return Section(title, [Text("No row is wrong.")])
    table = Table([{"row": i, **_answers(asked, i), **_cells(asked, i)} for i in order.tolist()])
    return Section(
        title,
        [
            Text(
                "These rows are shown because they were asked for; look at them before the report goes to others.",
                True,
            ),
            Numbers(table, f"The {len(order)} rows that are most wrong; rows are counted from 0"),
        ],
    )


def _badness(asked: Asked) -> np.ndarray:
    """How wrong each row is; 0 where it is right."""
    outcome = asked.outcome
    if isinstance(outcome, Classes):
        sure = np.ones(len(outcome))
        if outcome.proba is not None:
            sure = 2 - outcome.proba[np.arange(len(outcome)), outcome.truth]
        return np.where(outcome.right, 0.0, sure)
    return 1 - outcome.right if isinstance(outcome, Labels) else outcome.right


def _answers(asked: Asked, i: int) -> dict[str, Any]:
    outcome = asked.outcome
    if isinstance(outcome, Classes):
        found: dict[str, Any] = {"true": clip(outcome.labels[outcome.truth[i]])}
        found["predicted"] = clip(outcome.labels[outcome.said[i]])
        if outcome.proba is not None:
            found["probability of the true one"] = percent(outcome.proba[i, outcome.truth[i]])
        return found
    if isinstance(outcome, Labels):
        there = np.array(outcome.labels, dtype=object)
        return {
            "true": clip(", ".join(there[outcome.truth[i] == 1])),
            "predicted": clip(", ".join(there[outcome.said[i] == 1])),
        }
    if isinstance(outcome, Transcripts):
        return {"true": clip(outcome.truth[i], 200), "predicted": clip(outcome.said[i], 200)}
    if outcome.truth.shape[1] == 1:
        true, said = float(outcome.truth[i, 0]), float(outcome.said[i, 0])
        return {"true": true, "predicted": said, "error": said - true}
    return {"true": clip(outcome.truth[i].round(4).tolist()), "predicted": clip(outcome.said[i].round(4).tolist())}


def _cells(asked: Asked, i: int) -> dict[str, Any]:
    """What a row holds: the first columns of a table, or which modalities it lacks."""
    frame = as_frame(asked.X)
    if hasattr(frame, "columns"):
        shown = list(range(min(_MOST_CELLS, len(frame.columns))))
        cells = np.asarray(safe_indexing(safe_indexing(frame, shown, axis=1), [i]), dtype=object)[0]
        headings = distinct([f"column {clip(frame.columns[c], 40)}" for c in shown], 60)
        return dict(zip(headings, map(_cell, cells), strict=True))
    if asked.blocks is not None:
        lacking = [name for name, there in asked.blocks.present.items() if not there[i]]
        return {"lacks": clip(", ".join(lacking) or "nothing")}
    return {}


def _cell(value: Any) -> str:
    if is_missing(value):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else clip(value)


def by_missing(asked: Asked) -> np.ndarray | None:
    """Which modalities each row lacks, as text; None where none lacks any."""
    if asked.blocks is None:
        return None
    present: Mapping[str, np.ndarray] = asked.blocks.present
    if all(mask.all() for mask in present.values()):
        return None
    listed = list(present)
    lacking = ~np.column_stack([present[name] for name in listed])
    patterns, which = np.unique(lacking, axis=0, return_inverse=True)
    texts = [
        _lacks([name for name, gone in zip(listed, row, strict=True) if gone], len(listed)) for row in patterns
    ]
    return np.array(texts, dtype=object)[which.reshape(-1)]


def _lacks(gone: list[str], n_names: int) -> str:
    if not gone:
        return "all modalities there"
    return "no modality at all" if len(gone) == n_names else f"without {', '.join(clip(name, 40) for name in gone)}"
