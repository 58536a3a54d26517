"""Digits that are both written and said."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from sklearn.utils import Bunch

from skmm.blocks import Blocks

_DESCR = """\
Spoken digits
=============

1797 samples of the digits 0 to 9, in order of scikit-learn's digits. Each has two modalities.

image : uint8, 8 x 8, from 0 (paper) to 255 (ink)
    The handwritten digit of the same row in sklearn.datasets.load_digits (from the test set of the UCI "Optical
    Recognition of Handwritten Digits"), with a square of 4 x 4 pixels covered in grey and Gaussian noise added.
audio : float32, 40 frames x 20 mel bands, natural logarithm of the energy, in steps of 0.25
    A clip of 0.81 s at 8 kHz (windows of 32 ms, every 20 ms; bands from 60 Hz to 4 kHz) in which the English word
    for the digit is said. The word begins somewhere in the first 0.15 s; background noise (signal-to-noise ratio of
    -3 to 9 dB) lies under the whole clip, a louder noise of 0.28 s over part of the word (all of it, if it is that
    short), and the volume varies.

What is real and what is not: the handwriting is real, its damage is added. No person speaks: the audio is computed
by formant synthesis, in 30 invented voices that differ in pitch, length of the vocal tract, tempo and timbre. The
pairs are made: image and voice share the digit and nothing else, and the writers are unknown. The two modalities
are damaged on purpose and independently, so that neither is enough. This suits examples and tests; it says nothing
on how well a method understands real speech.

speaker : int64
    Which of the 30 voices says the word, for group-wise cross-validation.

The file is made by docs/datasets/make_spoken_digits.py in the repository.
"""


def load_spoken_digits(*, return_X_y: bool = False) -> Bunch | tuple[Blocks, np.ndarray]:
    """Load handwritten digits, each paired with a synthesised spoken digit.

    The data comes with the package. The images are scikit-learn's digits with added damage, the audio is generated
    and the pairing is made; ``DESCR`` says how.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        With the attributes

        data : Blocks of 1797 samples
            ``image``, uint8 of shape (1797, 8, 8), and ``audio``, float32 log-mel frames of shape (1797, 40, 20).
        target : ndarray of shape (1797,)
            The digit, 0 to 9.
        speaker : ndarray of shape (1797,)
            The voice, 0 to 29: the ``groups`` of a group-wise splitter.
        target_names : ndarray of shape (10,)
            The digits as words.
        DESCR : str
            What the data is and how it was made.
    (data, target) : tuple
        If ``return_X_y`` is True.

    Notes
    -----
    Accuracy of simple classifiers on the standardised, flattened input, 5-fold cross-validated, as printed by
    ``python docs/datasets/make_spoken_digits.py --report``:

    =========================================  =====  =====  =====
    classifier                                 image  audio  both
    =========================================  =====  =====  =====
    LogisticRegression(C=0.01, max_iter=1000)  0.782  0.801  0.943
    SVC(C=10)                                  0.843  0.793  0.920
    =========================================  =====  =====  =====

    Examples
    --------
    >>> from skmm.datasets import load_spoken_digits
    >>> digits = load_spoken_digits()
    >>> digits.data
    Blocks(1797 samples)
      image  image     (8, 8)    uint8
      audio  sequence  (40, 20)  float32
    >>> digits.target[:4].tolist(), str(digits.target_names[3])
    ([0, 1, 2, 3], 'three')
    """
    path = files("skmm.datasets") / "data" / "spoken_digits.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        data = Blocks(image=stored["image"], audio=stored["audio"].astype(np.float32))
        target, speaker = stored["target"].astype(np.int64), stored["speaker"].astype(np.int64)
    if return_X_y:
        return data, target
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    return Bunch(data=data, target=target, speaker=speaker, target_names=names, DESCR=_DESCR)
