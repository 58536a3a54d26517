"""Sentiment of people who speak to a camera: the features that the field compares on."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sklearn.utils import Bunch

from skmm.datasets._archives import load_feature_archive
from skmm.datasets._fetching import MIB, Fetching, RemoteFile

_PAGE = (
    "https://github.com/thuiar/MMSA#2-datasets (Google Drive: "
    "https://drive.google.com/drive/folders/1A2S4pqCHryGmiqnNSPLv7rEg63WvjCSk, or Baidu), there {}/Processed/{}"
)


def _archive(folder: str, name: str, max_bytes: int, sha256: str) -> RemoteFile:
    return RemoteFile(name, max_bytes, sha256=sha256, page=_PAGE.format(folder, name))


# no program can fetch them, so that there is no url; the digests are those that MMSA publishes
FEATURE_FILES = {
    ("mosi", True): _archive(
        "MOSI", "aligned_50.pkl", 1024 * MIB, "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9"
    ),
    ("mosi", False): _archive(
        "MOSI", "unaligned_50.pkl", 1024 * MIB, "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524"
    ),
    ("mosei", True): _archive(
        "MOSEI",
        "aligned_50.pkl",
        8 * 1024 * MIB,
        "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791",
    ),
    ("mosei", False): _archive(
        "MOSEI",
        "unaligned_50.pkl",
        16 * 1024 * MIB,
        "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f",
    ),
    ("sims", False): _archive(
        "SIMS",
        "unaligned_39.pkl",
        2 * 1024 * MIB,
        "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f",
    ),
}

_FROM = """
text : 768 features of BERT per token
audio, vision : features computed from sound and face
The archive's other arrays are read by skmm.datasets.load_feature_archive.

Source: https://github.com/thuiar/MMSA, whose features these are.
"""
_DESCRS = {
    "mosi": """\
CMU-MOSI, features of MMSA
==========================

2199 sentences of 93 videos in which people say what they think of films and other things, in English, each with a
sentiment from -3 to 3: 1284 to train, 229 to validate and 686 to test on.
"""
    + _FROM
    + """\
Licence: none is stated; the videos are of YouTube, the data is offered for research.
Cite: A. Zadeh, R. Zellers, E. Pincus, L.-P. Morency (2016), MOSI: multimodal corpus of sentiment intensity and
    subjectivity analysis in online opinion videos; H. Mao et al. (2022), M-SENA (MMSA).
""",
    "mosei": """\
CMU-MOSEI, features of MMSA
===========================

22856 sentences of people who speak to a camera, in English, each with a sentiment from -3 to 3: 16326 to train,
1871 to validate and 4659 to test on.
"""
    + _FROM
    + """\
Licence: none is stated; the videos are of YouTube, the data is offered for research.
Cite: A. Zadeh, P. P. Liang, S. Poria, E. Cambria, L.-P. Morency (2018), Multimodal language analysis in the wild:
    CMU-MOSEI dataset and interpretable dynamic fusion graph, ACL; H. Mao et al. (2022), M-SENA (MMSA).
""",
    "sims": """\
CH-SIMS, features of MMSA
=========================

2281 clips of films and shows in Chinese, each with a sentiment from -1 to 1, and with one for text, sound and face
alone: 1368 to train, 456 to validate and 457 to test on.
"""
    + _FROM
    + """\
