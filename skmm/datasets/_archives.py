"""Readers of the files in which the field's sentiment data are distributed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_consistent_length

from skmm._checks import unknown
from skmm._warnings import warn
from skmm.blocks import Blocks
from skmm.blocks._blocks import RaggedArray
from skmm.datasets._pickles import read_pickle
from skmm.files._reading import reading
from skmm.preprocessing.sequences import align, read_csd, segment

MODALITIES = ("text", "audio", "vision")
NONFINITE = ("zero", "missing", "raise")
# what may be predicted; a modality's own score is called regression_labels_T and so on
_TARGETS = re.compile(r"labels|annotations|(regression|classification)_labels(_[A-Z])?")


def load_feature_archive(
    path: str | os.PathLike[str],
    *,
    subset: str | None = None,
    modalities: str | Iterable[str] | None = None,
    target: str | None = None,
    ragged: bool = True,
    nonfinite: str = "zero",
    return_X_y: bool = False,
) -> Any:
    """Read an archive of features of MOSI, MOSEI or CH-SIMS, as MMSA and MulT distribute them.

    These archives (``aligned_50.pkl``, ``unaligned_39.pkl``, ``mosei_data.pkl``, ...) are pickles, and a pickle can
    run any code when it is opened. This reader knows numbers, strings, lists, dicts and plain NumPy arrays, builds
    the arrays itself, and refuses a file that asks for anything else.

    Parameters
    ----------
    path : str or path
        A pickled dict of the subsets ``"train"``, ``"valid"`` and ``"test"``, each a dict with arrays (n_samples,
        n_steps, n_features), or (n_samples, n_features), under ``"text"``, ``"audio"`` and ``"vision"``.
    subset : str, default=None
        The subset to return; None returns all that there are.
    modalities : str or list of str, default=None
        What becomes of the data's blocks. None takes those of ``"text"``, ``"audio"`` and ``"vision"`` that are in
        the file. ``"text_bert"`` gives the token ids that MMSA keeps there, for ``Encoder("pretrained")``.
    target : str, default=None
        Name of the labels in the file, such as ``"classification_labels"`` or, in CH-SIMS,
        ``"regression_labels_T"``. None takes the continuous score: ``"regression_labels"`` of MMSA, ``"labels"`` of
        MulT.
    ragged : bool, default=True
        Whether the sequences of a modality are cut to the lengths that the file gives (``"audio_lengths"``,
        ``"vision_lengths"``: unaligned archives of MMSA), instead of keeping the zeros that fill them up.
    nonfinite : {"zero", "missing", "raise"}, default="zero"
        What to do with infinite values and NaN, which COVAREP left in the audio of several of these archives:
        put 0 in their place, as the loaders of MMSA and MulT do; mark the modality of that sample as missing; or
        refuse the file. The first two are warned of once, with their number.
    return_X_y : bool, default=False
        Return ``(data, target)``; needs a ``subset``.

    Returns
    -------
    Bunch of Bunch, or Bunch, or (data, target)
        Of each subset, by its name, a Bunch with the attributes

        data : Blocks of n_samples
            Float32 blocks; int64 for ``"text_bert"``. A sequence of length 0 is a missing row.
        target : ndarray of shape (n_samples,), or (n_samples, ...) where the file has several targets
            The labels.
        labels : dict of str to ndarray
            All labels of the file by their name.
        ids : ndarray of str, shape (n_samples,), or None
            Names of the samples. The parts of a name that is split into columns are joined by ``"$_$"``.
        groups : ndarray of str, shape (n_samples,), or None
            The video that each sample was cut from, for group-wise folds: what stands before ``$_$`` or before
            ``[i]`` at the end of its name. None where names say nothing of it.
        raw_text : list of str, or None
            What was said.

    Raises
    ------
    ValueError
        If the file is no pickle, is cut off, holds anything but plain arrays (names what it asked for), one list
        in so many places that it has no end or hardly any, containers more than 100 deep, or what takes more than
        256 MiB and more than 4 times the size of the file; if it is laid out otherwise (lists the keys found); if a
        subset, modality or label is unknown; or if lengths differ. Names the file.

    Notes
    -----
    Arrays of objects are read where every element is a string, bytes, a number or None.

    References
    ----------
    Mao et al. (2022), M-SENA: An integrated platform for multimodal sentiment analysis, ACL demonstrations (MMSA).
    Tsai et al. (2019), Multimodal transformer for unaligned multimodal language sequences, ACL (MulT).

    Examples
    --------
    >>> import pickle, tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skmm.datasets import load_feature_archive
    >>> part = {
    ...     "text": np.zeros((2, 3, 4)), "audio": np.ones((2, 5, 2)), "audio_lengths": [5, 2],
    ...     "regression_labels": np.array([1.5, -2.0]), "id": ["v1$_$0", "v1$_$1"], "raw_text": ["good", "bad"],
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "unaligned.pkl"
    ...     _ = path.write_bytes(pickle.dumps({"train": part, "valid": part, "test": part}))
    ...     archive = load_feature_archive(path)
    >>> archive.train.data
    Blocks(2 samples)
      text   sequence  (3, 4)     float32
      audio  sequence  (2..5, 2)  float32
    >>> archive.train.target.tolist(), archive.train.groups.tolist()
    ([1.5, -2.0], ['v1', 'v1'])
    """
    if nonfinite not in NONFINITE:
        raise unknown("nonfinite", nonfinite, NONFINITE)
    if return_X_y and subset is None:
        raise ValueError("return_X_y=True needs a subset, such as subset='train'.")
    path = os.fspath(path)
    subsets = _subsets(read_pickle(path), path)
    if subset is not None and subset not in subsets:
        raise unknown("subset", subset, list(subsets))
    chosen = subsets if subset is None else {subset: subsets[subset]}
    wanted = [modalities] if isinstance(modalities, str) else None if modalities is None else list(modalities)
    odd: dict[str, int] = {}
    with reading(path, "a feature archive"):
        read = {
            name: _read_subset(part, f"{path!r}, subset {name!r}", wanted, target, ragged, nonfinite, odd)
            for name, part in chosen.items()
        }
    if odd:
        counts = ", ".join(f"{name}: {count}" for name, count in odd.items())
        done = "replaced by 0" if nonfinite == "zero" else "made their sample's modality missing"
        warn(f"{path!r}: infinite values and NaN {done} ({counts}).")
    if subset is None:
        return Bunch(**read)
    return (read[subset].data, read[subset].target) if return_X_y else read[subset]


def load_csd(
    files: Mapping[str, str | os.PathLike[str]],
    labels: str | os.PathLike[str],
    *,
    align_to: str | None = None,
    how: str = "mean",
    return_X_y: bool = False,
) -> Any:
    """Read computational sequences of the CMU Multimodal SDK, cut into the segments that are labelled.

    Needs the package h5py: ``pip install "skmm[sequences]"``.

    Parameters
    ----------
    files : dict of str to path
        Modality to its ``.csd`` file.
    labels : path
        The ``.csd`` file whose intervals are the segments, and whose features are their labels.
    align_to : str, default=None
        Modality whose steps the others get, as in :func:`skmm.preprocessing.align`; it may hold words. None leaves
        each on its own clock.
    how : {"mean", "weighted"}, default="mean"
        How steps are averaged where they are aligned.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    Bunch, or (data, target)
        A Bunch with the attributes

        data : Blocks of n_samples
            One ragged sequence of float32 per modality of numbers, one sample per segment.
        target : ndarray of shape (n_samples,), or (n_samples, n_labels) for several
            The labels; of MOSEI the first is the sentiment, the others are emotions.
        ids : ndarray of str, shape (n_samples,)
            ``"video[i]"`` for segment i of a video.
        groups : ndarray of str, shape (n_samples,)
            The video.
        text : dict of str to list of (list of str or None)
            Of each modality of strings, the words of each segment, None where it has none.

    Raises
    ------
    ImportError
        If h5py cannot be imported.
    ValueError
        If a file is no such sequence, if a modality holds strings and another is to be aligned to, if there is no
        modality of numbers, or if one has no step in any segment, as where its videos have other names than those
        of the labels.

    Notes
    -----
    The SDK's standard folds are lists of videos, which these files do not hold: split by ``groups``. With NaN and
    infinite features a modality that is aligned leaves them out; one that is not has 0 in their place.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import h5py
    >>> from skmm.datasets import load_csd
    >>> def write(path, features, intervals):
    ...     with h5py.File(path, "w") as file:
    ...         video = file.create_group(f"{path.stem}/data/v1")
    ...         video["features"], video["intervals"] = features, intervals
    ...     return path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pitch = write(Path(folder) / "pitch.csd", [[1.0], [3.0], [7.0]], [[0, 1], [1, 2], [2, 3]])
    ...     labels = write(Path(folder) / "labels.csd", [[1.5], [-2.0]], [[0, 2], [2, 3]])
    ...     reviews = load_csd({"pitch": pitch}, labels)
    >>> reviews.data, reviews.target.tolist()
    (Blocks(2 samples)
      pitch  sequence  (1..2, 1)  float32, [1.5, -2.0])
    >>> reviews.ids.tolist(), reviews.groups.tolist()
    (['v1[0]', 'v1[1]'], ['v1', 'v1'])
    """
    if align_to is not None and align_to not in files:
        raise unknown("align_to", align_to, list(files))
    own = "".join(files) + "labels"  # longer than the name of any modality, and so another
    whole = {own: read_csd(labels), **{name: read_csd(path) for name, path in files.items()}}
    cut = segment(whole, by=own)
    values = cut.pop(own).features
    for name, s in cut.items():
        if not s.features:
            raise ValueError(
                f"modality {name!r} would be missing in all of the {len(values)} segments: no step of its "
                f"{len(whole[name].intervals)} videos, {_first(whole[name].intervals)}, lies in a labelled segment "
                f"of the {len(whole[own].intervals)} videos {_first(whole[own].intervals)}."
            )
    ids = list(values)
    text = {
        name: [[str(word) for word in s.features[i][:, 0]] if i in s.features else None for i in ids]
        for name, s in cut.items()
        if s.is_text
    }
    numbers = {name: s for name, s in cut.items() if not s.is_text}
    if not numbers:
        raise ValueError(f"no sequence of numbers among {list(files)}.")
    if align_to is None:
        data = Blocks({name: [_filled(s.features.get(i)) for i in ids] for name, s in numbers.items()})
    else:
        data = _aligned(cut, ids, align_to, how)
    target = np.stack([values[i][0] for i in ids])
    target = target[:, 0] if target.shape[1] == 1 else target
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        ids=np.array(ids),
        groups=_videos(ids),
        text=text,
    )


def _aligned(cut: Mapping[str, Any], ids: list[str], align_to: str, how: str) -> Blocks:
    """The sequences aligned to one of them, a row for each segment; missing where that one says nothing."""
    aligned = align(cut, to=align_to, how=how)
    rows = {segment_id: row for row, segment_id in enumerate(aligned.ids)}
    present = np.array([i in rows for i in ids])
    place = np.array([rows.get(i, 0) for i in ids])
    data = Blocks(
        aligned.data[place],
        present={name: there[place] & present for name, there in aligned.data.present.items()},
    )
    for name, there in data.present.items():
        if not there.any():
            raise ValueError(
                f"modality {name!r} would be missing in all of the {len(ids)} segments: none of its steps "
                f"overlaps with one of {align_to!r}, to which it is to be aligned."
            )
    return data


def _first(videos: Iterable[str]) -> str:
    """The first names, for a message."""
    names = list(videos)
    return f"{names[:3]}{' and so on' if len(names) > 3 else ''}"


def _filled(features: np.ndarray | None) -> np.ndarray | None:
    """Features as float32, 0 in place of what is not finite."""
    with np.errstate(over="ignore"):  # what is too large for a float32 is not finite
        return None if features is None else np.nan_to_num(features.astype(np.float32), posinf=0, neginf=0)


# -- what is in an archive ---------------------------------------------------------------------------------------


def _subsets(content: Any, path: str) -> dict[str, dict[str, Any]]:
    """The dicts of arrays by the name of the subset."""
    if not isinstance(content, dict):
        raise ValueError(
            f"{path!r} holds a {type(content).__name__}, expected a dict of 'train', 'valid' and 'test'."
        )
    found = {
        str(name): part
        for name, part in content.items()
        if isinstance(part, dict) and any(m in part for m in MODALITIES)
    }
    if not found:
        keys = {str(k): list(map(str, v)) if isinstance(v, dict) else type(v).__name__ for k, v in content.items()}
        raise ValueError(
            f"{path!r} is no feature archive: expected 'train', 'valid' and 'test', each with arrays under 'text', "
            f"'audio' or 'vision'; the keys found are {keys}."
        )
    return found


def _read_subset(
    part: dict[str, Any],
    where: str,
    modalities: list[str] | None,
    target: str | None,
    ragged: bool,
    nonfinite: str,
    odd: dict[str, int],
) -> Bunch:
    """One subset; counts in ``odd`` the values that are not finite, by modality."""
    names = [m for m in MODALITIES if m in part] if modalities is None else modalities
    blocks, present = _modalities(part, where, names, ragged, nonfinite, odd)
    labels = {key: _labels(value, f"{where}, {key!r}") for key, value in part.items() if _TARGETS.fullmatch(key)}
    chosen = target or ("regression_labels" if "regression_labels" in labels else "labels")
    if chosen not in labels:
        raise ValueError(f"{where} has no labels {chosen!r}; it has {list(labels)} among the keys {list(part)}.")
    ids, texts = _ids(part.get("id"), where), part.get("raw_text")
    texts = None if texts is None else [_as_text(text) for text in np.ravel(np.asarray(texts, dtype=object))]
    try:
        data = Blocks(blocks, present=present)
        check_consistent_length(data, *labels.values(), ids, texts)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    groups = None if ids is None else _videos(ids)
    return Bunch(
        data=data,
        target=labels[chosen],
        labels=labels,
        ids=None if ids is None else np.array(ids),
        groups=groups,
        raw_text=texts,
    )


def _modalities(
    part: dict[str, Any], where: str, names: list[str], ragged: bool, nonfinite: str, odd: dict[str, int]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The blocks of a subset, and which rows of those of features there are."""
    for name in names:
        if name not in part:
            raise ValueError(f"{where} has no modality {name!r}; its keys are {list(part)}.")
    blocks: dict[str, Any] = {}
    present = {}
    for name in names:
        here = f"{where}, modality {name!r}"
        if name == "text_bert":
            blocks[name] = _token_ids(part[name], here)
            continue
        block = _features(part[name], part.get(f"{name}_lengths") if ragged else None, here)
        there = block.lengths > 0 if isinstance(block, RaggedArray) else np.ones(len(block), dtype=bool)
        count, rows = _zero_nonfinite(block)
        if count and nonfinite == "raise":
            raise ValueError(
                f"{here}: {count} values are infinite or NaN, the first in row {rows[0]}; "
                "nonfinite='zero' puts 0 in their place, nonfinite='missing' makes such rows missing."
            )
        if count:
            odd[name] = odd.get(name, 0) + count
        if nonfinite == "missing":
            there[rows] = False
        blocks[name], present[name] = block, there
    return blocks, present


def _zero_nonfinite(block: np.ndarray | RaggedArray) -> tuple[int, np.ndarray]:
    """Put 0, in place, where a value is not finite; returns how many that were, and their rows."""
    values = block.values if isinstance(block, RaggedArray) else block
    finite = np.isfinite(values)
    if finite.all():
        return 0, np.zeros(0, dtype=np.int64)
    rows = np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))
    if isinstance(block, RaggedArray):  # from steps to samples
        rows = np.searchsorted(block.offsets, rows, side="right") - 1
    values[~finite] = 0
    return int((~finite).sum()), rows


