"""Figures of a report as SVG, where matplotlib is installed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skmm._optional import import_optional
from skmm.reporting._document import Picture, clip

_STYLE = {
    "svg.fonttype": "none",  # letters stay letters: of every script that the reader has, and small
    "svg.hashsalt": "skmm",  # the same figure is the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
}
_DOTS = 150  # per inch, of clouds of points, which would be large as SVG


def missing_matplotlib() -> str | None:
    """Why there are no figures, if there are none."""
    try:
        import_optional("matplotlib.figure", extra="plot")
    except ImportError as error:
        return str(error)
    return None


def picture(draw: Callable[[Any], None], alt: str, size: tuple[float, float] = (6.0, 3.6)) -> Picture | None:
    """What a function draws on axes, None without matplotlib."""
    if missing_matplotlib() is not None:
        return None
    matplotlib = import_optional("matplotlib", extra="plot")
    figures = import_optional("matplotlib.figure", extra="plot")
    buffer = io.BytesIO()
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE, "backend": matplotlib.get_backend()}):
        figure = figures.Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        with warnings.catch_warnings():
            # what the reader's browser writes, the font that matplotlib measures with need not have
            warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
            figure.savefig(buffer, format="svg", dpi=_DOTS, metadata={"Date": None}, transparent=True)
    return Picture(buffer.getvalue(), alt)


def written(value: Any, longest: int = 24) -> str:
    """A name as matplotlib shows it, which takes what stands between dollars for mathematics."""
    return clip(value, longest).replace("$", r"\$")


def confusion(counts: np.ndarray, labels: Sequence[str]) -> Picture | None:
    """How often each class was taken for which."""

    def draw(ax: Any) -> None:
        from sklearn.metrics import ConfusionMatrixDisplay

        few = len(labels) <= 12
        shown = ConfusionMatrixDisplay(counts, display_labels=[written(label) for label in labels])
        shown.plot(
            ax=ax, cmap="Blues", include_values=few, colorbar=not few, xticks_rotation=90 if len(labels) > 4 else 0
        )
        ax.set(xlabel="predicted class (rows counted)", ylabel="true class")
        if not few:
            ax.tick_params(labelsize=5 if len(labels) > 30 else 7)

    side = 3.4 + 0.13 * min(len(labels), 30)
    return picture(
        draw, "Confusion matrix: true classes by predicted classes, counts in the table.", (side + 0.6, side)
    )


def calibration(said: np.ndarray, found: np.ndarray, confidence: np.ndarray, what: str) -> Picture | None:
    """How often what is said with some probability is so."""

    def draw(ax: Any) -> None:
        from sklearn.calibration import CalibrationDisplay

        CalibrationDisplay(found, said, confidence, estimator_name="this model").plot(ax=ax)
        ax.set(xlabel=f"probability of {what}, mean", ylabel="share of rows where it is so")

    return picture(draw, f"Calibration curve: probability of {what} against how often it is so.", (5, 4))


def errors(truth: np.ndarray, said: np.ndarray) -> list[Picture]:
    """Numbers that were predicted against true ones, and what is left between them."""
    found = []
    kinds = {"actual_vs_predicted": "True against predicted values", "residual_vs_predicted": "Residuals"}
    for kind, alt in kinds.items():

        def draw(ax: Any, kind: Any = kind) -> None:
            from sklearn.metrics import PredictionErrorDisplay

            look = {"rasterized": True, "s": 12, "alpha": 0.6, "linewidths": 0}
            PredictionErrorDisplay(y_true=truth, y_pred=said).plot(ax=ax, kind=kind, scatter_kwargs=look)
            left = "true value" if kind == "actual_vs_predicted" else "true minus predicted value"
            ax.set(xlabel="predicted value", ylabel=left)

        found.append(picture(draw, f"{alt}; their means are in the table.", (5, 4)))
    return [each for each in found if each is not None]


def bars(labels: Sequence[str], counts: Sequence[float], xlabel: str, alt: str) -> Picture | None:
    """A bar for each name."""

    def draw(ax: Any) -> None:
        ax.barh([written(label) for label in labels], counts, color="#4477aa")
        ax.invert_yaxis()
        ax.set_xlabel(xlabel)

    return picture(draw, alt, (6, 0.9 + 0.28 * len(labels)))


def histogram(values: np.ndarray, xlabel: str) -> Picture | None:
    """How values are spread."""

    def draw(ax: Any) -> None:
        ax.hist(values, bins=min(30, max(5, int(len(values) ** 0.5))), color="#4477aa")
        ax.set(xlabel=xlabel, ylabel="rows")

    return picture(draw, "Histogram of the target; its quantiles are in the table.", (6, 2.6))
