"""Transcripts that a recogniser learns from: as numbers of symbols, and which are too long for their audio."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from skmm._warnings import warn
from skmm.speech._audio import Audio
from skmm.speech._network import n_frames


def encode(texts: list[str], symbols: list[str]) -> np.ndarray:
    """Numbers of the symbols, (n, longest), filled up with -1."""
    numbers = {symbol: i for i, symbol in enumerate(symbols, start=1)}
    encoded = np.full((len(texts), max(1, *map(len, texts))), -1, dtype=np.int64)
    for row, text in enumerate(texts):
        foreign = sorted(set(text) - set(numbers))
        if foreign:
            raise ValueError(
                f"y, row {row}: {text!r} holds {foreign[0]!r}, which is not among the symbols of the first "
                f"fit, {''.join(symbols)!r}."
            )
        encoded[row, : len(text)] = [numbers[symbol] for symbol in text]
    return encoded


def drop_unusable(audio: Audio, texts: list[str], weights: np.ndarray, errors: str) -> np.ndarray:
    """Weights, 0 for samples without audio, and for those whose audio is too short for their transcript."""
    lengths = audio.lengths
    silent = (lengths == 0) & (weights > 0)
    if silent.any():
        warn(
            f"{silent.sum()} of {len(weights)} samples have no audio ({audio.name!r}) and are left out of "
            f"training, the first is row {silent.argmax()}."
        )
        weights = np.where(silent, 0.0, weights)
    frames = n_frames(lengths, audio.strides)
    # two equal symbols in a row need a blank between them
    repeated = np.array([sum(a == b for a, b in pairwise(text)) for text in texts])
    needed = np.array([len(text) for text in texts]) + repeated
    short = (needed > frames) & (weights > 0)
    if short.any():
        row = int(short.argmax())
        found = (
            f"{short.sum()} of {len(weights)} transcripts are longer than their audio allows, the first is row "
            f"{row}: {texts[row]!r} needs {needed[row]} frames ({len(texts[row])} symbols, {repeated[row]} "
            f"blanks between equal ones), its audio of {lengths[row]} steps has {frames[row]} after "
            f"subsampling={audio.strides}"
        )
        if errors == "raise":
            raise ValueError(f"{found}. Shorten the strides, or leave such rows out by errors='drop'.")
        warn(f"{found}. They are left out of training.")
        weights = np.where(short, 0.0, weights)
    if not weights.any():
        raise ValueError("no sample is left to train on.")
    return weights
