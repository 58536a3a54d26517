"""Writing and reading of files."""

from __future__ import annotations

import contextlib
import difflib
import errno
import functools
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import all_estimators
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from torch import nn

from skmm._fitting import write_whole
from skmm._optional import import_optional
from skmm.estimators._trained import TrainedEstimator
from skmm.persistence._networks import (
    net_writer,
    read_encoder,
    read_module,
    read_net,
    write_encoder,
    write_estimator,
    write_module,
)
from skmm.persistence._records import ALIGNED, Reader, Writer
from skmm.persistence._trees import Trees, check_owner, tree_types
from skmm.persistence._trusted import TRUSTED, WARNED
from skmm.spec import Encoder
from skmm.training._net import MultimodalNet

FORMAT = 1  # of what this version writes; it reads all up to it
# What a file holds: the format, records of the object, the numbers of arrays, and what skops writes of types and
# objects of other packages, with arrays of its own.
_HEADER, _RECORDS, _NUMBERS, _SCHEMA = "skmm.json", "records.json", "numbers.bin", "schema.json"
_MEMBER = re.compile(r"(skmm|records|schema)\.json|numbers\.bin|[0-9a-f-]{1,40}\.(npy|bin)")
_NAMED = 5  # models that are named where another is not there
_CHUNK = 1 << 20  # bytes that are read at a time
_FEWEST_PROTOCOL = 2  # of skops: what it wrote before, it reads less carefully
_MOST_PARTS = 4_000_000  # of a schema, each of which takes up to some hundred bytes when it is read
# the parts of skops' format that are read; others call what they name, or unpack what a file has packed
_LOADERS = frozenset(
    {
        *("DictNode", "DefaultDictNode", "ListNode", "TupleNode", "SetNode", "SliceNode", "JsonNode", "BytesNode"),
        *("NdArrayNode", "MaskedArrayNode", "DTypeNode", "RandomStateNode", "RandomGeneratorNode"),
        *("TypeNode", "FunctionNode", "ObjectNode", "ConstructorFromReduceNode", "LossNode", "TreeNode"),
    }
)


def save(obj: Any, file: str | os.PathLike[str], *, training_state: bool = False) -> None:
    """Write a fitted estimator to a file that runs nothing when it is read.

    The file is a zip archive of numbers (npy) and of JSON that names the types they belong to, in the format of
    skops. It holds weights and what networks are made of, no code, no pickle and no tensor of torch; a model that
    was trained on a GPU is read where there is none. It is written beside the old one and then takes its place, so
    that none is left half-written.

    Parameters
    ----------
    obj : estimator
        Fitted: an estimator of this package, or a pipeline or other estimator of scikit-learn that holds one.
    file : str or path
        Where to; ``"m.skmm"`` by custom.
    training_state : bool, default=False
        Write the state of the optimizer too, twice as large as the weights: ``partial_fit`` and ``warm_start`` then
        go on with the same bits as without the file. Otherwise they go on from the weights with a new optimizer.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError, ValueError
        If it holds what cannot be written: weights of a pretrained model that was trained on, hooks of a module, an
        object of another package that skops does not know. Nothing is written then.

    Notes
    -----
    A module of your own, given as fusion or encoder, is written by its class, attributes and layers. Its class must
    be one that can be imported where the file is read, and is named there in ``trusted``.

    See Also
    --------
    load : Read it.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skmm import MultimodalClassifier, load, save
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(40, 3)), "image": rng.normal(size=(40, 2))}
    >>> y = X["text"][:, 0] > 0
    >>> clf = MultimodalClassifier(max_epochs=2, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(clf, os.path.join(folder, "m.skmm"))
    ...     again = load(os.path.join(folder, "m.skmm"))
    >>> bool((again.predict_proba(X) == clf.predict_proba(X)).all())
    True
    """
    check_is_fitted(obj)
    skops = import_optional("skops.io", extra="files")
    special: dict[type, Any] = {
        MultimodalNet: net_writer(training_state),
        nn.Module: write_module,
        TrainedEstimator: write_estimator,
        Encoder: write_encoder,
        **tree_types(),
    }
    writer = Writer(special)
    record = writer.write(obj)
    buffer = io.BytesIO()
    skops.dump(writer.foreign, buffer)
    version = sys.modules[__name__.partition(".")[0]].__version__
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(_HEADER, json.dumps({"format": FORMAT, "skmm": version}))
        archive.writestr(_RECORDS, json.dumps(record, separators=(",", ":")))
        archive.writestr(_NUMBERS, writer.numbers)
    buffer.seek(0)
    _check(buffer, os.fspath(file))  # so that no file is written that is not read
    write_whole(Path(file), buffer.getbuffer())


