"""Habits that the displays share: colours, names that are shown as they are, axes, labels of scores."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor

from skmm._checks import unknown
from skmm._optional import import_optional

# Okabe and Ito 2008, Color universal design: told apart by the colour-blind too. Yellow is left out, it is too pale
# for a line on white.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
POSITIVE, NEGATIVE, QUIET = "#0072B2", "#D55E00", "0.55"
DIVERGING = "RdBu"  # from NEGATIVE to POSITIVE
SEQUENTIAL = "viridis"
# Names are data: a dollar begins no formula in them.
LITERAL = {"parse_math": False, "usetex": False}
WIDTH = 28  # characters of a line of a name
FEW = 4  # names of a legend that have room inside of the axes
_LINES = 6
_PER_COLUMN = 26  # lines of a legend
_LINE, _CHARACTER = 0.19, 0.09  # inches that a line of text takes, and a character


def pyplot() -> Any:
    """matplotlib's pyplot, which only drawing needs.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    return import_optional("matplotlib.pyplot", extra="plot")


def shown(name: Any, width: int = WIDTH) -> str:
    """A name as text, on as many lines as it needs, up to some; what cannot be printed as its escape."""
    text = re.sub(r"\s", " ", str(name))
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(text) > _LINES * width:
        text = f"{text[: _LINES * width - 21]}…{text[-20:]}"
    return "\n".join(textwrap.wrap(text, width)) or "''"


def _lines(names: Iterable[str]) -> int:
    return max((1 + name.count("\n") for name in names), default=1)


def height_of(names: Sequence[str]) -> float:
    """Inches that rows with these names, of :func:`shown`, take with what stands around them."""
    return 1.3 + len(names) * max(0.34, 0.05 + _LINE * _lines(names))


def heat_map_size(rows: Sequence[str], columns: Sequence[str]) -> tuple[float, float]:
    """Inches, wide and high, of a heat map with these names; its rows are those of :func:`height_of`."""
    below = _CHARACTER * max((len(line) for name in columns for line in name.split("\n")), default=0)
    beside = _CHARACTER * max((len(line) for name in rows for line in name.split("\n")), default=0)
    wide = 2.0 + beside + len(columns) * max(0.36, _LINE * _lines(columns), 3 / max(1, len(columns)))
    return wide, max(2.0, height_of(rows)) + (below if _turned(columns) else 0.6)


def _turned(names: Sequence[str]) -> bool:
    """Whether names beside each other stand upright, for they would run into each other."""
    return len(names) > 4 or max((len(name) for name in names), default=0) > 12


def color_of(i: int) -> str:
    return COLORS[i % len(COLORS)]


def marker_of(i: int) -> str:
    """A marker that, with :func:`color_of`, is that of no other among 70."""
    return MARKERS[i % len(MARKERS)]


def new_axes(ax: Any, figsize: tuple[float, float]) -> Any:
    """The axes to draw on: those given, or of a new figure."""
    plt = pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    return ax


def divided(ax: Any, widths: Sequence[float], figsize: tuple[float, float]) -> np.ndarray:
    """Axes side by side, (n,): in a new figure, in the place of axes that are given, or these if they are many."""
    plt = pyplot()
    n = len(widths)
    if ax is None:
        ratios = {"width_ratios": widths}
        _, axes = plt.subplots(1, n, figsize=figsize, layout="constrained", squeeze=False, gridspec_kw=ratios)
        return axes[0]
    if not hasattr(ax, "plot"):
        axes = np.ravel(np.asarray(ax, dtype=object))
        if len(axes) != n:
            raise ValueError(f"ax has {len(axes)} axes, {n} are drawn on; give {n}, or one to divide.")
        return axes
    return np.array([ax], dtype=object) if n == 1 else grid_in(ax, 1, n, width_ratios=list(widths))[0]


def grid_in(ax: Any, n_rows: int, n_columns: int, **ratios: Any) -> np.ndarray:
    """Axes (n_rows, n_columns) in the place of some, which disappear."""
    ax.set_axis_off()
    place = ax.get_subplotspec()
    if place is None:  # axes that stand where the user put them
        box = ax.get_position()
        room = {"left": box.x0, "right": box.x1, "bottom": box.y0, "top": box.y1, "wspace": 0.4, "hspace": 0.4}
        grid = ax.figure.add_gridspec(n_rows, n_columns, **room, **ratios)
    else:
        grid = place.subgridspec(n_rows, n_columns, **ratios)
    made = [[ax.figure.add_subplot(grid[i, j]) for j in range(n_columns)] for i in range(n_rows)]
    return np.array(made, dtype=object).reshape(n_rows, n_columns)


