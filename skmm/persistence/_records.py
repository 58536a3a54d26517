"""Fitted objects as records of JSON, numbers and names of types, and back.

A record is a list: its kind, then its parts. Reading makes an object by its kind, with the function that is listed
here for it, so that a file never decides what is called. What is not JSON lies beside the records: the numbers of
all arrays one after the other, and a list of types and of what only skops knows how to write.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator
from skorch.history import History
from torch import Tensor, nn

from skmm.speech._network import ctc_error
from skmm.table import Table
from skmm.training import _losses

Record = list[Any]

_PLAIN = frozenset({type(None), bool, int, float, str})
WATCHES_FITS = "_skl_callbacks"  # scikit-learn's callbacks, of no use to what predicts
ALIGNED = 64  # bytes, on multiples of which the numbers of an array begin, as torch's kernels like it
_SMALL = 1 << 16  # bytes of an array below which it is copied
_LOSSES: dict[str, Any] = {
    name: f for name, f in vars(_losses).items() if isinstance(f, FunctionType) and f.__module__ == _losses.__name__
} | {"ctc_error": ctc_error}


def is_plain(value: Any) -> bool:
    """Whether a value is what JSON gives back as it was."""
    if type(value) is list:
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(type(key) is str for key in value) and all(map(is_plain, value.values()))
    return type(value) in _PLAIN


def is_ours(cls: type) -> bool:
    """Whether a class is of this package, or made from one of it."""
    return any(base.__module__.partition(".")[0] == "skmm" for base in cls.__mro__)


# -- to records ---------------------------------------------------------------------------------------------------


class Writer:
    """Objects as records; what is met twice is one object again when it is read.

    Parameters
    ----------
    special : dict of type to callable
        Of an object of this type, given the writer and the object, the record.

    Attributes
    ----------
    foreign : list
        Types, functions, and objects that are left to skops.
    """

    def __init__(self, special: dict[type, Callable[[Writer, Any], Record]]) -> None:
        self.writers = {**_WRITERS, **special}
        self.foreign: list[Any] = []
        self._parts: list[bytes] = []
        self._n_bytes = 0
        self._names: dict[tuple[str, ...], int] = {}
        self._described: dict[np.dtype, int] = {}
        self._known: dict[int, tuple[Any, Record]] = {}  # by id, with the object, so that no other gets this id
        self._n_numbered = 0

    @property
    def numbers(self) -> bytes:
        """Those of all arrays."""
        return b"".join(self._parts)

    def write(self, value: Any) -> Any:
        """A value as JSON: itself, or a record."""
        if type(value) in _PLAIN:
            return value
        if id(value) in self._known:
            return self._again(value, self._known[id(value)][1])
        writer = next((w for cls in type(value).__mro__ if (w := self.writers.get(cls)) is not None), None)
        if writer is None:
            writer = write_object if is_ours(type(value)) else _write_foreign
        record = writer(self, value)
        self._known.setdefault(id(value), (value, record))
        return record

    def _again(self, value: Any, record: Record) -> Record:
        """What stands for an object that was written before; its record gets a number if it has none."""
        if record[0] not in ("same", "foreign"):
            number, self._n_numbered = self._n_numbered, self._n_numbered + 1
            record[:] = ["note", number, list(record)]
            record = ["same", number]
            self._known[id(value)] = value, record
        return record

    def numbered(self, kind: str, value: Any, parts: Callable[[], Iterable[Any]]) -> Record:
        """A record of an object that is one however often it is met, in itself too."""
        number, self._n_numbered = self._n_numbered, self._n_numbered + 1
        self._known[id(value)] = value, ["same", number]
        return [kind, number, *parts()]

    def named(self, values: dict[str, Any]) -> Record:
        """Named values: the names, or the number of those that came before, then each value."""
        names = tuple(values)
        first: Any = self._names.get(names)
        if first is None:
            first, self._names[names] = names, len(self._names)
        return [first, *map(self.write, values.values())]

    def described(self, dtype: np.dtype) -> Any:
        """A type of arrays; of one with fields the description, or the number of that which came before."""
        if dtype.names is None:
            return np.lib.format.dtype_to_descr(dtype)
        if dtype in self._described:
            return self._described[dtype]
        self._described[dtype] = len(self._described)
        return np.lib.format.dtype_to_descr(dtype)

    def add(self, array: np.ndarray) -> int:
        """Take up an array's numbers; where they begin."""
        start = self._n_bytes
        content = array.tobytes("A")
        self._parts += [content, bytes(-len(content) % ALIGNED)]
        self._n_bytes += len(content) + len(self._parts[-1])
        return start


