"""Digits written, said, and both: features of handwriting, recordings of six people, and pairs of the two."""

from __future__ import annotations

import gzip
import io
import os
import wave
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skmm._checks import check_above_zero, check_rate
from skmm.blocks import Blocks
from skmm.datasets._fetching import MIB, Fetching, RemoteFile, check_subset, members
from skmm.files._reading import reading
from skmm.preprocessing import LogMel

_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/mfeat/mfeat-"
# view: its width, and the digest of its file
_MFEAT = {
    "fou": (76, "d2bed48a4d302efe77bd80d52e16a211e99efe6fee9baf1c28dcc199c43c50ad"),
    "fac": (216, "83be9bc9fd50c6dd0b0532f6b6101956f1cf51c71b33f22d3f0cd2b5befb31b5"),
    "kar": (64, "db832668544497d0c06a2c1d1bfa0e17ba672812b7cfa6ed19f0941e19e1d7fa"),
    "pix": (240, "70a1cd033add46614464a8740ddc23c3693765985bde52ccb6b702bff23b64f1"),
    "zer": (47, "d4a0e302f2f61e823b906f78818c7c0ef078c0bbc23022affd6607d60ecfe4f3"),
    "mor": (6, "8767b326d874f096de06d525a2df4e610f4e9dfe91e29c250d8a3054907e3b61"),
}
VIEWS = {view: width for view, (width, _) in _MFEAT.items()}
MFEAT_FILES = {
    view: RemoteFile(
        f"mfeat-{view}",
        16 * MIB,
        _UCI + view,
        digest,
        page="https://archive.ics.uci.edu/dataset/72/multiple+features",
    )
    for view, (_, digest) in _MFEAT.items()
}
FSDD_FILE = RemoteFile(
    "free-spoken-digit-dataset-1.0.10.zip",
    64 * MIB,
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
    "c680098f5d2355ba7cc4bd8b0ca9e0a24c00ebe3b4c552208889a4d28d4fbc2b",
)
_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
MNIST_IMAGES = RemoteFile(
    "t10k-images-idx3-ubyte.gz",
    8 * MIB,
    _MNIST + "t10k-images-idx3-ubyte.gz",
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
)
MNIST_LABELS = RemoteFile(
    "t10k-labels-idx1-ubyte.gz",
    MIB,
    _MNIST + "t10k-labels-idx1-ubyte.gz",
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)
SAMPLE_RATE = 8000
_WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])

_MFEAT_DESCR = """\
Multiple features of handwritten digits (mfeat)
===============================================

2000 digits of maps of a Dutch utility, 200 of each from 0 to 9, described by six sets of features:

fou : 76 Fourier coefficients of the shape
fac : 216 profile correlations
kar : 64 Karhunen-Loeve coefficients
pix : 240 averages of 2 x 3 pixels
zer : 47 Zernike moments
mor : 6 morphological features

There is no standard split. Simple classifiers reach an accuracy of 0.98: good to learn on, poor to rank methods by.

Source: https://archive.ics.uci.edu/dataset/72/multiple+features
Licence: CC BY 4.0 (the UCI Machine Learning Repository).
Cite: R. Duin (1998), Multiple Features, UCI Machine Learning Repository, https://doi.org/10.24432/C5HC70.
"""

_FSDD_DESCR = """\
Free Spoken Digit Dataset (FSDD), version 1.0.10
================================================

3000 recordings of the English words for the digits 0 to 9: six people say each of them 50 times. One channel at 8
kHz, silence cut off at both ends, 0.14 to 2.3 seconds long.

The takes 0 to 4 of each person and digit are the official test set, which so holds the people of the training set.
For people that a model has not heard, split by speaker.

Source: https://github.com/Jakobovski/free-spoken-digit-dataset
Licence: CC BY-SA 4.0.
Cite: Z. Jackson and others, Free Spoken Digit Dataset, version 1.0.10.
"""

