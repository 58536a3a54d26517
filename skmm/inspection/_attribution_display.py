"""Attributions of one sample, drawn over what they are of."""

from __future__ import annotations

import math
import re
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from skmm._checks import check_positive, unknown
from skmm._optional import import_optional
from skmm._private import num_samples, safe_indexing
from skmm.blocks import KINDS, Blocks, RaggedArray, is_lazy
from skmm.inspection._attributions import Attributions, attributed, checked_row
from skmm.inspection._drawing import LITERAL, check_kind, height_of, pyplot, shown

STYLES = ("bars", "text", "heat", "line")
_DEFAULT = {"vector": "bars", "sparse": "bars", "tokens": "text"}
_AXES = {"vector": (1,), "sparse": (1,), "tokens": (1,), "sequence": (1, 2, 3, 4), "image": (2, 3), "video": (3, 4)}
_VALUE = "predicted value"
_COLOURS = "PuOr_r"  # purple against, orange for: told apart by those who see no red, or no green
_LINE = 48  # letters of a line of text
_FRAMES = 8  # of a video that are shown side by side
_ADVANCE = 0.602  # width of a letter of DejaVu Sans Mono, in font sizes


class AttributionDisplay:
    """Picture of what in one sample speaks for a prediction, and against it.

    Words, columns and features are bars, the strongest on top; token ids, or a text that is given, are words with a
    colour behind each; pictures, frames and spectrograms lie in grey beneath a heat map. Orange speaks for the
    target and purple against it, and 0 has no colour.

    Make it with :meth:`from_estimator`, or of what :func:`attributions` returns with :meth:`from_attributions`.

    Parameters
    ----------
    values : ndarray of shape (...)
        Attributions of the sample, in the shape of its block; NaN where it has no such step.
    kind : {"vector", "sparse", "tokens", "sequence", "image", "video"}
        Kind of the block.
    modality : str
        Name of the modality.
    names : ndarray of str or None, default=None
        Of features or bands, or the words of token ids.
    sample : ndarray of shape (...) or None, default=None
        What a heat map lies over: the picture, frames or spectrogram, in the shape of ``values``.
    unit : str, default="log-odds"
        Unit of the attributions.
    target : object, default=None
        What they speak for; of a predicted value its number, where there are several.
    output, baseline_output : float or None, default=None
        The prediction, and that with the baseline in place of the modality, for the title.
    seconds : float or None, default=None
        From one step to the next.
    hertz : ndarray of shape (n_bands,) or None, default=None
        Of the bands of a spectrogram.

    Raises
    ------
    ValueError
        If the kind is unknown, or values, names, sample or hertz do not fit it or each other.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What it is drawn on.
    figure_ : matplotlib Figure
        The figure with it.
    style_ : str
        As drawn.
    bars_ : matplotlib BarContainer
        Of style "bars".
    words_ : list of matplotlib Text
        Of style "text", the words in their order.
    heat_ : matplotlib AxesImage
        Of style "heat".
    line_ : matplotlib Line2D
        Of style "line".
    colorbar_ : matplotlib Colorbar
        Of styles "text" and "heat".

    See Also
    --------
    attributions : Computes them.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm.inspection import AttributionDisplay
    >>> from matplotlib.figure import Figure
    >>> display = AttributionDisplay(
    ...     values=np.array([0.1, 1.5, -0.4]),
    ...     kind="vector",
    ...     modality="table",
    ...     names=np.array(["age", "dose", "sex"]),
    ... )
    >>> drawn = display.plot(Figure().subplots())
    >>> [label.get_text() for label in drawn.ax_.get_yticklabels()]
    ['age', 'sex', 'dose']
    """

    def __init__(
        self,
        *,
        values: np.ndarray,
        kind: str,
        modality: str,
        names: np.ndarray | None = None,
        sample: np.ndarray | None = None,
        unit: str = "log-odds",
        target: Any = None,
        output: float | None = None,
        baseline_output: float | None = None,
        seconds: float | None = None,
        hertz: np.ndarray | None = None,
    ) -> None:
        self.values = _checked_values(values, kind, modality)
        self.kind = kind
        self.modality = modality
        self.names = _checked_names(names, self.values, kind, modality)
        self.sample = _checked_sample(sample, self.values, kind, modality)
        self.unit = unit
        self.target = target
        self.output = output
        self.baseline_output = baseline_output
        self.seconds = seconds
        self.hertz = None if hertz is None else np.asarray(hertz, dtype=float)
        if self.hertz is not None and self.hertz.shape != (_n_names(self.values, kind),):
            raise ValueError(
                f"hertz of shape {self.hertz.shape}: modality {modality!r} has {_n_names(self.values, kind)} bands."
            )

    @classmethod
    def from_attributions(cls, found: Attributions, row: int, *, sample: Any = None) -> Self:
        """The display of one sample of some attributions, not yet drawn.

        Parameters
        ----------
        found : Attributions
            Of any number of samples.
        row : int
            Number of the sample.
        sample : array-like, default=None
            Its picture, frames or spectrogram.

        Returns
        -------
        AttributionDisplay

        Raises
        ------
        ValueError
            If there is no such sample, or it lacks the modality.
        """
        row = checked_row(row, len(found.present))
        if not found.present[row]:
            raise ValueError(f"row {row} lacks modality {found.modality!r}: there is nothing to draw.")
        values = found.values[[row]].toarray()[0] if sp.issparse(found.values) else found.values[row]
        names = found.names
        if found.kind == "tokens" and names is not None:
            names = names[row]
        return cls(
            values=values,
            kind=found.kind,
            modality=found.modality,
            names=names,
            sample=sample,
            unit=found.unit,
            target=None if found.unit == _VALUE and found.n_outputs == 1 else found.target[row],
            output=float(found.output[row]),
            baseline_output=float(found.baseline_output[row]),
            seconds=found.seconds,
            hertz=found.hertz,
        )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        modality: str,
        *,
        row: int = 0,
        target: Any = None,
        method: str = "integrated_gradients",
        baseline: Any = None,
        window: Any = None,
        level: str = "feature",
        feature_names: Any = None,
        ax: Any = None,
        style: str | None = None,
        text: str | None = None,
        n_names: int = 12,
        cmap: Any = _COLOURS,
    ) -> Self:
        """Compute the attributions of one sample and draw them.

        Parameters
        ----------
        estimator, X, modality, target, method, baseline, window, level, feature_names
            As in :func:`attributions`; ``target`` is one label.
        row : int, default=0
            Number of the sample in X. No other is explained.
        ax, style, text, n_names, cmap
            As in :meth:`plot`.

        Returns
        -------
        AttributionDisplay

        Raises
        ------
        ImportError
            If matplotlib or captum is not installed; before anything is computed.
        ValueError
            As :func:`attributions` and :meth:`from_attributions`.
        """
        pyplot()
        _check_text(text)
        if isinstance(X, Blocks | np.ndarray) or sp.issparse(X) or hasattr(X, "columns"):  # nothing else is read
            X, row = safe_indexing(X, [checked_row(row, num_samples(X))]), 0
        how = {"baseline": baseline, "window": window, "level": level, "feature_names": feature_names}
        found, blocks = attributed(estimator, X, modality, target, method, **how, row=row)
        display = cls.from_attributions(found, 0, sample=_sample(blocks, modality))
        return display.plot(ax, style=style, text=text, n_names=n_names, cmap=cmap)

    def plot(
        self,
        ax: Any = None,
        *,
        style: str | None = None,
        text: str | None = None,
        n_names: int = 12,
        cmap: Any = _COLOURS,
    ) -> Self:
        """Draw the attributions.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            What to draw on; a new figure at None.
        style : {"bars", "text", "heat", "line"}, default=None
            "bars" of the strongest features, or of words summed over their places; "text" with marked words; "heat"
            over a picture, frames side by side, or steps by bands; "line" of what each step adds up to. None is the
            first that suits the kind of block, and "text" where one is given.
        text : str, default=None
            The raw text of a sparse block of words, whose words are marked.
        n_names : int, default=12
            Bars at most.
        cmap : str or Colormap, default="PuOr_r"
            Diverging colours, against to for.

        Returns
        -------
        AttributionDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the style is unknown or does not suit the block, or no word of the text has a name.
        """
        plt = pyplot()
        check_positive("n_names", n_names)
        _check_text(text)
        self.style_ = self._style(style, text)
        made = ax is None
        if made:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        colours = _softened(cmap)
        if self.style_ == "bars":
            names = self._draw_bars(n_names, colours)
            if made:
                self.figure_.set_figheight(max(self.figure_.get_figheight(), height_of(names)))
        elif self.style_ == "text":
            self._draw_text(text, colours)
        elif self.style_ == "line":
            self._draw_line(colours)
        else:
            self._draw_heat(colours)
        ax.set_title(self._title(), fontsize="medium", **LITERAL)
        return self

    # -- parts ---------------------------------------------------------------------------------------------------

    def _style(self, style: str | None, text: str | None) -> str:
        if style is None:
            style = "text" if text is not None else _DEFAULT.get(self.kind, "heat")
        if style not in STYLES:
            raise unknown("style", style, STYLES)
        suits = {
            "bars": self.kind in ("vector", "sparse", "tokens"),
            "text": self.kind == "tokens" or (text is not None and self.names is not None),
            "heat": self.kind in ("sequence", "image", "video"),
            "line": self.kind in ("sequence", "video", "tokens"),
        }
        if not suits[style]:
            valid = [name for name, fits in suits.items() if fits]
            hint = " Marked words need text=..., and names of the features." if style == "text" else ""
            what = f"modality {self.modality!r} ({self.kind})"
            raise ValueError(f"style={style!r} does not suit {what}, valid are {valid}.{hint}")
        return style

    def _title(self) -> str:
        output = "output " if self.unit == _VALUE else ""
        target = "" if self.target is None else f" of {output}{shown(self.target)}"
        own = f"{shown(self.modality)}: {self.unit}{target}"
        if self.output is None or self.baseline_output is None:
            return own
        return f"{own} {self.output:+.2f},\n{self.baseline_output:+.2f} with the baseline in its place"

    @property
    def _label(self) -> str:
        return f"attribution ({self.unit})"

    def _norm(self, values: np.ndarray) -> Any:
        """From against to for, 0 in the middle; of many numbers the largest in a hundred share a colour."""
        colors = import_optional("matplotlib.colors", extra="plot")
        sizes = np.abs(values[~np.isnan(values)])
        most = float(np.quantile(sizes, 0.99) if len(sizes) >= 500 else sizes.max(initial=0.0))
        most = most or float(sizes.max(initial=0.0)) or 1.0
        return colors.Normalize(-most, most, clip=True)

    def _draw_bars(self, n_names: int, colours: Any) -> list[str]:
        """The names that are drawn."""
        values = np.nan_to_num(np.ravel(self.values))
        names = [str(i) for i in range(len(values))] if self.names is None else [str(name) for name in self.names]
        if self.kind == "tokens":  # one bar for each word, wherever it stands
            sums: dict[str, float] = {}
            for name, value in zip(names, values.tolist(), strict=True):
                sums[name] = sums.get(name, 0.0) + value
            sums.pop("", None)
            names, values = list(sums), np.array(list(sums.values()))
        order = np.argsort(-np.abs(values), kind="stable")
        kept = [i for i in order[:n_names].tolist() if values[i] != 0 or self.kind == "vector"][::-1]
        sides = [colours(0.95 if value > 0 else 0.05) for value in values[kept]]
        self.bars_ = self.ax_.barh(range(len(kept)), values[kept], height=0.6, color=sides)
        drawn = [shown(names[i]) for i in kept]
        self.ax_.set_yticks(range(len(kept)), drawn, **LITERAL)
        self.ax_.axvline(0, color="0.3", linewidth=0.8)
        self.ax_.set_xlabel(self._label, **LITERAL)
        others = np.delete(values, kept)
        if others.any():
            self.ax_.set_ylabel(f"{len(kept)} strongest of {len(values)}\n(the others add {others.sum():+.2f})")
        return drawn

    def _draw_text(self, text: str | None, colours: Any) -> None:
        pieces = self._pieces(text)
        norm = self._norm(np.array([value for _, value in pieces if value is not None]))
        self.words_ = []
        place, line = 0, 0
        width = self.ax_.get_position().width * self.figure_.get_size_inches()[0] * 72
        size = min(14.0, width / _LINE / _ADVANCE)
        patches = import_optional("matplotlib.patches", extra="plot")
        for word, value in pieces:
            word = _short(shown(word, 20 * _LINE), _LINE)
            if place and place + len(word) > _LINE:
                place, line = 0, line + 1
            colour = colours(norm(value)) if value is not None else (1.0, 1.0, 1.0, 1.0)
            if value is not None:
                box = patches.Rectangle((place, line - 0.42), len(word), 0.84, facecolor=colour, linewidth=0)
                self.ax_.add_patch(box)
            ink = "white" if np.dot(colour[:3], [0.299, 0.587, 0.114]) < 0.55 else "black"
            how = {"family": "monospace", "fontsize": size, "color": ink, "va": "center", "ha": "left"}
            self.words_.append(self.ax_.text(place, line, word, **how, **LITERAL))
            place += len(word) + 1
        self.ax_.set_xlim(0, _LINE)
        self.ax_.set_ylim(max(line, 5) + 0.8, -0.8)
        self.ax_.axis("off")
        self._bar_of_colours(norm, colours, orientation="horizontal")

    def _pieces(self, text: str | None) -> list[tuple[str, float | None]]:
        """Words in their order, each with its attribution; None of one that has none."""
        values = np.ravel(self.values)
        if self.kind == "tokens":
            words = [str(i) for i in range(len(values))] if self.names is None else self.names.tolist()
            return [(str(w), float(v)) for w, v in zip(words, values, strict=True) if not np.isnan(v)]
        names = [] if self.names is None else [str(name).rpartition("__")[2] for name in self.names]
        known = dict(zip(names, np.nan_to_num(values).tolist(), strict=True))
        pieces: list[tuple[str, float | None]] = []
        for piece in (text or "").split():
            words = [word for word in re.findall(r"\w+", piece) if word in known or word.lower() in known]
            value = sum(known[word] if word in known else known[word.lower()] for word in words)
            pieces.append((piece, value if words else None))
        if not any(value is not None for _, value in pieces):
            raise ValueError(
                f"no word of text={_short(text or '', 60)!r} is among the names of modality {self.modality!r}, "
                f"such as {names[:3]}; draw style='bars'."
            )
        return pieces

    def _draw_line(self, colours: Any) -> None:
        steps = self.values.reshape(len(self.values), -1).sum(axis=1)
        there = ~np.isnan(steps)
        x = np.arange(len(steps))[there] * (self.seconds or 1.0)
        (self.line_,) = self.ax_.plot(x, steps[there], color="0.2", marker="o", markersize=3)
        for side, place in ((steps[there] >= 0, 0.95), (steps[there] <= 0, 0.05)):
            self.ax_.fill_between(x, steps[there], where=side, interpolate=True, color=colours(place), linewidth=0)
        self.ax_.axhline(0, color="0.3", linewidth=0.8)
        self.ax_.set_xlabel(self._time_label())
        self.ax_.set_ylabel(self._label, **LITERAL)

    def _time_label(self) -> str:
        return "time (s)" if self.seconds else "frame" if self.kind == "video" else "step"

    def _draw_heat(self, colours: Any) -> None:
        if self.kind == "sequence":
            self._draw_steps(colours)
            return
        heat, sample = self.values, self.sample
        if heat.ndim == (4 if self.kind == "video" else 3):  # channels
            heat = heat.sum(axis=-1)
            sample = None if sample is None else sample.astype(float).mean(axis=-1)
        if self.kind == "video":
            chosen = np.unique(np.linspace(0, len(heat) - 1, min(_FRAMES, len(heat))).round().astype(int))
            width = heat.shape[2]
            heat = np.concatenate(list(heat[chosen]), axis=1)
            sample = None if sample is None else np.concatenate(list(sample[chosen]), axis=1)
            self.ax_.set_xticks((np.arange(len(chosen)) + 0.5) * width - 0.5, [str(i) for i in chosen])
            for edge in np.arange(1, len(chosen)) * width - 0.5:
                self.ax_.axvline(edge, color="black", linewidth=0.8)
        self._overlay(heat, sample, colours, {"origin": "upper", "aspect": "equal"})
        self.ax_.set_xlabel("frame" if self.kind == "video" else "column (pixels)")
        self.ax_.set_ylabel("row (pixels)")

    def _draw_steps(self, colours: Any) -> None:
        heat = self.values.reshape(len(self.values), -1)
        there = ~np.isnan(heat).all(axis=1)
        sample = self.sample
        sample = None if sample is None else sample.reshape(len(sample), -1)[: len(heat)][there[: len(sample)]].T
        heat = heat[there].T  # bands upwards, time to the right
        step = self.seconds or 1.0
        sides = (-0.5 * step, (heat.shape[1] - 0.5) * step, -0.5, len(heat) - 0.5)
        self._overlay(heat, sample, colours, {"origin": "lower", "aspect": "auto", "extent": sides})
        self.ax_.set_xlabel(self._time_label())
        places = np.unique(np.linspace(0, len(heat) - 1, min(len(heat), 8)).round().astype(int))
        if self.hertz is not None:
            self.ax_.set_yticks(places, [f"{self.hertz[i]:.0f}" for i in places])
            self.ax_.set_ylabel("frequency of the band (Hz)")
        elif self.names is not None:
            self.ax_.set_yticks(places, [shown(self.names[i]) for i in places], **LITERAL)
        else:
            self.ax_.set_yticks(places)
            self.ax_.set_ylabel("number of the feature")

    def _overlay(self, heat: np.ndarray, sample: np.ndarray | None, colours: Any, how: dict[str, Any]) -> None:
        """Heat over a grey sample, the less opaque the nearer to 0; without a sample as it is."""
        norm = self._norm(heat)
        how = {**how, "interpolation": "nearest"}
        alpha: Any = None
        if sample is not None:
            low, high = float(np.nanmin(sample)), float(np.nanmax(sample))
            # light enough for colours to be seen on it
            self.ax_.imshow(sample, cmap="gray", vmin=low - 0.8 * (high - low), vmax=high, **how)
            alpha = 0.9 * np.sqrt((np.abs(np.nan_to_num(heat)) / norm.vmax).clip(max=1))
        self.heat_ = self.ax_.imshow(heat, cmap=colours, norm=norm, alpha=alpha, **how)
        self._bar_of_colours(norm, colours, orientation="horizontal" if self.kind == "video" else "vertical")

    def _bar_of_colours(self, norm: Any, colours: Any, **how: Any) -> None:
        mappable = import_optional("matplotlib.cm", extra="plot").ScalarMappable(norm, colours)
        self.colorbar_ = self.figure_.colorbar(mappable, ax=self.ax_, shrink=0.8, **how)
        self.colorbar_.set_label(self._label, **LITERAL)


