"""Actions of people, seen by a camera and felt by a sensor that they wear."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from sklearn.utils import Bunch

from skmm._checks import unknown
from skmm.blocks import Blocks
from skmm.datasets._fetching import MIB, Fetching, RemoteFile, check_subset, members
from skmm.files._reading import reading

_PAGE = "https://personal.utdallas.edu/~kehtar/UTD-MHAD.html"
_HOST = "https://www.utdallas.edu/~kehtar/UTD-MAD/"
UTD_FILES = {
    "inertial": RemoteFile(
        "Inertial.zip",
        64 * MIB,
        _HOST + "Inertial.zip",
        "1900de05775c04626dee30b34638b79dd739d481786f0a788f2fbb00663abea4",
    ),
    # nobody has published its digest: the first copy is trusted
    "skeleton": RemoteFile("Skeleton.zip", 128 * MIB, _HOST + "Skeleton.zip", page=_PAGE),
}
MAT_BYTES = 64 * MIB  # unpacked, of one recording; the longest takes 60 KB
_PACKED = 15  # the type of a compressed element in a MATLAB file
_VARIABLES = {"inertial": "d_iner", "skeleton": "d_skel"}
_ACTIONS = [
    "swipe left",
    "swipe right",
    "wave",
    "clap",
    "throw",
    "cross arms",
    "basketball shoot",
    "draw x",
    "draw circle (clockwise)",
    "draw circle (counter clockwise)",
    "draw triangle",
    "bowling",
    "boxing",
    "baseball swing",
    "tennis swing",
    "arm curl",
    "tennis serve",
    "push",
    "knock",
    "catch",
    "pick up and throw",
    "jog",
    "walk",
    "sit to stand",
    "stand to sit",
    "lunge",
    "squat",
]

_DESCR = """\
UTD Multimodal Human Action Dataset (UTD-MHAD)
==============================================

861 recordings of 27 actions: eight people do each of them four times (three recordings are broken and left out by
the authors). Each was taken by a Kinect camera and by a sensor worn on the right wrist, or on the right thigh for
the actions of the legs (jog, walk, sit to stand, stand to sit, lunge, squat).

inertial : 50 steps a second of acceleration (3 axes, in g) and rotation (3 axes, in degrees per second)
skeleton : 30 steps a second of 20 joints, each x, y and z in metres from the camera

The pictures and depth maps of the data set are not read.

By the authors' protocol the people 1, 3, 5 and 7 are trained on (431 recordings) and 2, 4, 6 and 8 are tested.

Source: https://personal.utdallas.edu/~kehtar/UTD-MHAD.html
Licence: none is stated; the authors offer it freely for research and ask to be cited.
Cite: C. Chen, R. Jafari, N. Kehtarnavaz (2015), UTD-MHAD: a multimodal dataset for human action recognition
    utilizing a depth camera and a wearable inertial sensor, ICIP.
