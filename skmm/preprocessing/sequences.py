"""Sequences with time stamps: computational sequences of the CMU Multimodal SDK, and their alignment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch

from skmm._checks import unknown
from skmm._optional import import_optional
from skmm.blocks import Blocks
from skmm.files._hdf5 import open_hdf5

_SAME = 1e-6  # seconds: times that are closer are the same; the sources round theirs
_MOST_OVERLAPS = 10_000_000  # of steps and targets in one video; times that tile it have about as many as steps
HOWS = ["mean", "weighted"]


@dataclass(frozen=True)
class TimedSequence:
    """One modality of several videos, each a list of features with the time at which they hold.

    Parameters
    ----------
    intervals : dict of str to ndarray of shape (n_steps, 2)
        Start and end of each step in seconds, by video.
    features : dict of str to ndarray of shape (n_steps, n_features)
        Numbers, or one column of strings, by video. One-dimensional features are one column.
    name : str, default=""
        What the source calls it.
    metadata : dict, default={}
        What the source says of it.

    Raises
    ------
    ValueError
        If a video lacks its intervals or features, if their lengths differ, or if an interval is not finite or ends
        before it starts; names the video.

    Examples
    --------
    >>> from skmm.preprocessing import TimedSequence
    >>> TimedSequence({"v1": [[0.0, 0.5], [0.5, 0.8]]}, {"v1": [["good"], ["film"]]}, name="words")
    TimedSequence('words', 1 videos, 2 steps)
    """

    intervals: Mapping[str, Any]
    features: Mapping[str, Any]
    name: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        odd = set(self.intervals) ^ set(self.features)
        if odd:
            lacks = "features" if min(odd) in self.intervals else "intervals"
            raise ValueError(f"{self._where(min(odd))} has no {lacks}.")
        intervals, features = {}, {}
        for video in self.intervals:
            times = np.asarray(self.intervals[video], dtype=np.float64)
            values = np.asarray(self.features[video])
            if values.ndim == 1:
                values = values[:, None]
            if times.ndim != 2 or times.shape[1] != 2 or values.ndim != 2 or len(values) != len(times):
                raise ValueError(
                    f"{self._where(video)}: expected intervals of shape (n_steps, 2) and features of shape "
                    f"(n_steps, n_features), got {times.shape} and {values.shape}."
                )
            if values.dtype.kind not in "biufU" or (values.dtype.kind == "U" and values.shape[1] != 1):
                raise ValueError(
                    f"{self._where(video)}: features are numbers, or one column of strings; got {values.dtype} of "
                    f"shape {values.shape}."
                )
            wrong = np.flatnonzero(~np.isfinite(times).all(axis=1) | (times[:, 1] < times[:, 0]))
            if len(wrong):
                raise ValueError(
                    f"{self._where(video)}, step {wrong[0]}: {times[wrong[0]].tolist()} is no interval in seconds."
                )
            intervals[video], features[video] = times, values
        object.__setattr__(self, "intervals", intervals)
        object.__setattr__(self, "features", features)

    def _where(self, video: str) -> str:
        return f"sequence {self.name!r}, video {video!r}"

    def __repr__(self) -> str:
        steps = sum(map(len, self.intervals.values()))
        return f"TimedSequence({self.name!r}, {len(self.intervals)} videos, {steps} steps)"

    @property
    def is_text(self) -> bool:
        """Whether the features are strings."""
        return any(values.dtype.kind == "U" for values in self.features.values())


def read_csd(path: str | os.PathLike[str]) -> TimedSequence:
    """Read a computational sequence of the CMU Multimodal SDK, an HDF5 file that ends in ``.csd``.

    Needs the package h5py: ``pip install "skmm[sequences]"``.

    Parameters
    ----------
    path : str or path
        File with the groups ``/<name>/data/<video>``, each with the arrays ``features`` (n_steps, n_features) and
        ``intervals`` (n_steps, 2) in seconds, and ``/<name>/metadata``.

    Returns
    -------
    TimedSequence
        Strings are decoded as UTF-8. Metadata are parsed where they are JSON, else left as text.

    Raises
    ------
    ImportError
        If h5py cannot be imported.
    ValueError
        If it is no such file, is damaged, or leads out of itself: by a link to another file, by values that stand
        in another file, by a virtual data set or a filter that would be loaded as a library; if its arrays take
        more than 256 MiB and more than 64 times the size of the file; if its videos differ in their number of
        features. Names the file, and the video where one is at fault.

    Notes
    -----
    Nothing in the file is executed: HDF5 holds arrays and JSON, no pickled objects. No other file is opened.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import h5py
    >>> from skmm.preprocessing import read_csd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "words.csd"
    ...     with h5py.File(path, "w") as file:
    ...         video = file.create_group("words/data/v1")
    ...         video["features"], video["intervals"] = [[b"good"], [b"film"]], [[0.0, 0.5], [0.5, 0.8]]
    ...     words = read_csd(path)
    >>> words.features["v1"].tolist()
    [['good'], ['film']]
    """
    h5py = import_optional("h5py", extra="sequences")
    path = os.fspath(path)
    parts: dict[str, dict[str, np.ndarray]] = {"intervals": {}, "features": {}}
    metadata = {}
    with open_hdf5(path) as file:
        groups = {name: entry for name, entry in file.items(file.root) if isinstance(entry, h5py.Group)}
        data = {name: file.child(group, "data") for name, group in groups.items()}
        names = [name for name, entry in data.items() if isinstance(entry, h5py.Group)]
        if len(names) != 1:
            raise ValueError(
                f"{path!r} is no computational sequence: expected one group with a group 'data', found {names} "
                f"among {list(file.root)}."
            )
        for video, entry in file.items(data[names[0]]):
            for part, arrays in parts.items():
                array = file.child(entry, part) if isinstance(entry, h5py.Group) else None
                if not isinstance(array, h5py.Dataset):
                    raise ValueError(f"{path!r}, video {video!r}: there is no array {part!r}.")
                arrays[video] = file.array(array)
        noted = file.child(groups[names[0]], "metadata")
        for key, entry in file.items(noted) if isinstance(noted, h5py.Group) else ():
            if isinstance(entry, h5py.Dataset):
                metadata[key] = _metadatum(file.array(entry))
        sequence = TimedSequence(parts["intervals"], parts["features"], names[0], metadata)
        forms = {
            v: (array.shape[1], array.dtype.kind == "U") for v, array in sequence.features.items() if len(array)
        }
        odd = [video for video, form in forms.items() if form != next(iter(forms.values()))]
        if odd:
            raise ValueError(
                f"{path!r}, video {odd[0]!r}: its features are {_form(*forms[odd[0]])} a step, those of video "
                f"{next(iter(forms))!r} {_form(*next(iter(forms.values())))}."
            )
    return sequence


def _form(width: int, text: bool) -> str:
    return f"{width} {'strings' if text else 'numbers'}"


def _metadatum(value: np.ndarray) -> Any:
    if value.dtype.kind != "U" or value.size != 1:
        return value.tolist()
    text = str(value.reshape(-1)[0])
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or one of more brackets than can be read
        return text


def _overlaps(steps: np.ndarray, targets: np.ndarray, where: str) -> sp.csr_array:
    """Seconds that each step shares with each target, shape (n_targets, n_steps); zeros are not stored."""
    # a point in time is an interval just long enough to overlap with the one that it lies in
    steps, targets = (
        np.column_stack([t[:, 0], np.maximum(t[:, 1], t[:, 0] + 2 * _SAME)]) for t in (steps, targets)
    )
    order = np.argsort(steps[:, 0], kind="stable")
    start, end = steps[order].T
    # of the steps by start, those from the first that ends after a target's start to the last that starts before
    # its end; where a long step covers later ones, some in between do not overlap, and are left out below
    first = np.searchsorted(np.maximum.accumulate(end), targets[:, 0] + _SAME, side="right")
    count = np.maximum(np.searchsorted(start, targets[:, 1] - _SAME) - first, 0)
    if count.sum() > _MOST_OVERLAPS:
        raise ValueError(
            f"{where}: {len(steps)} steps and {len(targets)} intervals have {count.sum():.1e} overlaps, the most "
            f"is {_MOST_OVERLAPS:.0e}: nearly every step spans nearly every interval."
        )
    target = np.repeat(np.arange(len(targets)), count)
    place = np.arange(len(target)) + np.repeat(first - (np.cumsum(count) - count), count)
    seconds = np.minimum(end[place], targets[target, 1]) - np.maximum(start[place], targets[target, 0])
    shared = seconds > _SAME
    return sp.csr_array((seconds[shared], (target[shared], order[place[shared]])), shape=(len(targets), len(steps)))


def _check_sequences(sequences: Mapping[str, TimedSequence], reference: str, parameter: str) -> list[str]:
    """The videos of all sequences, those of the reference first."""
    for name, sequence in sequences.items():
        if not isinstance(sequence, TimedSequence):
            raise ValueError(f"sequence {name!r} must be a TimedSequence, got {type(sequence).__name__}.")
    if reference not in sequences:
        raise unknown(parameter, reference, sequences)
    videos = dict.fromkeys(sequences[reference].intervals)
    for sequence in sequences.values():
        videos.update(dict.fromkeys(sequence.intervals))
    return list(videos)


def align(sequences: Mapping[str, TimedSequence], to: str, *, how: str = "mean", fill_value: float = 0.0) -> Bunch:
    """Bring the sequences of each video to the steps of one of them.

    A step of the result is the average of all features whose interval overlaps with that of the reference's step,
    as in the alignment of the CMU Multimodal SDK with averaging as its collapse function.

    Parameters
    ----------
    sequences : dict of str to TimedSequence
        Modality to sequence.
    to : str
        The reference, whose steps the others get. Its own features stay as they are, and may be strings.
    how : {"mean", "weighted"}, default="mean"
        Whether each overlapping step counts once, as in the SDK, or by the seconds of the overlap.
    fill_value : float, default=0.0
        Features of a step with which none of the modality's overlaps.

    Returns
    -------
    Bunch
        With the attributes

        data : Blocks of n_videos rows
            One ragged sequence of float32 per numeric modality, all of a video of the same length. A modality is
            missing in a video that it does not have, or in which it overlaps with no step.
        ids : ndarray of str, shape (n_videos,)
            All videos of all sequences, those of the reference first. One that the reference lacks has no step, and
            all its modalities are missing.
        intervals : list of ndarray of shape (n_steps, 2)
            The reference's steps of each video, in seconds.
        text : list of (list of str or None), or None
            The reference's strings, where it holds such: None for a video that it lacks.

    Raises
    ------
    ValueError
        If ``to`` or ``how`` is unknown, if a modality other than the reference holds strings, which have no
        average, if a modality's features differ in number between videos, or if there is no numeric modality.

    Notes
    -----
    NaN and infinite features, which some extractors write, are left out of the average. Intervals that share
    less than a microsecond only touch. A feature that holds at a point in time, with start and end the same,
    belongs to the step that contains the point or starts there.

    Examples
    --------
    >>> from skmm.preprocessing import TimedSequence, align
    >>> words = TimedSequence({"v1": [[0.0, 1.0], [1.0, 2.0]]}, {"v1": [["good"], ["film"]]})
    >>> pitch = TimedSequence({"v1": [[0.0, 0.5], [0.5, 1.5], [1.5, 2.0]]}, {"v1": [[1.0], [3.0], [7.0]]})
    >>> aligned = align({"words": words, "pitch": pitch}, to="words")
    >>> aligned.text
    [['good', 'film']]
    >>> aligned.data["pitch"][0].tolist()
    [[2.0], [5.0]]
    """
    videos = _check_sequences(sequences, to, "reference to align to:")
    if how not in HOWS:
        raise unknown("how", how, HOWS)
    reference = sequences[to]
    blocks = {}
    for name, sequence in sequences.items():
        if sequence.is_text:
            if name != to:
                raise ValueError(
                    f"sequence {name!r} holds strings, which have no average; align to it, or drop it."
                )
            continue
        blocks[name] = [_aligned(sequence, reference, video, how, fill_value, own=name == to) for video in videos]
    if not blocks:
        raise ValueError(f"no sequence of numbers among {list(sequences)}.")
    text = None
    if reference.is_text:
        text = [
            [str(word) for word in reference.features[v][:, 0]] if v in reference.features else None for v in videos
        ]
    return Bunch(
        data=Blocks(blocks),
        ids=np.array(videos, dtype=str),
        intervals=[reference.intervals.get(v, np.zeros((0, 2))) for v in videos],
        text=text,
    )


def _aligned(
    sequence: TimedSequence, reference: TimedSequence, video: str, how: str, fill_value: float, *, own: bool
) -> np.ndarray | None:
    """Features of one video at the reference's steps, (n_steps, n_features); None where it is missing."""
    if video not in sequence.features or video not in reference.intervals:
        return None
    values = sequence.features[video].astype(np.float64)
    if own:
        weights = sp.eye_array(len(values), format="csr")
    else:
        weights = _overlaps(sequence.intervals[video], reference.intervals[video], sequence._where(video))
        if how == "mean":
            weights.data[:] = 1.0
    known = np.isfinite(values)
    total = weights @ known.astype(np.float64)
    if not total.any():
        return None
    average = weights @ np.where(known, values, 0.0) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, average, fill_value).astype(np.float32)