_AV_DESCR = """\
Digits that are both written and said, after AV-MNIST
=====================================================

3000 pairs of a handwritten digit (from the test set of MNIST) and a recording of somebody who says that digit (Free
Spoken Digit Dataset). The pairs are drawn at random within each digit: image and voice share the digit and nothing
else, which suits late fusion.

As in AV-MNIST, most of the image's energy is taken away, so that neither modality is enough. It is not AV-MNIST
itself, whose voices are those of TIDIGITS, under noise, and not free: results cannot be compared.

Sources: https://storage.googleapis.com/cvdf-datasets/mnist/ and
    https://github.com/Jakobovski/free-spoken-digit-dataset
Licences: MNIST: CC BY-SA 3.0 (as its distributors state); recordings: CC BY-SA 4.0.
Cite: Y. LeCun et al. (1998), Gradient-based learning applied to document recognition; Z. Jackson and others, Free
    Spoken Digit Dataset, version 1.0.10; V. Vielzeuf et al. (2018), CentralNet (AV-MNIST).
"""


def fetch_mfeat(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    return_X_y: bool = False,
) -> Any:
    """Load the multiple features of handwritten digits, downloading them if they are not there.

    Six views of 2000 digits, from the UCI Machine Learning Repository (CC BY 4.0), 8 MB.

    Parameters
    ----------
    data_home : str or path, default=None
        Folder that downloaded sets are kept in, see :func:`get_data_home`.
    download_if_missing : bool, default=True
        Whether to download what is not there, instead of raising an error.
    n_retries : int, default=3
        Further tries where the network fails.
    delay : float, default=1.0
        Seconds between them.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        With the attributes

        data : Blocks of 2000 samples
            Float32 vectors: ``fou`` of 76 features, ``fac`` of 216, ``kar`` of 64, ``pix`` of 240, ``zer`` of 47,
            ``mor`` of 6.
        target : ndarray of shape (2000,)
            The digit, 0 to 9.
        target_names : ndarray of shape (10,)
            The digits as words.
        DESCR : str
            What the data is, its licence, and whom to cite.
    (data, target) : tuple
        If ``return_X_y`` is True.

    Raises
    ------
    OSError
        If a file is not there and cannot or may not be downloaded, if it is another one than it should be, or if
        the folder cannot be written to; says what to do.
    ValueError
        If a parameter is wrong.

    Examples
    --------
    >>> from skmm.datasets import fetch_mfeat
    >>> fetch_mfeat().data  # doctest: +SKIP
    Blocks(2000 samples)
      fou  vector  (76,)   float32
      fac  vector  (216,)  float32
      kar  vector  (64,)   float32
      pix  vector  (240,)  float32
      zer  vector  (47,)   float32
      mor  vector  (6,)    float32

    What it needs where there is no network:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fetch_mfeat(data_home=folder, download_if_missing=False)
    Traceback (most recent call last):
        ...
    FileNotFoundError: there is no file '...mfeat-fou', and download_if_missing=False: download
    https://archive.ics.uci.edu/ml/machine-learning-databases/mfeat/mfeat-fou (or mfeat-fou of
    https://archive.ics.uci.edu/dataset/72/multiple+features) and put it there, or name the folder that holds it by
    data_home.
    """
    fetching = Fetching(data_home, download_if_missing, n_retries, delay)
    paths = {view: fetching.path("mfeat", remote) for view, remote in MFEAT_FILES.items()}
    data = Blocks({view: _read_view(path, VIEWS[view]) for view, path in paths.items()})
    target = np.repeat(np.arange(10), len(data) // 10)  # the files hold the digits one after the other
    if return_X_y:
        return data, target
    return Bunch(data=data, target=target, target_names=_WORDS.copy(), DESCR=_MFEAT_DESCR)


def fetch_fsdd(
    *,
    subset: str = "all",
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    return_X_y: bool = False,
) -> Any:
    """Load the Free Spoken Digit Dataset, downloading it if it is not there.

    3000 recordings of six people (CC BY-SA 4.0), 16 MB.

    Parameters
    ----------
    subset : {"all", "train", "test"}, default="all"
        The official subsets: takes 0 to 4 of each person and digit are ``"test"`` (300), the others ``"train"``
        (2700).
    data_home : str or path, default=None
        Folder that downloaded sets are kept in, see :func:`get_data_home`.
    download_if_missing : bool, default=True
        Whether to download what is not there, instead of raising an error.
    n_retries : int, default=3
        Further tries where the network fails.
    delay : float, default=1.0
        Seconds between them.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        With the attributes

        data : Blocks of n_samples
            ``audio``: float32 waveforms (length, 1) in [-1, 1), 1148 to 18262 samples long.
        target : ndarray of shape (n_samples,)
            The digit, 0 to 9.
        speaker : ndarray of str, shape (n_samples,)
            Who says it: the ``groups`` of a group-wise splitter.
        take : ndarray of shape (n_samples,)
            Number of the recording, 0 to 49.
        sample_rate : int
            8000 samples per second.
        target_names : ndarray of shape (10,)
            The digits as words, which are what is said.
        DESCR : str
            What the data is, its licence, and whom to cite.
    (data, target) : tuple
        If ``return_X_y`` is True.

    Raises
    ------
    OSError
        If the file is not there and cannot or may not be downloaded, if it is another one than it should be, or if
        the folder cannot be written to; says what to do.
    ValueError
        If a parameter is wrong.

    Notes
    -----
    Samples are in the order of digit, speaker and take. :class:`skmm.preprocessing.LogMel` turns the waveforms,
    ``data["audio"]``, into frames.

    Examples
    --------
    >>> from skmm.datasets import fetch_fsdd
    >>> fetch_fsdd(subset="test").data  # doctest: +SKIP
    Blocks(300 samples)
      audio  sequence  (1148..9178, 1)  float32
    >>> fetch_fsdd(subset="valid")
    Traceback (most recent call last):
        ...
    ValueError: unknown subset 'valid', valid are ['all', 'train', 'test'].
    """
    check_subset(subset)
    fetching = Fetching(data_home, download_if_missing, n_retries, delay)
    waveforms, target, speaker, take = _read_recordings(fetching.path("fsdd", FSDD_FILE))
    rows = np.flatnonzero({"all": take >= 0, "train": take >= 5, "test": take < 5}[subset])
    data = Blocks(audio=[waveforms[i] for i in rows])
    if return_X_y:
        return data, target[rows]
    return Bunch(
        data=data,
        target=target[rows],
        speaker=speaker[rows],
        take=take[rows],
        sample_rate=SAMPLE_RATE,
        target_names=_WORDS.copy(),
        DESCR=_FSDD_DESCR,
    )


def fetch_av_digits(
    *,
    image_energy: float = 0.25,
    random_state: Any = 0,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    return_X_y: bool = False,
) -> Any:
    """Pair images of MNIST with recordings of spoken digits, after AV-MNIST, downloading both if need be.

    3000 pairs (MNIST: CC BY-SA 3.0; recordings: CC BY-SA 4.0), 18 MB. No image is used twice.

    Parameters
    ----------
    image_energy : float, default=0.25
        Share of the images' variance that is left: they are rebuilt from their first principal components, as in
        AV-MNIST. 1 leaves them whole.
    random_state : int, RandomState instance or None, default=0
        Draws which image goes with which recording of the same digit.
    data_home : str or path, default=None
        Folder that downloaded sets are kept in, see :func:`get_data_home`.
    download_if_missing : bool, default=True
        Whether to download what is not there, instead of raising an error.
    n_retries : int, default=3
        Further tries where the network fails.
    delay : float, default=1.0
        Seconds between them.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        With the attributes

        data : Blocks of 3000 samples
            ``image``, uint8 of shape (3000, 28, 28), and ``audio``, float32 log-mel frames (n_frames, 40), a
            hundred per second.
        target : ndarray of shape (3000,)
            The digit, 0 to 9.
        speaker : ndarray of str, shape (3000,)
            Who says it: the ``groups`` of a group-wise splitter.
        image_index : ndarray of shape (3000,)
            Row of the image in the test set of MNIST.
        target_names : ndarray of shape (10,)
            The digits as words.
        DESCR : str
            What the data is and how it was made, its licences, and whom to cite.
    (data, target) : tuple
        If ``return_X_y`` is True.

    Raises
    ------
    OSError
        If a file is not there and cannot or may not be downloaded, if it is another one than it should be, or if
        the folder cannot be written to; says what to do.
    ValueError
        If a parameter is wrong.

    Notes
    -----
    The principal components are those of all 10000 images of MNIST's test set, without their labels.

    References
    ----------
    Vielzeuf et al. (2018), CentralNet: a multilayer approach for multimodal fusion, ECCV workshops.

    Examples
    --------
    >>> from skmm.datasets import fetch_av_digits
    >>> fetch_av_digits().data  # doctest: +SKIP
    Blocks(3000 samples)
      image  image     (28, 28)      uint8
      audio  sequence  (15..229, 40)  float32
    >>> fetch_av_digits(image_energy=2)
    Traceback (most recent call last):
        ...
    ValueError: image_energy must lie between 0 and 1, got 2.
    """
    check_above_zero("image_energy", image_energy)
    check_rate("image_energy", image_energy)
    random_state = check_random_state(random_state)
    fetching = Fetching(data_home, download_if_missing, n_retries, delay)
    waveforms, target, speaker, _ = _read_recordings(fetching.path("fsdd", FSDD_FILE))
    images = _read_idx(fetching.path("mnist", MNIST_IMAGES), 3)
    labels = _read_idx(fetching.path("mnist", MNIST_LABELS), 1)
    index = np.empty(len(target), dtype=np.int64)
    for digit in np.unique(target):
        rows = np.flatnonzero(target == digit)
        index[rows] = random_state.choice(np.flatnonzero(labels == digit), len(rows), replace=False)
    frames = LogMel(SAMPLE_RATE).fit_transform(waveforms)
    data = Blocks(image=_weakened(images, image_energy)[index], audio=frames)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        speaker=speaker,
        image_index=index,
        target_names=_WORDS.copy(),
        DESCR=_AV_DESCR,
    )