def load(file: str | os.PathLike[str], *, trusted: Iterable[str | type] = ()) -> Any:
    """Read what :func:`save` wrote; nothing of the file is run.

    Types of this package, estimators of scikit-learn, and layers and optimizers of torch are trusted. Others, such
    as transformers of your own, are named in an error until they are in ``trusted``: look at the code of each
    before. Networks are built without memory first, and get their weights only if these have the very shapes; no
    size that a file states is believed before the bytes are there.

    Parameters
    ----------
    file : str or path
        The file.
    trusted : list of str or type, default=()
        Types beside those that are always trusted, such as ``["mypackage.MyTransformer"]``.

    Returns
    -------
    estimator
        On the device that it was trained on, if there is one here, else on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no file; names the models in its folder.
    ValueError
        If the file is cut, altered or none of these; if it is of a newer format than this version reads; or if it
        holds types that are not trusted, which are named, with the reason where skops or this package has one.

    Notes
    -----
    An encoder or transformer that looks for a pretrained model by a name or path is not trusted, since the file
    says which: name its type in ``trusted``, and it will. A model that was trained on cannot be in a file.

    See Also
    --------
    save : Write it, with an example.

    Examples
    --------
    >>> from skmm import load
    >>> load("other.skmm", trusted=["mypackage.MyTransformer"])
    Traceback (most recent call last):
        ...
    FileNotFoundError: [Errno 2] No such file: ... writes one: 'other.skmm'
    """
    skops = import_optional("skops.io", extra="files")
    name = os.fspath(file)
    if isinstance(trusted, str | type):
        raise ValueError(f"trusted={trusted!r} must be a list of types or of their names.")
    named = frozenset(x if isinstance(x, str) else f"{x.__module__}.{x.__qualname__}" for x in trusted)
    if not os.path.exists(file):
        raise FileNotFoundError(errno.ENOENT, _not_there(Path(file)), name)
    with open(file, "rb") as stream:
        types = _check(stream, name)
        warned = {needed: why for path, (needed, why) in WARNED.items() if path in types and needed not in named}
        stream.seek(0)
        try:
            if not warned:
                # what the file names alone: skops compares each part with all that is trusted
                with contextlib.suppress(skops.exceptions.UntrustedTypesFoundException):
                    foreign = skops.load(stream, trusted=sorted(_trusted(types, named)))
                    with zipfile.ZipFile(stream) as archive:
                        return _assembled(archive.read(_RECORDS), _numbers(archive), foreign)
            stream.seek(0)
            untrusted = set(skops.get_untrusted_types(data=stream.read())) - _trusted(types, named) | set(warned)
        except ImportError:
            raise
        except Exception as error:  # whatever an altered file leads to
            raise ValueError(f"{name!r} cannot be read, it may be cut or altered: {error}") from error
    reasons = "".join(f" {path}: {why}." for path, why in sorted(warned.items()))
    raise ValueError(
        f"{name!r} holds types that are not trusted: {sorted(untrusted)}. If you trust them, name them: "
        f"load(..., trusted={sorted(untrusted)}).{reasons}"
    )


def _not_there(file: Path) -> str:
    """What to do about a file that is not there."""
    folder = file.parent.resolve()
    if not folder.is_dir():
        return f"No such file, and no folder {folder}"
    models = sorted(path.name for path in folder.glob("*.skmm"))
    near = difflib.get_close_matches(file.name, models, n=1)
    there = (
        f"has the models {models[:_NAMED]}{' and more' if len(models) > _NAMED else ''}"
        if models
        else "has no model"
    )
    return (
        f"No such file: {folder} {there}{f', did you mean {near[0]!r}?' if near else ''}. "
        f"save(fitted, {file.name!r}) writes one"
    )


def _trusted(types: set[str], named: frozenset[str]) -> set[str]:
    """Those of some types that are trusted."""
    found = types & (TRUSTED | named)
    if any(path.startswith("sklearn.") for path in types - found):
        found |= types & _of_sklearn()
    return found


@functools.cache
def _of_sklearn() -> frozenset[str]:
    """Names of the estimators of scikit-learn, which skops trusts too."""
    return frozenset(f"{cls.__module__}.{cls.__qualname__}" for _, cls in all_estimators())


def _parsed(text: bytes) -> Any:
    """Records of their text."""
    if _n_parts(text) > _MOST_PARTS:
        raise ValueError(f"it has more than {_MOST_PARTS} parts")
    return json.loads(text)


def _n_parts(text: bytes) -> int:
    """The most values that JSON may have."""
    return sum(text.count(sign) for sign in (b",", b"[", b"{"))


