"""One sample: what each modality adds to what is predicted of it, beside what there is to see of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from skmm._checks import is_whole, unknown
from skmm._private import num_samples, safe_indexing
from skmm.blocks._forms import n_axes
from skmm.blocks._given import blocks_if_named
from skmm.inspection._answers import Names, as_tuple, label
from skmm.inspection._displays._sample import draw_value, sample_of
from skmm.inspection._drawing import (
    LITERAL,
    NEGATIVE,
    POSITIVE,
    divided,
    grid_in,
    height_of,
    name_rows,
    number,
    pyplot,
    shown,
)
from skmm.inspection._inside import predictor
from skmm.inspection.importances import modality_contributions
from skmm.inspection.removal import as_rows

_PANELS = 4  # of a sample, above which they stand in two columns


class ContributionDisplay:
    """Plot of how one prediction comes about: from what is said of a sample without any modality to the answer.

    A bar for each modality begins where that before ended, the largest first; the sample's own picture, text and
    numbers stand beside them.

    Make it with :meth:`from_estimator`, or of what :func:`modality_contributions` found with
    :meth:`from_contributions`.

    Parameters
    ----------
    modalities : list of str or tuple of str
        What is added up.
    contributions : ndarray of shape (n_modalities,)
        What each adds, in units of the prediction.
    base : float
        Prediction without any of them.
    prediction : float
        Prediction with all.
    output_name : str, default="Prediction"
        What is predicted, with its unit: the label of the axis.
    sample : dict of str to object, default=None
        What the sample is, by modality: text, numbers, an array, a picture; None where it is missing.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        What it is drawn on: the bars, and one for each modality that is shown of the sample.
    figure_ : matplotlib Figure
        The figure with them.
    bars_ : matplotlib BarContainer
        Contributions, the largest first.
    text_ : list of matplotlib Text
        Their numbers, between those of ``base`` and ``prediction``.
    base_line_, prediction_line_ : matplotlib Line2D
        Where it begins and ends.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from skmm.inspection import ContributionDisplay
    >>> display = ContributionDisplay(
    ...     modalities=["text", "image"],
    ...     contributions=np.array([0.3, -0.1]),
    ...     base=0.5,
    ...     prediction=0.7,
    ...     sample={"text": "a good film", "image": np.zeros((8, 8, 3))},
    ... )
    >>> [text.get_text() for text in display.plot(Figure().subplots()).text_]
    ['0.50', '+0.30', '-0.10', '0.70']
    """

    def __init__(
        self,
        *,
        modalities: Sequence[Names],
        contributions: np.ndarray,
        base: float,
        prediction: float,
        output_name: str = "Prediction",
        sample: Mapping[str, Any] | None = None,
    ) -> None:
        self.modalities = modalities
        self.contributions = contributions
        self.base = base
        self.prediction = prediction
        self.output_name = output_name
        self.sample = sample

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        row: int | None = None,
        output: Any = None,
        modalities: Sequence[Names] | None = None,
        level: str = "modality",
        show_sample: bool = True,
        output_name: str | None = None,
        n_jobs: int | None = None,
        ax: Any = None,
        bar_kw: Mapping[str, Any] | None = None,
        text_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Compute the contributions of a sample's modalities and draw them.

        Parameters
        ----------
        estimator, X, modalities, level, n_jobs
            As in :func:`modality_contributions`; of a search, Pruned or Distilled what it predicts by is asked.
        row : int, default=None
            Number of the sample in X, from 0; not needed where X is one sample, such as a row of a DataFrame as a
            Series or dict.
        output : object, default=None
            The class, label or number of the output whose prediction is shown. At None the class that is the most
            probable, or the only value; of several values one has to be named.
        show_sample : bool, default=True
            Whether the sample is shown beside the bars. It may be personal.
        output_name, ax, bar_kw, text_kw
            As in :meth:`plot`. By default the axis says "Probability of" the class, or "Predicted value".

        Returns
        -------
        ContributionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed; before anything is computed.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If there is no such row or output, or it has to be named; or as in :func:`modality_contributions`.
        """
        pyplot()
        model = predictor(estimator)
        X = blocks_if_named(as_rows(model, X))
        row = _checked_row(row, num_samples(X), "X")
        own = safe_indexing(X, [row])
        found = modality_contributions(model, own, modalities=modalities, level=level, n_jobs=n_jobs)
        place = _place_of(found, 0, output)
        columns = [name for key in found.modalities for name in as_tuple(key)] if level == "column" else None
        sample = sample_of(model, own, columns) if show_sample else None
        display = cls._of(found, 0, place, output_name, sample)
        return display.plot(ax, bar_kw=bar_kw, text_kw=text_kw)

    @classmethod
    def from_contributions(
        cls,
        contributions: Any,
        *,
        row: int | None = None,
        output: Any = None,
        output_name: str | None = None,
        sample: Mapping[str, Any] | None = None,
        ax: Any = None,
        **styles: Any,
    ) -> Self:
        """Draw one sample of what :func:`modality_contributions` found.

        Parameters
        ----------
        contributions : Bunch
            What it returned.
        row, output, output_name
            As in :meth:`from_estimator`.
        sample, ax, **styles
            As in the constructor and in :meth:`plot`.

        Returns
        -------
        ContributionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no such row or output, or it has to be named.
        """
        pyplot()
        row = _checked_row(row, len(contributions.base), "contributions")
        place = _place_of(contributions, row, output)
        return cls._of(contributions, row, place, output_name, sample).plot(ax, **styles)

    @classmethod
    def _of(
        cls, found: Any, row: int, place: int, output_name: str | None, sample: Mapping[str, Any] | None
    ) -> Self:
        if output_name is None:
            own = found.outputs[place]
            several = f" {own}" if len(found.outputs) > 1 else ""
            output_name = f"Predicted value{several}" if _are_values(found) else f"Probability of {own}"
        return cls(
            modalities=found.modalities,
            contributions=found.contributions[row, :, place],
            base=float(found.base[row, place]),
            prediction=float(found.predictions[row, place]),
            output_name=output_name,
            sample=sample,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        output_name: str | None = None,
        bar_kw: Mapping[str, Any] | None = None,
        text_kw: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the contributions, and the sample if it is known.

        Parameters
        ----------
        ax : matplotlib Axes or array of two, default=None
            What to draw on; a new figure at None. One is divided where the sample is shown.
        output_name : str, default=None
            What is predicted, with its unit; at None that of the display.
        bar_kw, text_kw : dict, default=None
            For ``Axes.barh`` and the numbers' ``Axes.text``.

        Returns
        -------
        ContributionDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot()
        sample = dict(self.sample or {})
        values = np.asarray(self.contributions, dtype=float)
        order = np.argsort(-np.abs(values), kind="stable")
        names = ["without any", *(shown(label(self.modalities[i])) for i in order), "with all"]
        n_columns = 1 if len(sample) <= _PANELS else 2
        n_rows = math.ceil(len(sample) / n_columns)
        beside = 3.5 * n_columns if sample else 0.0
        parts = divided(ax, [5.4, beside] if sample else [1.0], (5.6 + beside, max(height_of(names), 1.5 * n_rows)))
        self._draw_bars(parts[0], values[order], names, output_name or self.output_name, bar_kw, text_kw)
        panels = list(grid_in(parts[1], n_rows, n_columns).ravel()) if sample else []
        for panel in panels[len(sample) :]:
            panel.set_axis_off()
        for panel, (name, value) in zip(panels, sample.items(), strict=False):
            draw_value(panel, name, value)
        self.axes_ = np.array([parts[0], *panels[: len(sample)]], dtype=object)
        self.figure_ = parts[0].figure
        return self

    def _draw_bars(
        self, ax: Any, values: np.ndarray, names: list[str], output_name: str, bar_kw: Any, text_kw: Any
    ) -> None:
        at = np.arange(1, len(values) + 1)
        ends = self.base + np.cumsum(values)
        starts = ends - values
        colors = [POSITIVE if value >= 0 else NEGATIVE for value in values]
        self.bars_ = ax.barh(at, values, left=starts, **{"color": colors, "height": 0.7, **(bar_kw or {})})
        for i, end in enumerate([self.base, *ends]):  # from each bar to the next
            ax.plot([end, end], [i, i + 1], color="0.5", linewidth=0.8, zorder=0)
        point = {"marker": "D", "color": "black", "linestyle": "none"}
        (self.base_line_,) = ax.plot([self.base], [0], **point)
        (self.prediction_line_,) = ax.plot([self.prediction], [len(values) + 1], **point)
        reach = [self.base, self.prediction, *ends]
        room = 0.02 * ((max(reach) - min(reach)) or 1.0)
        places = [self.base, *np.maximum(starts, ends), self.prediction]
        texts = [number(self.base), *(number(value, sign=True) for value in values), number(self.prediction)]
        self.text_ = [
            ax.text(x + (2 if i in (0, len(at) + 1) else 1) * room, i, text, **{"va": "center", **(text_kw or {})})
            for i, (x, text) in enumerate(zip(places, texts, strict=True))
        ]
        ax.set_xlim(min(reach) - 4 * room, max(reach) + 12 * room)
        ax.set_xlabel(shown(output_name, 50), **LITERAL)
        name_rows(ax, names)


def _checked_row(row: int | None, n_samples: int, what: str) -> int:
    """The number of the sample, which has to be given where there are several."""
    if not n_samples:
        raise ValueError(f"{what} has 0 samples, and one is shown; give at least 1.")
    if row is None and n_samples != 1:
        raise ValueError(f"{what} has {n_samples} samples, and one is shown; say which: row=0.")
    if row is not None and (not is_whole(row) or not 0 <= row < n_samples):
        raise ValueError(
            f"row={row!r} is none of the {n_samples} samples of {what}; valid are 0 to {n_samples - 1}."
        )
    return 0 if row is None else int(row)


def _are_values(found: Any) -> bool:
    """Whether the outputs are values, which are numbered, and not classes, which are entries of an array."""
    return [*found.outputs] == [*range(len(found.outputs))] and all(type(own) is int for own in found.outputs)


def _place_of(found: Any, row: int, output: Any) -> int:
    """Where the output to show stands among those that there are."""
    outputs = list(found.outputs)
    if n_axes(output) or isinstance(output, list | tuple):
        raise ValueError(f"output={output!r} is several, and one is shown; valid are {[*map(str, outputs)]}.")
    if output is not None:
        if output not in outputs:
            raise unknown("output", output, outputs)
        return outputs.index(output)
    if len(outputs) > 1 and _are_values(found):
        raise ValueError(
            f"there are {len(outputs)} outputs, {outputs}, and one is shown; say which: output={outputs[0]!r}."
        )
    return int(np.argmax(found.predictions[row]))
