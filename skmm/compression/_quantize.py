"""Exported models with weights of fewer bits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import log_loss
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from skmm._checks import check_below, unknown
from skmm._optional import import_optional
from skmm.deployment import OnnxModel, load_onnx
from skmm.deployment._arguments import KEY
from skmm.metrics import character_error_rate
from skmm.table import Table

_TYPES = ("int8", "float16")
_LEAST = 256  # numbers of a matrix; of fewer the nodes that restore it take what its weights leave
_SHORT = 16  # numbers that a scale of their own is worth
_SCALING = {"Sub", "Div"}  # by means and deviations of the inputs, which are no weights and need all their digits


def quantize(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    to: str = "int8",
    check: Any = None,
    tolerance: float = 0.005,
) -> Table:
    """Write an exported model with weights of fewer bits: a file of a third of its size, or of half.

    The file is one of :func:`to_onnx`, which :func:`load_onnx` reads as before; torch is not needed.

    Parameters
    ----------
    source : str or path
        A file that :func:`to_onnx` wrote. It is not changed.
    target : str or path
        The file to write, another one; it is replaced.
    to : {"int8", "float16"}, default="int8"
        Type of the weights. With ``"int8"`` each row of a matrix has a scale of its own.
    check : tuple (X, y), default=None
        Samples, in the forms that ``predict`` reads, and their targets. The loss of both files is measured on them:
        the log-loss of classes; of several labels its mean; of values the mean squared error in units of the
        variance of ``y``; of speech the character error rate of greedy transcripts. Take samples that the
        estimator was not fitted to.
    tolerance : float, default=0.005
        Largest rise of the loss that ``check`` lets pass.

    Returns
    -------
    Table
        Of both files the type of the ``weights``, the ``bytes``, and with ``check`` the ``loss``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the source is no ONNX model, none of skmm's, or quantised already, if target and source are one file, if
        ``to``, ``check`` or ``tolerance`` is none, or if the loss rises by more than ``tolerance``. What stood at
        the target before is still there then.

    See Also
    --------
    to_onnx : Writes the file.
    skmm.compression.quantize_weights : The same in torch.

    Notes
    -----
    Stored are matrices, filters of convolutions, gates of recurrent layers, embeddings and the weights of sparse
    inputs. When the file is loaded onnxruntime makes float32 of them once, and computes as it did. So each row's
    prediction stays its own, whatever is predicted beside it, and takes as long as before; a loaded model takes as
    much memory. Integer arithmetic (``onnxruntime.quantization.quantize_dynamic``) was measured as well and is not
    used: it rounds all rows of a batch by one scale, so that the probabilities of a sample moved by up to 0.19 with
    the company it was in, and it answered a single row no sooner.

    Biases, normalisation, scaling of inputs, the stack, matrices below 256 numbers and the trees of experts stay as
    they are. Trees are most of a file that has them: for a small one take ``experts=None``.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import skmm
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(60, 40)), "image": rng.normal(size=(60, 30))}
    >>> y = X["text"][:, 0] > 0
    >>> clf = skmm.MultimodalClassifier(max_epochs=2, n_members=1, experts=None, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source, target = pathlib.Path(folder) / "m.onnx", pathlib.Path(folder) / "m8.onnx"
    ...     skmm.to_onnx(clf, source)
    ...     sizes = skmm.quantize(source, target, check=(X, y))["bytes"]
    ...     model = skmm.load_onnx(target)
    >>> sizes[1] < sizes[0] / 2, model.description_.weights
    (True, 'int8')
    >>> bool(np.abs(model.predict_proba(X) - clf.predict_proba(X)).max() < 0.02)
    True
    """
    if to not in _TYPES:
        raise unknown("type of weights to=", to, _TYPES)
    check_below("tolerance", tolerance)
    if check is not None and not (isinstance(check, tuple) and len(check) == 2):
        raise ValueError(f"check must be a tuple (X, y) of samples and their targets, got {_described(check)}.")
    onnx = import_optional("onnx", extra="onnx")
    model = load_onnx(source)
    if model.description_.weights != "float32":
        raise ValueError(
            f"{os.fspath(source)!r} is quantised already, its weights are {model.description_.weights}: give the "
            "file that skmm.to_onnx wrote."
        )
    goal = Path(target)
    if goal.exists() and goal.samefile(source):
        raise ValueError(
            f"target and source are the same file {os.fspath(source)!r}: give the target another name."
        )
    proto = onnx.load(source)
    _store(proto.graph, to)
    text = replace(model.description_, weights=to).to_json()
    onnx.helper.set_model_props(proto, {**{p.key: p.value for p in proto.metadata_props}, KEY: text})
    part = goal.with_name(goal.name + ".part")  # the file that may be there stays until this one is good
    try:
        onnx.save(proto, part)
        files: dict[str, list[Any]] = {
            "weights": ["float32", to],
            "bytes": [os.path.getsize(file) for file in (source, part)],
        }
        quantized = load_onnx(part)
        if check is not None:
            files["loss"] = _losses(model, quantized, *check, tolerance)
        os.replace(part, goal)
    finally:
        part.unlink(missing_ok=True)
    return Table(files)


def _described(check: Any) -> str:
    length = f" of length {len(check)}" if hasattr(check, "__len__") else ""
    return f"{type(check).__name__}{length}"


def _store(graph: Any, to: str) -> None:
    """Weights of a graph as that type, and the nodes that make float32 of them, which are run once, at loading."""
    onnx = import_optional("onnx", extra="onnx")
    scaling = {name for node in graph.node if node.op_type in _SCALING for name in node.input}
    stored, nodes = [], []
    for number, weight in enumerate(graph.initializer):
        array = onnx.numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.ndim < 2 or array.size < _LEAST or weight.name in scaling:
            stored.append(weight)
            continue
        short = f"{to}/{number}"
        if to == "int8":
            narrow, scale = _as_int8(array)
            stored.append(onnx.numpy_helper.from_array(scale, f"{short}/scale"))
            nodes.append(_cast(short, f"{short}/float"))
            nodes.append(onnx.helper.make_node("Mul", [f"{short}/float", f"{short}/scale"], [weight.name]))
        else:
            narrow = _as_float16(array)
            nodes.append(_cast(short, weight.name))
        stored.append(onnx.numpy_helper.from_array(narrow, short))
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(stored)
    graph.node.extend(nodes)


def _cast(name: str, output: str) -> Any:
    onnx = import_optional("onnx", extra="onnx")
    return onnx.helper.make_node("Cast", [name], [output], to=onnx.TensorProto.FLOAT)


def _as_int8(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers and the scales to multiply them by.

    One scale for each unit of a layer, which is a row of torch's weights, and for each row of a table that is
    looked up; where these are too short, one for each index of the shortest axis.
    """
    axis = 0 if array[0].size >= _SHORT else int(np.argmin(array.shape))
    others = tuple(i for i in range(array.ndim) if i != axis)
    scale = np.abs(array).max(axis=others, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    return np.rint(array / scale).astype(np.int8), scale


def _as_float16(array: np.ndarray) -> np.ndarray:
    """Nearest numbers, those that are too large for the type as its largest."""
    largest = np.finfo(np.float16).max
    return array.clip(-largest, largest).astype(np.float16)


def _losses(model: OnnxModel, quantized: OnnxModel, X: Any, y: Any, tolerance: float) -> list[float]:
    """Losses of a model and of the same one with other weights; refuses what is worse."""
    before, after = (_loss(own, X, y) for own in (model, quantized))
    if not after - before <= tolerance:
        raise ValueError(
            f"with weights of {quantized.description_.weights} the loss on the samples of check is {after:.4f}, "
            f"before it was {before:.4f}: it rises by more than tolerance={tolerance}; nothing was written."
        )
    return [before, after]


def _loss(model: Any, X: Any, y: Any) -> float:
    """What ``check`` compares, by what is predicted."""
    task = model.description_.task
    if task == "classification":
        return _loss_of_classes(model, X, y)
    said = model.predict_proba(X) if task == "multilabel" else model.predict(X)
    if task == "speech":
        return character_error_rate(y, list(said))
    y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y of check")
    if y.shape != said.shape:
        raise ValueError(f"y of check has the shape {y.shape}, but {said.shape} is predicted of its X.")
    if task == "regression":
        variance = y.var(axis=0)
        if not np.all(variance > 0):
            raise ValueError("y of check is the same in all samples: give samples with different targets.")
        return float(np.mean((said - y) ** 2 / variance))
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"y of check holds {y[~np.isin(y, (0, 1))][0]:g}; of several labels each is 0 or 1.")
    told = np.where(y == 1, said, 1 - said)
    return float(-np.log(told.clip(np.finfo(np.float64).tiny)).mean())


def _loss_of_classes(model: Any, X: Any, y: Any) -> float:
    y, p = column_or_1d(y), model.predict_proba(X)
    check_consistent_length(y, p)
    foreign = ~np.isin(y, model.classes_)
    if foreign.any():
        raise ValueError(
            f"y of check holds {y[foreign].tolist()[0]!r}, the model knows the classes {model.classes_.tolist()}."
        )
    return float(log_loss(y, p, labels=model.classes_))
