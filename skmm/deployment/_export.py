"""Fitted estimators as files of open formats."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline

from skmm._optional import import_optional
from skmm.blocks import FlatLayout
from skmm.blocks._divided import positions
from skmm.blocks._given import as_blocks, is_named
from skmm.compose import ModalityTransformer
from skmm.deployment._arguments import KEY, Argument, Description
from skmm.deployment._assembly import assemble, quietly
from skmm.deployment._feeding import arrays, batches
from skmm.deployment._graph import Program, arguments_of, export_program
from skmm.deployment._module import DeployedModule, predicting
from skmm.deployment._onnx_model import load_onnx
from skmm.deployment._preprocessing import convert, prepend
from skmm.estimators._targets import ClassTarget, LabelsTarget
from skmm.speech._recognizer import SpeechRecognizer

_PACKAGES = ("skmm", "torch", "scikit-learn", "numpy")


def to_onnx(
    estimator: Any,
    path: str | os.PathLike[str],
    *,
    check: Any = None,
    tolerance: float = 1e-4,
    preprocessing: bool = True,
) -> None:
    """Write a fitted estimator or pipeline as one ONNX file, which predicts without torch.

    The file holds preprocessing of tables, scaling, the members, their heads, the experts and the stack, for any
    number of samples and of steps, and in its metadata the classes, the modalities with kinds and shapes, and the
    versions that wrote it. :func:`load_onnx` predicts from it as the estimator does; any other runtime reads it
    too, if it knows the operators of trees (``ai.onnx.ml``) that experts need.

    Parameters
    ----------
    estimator : MultimodalClassifier, MultimodalRegressor, SpeechRecognizer or Pipeline
        Fitted; of a Pipeline a ModalityTransformer comes before the estimator.
    path : str or path
        The file, which is replaced.
    check : Blocks, dict of arrays, DataFrame or array-like of shape (n_samples, n_features), default=None
        Samples that the file must predict as the estimator does. The more of what will come they show (missing
        modalities, short and long sequences), the more is checked.
    tolerance : float, default=1e-4
        Largest difference that ``check`` lets pass: of probabilities, or of values in standard deviations of what
        is predicted.
    preprocessing : bool, default=True
        Whether the file of a pipeline, or of an estimator that types the columns of a table itself
        (``modalities="auto"``), reads the table; else it reads what its ModalityTransformer makes of it.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If an encoder, an expert or a step of preprocessing cannot be exported (names it, and the way round), or if
        predictions differ by more than ``tolerance`` (names the row); there is no file then.

    See Also
    --------
    load_onnx : Predicts from the file.
    to_torch : A file that torch runs.

    Notes
    -----
    One member is translated by ``torch.export`` and torch's exporter of ONNX, and its nodes are repeated for the
    others, whose weights are checked to be all there. Computations are in float32, of the stack in float64:
    predictions differ by about 1e-7. Time stamps and whatever else varies far from zero are scaled in float64.

    Of preprocessing, words and characters (CountVectorizer and TfidfVectorizer, but for ``"char_wb"`` and Python
    code of one's own), OneHotEncoder, SimpleImputer and StandardScaler have nodes, alone or in pipelines, unions
    and ColumnTransformers; other steps that read numbers are converted by skl2onnx. What each makes of examples is
    compared with scikit-learn, and a step that differs is refused. Files, dates, arrays, and numbers written with
    units or in other forms are read by Python, so that a table with such is exported with ``preprocessing=False``.
    Each column is an input of the graph, strings or float64 (n, 1), NaN where a number is missing; of each modality
    one more, ``NAME.present``, says which rows have it. :func:`load_onnx` makes them of a table.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import skmm
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(40, 3)), "image": rng.normal(size=(40, 2))}
    >>> reg = skmm.MultimodalRegressor(n_members=2, max_epochs=2, random_state=0).fit(X, X["text"][:, 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "m.onnx"
    ...     skmm.to_onnx(reg, path, check=X)
    ...     skmm.load_onnx(path).predict({name: x[:3] for name, x in X.items()}).shape
    (3,)
    """
    onnx = import_optional("onnx", extra="onnx")
    estimator = predicting(estimator)
    final, transformer = _parts(estimator, preprocessing)
    module = DeployedModule(final)
    arguments, table = arguments_of(module, dense=transformer is not None), None
    if transformer is None:
        model = assemble(module, arguments)
    else:
        before = convert(transformer, module.infos, named=final is estimator)
        arguments, table = before.arguments(arguments), before.table
        model = assemble(module, arguments)
        prepend(model, before, arguments)
        arguments = before.inputs(arguments)
    description = describe(final, module, arguments, ("onnx", "onnxscript"))
    description.table = table
    onnx.helper.set_model_props(model, {KEY: description.to_json()})
    target = Path(path)
    part = target.with_name(target.name + ".part")  # the file that may be there stays until this one is good
    try:
        onnx.save(model, part)
        if check is not None:
            loaded, blocks = load_onnx(part), _as_final_reads(estimator, check)
            given = check if table is not None else blocks
            said = loaded.emissions(given) if description.task == "speech" else loaded._said(given)
            _compare(final, blocks, said, tolerance)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def to_torch(estimator: Any, path: str | os.PathLike[str], *, check: Any = None, tolerance: float = 1e-4) -> None:
    """Write a fitted estimator as a program of ``torch.export``, for torch's own runtimes and compilers.

    ``torch.export.load(path).module()`` is called with one tensor after the other: ``arguments`` of the JSON text
    under ``extra_files={"skmm.json": ""}`` names them, with their types and shapes; :func:`load_onnx` knows the
    same from its file.

    Parameters
    ----------
    estimator : MultimodalClassifier, MultimodalRegressor or SpeechRecognizer
        Fitted.
    path : str or path
        The file, which is replaced; torch wants its name to end in ``.pt2``.
    check, tolerance
        As of :func:`to_onnx`.

    Raises
    ------
    NotFittedError, ValueError
        As :func:`to_onnx`.

    Notes
    -----
    Programs of ``"gru"`` and ``"lstm"`` are run where ``skmm.encoders`` was imported, which has the operation of
    these. Sequences that the program reads are filled up to ``least`` steps of the JSON text, where it names the
    axis.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import torch
    >>> import skmm
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(40, 3)), "image": rng.normal(size=(40, 2))}
    >>> clf = skmm.MultimodalClassifier(n_members=2, max_epochs=2, experts=None, random_state=0)
    >>> clf = clf.fit(X, X["text"][:, 0] > 0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "m.pt2"
    ...     skmm.to_torch(clf, path, check=X)
    ...     program = torch.export.load(path).module()
    >>> there = torch.ones(2, dtype=torch.bool)
    >>> program(torch.zeros(2, 3), there, torch.zeros(2, 2), there).shape
    torch.Size([2, 2])
    """
    estimator = predicting(estimator)
    module = DeployedModule(estimator)
    arguments = arguments_of(module)
    program = export_program(Program(module, arguments))
    least = _least(program, arguments)
    description = {**json.loads(describe(estimator, module, arguments).to_json()), "least": least}
    if check is not None:
        run = program.module()
        blocks = estimator.inputs_.check(_blocks(estimator, check))
        said: list[Any] = [None] * len(blocks)
        for rows, part in batches(blocks):
            fed = arrays(part, module.infos, arguments, least)
            with torch.inference_mode():
                out = run(*(torch.from_numpy(fed[a.name]) for a in arguments)).numpy()
            for row, own in zip(rows, out, strict=True):
                said[row] = own
        if module.emits:
            said = [own[: len(wanted)] for own, wanted in zip(said, estimator.emissions(check), strict=True)]
        _compare(estimator, check, said if module.emits else np.array(said), tolerance)
    with quietly():
        torch.export.save(program, os.fspath(path), extra_files={"skmm.json": json.dumps(description)})


def _blocks(estimator: Any, X: Any) -> Any:
    """X as the blocks that an estimator reads."""
    if isinstance(estimator, SpeechRecognizer) and not is_named(X):
        X = {estimator.audio_: X}
    return as_blocks(X, reset=False) if is_named(X) else estimator._read(X)


def _parts(estimator: Any, preprocessing: bool) -> tuple[Any, ModalityTransformer | None]:
    """The estimator of a pipeline, and what is to be exported of what comes before it."""
    if not isinstance(estimator, Pipeline):
        transformer = getattr(estimator, "modality_transformer_", None) if preprocessing else None
        return estimator, transformer
    before = [step for _, step in estimator.steps[:-1] if step is not None and step != "passthrough"]
    if not preprocessing or not before:
        return estimator[-1], None
    if len(before) == 1 and isinstance(before[0], ModalityTransformer):
        return estimator[-1], before[0]
    return estimator, None  # which is told to be no part of a module


def _as_final_reads(estimator: Any, X: Any) -> Any:
    """X as the estimator of a pipeline reads it; of a table whose columns an estimator types its blocks."""
    if isinstance(estimator, Pipeline):
        return estimator[:-1].transform(X) if len(estimator) > 1 else X
    return _blocks(estimator, X) if hasattr(estimator, "modality_transformer_") else X


def _least(program: Any, arguments: list[Argument]) -> dict[str, int]:
    """Smallest sizes of axes that a program accepts, where it is more than 1."""
    found = {}
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"][-len(arguments) :]
    for node, argument in zip(placeholders, arguments, strict=True):
        for size, axis in zip(node.meta["val"].shape, argument.axes, strict=True):
            if isinstance(axis, str) and isinstance(size, torch.SymInt):
                lower = int(program.range_constraints[size.node.expr].lower)
                if lower > 1 and axis != "batch":
                    found[axis] = lower
    return found


def describe(
    estimator: Any, module: DeployedModule, arguments: list[Argument], packages: tuple[str, ...] = ()
) -> Description:
    """What a file says of its model."""
    inputs = estimator.inputs_
    classes, task = np.array([]), "regression"
    if module.emits:
        classes, task = np.array(estimator.symbols_), "speech"
    elif isinstance(estimator._target, (ClassTarget, LabelsTarget)):
        classes = estimator._target.classes
        task = "classification" if isinstance(estimator._target, ClassTarget) else "multilabel"
    # a table whose columns the estimator types itself is read by a transformer, of which another field tells
    divided = estimator.__dict__.get("modalities")
    typed = hasattr(estimator, "modality_transformer_")
    of_table = not (module.emits or typed) and (
        list(inputs.infos) == ["X"] if divided is None else isinstance(divided, Mapping | FlatLayout)
    )
    names = getattr(estimator, "feature_names_in_", None)
    n_features = getattr(estimator, "n_features_in_", None)
    modalities = None if module.emits or typed else _columns_of(divided, names, n_features)
    return Description(
        task=task,
        classes=classes.tolist(),
        classes_dtype=classes.dtype.str,
        arguments=arguments,
        infos=module.infos,
        seen=sorted(inputs.seen),
        lacked=sorted(inputs.lacked),
        held_out=sorted(inputs.held_out),
        ignored=sorted(inputs.ignored),
        n_features=int(n_features) if of_table and n_features is not None else None,
        names=[str(name) for name in names] if of_table and names is not None else None,
        modalities=modalities,
        audio=estimator.audio_ if module.emits else "",
        strides=tuple(estimator._strides) if module.emits else (),
        versions={package: version(package) for package in (*_PACKAGES, *packages)},
    )


def _columns_of(modalities: Any, names: Any, n_features: int | None) -> dict[str, Any] | None:
    """What the columns of a table are, as data: positions by modality, or a flat form."""
    if not isinstance(modalities, Mapping | FlatLayout):
        return None
    if isinstance(modalities, FlatLayout):
        return {
            name: {**vars(part), "shape": [int(s) for s in part.shape], "dtype": np.dtype(part.dtype).str}
            for name, part in modalities.parts.items()
        }
    known = [] if names is None else list(names)
    return {n: positions(n, c, int(n_features or 0), known).tolist() for n, c in modalities.items()}


def _compare(estimator: Any, X: Any, said: Any, tolerance: float) -> None:
    """Refuse a model that says of some row another thing than the estimator."""
    if hasattr(estimator, "emissions"):
        wanted, unit = estimator.emissions(X), 1.0
        pairs = zip(said, wanted, strict=True)
        each = np.array([np.abs(np.exp(a) - np.exp(b)).max(initial=0.0) for a, b in pairs])
    else:
        of_classes = hasattr(estimator, "predict_proba")
        wanted = estimator.predict_proba(X) if of_classes else estimator.predict(X)
        unit = 1.0 if of_classes else estimator._target.deviation
        each = np.abs((said - wanted).reshape(len(wanted), -1) / unit).max(axis=1)
    each = np.where(np.isnan(each), np.inf, each)
    if (each > tolerance).any():
        raise ValueError(
            f"the exported model differs from the estimator by {each.max():.3g} in row {each.argmax()}, "
            f"and by more than tolerance={tolerance} in {(each > tolerance).sum()} of {len(each)} rows; nothing "
            "was written."
        )