# -- what was given ---------------------------------------------------------------------------------------------


def _checked_values(values: Any, kind: Any, modality: str) -> np.ndarray:
    check_kind(kind, tuple(KINDS))
    try:
        values = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"values of modality {modality!r} must be numbers, in the shape of its block.") from None
    if values.ndim not in _AXES[kind]:
        axes = " or ".join(map(str, _AXES[kind]))
        raise ValueError(
            f"values of shape {values.shape}: those of one sample of kind {kind!r} (modality {modality!r}) have "
            f"{axes} axes."
        )
    if values.size == 0 or (kind not in ("vector", "sparse") and np.isnan(values).all()):
        raise ValueError(f"modality {modality!r} ({kind}): the sample has no numbers or steps to draw.")
    return values


def _n_names(values: np.ndarray, kind: str) -> int:
    """Features, words, or bands."""
    return math.prod(values.shape[1:]) if kind == "sequence" else len(values)


def _checked_names(names: Any, values: np.ndarray, kind: str, modality: str) -> np.ndarray | None:
    if names is None or kind in ("image", "video"):
        return None
    if isinstance(names, str | bytes) or not np.iterable(names):
        raise ValueError(f"names={names!r} must be a list of names.")
    names, n = np.array([*names], dtype=object), _n_names(values, kind)
    if names.shape != (n,):
        raise ValueError(f"names of shape {names.shape}: modality {modality!r} ({kind}) has {n} to name.")
    return names