def name_rows(ax: Any, names: Sequence[str]) -> None:
    """Names on the vertical axis, the first at the top."""
    ax.set_yticks(range(len(names)), names, **LITERAL)
    ax.set_ylim(len(names) - 0.5, -0.5)


def name_columns(ax: Any, names: Sequence[str]) -> None:
    """Names on the horizontal axis."""
    ax.set_xticks(range(len(names)), names, **LITERAL)
    if _turned(names):
        ax.tick_params(axis="x", rotation=90)


def literal_legend(ax: Any, handles: Sequence[Any], names: Sequence[Any], **options: Any) -> Any:
    """A legend whose names are shown as they are, also such as begin with an underscore or have dollars."""
    legend = ax.legend(list(handles), [f"{i}" for i in range(len(names))], **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=shown(name), **LITERAL)
    return legend


def legend_beside(ax: Any, handles: Sequence[Any], names: Sequence[Any], title: str | None = None) -> Any:
    """A legend to the right of the axes, in as many columns as :func:`legend_size` has room for."""
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
    legend = literal_legend(ax, handles, names, ncols=_columns([shown(name) for name in names]), **place)
    if title is not None:
        legend.set_title(shown(title))
        legend.get_title().set(**LITERAL)
    return legend


def legend_size(names: Sequence[str]) -> tuple[float, float]:
    """Inches, wide and high, of a legend with these names, of :func:`shown`."""
    longest = max((len(line) for name in names for line in name.split("\n")), default=0)
    columns = _columns(names)
    lines = sum(1 + name.count("\n") for name in names)
    return columns * (0.5 + _CHARACTER * longest), 1.0 + 0.22 * (lines / columns + _lines(names))


def _columns(names: Sequence[str]) -> int:
    return max(1, math.ceil(sum(1 + name.count("\n") for name in names) / _PER_COLUMN))


def heat_map(
    ax: Any, values: np.ndarray, label: str, *, diverging: bool, im_kw: Any = None, text_kw: Any = None
) -> tuple[Any, list[Any], Any]:
    """Values (n, m) as colours, and as numbers where there is room; the image, the texts, the colour bar.

    What is NaN is white where values may be below 0, and else grey.
    """
    most = float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
    style = {"cmap": DIVERGING if diverging else SEQUENTIAL, "vmin": -most if diverging else 0.0, "vmax": most}
    im = ax.imshow(values, **{"aspect": "auto", **style, **(im_kw or {})})
    ax.set_facecolor("white" if diverging else "0.85")
    texts = []
    digits = min(4, max(0, 1 - math.floor(math.log10(most))))
    if max(values.shape) <= 12:
        for i, j in np.ndindex(*values.shape):
            if np.isfinite(values[i, j]):
                dark = sum(im.cmap(im.norm(values[i, j]))[:3]) < 1.4
                look = {"ha": "center", "va": "center", "color": "white" if dark else "black", "fontsize": 9}
                texts.append(ax.text(j, i, f"{values[i, j]:z.{digits}f}", **{**look, **(text_kw or {})}))
    bar = ax.figure.colorbar(im, ax=ax, aspect=30, fraction=0.1, pad=0.02)
    bar.set_label(shown(label), **LITERAL)
    return im, texts, bar


def number(value: float, *, sign: bool = False) -> str:
    """A number in few digits."""
    few = "z.2f" if 0.005 <= abs(value) < 1000 or value == 0 else ".2g"
    return f"{value:{'+' if sign else ''}{few}}"


def score_name(scoring: Any) -> str:
    """A metric as the label of an axis."""
    named = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    return named.replace("neg_", "negative ").replace("_", " ")


def name_of_score(estimator: Any, scoring: Any) -> str:
    """The same, at None of the estimator's own ``score``."""
    if scoring is not None:
        return score_name(scoring)
    return "accuracy" if is_classifier(estimator) else "R2" if is_regressor(estimator) else "score"


def check_kind(kind: Any, valid: Sequence[str]) -> None:
    """Refuse what is no way to draw."""
    if kind not in valid:
        raise unknown("kind", kind, valid)