def _features(values: Any, lengths: Any, where: str) -> np.ndarray | RaggedArray:
    """Features (n, ..., d) as float32, or where lengths are given the first so many steps of each (time, d)."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf" or values.ndim < 2:
        kind = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise ValueError(f"{where}: expected an array of numbers (n_samples, n_steps, n_features), got {kind}.")
    with np.errstate(over="ignore"):  # what is too large for a float32 is infinite, and counted as such
        values = values.astype(np.float32)
    if lengths is None:
        return values
    steps = np.ravel(np.asarray(lengths))
    longest = values.shape[1] if values.ndim == 3 else 0
    whole = steps.dtype.kind in "iu" or (steps.dtype.kind == "f" and (steps == np.round(steps)).all())
    if len(steps) != len(values) or not whole or (steps < 0).any() or (steps > longest).any():
        raise ValueError(
            f"{where}: its lengths must be {len(values)} whole numbers from 0 to {longest}, as the array has the "
            f"shape {values.shape}; got {len(steps)} from {min(steps, default=0)} to {max(steps, default=0)}."
        )
    steps = steps.astype(np.int64)
    return RaggedArray(values[np.arange(longest) < steps[:, None]], np.concatenate([[0], np.cumsum(steps)]))


def _token_ids(values: Any, where: str) -> RaggedArray:
    """Token ids where the mask says so, of (n, 3, time): what a BERT tokenizer gives, ids, mask and segments."""
    values = np.asarray(values)
    if values.ndim != 3 or values.shape[1] != 3 or values.dtype.kind not in "iuf":
        raise ValueError(
            f"{where}: expected token ids, mask and segments (n_samples, 3, n_steps), got {values.shape}."
        )
    mask = values[:, 1] > 0
    odd = values[:, 0][mask]
    odd = odd[~((odd >= 0) & (odd < 2**31))]  # NaN as well
    if len(odd):
        raise ValueError(f"{where}: {odd[0]} is no id of a token.")
    return RaggedArray(values[:, 0][mask].astype(np.int64), np.concatenate([[0], np.cumsum(mask.sum(axis=1))]))


def _labels(values: Any, where: str) -> np.ndarray:
    """Labels (n,), or (n, ...) where there are several."""
    values = np.array(values)  # a copy: what was read from the file cannot be written to
    if values.ndim == 0:
        raise ValueError(f"{where}: expected one label per sample, got {values!r}.")
    return values.reshape(len(values)) if prod(values.shape[1:]) == 1 else values


def _ids(values: Any, where: str) -> list[str] | None:
    """Names of samples, from strings or from columns of strings."""
    if values is None:
        return None
    values = np.asarray(values, dtype=object)
    if values.ndim not in (1, 2):
        raise ValueError(
            f"{where}: expected ids of shape (n_samples,) or (n_samples, n_parts), got {values.shape}."
        )
    return ["$_$".join(map(_as_text, np.ravel(row))) for row in values]


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _videos(ids: Iterable[str]) -> np.ndarray | None:
    """The video of each sample, None unless every name has one."""
    found = [re.fullmatch(r"(.+?)\$_\$.*|(.+)\[\d+\]", name, flags=re.DOTALL) for name in ids]
    return None if any(match is None for match in found) else np.array([m[1] or m[2] for m in found if m])
