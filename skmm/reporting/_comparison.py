"""What a comparison of methods found, in a report: it is read by its attributes."""

from __future__ import annotations

from typing import Any

from skmm.reporting import _figures
from skmm.reporting._data import Part
from skmm.reporting._document import Numbers, Text, clip, clipped
from skmm.table import Table

_DEVIATION = "_std"  # what ends the name of a column that says how far another varies over the folds


def check_comparison(comparison: Any) -> None:
    """Refuse what is no comparison."""
    if not all(hasattr(comparison, name) for name in ("summary", "differences", "scores", "metric", "verdict")):
        raise TypeError(f"comparison must be what compare_fusions returned, got {type(comparison).__name__}.")


def comparison_parts(comparison: Any) -> list[Part]:
    """Scores and differences, what was left out, and what is suspect."""
    caption = "Methods, the best first: scores over the folds with their standard deviations; times in seconds"
    parts: list[Part] = [Numbers(clipped(_with_deviations(comparison.summary)), caption)]
    if len(comparison.differences):
        caption = (
            f"By how much each fusion is better than the best baseline in {clip(comparison.metric)}, with "
            f"{comparison.confidence:.0%} intervals of the paired differences"
        )
        parts.append(Numbers(clipped(comparison.differences), caption))
    parts += _figures.comparison(comparison)
    parts += [
        Text(f"“{clip(name)}” is left out: {clip(reason, 400)}") for name, reason in comparison.skipped.items()
    ]
    return [*parts, *(Text(f"Beware: {clip(suspect, 400)}.", beware=True) for suspect in comparison.suspects)]


def _with_deviations(summary: Table) -> Table:
    """A score and its deviation in one cell, so that the table is not wider than a page."""
    columns = summary.columns
    return Table(
        [
            {
                name.replace("_", " "): f"{value:.4f} ± {row[name + _DEVIATION]:.4f}"
                if name + _DEVIATION in columns
                else value
                for name, value in row.items()
                if not (name.endswith(_DEVIATION) and name.removesuffix(_DEVIATION) in columns)
            }
            for row in summary
        ]
    )