def _checked_sample(sample: Any, values: np.ndarray, kind: str, modality: str) -> np.ndarray | None:
    if sample is None or kind not in ("sequence", "image", "video"):
        return None
    sample = np.asarray(sample)
    if kind == "sequence":  # one number a step may be without an axis of its own
        fits = sample.ndim > 0 and _n_names(sample, kind) == _n_names(values, kind)
    else:  # of frames there may be fewer
        start = 0 if kind == "image" else 1
        fits = sample.shape[start:] == values.shape[start:]
    if not fits or sample.size == 0 or sample.dtype.kind not in "biuf":
        raise ValueError(
            f"sample of shape {sample.shape} does not fit values of modality {modality!r} ({kind}) of shape "
            f"{values.shape}; give numbers of that shape."
        )
    return sample


def _check_text(text: Any) -> None:
    if text is not None and not isinstance(text, str):
        raise ValueError(f"text={text!r} must be the raw text of the sample, a str.")


def _softened(cmap: Any) -> Any:
    """Colours without their dark ends, on which nothing can be read and which look alike."""
    matplotlib = import_optional("matplotlib", extra="plot")
    colors = import_optional("matplotlib.colors", extra="plot")
    whole = matplotlib.colormaps.get_cmap(cmap)
    return colors.LinearSegmentedColormap.from_list(whole.name, whole(np.linspace(0.1, 0.9, 256)))


def _short(text: str, most: int = 28) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _sample(blocks: Blocks, modality: str) -> np.ndarray | None:
    """What a heat map lies over, of the first sample: picture, frames or steps."""
    block = blocks[modality][[0]]
    if is_lazy(block):
        block = block.read(np.arange(1))[0]
    if isinstance(block, RaggedArray):
        return block.values
    return None if sp.issparse(block) or np.ndim(block) < 3 else np.asarray(block)[0]
