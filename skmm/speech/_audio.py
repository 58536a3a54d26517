"""The input side of SpeechRecognizer: which modality is the audio, how long it is, and what is none."""

from __future__ import annotations

import math
import os
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.pipeline import make_pipeline

from skmm._checks import unknown
from skmm._missing import is_missing
from skmm.blocks import Blocks
from skmm.blocks._blocks import Block, RaggedArray, block_kind
from skmm.blocks._forms import n_axes
from skmm.blocks._given import is_named
from skmm.columns._tables import as_frame, is_table
from skmm.files._sources import KIND_OF, extension
from skmm.preprocessing import AudioLoader, LogMel

_LONGEST_PAIRS = 2000  # steps of 2 numbers; more are the two channels of a recording rather than frames


class Audio(NamedTuple):
    """The modality that is transcribed: its name, the strides that shorten it, and steps of each sample."""

    name: str
    strides: tuple[int, ...]
    lengths: np.ndarray


def find_audio(blocks: Blocks, audio: str | None) -> str:
    """The modality that is transcribed: the one named, or the only sequence there is."""
    sequences = [name for name, block in blocks.items() if block_kind(block) == "sequence"]
    for name, block in blocks.items():
        # what may be the audio, and what is no text
        if name == audio or (audio is None and not sequences) or _lowest(block) < 0:
            refuse_integers(name, block)
    if audio is None:
        if len(sequences) != 1:
            advice = (
                f"Name it, as in audio={sequences[0]!r}."
                if sequences
                else "Waveforms are a list of arrays (time,), or if all have one length an array (n, time, 1)."
            )
            raise ValueError(
                f"audio=None takes the only sequence there is, X has {len(sequences)}: {sequences} of "
                f"{blocks.kinds}. {advice}"
            )
        return sequences[0]
    if audio not in blocks:
        raise unknown("modality in audio:", audio, list(blocks))
    if audio not in sequences:
        raise ValueError(
            f"modality {audio!r} must be a sequence, log-mel frames (time, d) or waveforms of floats, as "
            f"a list or an array (n, time, d); it is {blocks.kinds[audio]}."
        )
    return audio


def audio_lengths(blocks: Blocks, audio: str) -> np.ndarray:
    """Steps of audio of each sample, 0 where it is missing."""
    if audio not in blocks:
        return np.zeros(len(blocks), dtype=np.int64)
    block = blocks[audio]
    lengths = block.lengths if isinstance(block, RaggedArray) else np.full(len(blocks), block.shape[1])
    return np.where(blocks.present[audio], lengths, 0)


def choose_strides(blocks: Blocks, audio: str, subsampling: Any) -> tuple[int, ...]:
    """Strides of the subsampling, where it is "auto" by whether a step is one number, of a waveform, or several."""
    if subsampling != "auto":
        return tuple(int(stride) for stride in subsampling)
    block, lengths = blocks[audio], audio_lengths(blocks, audio)
    size = math.prod(block.inner_shape if isinstance(block, RaggedArray) else block.shape[2:])
    if size == 2 and lengths.max() > _LONGEST_PAIRS:
        row = int(lengths.argmax())
        raise ValueError(
            f"modality {audio!r}, row {row}: {lengths[row]} steps of 2 numbers are a recording of two channels "
            "rather than frames. Average the channels, as skmm.preprocessing.AudioLoader does, or choose one; if "
            "they are frames of two features, set subsampling."
        )
    return (2,) if size > 1 else (80, 2)


def refuse_pairs(name: str, value: Any) -> None:
    """Pairs of waveform and sample rate are for AudioLoader, which brings them to one rate."""
    objects = getattr(getattr(value, "dtype", None), "kind", "") == "O" and value.ndim == 1
    if not (objects or isinstance(value, list | tuple)):
        return
    for row, cell in enumerate(value):
        pair = isinstance(cell, list | tuple) and len(cell) == 2
        if pair and hasattr(cell[0], "__len__") and isinstance(cell[1], Real):
            raise ValueError(
                f"modality {name!r}, row {row}: a pair of waveform and sample rate, {cell[1]!r}. Waveforms come "
                "here without a rate, and all must have the same: skmm.preprocessing.AudioLoader(sample_rate) "
                "brings such pairs to one."
            )


def given_audio(X: Any, audio: str | None) -> Any:
    """What was given as X by the names of modalities, files read; audio alone may come without its name."""
    X = as_frame(X)
    if is_table(X):
        raise ValueError(
            f"X is a table, with the columns {list(X.columns)}: give the audio, such as X[{X.columns[0]!r}], or "
            "let make_pipeline(AutoModalities(), SpeechRecognizer()) read all of them."
        )
    if isinstance(X, Blocks):
        return X
    alone = not is_named(X)
    given = {audio or "audio": X} if alone else X
    named = {name: read_files(value, sure=alone or name == audio) for name, value in given.items()}
    for name, value in named.items():
        refuse_pairs(name, value)
    return named


def read_files(value: Any, *, sure: bool) -> Any:
    """Files of sound, as log-mel frames; anything else as it is.

    Parameters
    ----------
    value : object
        What was given as a modality.
    sure : bool
        Whether it is known to be sound; else strings are files where they end like files of sound.
    """
    column = value.tolist() if hasattr(value, "tolist") and n_axes(value) == 1 else value
    if not isinstance(column, list | tuple):
        return value
    there = [cell for cell in column if not is_missing(cell)]
    if not there or not all(isinstance(cell, str | bytes | os.PathLike) for cell in there):
        return value
    paths = [os.fspath(cell) for cell in there if not isinstance(cell, bytes)]
    if not sure and any(KIND_OF.get(extension(path)) != "audio" for path in paths):
        return value
    return make_pipeline(AudioLoader(), LogMel()).fit_transform(column)


def refuse_integers(name: str, block: Block) -> None:
    """Integers of any length are token ids, and those of a waveform would be taken for such."""
    if block_kind(block) == "tokens":
        row = int(np.searchsorted(block.offsets, block.values.argmin(), side="right") - 1)
        raise ValueError(
            f"modality {name!r}, row {row}: integers from {block[row].min()} to {block[row].max()}. Waveforms must "
            "be floats, to which skmm.preprocessing.AudioLoader scales int16; token ids are not negative."
        )


def _lowest(block: Block) -> int:
    """The least of token ids."""
    return int(block.values.min(initial=0)) if block_kind(block) == "tokens" else 0