def segment(sequences: Mapping[str, TimedSequence], by: str) -> dict[str, TimedSequence]:
    """Cut each video into the steps of one of its sequences, such as the sentences that are labelled.

    Parameters
    ----------
    sequences : dict of str to TimedSequence
        Modality to sequence.
    by : str
        The sequence of the cuts. Step ``i`` of video ``v`` becomes the video ``v[i]``, as the SDK names it.

    Returns
    -------
    dict of str to TimedSequence
        The same modalities. A step that overlaps with several cuts is in each. A cut with which no step of a
        modality overlaps is absent from that modality; a video that ``by`` lacks has no cuts.

    Raises
    ------
    ValueError
        If ``by`` is unknown.

    Examples
    --------
    >>> from skmm.preprocessing import TimedSequence, segment
    >>> labels = TimedSequence({"v1": [[0.0, 1.0], [1.0, 3.0]]}, {"v1": [[1.5], [-2.0]]})
    >>> words = TimedSequence({"v1": [[0.2, 0.9], [1.1, 2.0], [2.0, 2.5]]}, {"v1": [["fine"], ["not"], ["bad"]]})
    >>> cut = segment({"labels": labels, "words": words}, by="labels")
    >>> cut["words"].features["v1[1]"].ravel().tolist(), cut["labels"].features["v1[1]"].tolist()
    (['not', 'bad'], [[-2.0]])
    """
    _check_sequences(sequences, by, "sequence to cut by:")
    cuts = sequences[by].intervals
    out = {}
    for name, sequence in sequences.items():
        intervals, features = {}, {}
        for video in [v for v in cuts if v in sequence.intervals]:
            times, values = sequence.intervals[video], sequence.features[video]
            if name == by:
                shared = sp.eye_array(len(times), format="csr")
            else:
                shared = _overlaps(times, cuts[video], sequence._where(video))
            for i, steps in enumerate(np.split(shared.indices, shared.indptr[1:-1])):
                if len(steps):
                    chosen = np.sort(steps)
                    intervals[f"{video}[{i}]"], features[f"{video}[{i}]"] = times[chosen], values[chosen]
        out[name] = TimedSequence(intervals, features, sequence.name, sequence.metadata)
    return out