"""


def fetch_utd_mhad(
    *,
    subset: str = "all",
    modalities: str | Iterable[str] = ("inertial", "skeleton"),
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    return_X_y: bool = False,
) -> Any:
    """Load the actions of UTD-MHAD, downloading them if they are not there.

    861 recordings by a worn sensor and of a skeleton (free for research, no licence stated), 20 MB.

    Parameters
    ----------
    subset : {"all", "train", "test"}, default="all"
        The authors' split: people 1, 3, 5 and 7 are ``"train"``, the others ``"test"``.
    modalities : str or list of str, default=("inertial", "skeleton")
        What becomes of the data's blocks; only its files are downloaded.
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
            Float32 sequences of any length: ``inertial`` (n_steps, 6), acceleration and rotation; ``skeleton``
            (n_steps, 60), x, y and z of 20 joints one after the other, in metres.
        target : ndarray of shape (n_samples,)
            The action, 0 to 26.
        subject : ndarray of shape (n_samples,)
            Who does it, 1 to 8: the ``groups`` of a group-wise splitter.
        trial : ndarray of shape (n_samples,)
            Which time, 1 to 4.
        target_names : ndarray of shape (27,)
            The actions in words.
        DESCR : str
            What the data is, what is known of its licence, and whom to cite.
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
    Samples are in the order of action, subject and trial. A recording that a modality lacks is missing there. The
    digest of ``Skeleton.zip`` is not published: the first copy is trusted, its digest written beside it, and later
    ones are held to that. The server has at times sent an incomplete chain of certificates, which Python refuses:
    a browser gets the files, and they go into the folder that the error names.

    Where somebody stands matters little for what they do: ``skeleton - hips``, with joint 3 (columns 9 to 11) of
    each step, takes it away.

    Examples
    --------
    >>> from skmm.datasets import fetch_utd_mhad
    >>> fetch_utd_mhad(subset="train").data  # doctest: +SKIP
    Blocks(431 samples)
      inertial  sequence  (122..275, 6)  float32
      skeleton  sequence  (47..102, 60)  float32
    >>> fetch_utd_mhad(modalities=["inertial", "depth"])
    Traceback (most recent call last):
        ...
    ValueError: unknown modality 'depth', valid are ['inertial', 'skeleton'].
    """
    check_subset(subset)
    wanted = [modalities] if isinstance(modalities, str) else list(modalities)
    for name in wanted:
        if name not in UTD_FILES:
            raise unknown("modality", name, list(UTD_FILES))
    if not wanted:
        raise ValueError(f"modalities={modalities!r} names none, valid are {list(UTD_FILES)}.")
    fetching = Fetching(data_home, download_if_missing, n_retries, delay)
    found = {name: _read_recordings(fetching.path("utd_mhad", UTD_FILES[name]), name) for name in wanted}
    keys = sorted(set().union(*found.values()))
    if subset != "all":
        keys = [key for key in keys if key[1] % 2 == (subset == "train")]
    data = Blocks({name: [recordings.get(key) for key in keys] for name, recordings in found.items()})
    action, subject, trial = np.array(keys).T
    if return_X_y:
        return data, action - 1
    return Bunch(
        data=data,
        target=action - 1,
        subject=subject,
        trial=trial,
        target_names=np.array(_ACTIONS),
        DESCR=_DESCR,
    )


def _read_recordings(path: Path, name: str) -> dict[tuple[int, int, int], np.ndarray]:
    """Sequences (n_steps, n_features) by action, subject and trial."""
    pattern = rf"(?:.*/)?a(\d+)_s(\d+)_t(\d+)_{name}\.mat"
    with reading(str(path), "recordings of UTD-MHAD"):
        return {
            (int(match[1]), int(match[2]), int(match[3])): _steps(content, name, match[0])
            for match, content in members(path, pattern, 1024 * MIB)
        }


def _steps(content: bytes, name: str, member: str) -> np.ndarray:
    """The variable of a MATLAB file as float32 (n_steps, n_features)."""
    variable = _VARIABLES[name]
    _check_unpacked(content, member)
    values = loadmat(io.BytesIO(content), variable_names=[variable]).get(variable)
    expected = "(n_steps, 6)" if name == "inertial" else "(20, 3, n_steps)"
    fits = values is not None and (
        (values.ndim == 2 and values.shape[1] == 6)
        if name == "inertial"
        else (values.ndim == 3 and values.shape[:2] == (20, 3))
    )
    if not fits or values.dtype.kind not in "iuf":
        got = "none" if values is None else f"{values.dtype} {values.shape}"
        raise ValueError(f"{member}: expected numbers {expected} under {variable!r}, got {got}.")
    if name == "skeleton":
        values = np.moveaxis(values, 2, 0).reshape(values.shape[2], -1)
    return values.astype(np.float32)


def _check_unpacked(content: bytes, member: str) -> None:
    """Refuse a MATLAB file that unpacks to more than it may: scipy unpacks whatever it is given."""
    order = ">" if content[126:128] == b"MI" else "<"
    at = 128
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(order + "II", content, at)
        if kind == _PACKED:
            unpacker = zlib.decompressobj()
            unpacker.decompress(content[at + 8 : at + 8 + size], MAT_BYTES)
            if unpacker.unconsumed_tail:
                raise ValueError(f"{member}: takes more than {MAT_BYTES} bytes unpacked.")
        at += 8 + size