def write_object(writer: Writer, value: Any) -> Record:
    """An object by its type and what it says itself is its state."""
    state = value.__getstate__()
    if type(state) is not dict:
        return _write_foreign(writer, value)
    state = {name: part for name, part in state.items() if name != WATCHES_FITS}
    return writer.numbered("object", value, lambda: [_write_foreign(writer, type(value)), *writer.named(state)])


def _write_foreign(writer: Writer, value: Any) -> Record:
    if id(value) not in writer._known:
        writer.foreign.append(value)
        writer._known[id(value)] = value, ["foreign", len(writer.foreign) - 1]
    return writer._known[id(value)][1]


def _write_list(writer: Writer, value: list[Any]) -> Record:
    return ["json", value] if is_plain(value) else ["list", *map(writer.write, value)]


def _write_tuple(writer: Writer, value: Any) -> Record:
    own = ["tuple"] if type(value) is tuple else ["namedtuple", _write_foreign(writer, type(value))]
    return [*own, *map(writer.write, value)]


def _write_dict(writer: Writer, value: Any) -> Record:
    if is_plain(value):
        return ["json", value]
    if type(value) not in (dict, Counter):
        return _write_foreign(writer, value)
    kind = "dict" if type(value) is dict else "counter"
    return [kind, writer.write(list(value)), *map(writer.write, value.values())]


def _write_set(writer: Writer, value: Any) -> Record:
    return ["set" if isinstance(value, set) else "frozenset", *map(writer.write, value)]


def write_array(writer: Writer, value: np.ndarray) -> Record:
    """An array by its type, shape and order, and where its numbers are."""
    if isinstance(value, np.ma.MaskedArray):
        return ["masked", writer.write(value.data), writer.write(np.ma.getmaskarray(value))]
    if value.dtype.hasobject:
        return ["objects", value.shape, writer.write(value.ravel().tolist())]
    value = np.asarray(value, order="K" if value.flags.forc else "C")
    order = "C" if value.flags.c_contiguous else "F"
    return ["array", writer.described(value.dtype), value.shape, order, writer.add(value)]


def _write_scalar(writer: Writer, value: np.generic) -> Record:
    if value.dtype.kind in "biuf" and type(item := value.item()) in _PLAIN:
        return ["number", value.dtype.str, item]
    return ["scalar", write_array(writer, np.asarray(value))]


def _write_sparse(writer: Writer, value: Any) -> Record:
    csr = value.tocsr()
    parts = [write_array(writer, part) for part in (csr.data, csr.indices, csr.indptr)]
    return ["sparse", value.format, isinstance(value, sp.sparray), csr.shape, *parts]


def _write_tensor(writer: Writer, value: Tensor) -> Record:
    numbers = None if value.is_meta else write_array(writer, _as_numpy(value))
    flags = [isinstance(value, nn.Parameter), value.requires_grad]
    return writer.numbered("tensor", value, lambda: [_name(value.dtype), flags, list(value.shape), numbers])


