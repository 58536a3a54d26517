"""A model of an ONNX file, which predicts without torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import validate_data

from skmm._documentation import Documented
from skmm._optional import import_optional
from skmm._warnings import warn_of_empty
from skmm.blocks import Blocks
from skmm.blocks._divided import NUMBERS, divide
from skmm.blocks._given import as_blocks, is_named, refuse_unnamed, sample_lengths
from skmm.deployment._arguments import KEY, OUTPUT, Description
from skmm.deployment._columns import feeds
from skmm.deployment._feeding import arrays, batches


class OnnxModel(Documented, BaseEstimator):
    """A model of an ONNX file: predicts as the estimator did that was exported, by onnxruntime and NumPy.

    It reads X in the forms that the estimator read and has its checks and messages. Several threads may predict
    with one at the same time. A copy in another process reads the file again.

    Parameters
    ----------
    path : str or path
        The file.
    n_threads : int, default=None
        Threads that one prediction uses; None leaves it to onnxruntime, as many as there are cores.

    Attributes
    ----------
    description_ : Description
        What the file says of the model.
    modalities_ : dict of str to BlockInfo
        The modalities that it was fitted to.
    """

    description_: Description

    def __init__(self, path: str | os.PathLike[str], *, n_threads: int | None = None) -> None:
        self.path = path
        self.n_threads = n_threads

    def _take(self, session: Any) -> OnnxModel:
        """Be what a session holds."""
        text = session.get_modelmeta().custom_metadata_map[KEY]
        self._session, self.description_ = session, Description.from_json(text, f"{os.fspath(self.path)!r}")
        self._known, self._layout = self.description_.known(), self.description_.layout()
        self._read_names = {argument.name for argument in session.get_inputs()}
        self.modalities_ = self.description_.infos
        if self.description_.n_features is not None:
            self.n_features_in_ = self.description_.n_features
        if self.description_.names is not None:
            self.feature_names_in_ = np.array(self.description_.names, dtype=object)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"path": os.path.abspath(self.path), "n_threads": self.n_threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.n_threads = state["path"], state["n_threads"]
        self._take(_session(self.path, self.n_threads))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_session")

    def __sklearn_clone__(self) -> OnnxModel:
        return type(self)(self.path, n_threads=self.n_threads)._take(self._session)

    def _read(self, X: Any) -> Blocks:
        """X as checked blocks, of whatever form the fit's was."""
        if self.description_.audio and not is_named(X):
            X = {self.description_.audio: X}
        if is_named(X):
            return self._known.check(as_blocks(X, reset=False))
        refuse_unnamed(X)
        if self.description_.n_features is None:
            raise ValueError(
                f"X is a {type(X).__name__} without names; the model was fitted to the modalities "
                f"{list(self.modalities_)}: give a dict of arrays, or Blocks."
            )
        table = validate_data(self, X, reset=False, **NUMBERS)
        names = [] if self.description_.names is None else self.description_.names
        return self._known.check(divide(table, self._layout, names))

    def _said(self, X: Any) -> np.ndarray:
        """What the model says of each sample, (n, ...)."""
        if self.description_.table is None:
            blocks = self._read(X)
            n, present, fed = len(blocks), blocks.present, self._fed(blocks)
        else:
            columns, present = self._read_table(X)
            n, fed = len(next(iter(present.values()))), feeds(columns, present, self.modalities_)
        there = list(present.values())
        warn_of_empty(~np.any(there, axis=0) if there else np.ones(n, dtype=bool))
        out: Any = None
        for rows, given in fed:
            said = self._run(given)
            if out is None:
                out = np.empty((n, *said.shape[1:]), said.dtype)
            out[rows] = said
        return out

    def _read_table(self, X: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What is read of a table's columns, and which rows have each modality."""
        table = self.description_.table
        assert table is not None
        if is_named(X):
            raise ValueError(
                f"the model reads a table, preprocessing is part of it; got {type(X).__name__}. Its columns are "
                f"{table.names or table.n_columns}."
            )
        return table.read(X, self._known)

    def _fed(self, blocks: Blocks) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
        """Rows of blocks, and what the model reads of them."""
        for rows, part in batches(blocks):
            yield rows, arrays(part, self.modalities_, self.description_.arguments)

    def _run(self, fed: dict[str, np.ndarray]) -> np.ndarray:
        given = {name: x for name, x in fed.items() if name in self._read_names}
        return self._session.run([OUTPUT], given)[0]


class OnnxClassifier(ClassifierMixin, OnnxModel):
    __doc__ = OnnxModel.__doc__

    def _take(self, session: Any) -> OnnxModel:
        super()._take(session)
        self.classes_ = self.description_.class_labels()
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : Blocks, dict of arrays, DataFrame or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            For multilabel the probability that each output is 1.
        """
        return self._said(X)

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class.

        Parameters
        ----------
        X : Blocks, dict of arrays, DataFrame or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_outputs) of 0 and 1 for multilabel
        """
        p = self._said(X)
        if self.description_.task == "multilabel":
            return (p > 0.5).astype(np.int64)
        return self.classes_[p.argmax(axis=1)]


class OnnxRegressor(RegressorMixin, OnnxModel):
    __doc__ = OnnxModel.__doc__

    def predict(self, X: Any) -> np.ndarray:
        """Predicted values.

        Parameters
        ----------
        X : Blocks, dict of arrays, DataFrame or array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._said(X)


class OnnxRecognizer(OnnxModel):
    __doc__ = OnnxModel.__doc__

    def emissions(self, X: Any) -> list[np.ndarray]:
        """Log-probabilities of the symbols in each frame.

        Parameters
        ----------
        X : Blocks or dict of arrays
            Samples.

        Returns
        -------
        list of ndarray of shape (n_frames, 1 + n_symbols)
            Of each sample; the blank's column is the first. Without audio there is no frame.
        """
        blocks = self._read(X)
        lengths = sample_lengths(blocks, self.description_.audio)
        for stride in self.description_.strides:
            lengths = -(-lengths // stride)
        found: list[Any] = [None] * len(blocks)
        for rows, given in self._fed(blocks):
            for row, own in zip(rows, self._run(given), strict=True):
                found[row] = own[: lengths[row]]
        return found

    def predict(self, X: Any) -> np.ndarray:
        """Transcripts, of the most probable symbol in each frame (greedy decoding).

        Parameters
        ----------
        X : Blocks or dict of arrays
            Samples.

        Returns
        -------
        ndarray of str, shape (n_samples,)
        """
        symbols = ["", *self.description_.classes]
        texts = []
        for frames in self.emissions(X):
            best = frames.argmax(axis=1)
            new = np.diff(best, prepend=-1) != 0
            texts.append("".join(symbols[i] for i in best[new]))
        return np.array(texts, dtype=object)


_BY_TASK: dict[str, type[OnnxModel]] = {
    "classification": OnnxClassifier,
    "multilabel": OnnxClassifier,
    "regression": OnnxRegressor,
    "speech": OnnxRecognizer,
}


def load_onnx(path: str | os.PathLike[str], *, n_threads: int | None = None) -> OnnxModel:
    """Read a model that :func:`to_onnx` wrote, which predicts by onnxruntime and NumPy: torch is not needed.

    Parameters
    ----------
    path : str or path
        The file.
    n_threads : int, default=None
        Threads that one prediction uses; None leaves it to onnxruntime, as many as there are cores. A service that
        answers several requests at a time gets more done with 1.

    Returns
    -------
    OnnxClassifier, OnnxRegressor or OnnxRecognizer
        With ``predict``, and by what it predicts ``predict_proba`` or ``emissions``, and ``classes_``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no ONNX model, none of skmm's, or one of a later version.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import skmm
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(40, 3)), "image": rng.normal(size=(40, 2))}
    >>> y = np.where(X["text"][:, 0] > 0, "yes", "no")
    >>> clf = skmm.MultimodalClassifier(n_members=2, max_epochs=2, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "m.onnx"
    ...     skmm.to_onnx(clf, path, check=X)
    ...     model = skmm.load_onnx(path)
    >>> bool(np.abs(model.predict_proba(X) - clf.predict_proba(X)).max() < 1e-5)
    True
    """
    session = _session(path, n_threads)
    metadata = session.get_modelmeta().custom_metadata_map
    if KEY not in metadata:
        raise ValueError(
            f"{os.fspath(path)!r} is an ONNX model, but not one that skmm.to_onnx wrote: what it reads and "
            "predicts is not in it. Run it with onnxruntime itself."
        )
    task = Description.from_json(metadata[KEY], f"{os.fspath(path)!r}").task
    if task not in _BY_TASK:
        raise ValueError(f"{os.fspath(path)!r} predicts {task!r}, which this version does not know.")
    return _BY_TASK[task](path, n_threads=n_threads)._take(session)


def _session(path: str | os.PathLike[str], n_threads: int | None) -> Any:
    """A model in memory, ready to predict."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {os.fspath(path)!r}.")
    runtime = import_optional("onnxruntime", extra="onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # a node that it runs in another way than asked is no news to the user
    if n_threads is not None:
        options.intra_op_num_threads = n_threads
    try:
        return runtime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes of error have no common one
        raise ValueError(f"{os.fspath(path)!r} cannot be read as an ONNX model: {error}") from None