Licence: none is stated for the data (MMSA's code is MIT); it is offered for research.
Cite: W. Yu et al. (2020), CH-SIMS: a Chinese multimodal sentiment analysis dataset with fine-grained annotation of
    modality, ACL; H. Mao et al. (2022), M-SENA (MMSA).
""",
}


def fetch_mosi(
    *,
    aligned: bool = True,
    subset: str | None = None,
    modalities: str | Iterable[str] | None = None,
    target: str | None = None,
    url: str | None = None,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    return_X_y: bool = False,
) -> Any:
    """Load the features of CMU-MOSI that MMSA publishes: text, sound and face of 2199 sentences.

    The file lies on Google Drive and Baidu, where no program can fetch it: download it once by a browser, or give
    the ``url`` of a copy. Either is held to the digest that MMSA publishes. No licence is stated; the data is
    offered for research.

    Parameters
    ----------
    aligned : bool, default=True
        Whether to read ``aligned_50.pkl``, where all modalities have a step per token, instead of
        ``unaligned_50.pkl``, where each has its own.
    subset : {"train", "valid", "test"}, default=None
        The subset to return; None returns all three.
    modalities : str or list of str, default=None
        As in :func:`load_feature_archive`; None is text, audio and vision.
    target : str, default=None
        Name of the labels; None is the sentiment, ``"regression_labels"``.
    url : str, default=None
        Where to download a copy from, if the file is not there.
    data_home : str or path, default=None
        Folder that downloaded sets are kept in, see :func:`get_data_home`.
    download_if_missing : bool, default=True
        Whether to download what is not there, instead of raising an error.
    n_retries : int, default=3
        Further tries where the network fails.
    delay : float, default=1.0
        Seconds between them.
    return_X_y : bool, default=False
        Return ``(data, target)``; needs a ``subset``.

    Returns
    -------
    Bunch of Bunch, or Bunch, or (data, target)
        As :func:`load_feature_archive` returns it, with ``DESCR``, which says what the data is, what is known of
        its licence, and whom to cite.

    Raises
    ------
    FileNotFoundError
        If the file is not there; says what to download, from where, and where to put it.
    OSError
        If a download fails, or if the file is another one than it should be.
    ValueError
        If a parameter is wrong.

    Examples
    --------
    >>> import tempfile
    >>> from skmm.datasets import fetch_mosi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fetch_mosi(data_home=folder)
    Traceback (most recent call last):
        ...
    FileNotFoundError: there is no file '...aligned_50.pkl', and no program can download it: download aligned_50.pkl
    of https://github.com/thuiar/MMSA#2-datasets (Google Drive: ..., or Baidu), there MOSI/Processed/aligned_50.pkl
    and put it there, or name the folder that holds it by data_home.
    """
    fetching = Fetching(data_home, download_if_missing, n_retries, delay)
    return _fetch("mosi", aligned, fetching, url, subset, modalities, target, return_X_y)


def fetch_mosei(
    *,
    aligned: bool = True,
    subset: str | None = None,
    modalities: str | Iterable[str] | None = None,
    target: str | None = None,
    url: str | None = None,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    return_X_y: bool = False,
) -> Any:
    """Load the features of CMU-MOSEI that MMSA publishes: text, sound and face of 22856 sentences.

    The file, 4.7 GB aligned and 13.7 GB unaligned, lies on Google Drive and Baidu, where no program can fetch it:
    download it once by a browser, or give the ``url`` of a copy. Either is held to the digest that MMSA publishes.
    No licence is stated; the data is offered for research.

    Parameters
    ----------
    aligned : bool, default=True
        Whether to read ``aligned_50.pkl``, where all modalities have a step per token, instead of
        ``unaligned_50.pkl``, where each has its own.
    subset : {"train", "valid", "test"}, default=None
        The subset to return; None returns all three.
    modalities : str or list of str, default=None
        As in :func:`load_feature_archive`; None is text, audio and vision.
    target : str, default=None
        Name of the labels; None is the sentiment, ``"regression_labels"``.
    url : str, default=None
        Where to download a copy from, if the file is not there.
    data_home : str or path, default=None
        Folder that downloaded sets are kept in, see :func:`get_data_home`.
    download_if_missing : bool, default=True
        Whether to download what is not there, instead of raising an error.
    n_retries : int, default=3
        Further tries where the network fails.
    delay : float, default=1.0
        Seconds between them.
    return_X_y : bool, default=False
        Return ``(data, target)``; needs a ``subset``.

    Returns
    -------
    Bunch of Bunch, or Bunch, or (data, target)
        As :func:`load_feature_archive` returns it, with ``DESCR``, which says what the data is, what is known of
        its licence, and whom to cite.

    Raises
    ------
    FileNotFoundError
        If the file is not there; says what to download, from where, and where to put it.
    OSError
        If a download fails, or if the file is another one than it should be.
    ValueError
        If a parameter is wrong.

    Examples
    --------
    >>> import tempfile
    >>> from skmm.datasets import fetch_mosei
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fetch_mosei(aligned=False, data_home=folder)
    Traceback (most recent call last):
        ...
    FileNotFoundError: there is no file '...unaligned_50.pkl', and no program can download it: ...
    """
    fetching = Fetching(data_home, download_if_missing, n_retries, delay)
    return _fetch("mosei", aligned, fetching, url, subset, modalities, target, return_X_y)


def fetch_sims(
    *,
    subset: str | None = None,
    modalities: str | Iterable[str] | None = None,
    target: str | None = None,
    url: str | None = None,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    return_X_y: bool = False,
) -> Any:
    """Load the features of CH-SIMS that MMSA publishes: text, sound and face of 2281 clips in Chinese.

    The file, 1.2 GB, lies on Google Drive and Baidu, where no program can fetch it: download it once by a browser,
    or give the ``url`` of a copy. Either is held to the digest that MMSA publishes. No licence is stated; the data
    is offered for research.

    Parameters
    ----------
    subset : {"train", "valid", "test"}, default=None
        The subset to return; None returns all three.
    modalities : str or list of str, default=None
        As in :func:`load_feature_archive`; None is text, audio and vision.
    target : str, default=None
        Name of the labels; None is the sentiment, ``"regression_labels"``. ``"regression_labels_T"``, ``_A`` and
        ``_V`` are what text, sound and face alone say.
    url : str, default=None
        Where to download a copy from, if the file is not there.
    data_home : str or path, default=None
        Folder that downloaded sets are kept in, see :func:`get_data_home`.
    download_if_missing : bool, default=True
        Whether to download what is not there, instead of raising an error.
    n_retries : int, default=3
        Further tries where the network fails.
    delay : float, default=1.0
        Seconds between them.
    return_X_y : bool, default=False
        Return ``(data, target)``; needs a ``subset``.

    Returns
    -------
    Bunch of Bunch, or Bunch, or (data, target)
        As :func:`load_feature_archive` returns it, with ``DESCR``, which says what the data is, what is known of
        its licence, and whom to cite.

    Raises
    ------
    FileNotFoundError
        If the file is not there; says what to download, from where, and where to put it.
    OSError
        If a download fails, or if the file is another one than it should be.
    ValueError
        If a parameter is wrong.

    Examples
    --------
    >>> import tempfile
    >>> from skmm.datasets import fetch_sims
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fetch_sims(data_home=folder)
    Traceback (most recent call last):
        ...
    FileNotFoundError: there is no file '...unaligned_39.pkl', and no program can download it: ...
    """
    fetching = Fetching(data_home, download_if_missing, n_retries, delay)
    return _fetch("sims", False, fetching, url, subset, modalities, target, return_X_y)


def _fetch(
    name: str,
    aligned: bool,
    fetching: Fetching,
    url: str | None,
    subset: str | None,
    modalities: str | Iterable[str] | None,
    target: str | None,
    return_X_y: bool,
) -> Any:
    if return_X_y and subset is None:  # said before gigabytes are downloaded
        raise ValueError("return_X_y=True needs a subset, such as subset='train'.")
    remote = FEATURE_FILES[name, bool(aligned)]
    path = fetching.path(name, replace(remote, url=url))
    read = load_feature_archive(path, subset=subset, modalities=modalities, target=target, return_X_y=return_X_y)
    return read if return_X_y else Bunch(**read, DESCR=_DESCRS[name])