def _as_numpy(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor on any device, (n,), of a type that numpy lacks as bytes."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    try:
        return flat.numpy()
    except TypeError:
        return flat.view(torch.uint8).numpy()


def _name(value: Any) -> str:
    return str(value).removeprefix("torch.")


def _write_function(writer: Writer, value: Any) -> Record:
    known = _LOSSES.get(value.__name__) is value
    return ["loss", value.__name__, {}] if known else _write_foreign(writer, value)


def _write_partial(writer: Writer, value: functools.partial[Any]) -> Record:
    name = getattr(value.func, "__name__", "")
    known = _LOSSES.get(name) is value.func and not value.args
    return ["loss", name, value.keywords] if known else _write_foreign(writer, value)


_WRITERS: dict[type, Callable[[Writer, Any], Record]] = {
    list: _write_list,
    tuple: _write_tuple,
    dict: _write_dict,
    set: _write_set,
    frozenset: _write_set,
    np.ndarray: write_array,
    np.generic: _write_scalar,
    np.dtype: lambda writer, value: ["dtype", writer.described(value)],
    sp.sparray: _write_sparse,
    sp.spmatrix: _write_sparse,
    Tensor: _write_tensor,
    torch.dtype: lambda writer, value: ["torch.dtype", _name(value)],
    torch.device: lambda writer, value: ["torch.device", str(value)],
    FunctionType: _write_function,
    functools.partial: _write_partial,
    type: _write_foreign,
    BaseEstimator: write_object,
    Table: lambda writer, value: ["table", writer.write({name: value[name] for name in value.columns})],
    History: lambda writer, value: writer.numbered("history", value, lambda: [writer.write(list(value))]),
}


# -- from records -------------------------------------------------------------------------------------------------


class Reader:
    """Records as objects.

    Parameters
    ----------
    numbers : ndarray of uint8
        Those of all arrays.
    foreign : list
        Types, and what skops has made.
    special : dict of str to callable
        Of a record of this kind, given the reader and its parts, the object.
    apart : tuple of type
        Types that have a kind of their own, and are not made of attributes alone.
    check : callable
        Given an object with all its attributes, raises where these do not belong together.
    """

    def __init__(
        self,
        numbers: np.ndarray,
        foreign: list[Any],
        special: dict[str, Callable[..., Any]],
        apart: tuple[type, ...],
        check: Callable[[Any], None],
    ) -> None:
        self.numbers, self.foreign = numbers, foreign
        self.makers = {**_MAKERS, **special}
        self.apart, self.check = apart, check
        self.dtypes: dict[str, np.dtype] = {}
        self.described: list[np.dtype] = []
        self._names: list[list[str]] = []
        self._numbered: dict[int, Any] = {}

    def read(self, value: Any) -> Any:
        """What was written as this."""
        return self.makers[value[0]](self, *value[1:]) if type(value) is list else value

    def note(self, number: int, value: Any) -> Any:
        """Remember an object that other records may name."""
        self._numbered[number] = value
        return value

    def named(self, names: list[str] | int, *values: Any) -> dict[str, Any]:
        """Named values, of what :meth:`Writer.named` gives."""
        if isinstance(names, list):
            self._names.append(names)
        else:
            names = self._names[names]
        return {name: self.read(value) for name, value in zip(names, values, strict=True)}

    def view(self, record: Record) -> np.ndarray:
        """An array as it stands among the numbers, for who copies it."""
        return _array(self, *record[1:])

    def type_of(self, record: Record, base: type = object) -> Any:
        """A type, which is to be made from another."""
        cls = self.read(record)
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise ValueError(f"{cls!r} is no type made from {base.__name__}")
        return cls


def _make_object(reader: Reader, number: int, cls: Any, *parts: Any) -> Any:
    cls = reader.type_of(cls)
    if not (is_ours(cls) or issubclass(cls, BaseEstimator)) or issubclass(cls, reader.apart):
        raise ValueError(f"a {cls.__name__} is not made of attributes")
    made = reader.note(number, object.__new__(cls))
    state = reader.named(*parts)
    if is_ours(cls) and issubclass(cls, BaseEstimator):  # parameters that a later version has besides
        state = {**_defaults(cls), **state}
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
    else:
        made.__dict__.update(state)
    reader.check(made)
    return made


def _defaults(cls: type) -> dict[str, Any]:
    """Defaults of the parameters of an estimator."""
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _make_namedtuple(reader: Reader, cls: Any, *parts: Any) -> Any:
    return reader.type_of(cls, tuple)(*map(reader.read, parts))


def _make_dict(reader: Reader, keys: Any, *values: Any) -> dict[Any, Any]:
    return dict(zip(reader.read(keys), map(reader.read, values), strict=True))


def _make_array(reader: Reader, *parts: Any) -> np.ndarray:
    array = _array(reader, *parts)
    # a small one does not keep all the numbers in memory, a large one is not there twice
    return array.copy("K") if array.nbytes < _SMALL else array


def _array(reader: Reader, descr: Any, shape: list[int], order: Any, start: int) -> np.ndarray:
    """An array as it stands among the numbers."""
    dtype, count = _make_dtype(reader, descr), math.prod(shape)
    n_held = len(reader.numbers) - start
    if start < 0 or min(shape, default=0) < 0 or count * dtype.itemsize > n_held:
        raise ValueError(f"an array of shape {shape} and {dtype} has {n_held} bytes")
    if count == 0:
        return np.empty(shape, dtype)
    held = reader.numbers[start : start + count * dtype.itemsize]
    return held.view(dtype).reshape(tuple(shape), order=order)


def _make_dtype(reader: Reader, descr: Any) -> np.dtype:
    if isinstance(descr, int):
        return reader.described[descr]
    if isinstance(descr, str) and descr in reader.dtypes:
        return reader.dtypes[descr]
    dtype = np.lib.format.descr_to_dtype(_fields(descr))
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"an array of {dtype} holds no numbers or texts")
    if isinstance(descr, str):
        reader.dtypes[descr] = dtype
    else:
        reader.described.append(dtype)
    return dtype


