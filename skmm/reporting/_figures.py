"""Figures of a report as SVG, where matplotlib is installed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from skmm._optional import import_optional
from skmm.inspection import ComparisonDisplay, ImportanceDisplay, StackDisplay
from skmm.inspection._answers import label
from skmm.inspection._drawing import LITERAL, POSITIVE, heat_map_size, height_of, name_columns, name_rows, shown
from skmm.reporting._document import Picture, clip

_STYLE = {
    "svg.fonttype": "none",  # letters stay letters: of every script that the reader has, and small
    "svg.hashsalt": "skmm",  # the same figure is the same file
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_DOTS = 150  # per inch, of clouds of points, which would be large as SVG
_MOST_NAMES = 40  # of heads or modalities that a figure has room for
_FEW = 12  # classes whose counts are written into the cells
_WIDE, _CURVE = 5.2, (4.8, 3.8)  # inches: what is wider cannot be read on a phone
_LONGEST = 40  # characters of a name


def missing_matplotlib() -> str | None:
    """Why there are no figures, if there are none."""
    try:
        import_optional("matplotlib.pyplot", extra="plot")
    except ImportError as error:
        return str(error)
    return None


def picture(draw: Callable[[Any], Any], alt: str, size: tuple[float, float]) -> list[Picture]:
    """What a function draws on axes of some inches; nothing without matplotlib."""
    if missing_matplotlib() is not None:
        return []
    style = import_optional("matplotlib.style", extra="plot")
    figures = import_optional("matplotlib.figure", extra="plot")
    buffer = io.BytesIO()
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # what the reader's browser writes, the font that matplotlib measures with need not have
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure = figures.Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        figure.savefig(buffer, format="svg", dpi=_DOTS, metadata={"Date": None}, transparent=True)
    return [Picture(buffer.getvalue(), alt)]


def confusion(counts: np.ndarray, labels: Sequence[str]) -> list[Picture]:
    """How often each class was taken for which."""
    names = [shown(clip(name, _LONGEST if len(labels) <= _FEW else 20)) for name in labels]

    def draw(ax: Any) -> None:
        from sklearn.metrics import ConfusionMatrixDisplay

        few = len(names) <= _FEW
        ConfusionMatrixDisplay(counts).plot(ax=ax, cmap="Blues", include_values=few, colorbar=not few)
        name_rows(ax, names)
        name_columns(ax, names)
        ax.set(xlabel="predicted class (rows counted)", ylabel="true class")
        if not few:
            ax.tick_params(labelsize=6)

    side = min(9.0, 3.0 + 0.3 * len(names))
    alt = "Confusion matrix: rows of each true class by what was predicted, with the counts in a table."
    return picture(draw, alt, (side + 0.6, side))


def calibration(said: np.ndarray, found: np.ndarray, confidence: np.ndarray, what: str) -> list[Picture]:
    """How often what is said with some probability is so."""

    def draw(ax: Any) -> None:
        from sklearn.calibration import CalibrationDisplay

        CalibrationDisplay(found, said, confidence, estimator_name="this model").plot(ax=ax, color=POSITIVE)
        ax.set_xlabel(f"mean probability of {what}", **LITERAL)
        ax.set_ylabel("share of rows where it is so")

    return picture(draw, f"Calibration curve: the probability of {what} against how often it is so.", _CURVE)


def errors(truth: np.ndarray, said: np.ndarray) -> list[Picture]:
    """Numbers that were predicted against true ones, and what is left between them."""
    look = {"rasterized": True, "s": 12, "alpha": 0.6, "linewidths": 0, "color": POSITIVE}

    def draw(ax: Any, kind: str, ylabel: str) -> None:
        from sklearn.metrics import PredictionErrorDisplay

        display = PredictionErrorDisplay(y_true=truth, y_pred=said)
        display.plot(ax=ax, kind=kind, scatter_kwargs=look)
        ax.set(xlabel="predicted value", ylabel=ylabel)

    kinds = {"actual_vs_predicted": "true value", "residual_vs_predicted": "true minus predicted value"}
    found = []
    for kind, ylabel in kinds.items():
        alt = f"The predicted value against the {ylabel}, a point for each row; means are in the table."
        found += picture(partial(draw, kind=kind, ylabel=ylabel), alt, _CURVE)
    return found


def bars(names: Sequence[str], counts: Sequence[float], alt: str) -> list[Picture]:
    """How many rows there are of each name."""
    names = [shown(clip(name, _LONGEST)) for name in names]

    def draw(ax: Any) -> None:
        ax.barh(range(len(names)), counts, color=POSITIVE)
        name_rows(ax, names)
        ax.set_xlabel("rows")

    return picture(draw, alt, (_WIDE, height_of(names)))


def histogram(values: np.ndarray) -> list[Picture]:
    """How a target is spread."""

    def draw(ax: Any) -> None:
        ax.hist(values, bins=min(30, max(5, int(len(values) ** 0.5))), color=POSITIVE)
        ax.set(xlabel="target, in its own units", ylabel="rows")

    return picture(draw, "Histogram of the target; its quantiles are in the table.", (_WIDE, 2.6))


def importances(found: Any, unit: str, kind: str) -> list[Picture]:
    """Importances with their intervals, ``kind="bars"``, or what two say together, ``"synergy"``."""
    names = [shown(label(key)) for key in found.modalities]
    if len(names) > _MOST_NAMES:
        return []

    def draw(ax: Any) -> None:
        ImportanceDisplay.from_importances(found, score_name=unit, kind=kind, ax=ax)

    if kind == "synergy":
        return picture(draw, "Synergy of each two as a heat map, as in the table.", heat_map_size(names, names))
    return picture(draw, "Importances with their intervals, as in the table.", (_WIDE, height_of(names)))


def stack(model: Any) -> list[Picture]:
    """Weights of heads and experts."""
    weights = getattr(model, "stack_weights_", None)
    if getattr(model, "stack_", None) is None or weights is None or len(weights) > _MOST_NAMES:
        return []
    names = [shown(name) for name in weights["head"]]

    def draw(ax: Any) -> None:
        StackDisplay.from_estimator(model, ax=ax, temperatures=False)

    wide = max(_WIDE, heat_map_size(names, weights.columns[1:])[0])
    return picture(draw, "Weights of heads and experts, as in the table.", (min(wide, 12.0), height_of(names)))


def comparison(found: Any) -> list[Picture]:
    """Scores of methods over the folds, and how much better than the best baseline the fusions are."""
    if not all(name in found.scores for name in found.summary["method"]) or len(found.summary) > _MOST_NAMES:
        return []
    kinds = {"scores": "Scores of each method by fold, with means as in the table."}
    if len(found.differences):
        kinds["differences"] = "Differences from the best baseline with their intervals, as in the table."
    size = (_WIDE, height_of([shown(name) for name in found.summary["method"]]))

    def draw(ax: Any, kind: str) -> None:
        ComparisonDisplay.from_comparison(found, kind=kind, ax=ax)

    drawn = []
    for kind, alt in kinds.items():
        drawn += picture(partial(draw, kind=kind), alt, size)
    return drawn