def _numbers(archive: zipfile.ZipFile) -> np.ndarray:
    """The bytes of all arrays, in one piece that begins where these are to begin."""
    size, end = archive.getinfo(_NUMBERS).file_size, 0
    buffer = np.empty(size + ALIGNED, dtype=np.uint8)
    start = -buffer.ctypes.data % ALIGNED
    with archive.open(_NUMBERS) as stream:
        while part := stream.read(_CHUNK):
            buffer[start + end : start + end + len(part)] = np.frombuffer(part, dtype=np.uint8)
            end += len(part)
    return buffer[start : start + size]


def _assembled(records: bytes, numbers: np.ndarray, foreign: list[Any]) -> Any:
    """The object of its records."""
    trees = Trees()
    kinds: dict[str, Any] = {
        "net": read_net,
        "module": read_module,
        "encoder": read_encoder,
        "tree": trees.tree,
        "tree_predictor": trees.predictor,
    }
    reader = Reader(numbers, foreign, kinds, apart=(NeuralNet, nn.Module, Encoder), check=check_owner)
    made = reader.read(_parsed(records))
    trees.check()
    return made


# -- what is checked before skops reads anything ------------------------------------------------------------------


def _check(stream: Any, name: str) -> set[str]:
    """Refuse what is no file of ours, or would be larger in memory than it is; the types that it names."""
    try:
        with zipfile.ZipFile(stream) as archive:
            sizes = _sizes(archive, stream.seek(0, io.SEEK_END))
            header = json.loads(archive.read(_HEADER))
            number, version = header["format"], header["skmm"]
            if isinstance(number, int) and number > FORMAT:
                raise _Newer(
                    f"{name!r} has format {number}, of skmm {str(version)[:20]}; this version reads up to format "
                    f"{FORMAT}. Update skmm to read it."
                )
            if number != 1:
                raise ValueError(f"its format is {number!r}")
            for member in sizes:
                if member.endswith(".npy"):
                    with archive.open(member) as array:
                        _check_array(array, sizes[member])
            return _check_schema(archive.read(_SCHEMA), sizes)
    except _Newer as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # whatever an altered archive leads to
        raise ValueError(f"{name!r} is no file that skmm.save wrote, or it is cut or altered: {error}") from error


class _Newer(Exception):
    """A file of a later version."""


def _sizes(archive: zipfile.ZipFile, size: int) -> dict[str, int]:
    """Sizes of the members, which are as they are stored, each once."""
    sizes: dict[str, int] = {}
    for info in archive.infolist():
        if not _MEMBER.fullmatch(info.filename) or info.filename in sizes:
            raise ValueError(f"it has a member {info.filename[:40]!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"its member {info.filename!r} is compressed")
        sizes[info.filename] = info.file_size
    if sum(sizes.values()) > size:
        raise ValueError(f"its members are of {sum(sizes.values())} bytes, the file of {size}")
    return sizes


def _check_array(stream: Any, size: int) -> None:
    """Refuse an array whose header says another size than its bytes have."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read(stream)
    n_bytes = dtype.itemsize * _product(shape)
    if dtype.hasobject or n_bytes != size - stream.tell():
        raise ValueError(f"an array of shape {shape} and {dtype} has {size - stream.tell()} bytes")
    if n_bytes == 0 and _product([max(1, n) for n in shape]) > size:
        raise ValueError(f"an array without values has the shape {shape}")


def _product(shape: Iterable[int]) -> int:
    n = 1
    for size in shape:
        n *= size
    return n


def _check_schema(text: bytes, sizes: dict[str, int]) -> set[str]:
    """Refuse a schema with more in it than there are bytes, or parts that are not read; the types that it names."""
    if _n_parts(text) > _MOST_PARTS:
        raise ValueError(f"its schema has more than {_MOST_PARTS} parts")
    schema = json.loads(text)
    if not isinstance(schema["protocol"], int) or schema["protocol"] < _FEWEST_PROTOCOL:
        raise ValueError(f"its protocol is {schema['protocol']!r}")
    types, read = set(), {}
    left: list[Any] = [schema]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left.extend(part)
        elif isinstance(part, dict):
            if "__loader__" in part:
                if part["__loader__"] not in _LOADERS:
                    raise ValueError(f"it has a part {str(part['__loader__'])[:40]!r}")
                types.add(f"{part['__module__']}.{part['__class__']}")
                if "file" in part:
                    read[str(part.get("__id__")), part["file"]] = sizes[part["file"]]
            left.extend(part.values())
    if sum(read.values()) > sum(sizes.values()):
        raise ValueError("it reads members more than once")
    return types