def _fields(descr: Any) -> Any:
    """The description of a type, whose fields are tuples, which JSON made lists."""
    if isinstance(descr, str):
        return descr
    return [
        (tuple(name) if isinstance(name, list) else name, _fields(own), *map(tuple, shape))
        for name, own, *shape in descr
    ]


def _make_number(reader: Reader, dtype: str, item: Any) -> np.generic:
    kind = _make_dtype(reader, dtype)
    if kind.kind not in "biuf":
        raise ValueError(f"{kind} is no type of a number")
    return kind.type(item)


def _make_objects(reader: Reader, shape: list[int], values: Any) -> np.ndarray:
    items = reader.read(values)
    made = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):  # at once, numpy would take apart items that are lists
        made[i] = item
    return made.reshape(shape)


def _make_sparse(reader: Reader, form: str, array: bool, shape: list[int], *parts: Any) -> Any:
    cls = sp.csr_array if array else sp.csr_matrix
    made = cls(tuple(map(reader.read, parts)), shape=tuple(shape))
    made.check_format(full_check=True)  # what is computed with it never asks again whether an index is in range
    return made.asformat(form)


def _make_tensor(
    reader: Reader, number: int, dtype: str, flags: list[bool], shape: list[int], numbers: Any
) -> Tensor:
    kind = _make_torch_dtype(reader, dtype)
    if numbers is None:
        tensor = torch.empty(shape, dtype=kind, device="meta")
    else:
        flat = torch.from_numpy(reader.view(numbers).view(np.uint8)).view(kind)
        tensor = flat.view(shape) if flat.nbytes >= _SMALL else flat.view(shape).clone()
    parameter, requires_grad = flags
    return reader.note(number, nn.Parameter(tensor, requires_grad) if parameter else tensor)


def _make_torch_dtype(reader: Reader, name: str) -> torch.dtype:
    kind = getattr(torch, name)
    if not isinstance(kind, torch.dtype):
        raise ValueError(f"{name!r} is no type of torch")
    return kind


def _make_loss(reader: Reader, name: str, keywords: dict[str, Any]) -> Any:
    return functools.partial(_LOSSES[name], **keywords) if keywords else _LOSSES[name]


_MAKERS: dict[str, Callable[..., Any]] = {
    "same": lambda reader, number: reader._numbered[number],
    "note": lambda reader, number, record: reader.note(number, reader.read(record)),
    "foreign": lambda reader, place: reader.foreign[place],
    "json": lambda reader, value: value,
    "object": _make_object,
    "list": lambda reader, *parts: list(map(reader.read, parts)),
    "tuple": lambda reader, *parts: tuple(map(reader.read, parts)),
    "namedtuple": _make_namedtuple,
    "dict": _make_dict,
    "counter": lambda reader, *parts: Counter(_make_dict(reader, *parts)),
    "set": lambda reader, *parts: set(map(reader.read, parts)),
    "frozenset": lambda reader, *parts: frozenset(map(reader.read, parts)),
    "array": _make_array,
    "masked": lambda reader, data, mask: np.ma.MaskedArray(reader.read(data), reader.read(mask)),
    "objects": _make_objects,
    "number": _make_number,
    "scalar": lambda reader, array: reader.read(array)[()],
    "sparse": _make_sparse,
    "tensor": _make_tensor,
    "dtype": _make_dtype,
    "torch.dtype": _make_torch_dtype,
    "torch.device": lambda reader, name: torch.device(name),
    "loss": _make_loss,
    "table": lambda reader, columns: Table(reader.read(columns)),
    "history": lambda reader, number, rows: reader.note(number, History(reader.read(rows))),
}