def _read_view(path: Path, width: int) -> np.ndarray:
    """Numbers between blanks, a digit per line, as many of each digit."""
    with reading(str(path), "features of digits"):
        values = np.loadtxt(path, dtype=np.float32, ndmin=2)
        if values.shape[1] != width or len(values) % 10:
            raise ValueError(f"expected rows of {width} numbers, as many of each digit, got {values.shape}.")
    return values


def _read_recordings(path: Path) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Waveforms (length, 1), digits, speakers and takes, in the order of the last three."""
    found = []
    with reading(str(path), "spoken digits"):
        for name, content in members(path, r"[^/]+/recordings/(\d)_([a-z]+)_(\d+)\.wav", 256 * MIB):
            with wave.open(io.BytesIO(content)) as file:
                form = file.getnchannels(), file.getsampwidth(), file.getframerate()
                if form != (1, 2, SAMPLE_RATE):
                    raise ValueError(f"{name[0]}: expected one channel of 16 bits at {SAMPLE_RATE} Hz, got {form}.")
                samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
            found.append((int(name[1]), name[2], int(name[3]), samples[:, None] / np.float32(32768)))
    found.sort(key=lambda recording: recording[:3])
    digits, speakers, takes, waveforms = zip(*found, strict=True)
    return list(waveforms), np.array(digits), np.array(speakers), np.array(takes)


def _read_idx(path: Path, n_axes: int) -> np.ndarray:
    """Bytes as the files of MNIST hold them: a shape of big-endian numbers, then the values."""
    with reading(str(path), "a file of MNIST"), gzip.open(path) as file:
        head = np.frombuffer(file.read(4 + 4 * n_axes), dtype=">u4")
        if len(head) != 1 + n_axes or head[0] != 0x800 + n_axes:
            raise ValueError(f"its first number is not {0x800 + n_axes:#x}.")
        size = int(np.prod(head[1:], dtype=np.int64))
        if size > 64 * MIB:
            raise ValueError(f"it announces {size} bytes.")
        values = np.frombuffer(file.read(size), dtype=np.uint8)
        if len(values) < size or file.read(1):  # which checks the checksum as well
            raise ValueError(f"it does not hold the {size} values that it announces.")
        return values.reshape(head[1:])


def _weakened(images: np.ndarray, energy: float) -> np.ndarray:
    """Images rebuilt from the first principal components that hold a share of their variance."""
    if energy == 1:
        return images
    flat = images.reshape(len(images), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    variances, components = np.linalg.eigh(np.cov(flat, rowvar=False))
    held = np.cumsum(variances[::-1]) / variances.sum()
    kept = components[:, ::-1][:, : 1 + np.searchsorted(held, energy)]  # as few as hold that share
    rebuilt = mean + (flat - mean) @ kept @ kept.T
    return np.clip(np.round(rebuilt), 0, 255).astype(np.uint8).reshape(images.shape)
