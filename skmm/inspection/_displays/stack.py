"""How much each head and expert of a fitted estimator has to say in its stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from skmm.inspection._drawing import (
    COLORS,
    LITERAL,
    QUIET,
    divided,
    heat_map,
    heat_map_size,
    height_of,
    legend_beside,
    legend_size,
    name_columns,
    name_rows,
    number,
    pyplot,
    shown,
)
from skmm.inspection._inside import VALID, fitted_model

_KINDS = ("head of the network", "expert")
_NOTHING = 1e-6  # a weight that is as good as 0


class StackDisplay:
    """Plot of the weights of heads and experts in the stack of a fitted estimator.

    A bar for each where one weight holds for all classes; a heat map where each output has its own, as labels and
    several values have. A head that is not listened to has the weight 0, and says so. What a head says of one class
    may also count for another, where there were samples enough to learn that: it is not shown.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    heads : list of str
        Names of heads and experts.
    weights : ndarray of shape (n_heads,) or (n_heads, n_outputs)
        Weights; not negative.
    experts : list of str, default=()
        Those of the names that are experts.
    outputs : list of str, default=None
        Names of the outputs, where each has weights of its own.
    temperatures : dict of tuple of str to float, default=None
        By the heads that a sample has, what the sum is divided by: above 1 it is made less sure of itself.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        What it is drawn on: the weights, and the temperatures if there are any.
    figure_ : matplotlib Figure
        The figure with them.
    bars_ : matplotlib BarContainer or None
        Weights that hold for all outputs, in the order of ``heads``.
    im_, colorbar_ : matplotlib AxesImage and Colorbar, or None
        Weights of each output.
    text_ : list of matplotlib Text
        The weights as numbers.
    legend_ : matplotlib Legend or None
        Which are experts.
    temperature_bars_ : matplotlib BarContainer or None
        Temperatures.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from skmm.inspection import StackDisplay
    >>> heads, weights = ["fused", "text", "forest"], np.array([0.6, 0, 0.4])
    >>> display = StackDisplay(heads=heads, weights=weights, experts=["forest"])
    >>> [text.get_text() for text in display.plot(Figure().subplots()).text_]
    ['0.60', '0', '0.40']
    """

    def __init__(
        self,
        *,
        heads: Sequence[str],
        weights: np.ndarray,
        experts: Sequence[str] = (),
        outputs: Sequence[str] | None = None,
        temperatures: Mapping[tuple[str, ...], float] | None = None,
    ) -> None:
        self.heads = heads
        self.weights = weights
        self.experts = experts
        self.outputs = outputs
        self.temperatures = temperatures

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Any = None,
        temperatures: bool = True,
        bar_kw: Mapping[str, Any] | None = None,
        im_kw: Mapping[str, Any] | None = None,
        text_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the stack of a fitted estimator.

        Parameters
        ----------
        estimator : fitted MultimodalClassifier or MultimodalRegressor
            With a stack; or a pipeline that ends in one, or a search, Pruned or Distilled that fitted one.
        ax, temperatures, bar_kw, im_kw, text_kw
            As in :meth:`plot`.

        Returns
        -------
        StackDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it has no stack.
        """
        pyplot()
        model = fitted_model(estimator)
        if not hasattr(model, "stack_"):
            raise ValueError(f"{type(model).__name__} has no stack to show; {VALID}.")
        stack = model.stack_
        if stack is None:
            raise ValueError(
                f"{type(model).__name__} has no stack to show: members and experts make one, where n_members is 2 "
                "or more and stack is 'auto' or True."
            )
        heads = model.stack_weights_["head"][: len(stack.weights)]
        n_experts = 0 if model.experts_ is None else len(model.experts_.names)
        each = stack.weights.shape[1] > 1
        display = cls(
            heads=heads,
            weights=stack.weights if each else stack.weights[:, 0],
            experts=heads[len(heads) - n_experts :],
            outputs=[str(name) for name in model._target.names] if each else None,
            temperatures=_by_heads(stack.temperatures, heads),
        )
        return display.plot(ax, temperatures=temperatures, bar_kw=bar_kw, im_kw=im_kw, text_kw=text_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        temperatures: bool = True,
        bar_kw: Mapping[str, Any] | None = None,
        im_kw: Mapping[str, Any] | None = None,
        text_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the weights.

        Parameters
        ----------
        ax : matplotlib Axes or array of two, default=None
            What to draw on; a new figure at None. One is divided if there are temperatures.
        temperatures : bool, default=True
            Whether to draw those beside the weights, if there are any.
        bar_kw, im_kw, text_kw : dict, default=None
            For ``Axes.barh``, ``Axes.imshow`` and the numbers' ``Axes.text``.

        Returns
        -------
        StackDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot()
        weights = np.asarray(self.weights, dtype=float)
        hot = dict(self.temperatures or {}) if temperatures else {}
        names = [shown(head) for head in self.heads]
        sets = [shown(self._speakers(heads)) for heads in hot]
        wide, high, beside = 6.0, height_of(names), 0.0
        if weights.ndim == 1 and self._has_both():
            beside, legend_high = legend_size(_KINDS)
            high = max(high, legend_high)
        if weights.ndim > 1:
            names = [f"{n} (expert)" if h in self.experts else n for n, h in zip(names, self.heads, strict=True)]
            columns = [shown(name) for name in self.outputs or range(weights.shape[1])]
            wide, high = heat_map_size(names, columns)
        size = (wide + beside + 3.8, max(high, height_of(sets))) if hot else (wide + beside, high)
        self.axes_ = divided(ax, [wide, 3.8] if hot else [1.0], size)
        self.bars_: Any = None
        self.im_: Any = None
        self.colorbar_: Any = None
        self.legend_: Any = None
        self.temperature_bars_: Any = None
        self.text_: list[Any] = []
        if weights.ndim == 1:
            self._draw_bars(self.axes_[0], weights, bar_kw, text_kw)
        else:
            self.im_, self.text_, self.colorbar_ = heat_map(
                self.axes_[0],
                np.where(weights < _NOTHING, np.nan, weights),
                "Weight, no unit (grey: 0)",
                diverging=False,
                im_kw=im_kw,
                text_kw=text_kw,
            )
            name_columns(self.axes_[0], columns)
        name_rows(self.axes_[0], names)
        if hot:
            self._draw_temperatures(self.axes_[1], hot, sets)
        self.figure_ = self.axes_[0].figure
        return self

    def _are_experts(self) -> list[bool]:
        return [head in self.experts for head in self.heads]

    def _has_both(self) -> bool:
        """Whether there are heads of the network and experts, which a legend tells apart."""
        return len({*self._are_experts()}) == 2

    def _draw_bars(self, ax: Any, weights: np.ndarray, bar_kw: Any, text_kw: Any) -> None:
        own = self._are_experts()
        colors = [COLORS[int(expert)] for expert in own]
        style = {"color": colors, "height": 0.7, **(bar_kw or {})}
        self.bars_ = ax.barh(range(len(weights)), weights, **style)
        for bar, expert in zip(self.bars_, own, strict=True):
            bar.set_hatch("//" if expert else None)
            bar.set_edgecolor("white")
        margin = 0.01 * (weights.max(initial=0.0) or 1.0)
        for i, weight in enumerate(weights):
            nothing = weight < _NOTHING
            look = {"va": "center", "color": QUIET if nothing else "black", **(text_kw or {})}
            self.text_.append(ax.text(weight + margin, i, "0" if nothing else number(weight), **look))
        ax.set_xlim(0, 1.15 * (weights.max(initial=0.0) or 1.0))
        ax.set_xlabel("Weight in the stack (no unit)")
        if self._has_both():
            firsts = [self.bars_[own.index(expert)] for expert in (False, True)]
            self.legend_ = legend_beside(self.axes_[-1], firsts, _KINDS)

    def _speakers(self, heads: tuple[str, ...]) -> str:
        """Which heads speak, in as few words as it takes."""
        silent = [head for head in self.heads if head not in heads]
        if not silent:
            return "all"
        return f"without {', '.join(silent)}" if len(silent) <= len(heads) else f"only {', '.join(heads)}"

    def _draw_temperatures(self, ax: Any, hot: Mapping[tuple[str, ...], float], sets: list[str]) -> None:
        self.temperature_bars_ = ax.barh(range(len(hot)), list(hot.values()), color=COLORS[2], height=0.7)
        ax.axvline(1, color="black", linestyle="--", linewidth=1)
        name_rows(ax, sets)
        ax.set_xlabel("Temperature (above 1: made less sure)", **LITERAL)
        ax.set_title("By who speaks", fontsize="medium")


def _by_heads(temperatures: Mapping[bytes, float], heads: Sequence[str]) -> dict[tuple[str, ...], float]:
    """Temperatures by the names of who speaks, most of them first, from the bits by which a stack keeps that."""
    found = {}
    for key, value in temperatures.items():
        speaks = np.unpackbits(np.frombuffer(key, dtype=np.uint8), count=len(heads))
        found[tuple(head for head, there in zip(heads, speaks, strict=True) if there)] = value
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))
