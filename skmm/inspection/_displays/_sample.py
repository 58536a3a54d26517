"""What there is to see of one sample: its picture, its text, its numbers, modality by modality."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Mapping, Sequence
from datetime import date
from numbers import Number
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.pipeline import Pipeline

from skmm._missing import is_missing
from skmm.blocks import Blocks
from skmm.columns._tables import as_frame
from skmm.files._sources import KIND_OF, extension
from skmm.inspection._drawing import COLORS, LITERAL, number, shown
from skmm.inspection._inside import table_reader
from skmm.inspection.removal import at_blocks
from skmm.preprocessing import ImageLoader

_SEEN = ("image", "video", "sequence")  # kinds of blocks that say more than the cell they were made of
_WIDTH, _LINES = 32, 7  # of text
_FEW = 8  # lines of a sequence, above which it is shown as a picture of its own
_FRAMES = 4  # of a video


def sample_of(estimator: Any, X: Any, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """What can be shown of the only sample of X: by modality, or the named columns of a table.

    Of a table it is what the user wrote; of a file that holds a picture, a sound or a sequence what was read of it.
    """
    frame = as_frame(X)
    if isinstance(frame, (Blocks, Mapping)) or not hasattr(frame, "columns"):
        return _of_blocks(at_blocks(estimator, X)[1])
    every, reader = list(frame.columns), table_reader(estimator)
    parts = {} if reader is None else reader._positions
    read_as = {name: [every[i] for i in np.arange(len(every))[at].ravel()] for name, at in parts.items()}
    loaders = {name: _loader(reader.named_transformers_[name]) for name in read_as} if reader is not None else {}
    if columns is not None or reader is None:
        of_column = {column: loaders[name] for name, own in read_as.items() for column in own}
        named = {str(column): column for column in every}  # which may be numbers
        chosen = {name: named[name] for name in columns or named}
        return {name: _opened(_cell(frame, c), of_column.get(c)) for name, c in chosen.items()}
    blocks = at_blocks(estimator, X)[1]
    made, sample = _of_blocks(blocks), {}
    for name, own in read_as.items():
        raw = _cell(frame, own[0]) if len(own) == 1 else {str(c): _cell(frame, c) for c in own}
        if made.get(name) is not None and blocks.kinds[name] in _SEEN and not isinstance(raw, np.ndarray):
            sample[name] = made[name]
        else:
            sample[name] = _opened(raw, loaders[name])
    return sample


def _cell(frame: Any, name: Any) -> Any:
    """The only value of a column of pandas, polars or a LazyTable."""
    return next(iter(frame[name]))


def _of_blocks(X: Blocks) -> dict[str, Any]:
    sample: dict[str, Any] = {}
    for name, block in X.items():
        if not X.present[name][0]:
            sample[name] = None
        elif sp.issparse(block):
            sample[name] = block[[0]]
        else:
            sample[name] = block[0]
    return sample


def _loader(transformer: Any) -> ImageLoader | None:
    """What reads a picture from where a transformer looks for its files, and from nowhere else."""
    first = transformer[0] if isinstance(transformer, Pipeline) else transformer
    if not hasattr(first, "base_dir"):
        return None
    return ImageLoader(size=128, aspect="pad", base_dir=first.base_dir, within=getattr(first, "within", None))


def _opened(value: Any, loader: ImageLoader | None) -> Any:
    """The picture that a cell names, where its column is one of files; any other cell as it is."""
    if loader is not None and isinstance(value, str) and KIND_OF.get(extension(value)) == "image":
        with contextlib.suppress(ImportError, ValueError, OSError):  # its path then says more than nothing
            return loader.transform([value])[0]
    return value


def draw_value(ax: Any, name: str, value: Any) -> None:
    """Draw what a sample has of one modality, whatever that is."""
    ax.set_title(shown(name, 24), fontsize="medium", loc="left", **LITERAL)
    if hasattr(value, "convert") and hasattr(value, "getbands"):  # a picture of Pillow
        with contextlib.suppress(OSError, ValueError):  # of a file that breaks off
            value = np.asarray(value.convert("RGB"))
    if isinstance(value, (list, tuple)):
        value = _as_numbers(value)
    if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "biuf" and value.ndim:
        _draw_array(ax, value)
    else:
        _write(ax, _lines_of(value))


def _as_numbers(value: Any) -> Any:
    """A list of numbers as an array, any other as it is."""
    try:
        found = np.asarray(value)
    except ValueError:  # of unequal lengths
        return value
    return found if found.dtype.kind in "biuf" else value


def _draw_array(ax: Any, value: np.ndarray) -> None:
    if value.ndim == 4:
        frames = value[np.linspace(0, len(value) - 1, min(_FRAMES, len(value))).astype(int)]
        value = np.concatenate(list(frames), axis=1)
    if value.ndim == 3 or (value.ndim == 2 and value.dtype == np.uint8):
        ax.imshow(_as_picture(value), cmap="gray")
        ax.set_axis_off()
        ax.set_anchor("NW")
    elif value.ndim == 2 and value.shape[1] > _FEW:
        ax.imshow(np.nan_to_num(value.T.astype(float)), aspect="auto", origin="lower", cmap="viridis")
        ax.set(xlabel="step", ylabel="feature")
    elif value.ndim == 2:
        for i, line in enumerate(value.T):
            ax.plot(line, color=COLORS[i % len(COLORS)], linewidth=1)
        ax.set(xlabel="step", ylabel="value")
    elif value.ndim == 1 and value.dtype.kind in "iub":
        _write(ax, _wrapped(" ".join(map(str, value[: _WIDTH * _LINES].tolist()))))
    elif value.ndim == 1 and len(value) > _LINES:
        ax.plot(value, color=COLORS[0], linewidth=1)
        ax.set(xlabel="position", ylabel="value")
    elif value.ndim == 1:
        _write(ax, [f"{i}: {_short(v)}" for i, v in enumerate(value.tolist())])
    else:
        _write(ax, [f"array of shape {value.shape}, not shown"])


def _as_picture(value: np.ndarray) -> np.ndarray:
    """Pixels, (height, width) or with 3 or 4 channels, in the whole range from black to white."""
    pixels = np.nan_to_num(value.astype(float))
    if pixels.ndim == 3 and pixels.shape[-1] not in (3, 4):
        pixels = pixels.mean(axis=-1)
    if value.dtype == np.uint8:
        return pixels / 255
    low, high = pixels.min(), pixels.max()
    if low >= 0 and high <= 1:
        return pixels
    return (pixels - low) / ((high - low) or 1.0)


def _lines_of(value: Any) -> list[str]:
    """What is no array, as text."""
    if sp.issparse(value):
        row = sp.coo_array(value)
        order = np.argsort(-np.abs(row.data), kind="stable")
        return _cut([f"{row.coords[-1][i]}: {_short(float(row.data[i]))}" for i in order]) or ["all zero"]
    if isinstance(value, Mapping):
        return _cut([f"{name}: {_short(cell)}" for name, cell in value.items()]) or ["empty"]
    return _wrapped(_short(value)) or ["empty"]


def _short(value: Any) -> str:
    if is_missing(value):
        return "missing"
    if isinstance(value, float | np.floating):
        return number(float(value))
    if isinstance(value, str | Number | np.generic | date):
        return str(value)
    size = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
    return f"{type(value).__name__}{size}, not shown"


def _wrapped(text: str) -> list[str]:
    # a novel is not wrapped whole for the lines that there is room for
    return textwrap.wrap(text[: 2 * _WIDTH * _LINES], _WIDTH, max_lines=_LINES, placeholder=" …")


def _cut(lines: list[str]) -> list[str]:
    """As many lines as there is room for."""
    return lines if len(lines) <= _LINES else [*lines[: _LINES - 1], f"… {len(lines) - _LINES + 1} more"]


def _write(ax: Any, lines: list[str]) -> None:
    ax.set_axis_off()
    text = "\n".join(shown(line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…", 99) for line in lines)
    ax.text(0, 1, text, va="top", ha="left", transform=ax.transAxes, fontsize=9, **LITERAL)
