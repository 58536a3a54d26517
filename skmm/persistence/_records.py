"""Fitted objects as records of numbers, texts and names of types, and back.

What skops writes of an object is its type and its attributes; reading makes one of that type and gives it these.
Of all that is skmm's, and of what is torch's, this module decides itself what that means: an object is a
:class:`Record` that says how it is made again, so that a file never decides what is called.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from skorch.history import History
from torch import Tensor, nn

from skmm.table import Table
from skmm.training import _losses

_PLAIN = (type(None), bool, int, float, str)
_FUNCTIONS = (FunctionType, BuiltinFunctionType, np.ufunc)
_LOSSES = {
    name: f for name, f in vars(_losses).items() if isinstance(f, FunctionType) and f.__module__ == _losses.__name__
}


class Record(NamedTuple):
    """A part of a file.

    Attributes
    ----------
    kind : str
        How it is made again, a key of ``Reader.makers``.
    parts : tuple
        Of what.
    """

    kind: str
    parts: tuple[Any, ...]


def is_plain(value: Any) -> bool:
    """Whether a value is what JSON gives back as it was."""
    if type(value) is list:
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(type(key) is str for key in value) and all(map(is_plain, value.values()))
    return type(value) in _PLAIN


def _is_ours(cls: type) -> bool:
    """Whether a class is of this package, or made from one of it."""
    return any(base.__module__.partition(".")[0] == "skmm" for base in cls.__mro__)


# -- to records ---------------------------------------------------------------------------------------------------


class Writer:
    """Objects as records; what is met twice is one object again when it is read.

    Parameters
    ----------
    special : dict of type to callable
        Of an object of this type, given the writer and the object, the record.
    """

    def __init__(self, special: dict[type, Callable[[Writer, Any], Record]]) -> None:
        self.special = special
        self._known: dict[int, tuple[Any, Any]] = {}  # by id, with the object, so that no other gets this id
        self._n_numbered = 0

    def write(self, value: Any) -> Any:
        """A value as what skops can write."""
        if type(value) in _PLAIN or isinstance(value, type):
            return value
        if id(value) in self._known:
            return self._known[id(value)][1]
        record = self._record(value)
        if id(value) not in self._known:
            self._known[id(value)] = value, record
        return record

    def numbered(self, kind: str, value: Any, parts: Callable[[], tuple[Any, ...]]) -> Record:
        """A record of an object that is one however often it is met, in itself too."""
        number, self._n_numbered = self._n_numbered, self._n_numbered + 1
        self._known[id(value)] = value, Record("same", (number,))
        return Record(kind, (number, *parts()))

    def named(self, values: dict[str, Any]) -> tuple[Any, ...]:
        """Named values: their names and what is plain in one text, then the rest."""
        plain = {name: value for name, value in values.items() if is_plain(value)}
        rest = [self.write(value) for name, value in values.items() if name not in plain]
        return json.dumps([list(values), plain]), *rest

    def _record(self, value: Any) -> Any:
        cls = type(value)
        for base in cls.__mro__:
            if base in self.special:
                return self.special[base](self, value)
        writer = next((w for base in cls.__mro__ if (w := _WRITERS.get(base)) is not None), None)
        if writer is not None:
            return writer(self, value)
        if isinstance(value, _FUNCTIONS):
            own = value.__module__ == _losses.__name__ if isinstance(value, FunctionType) else False
            return Record("loss", (value.__name__, "{}")) if own else value
        return self.of_attributes(value) if hasattr(value, "__dict__") else value

    def of_attributes(self, value: Any) -> Any:
        """An object of its attributes."""
        cls = type(value)
        if _is_ours(cls):
            state = value.__getstate__()
            return self.numbered("object", value, lambda: (cls, *self.named(state)))
        state = vars(value)
        written = {name: self.write(part) for name, part in state.items()}
        if all(written[name] is state[name] for name in state):
            return value
        # of another package, but with something of this one inside: a copy that skops can write
        light = object.__new__(cls)
        light.__dict__.update(written)
        return light


def _write_list(writer: Writer, value: Any) -> Any:
    if is_plain(value):
        return Record("json", (json.dumps(value),))
    return [writer.write(part) for part in value]


def _write_tuple(writer: Writer, value: Any) -> Any:
    if type(value) is tuple:
        return tuple(writer.write(part) for part in value)
    return Record("namedtuple", (type(value), *map(writer.write, value)))


def _write_dict(writer: Writer, value: Any) -> Any:
    if is_plain(value):
        return Record("json", (json.dumps(value),))
    if type(value) not in (dict, Counter):
        return value
    kind = "dict" if type(value) is dict else "counter"
    return Record(kind, (writer.write(list(value)), *(writer.write(part) for part in value.values())))


def _write_set(writer: Writer, value: Any) -> Any:
    return Record("set" if isinstance(value, set) else "frozenset", tuple(map(writer.write, value)))


def _write_array(writer: Writer, value: np.ndarray) -> Any:
    if isinstance(value, np.ma.MaskedArray):
        return Record("masked", (writer.write(value.data), writer.write(np.ma.getmaskarray(value))))
    if value.dtype != object:
        return np.asarray(value)
    return Record("objects", (json.dumps(value.shape), writer.write(value.ravel().tolist())))


def _write_scalar(writer: Writer, value: np.generic) -> Any:
    item = value.item()
    simple = value.dtype.kind in "biufU" and type(item) in _PLAIN
    return Record("scalar", (value.dtype.str, item)) if simple else value


def _write_sparse(writer: Writer, value: Any) -> Record:
    csr = value.tocsr()
    array = isinstance(value, sp.sparray)
    return Record("sparse", (value.format, array, json.dumps(csr.shape), csr.data, csr.indices, csr.indptr))


def _write_tensor(writer: Writer, value: Tensor) -> Record:
    flags = json.dumps([isinstance(value, nn.Parameter), value.requires_grad, list(value.shape)])
    dtype = str(value.dtype).removeprefix("torch.")
    return writer.numbered("tensor", value, lambda: (dtype, flags, None if value.is_meta else as_numpy(value)))


def as_numpy(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor on any device, (n,), of a type that numpy lacks as bytes."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    try:
        return flat.numpy()
    except TypeError:
        return flat.view(torch.uint8).numpy()


def _write_partial(writer: Writer, value: functools.partial[Any]) -> Any:
    if value.func.__module__ == _losses.__name__:
        return Record("loss", (value.func.__name__, json.dumps(value.keywords)))
    return value


def _write_table(writer: Writer, value: Table) -> Record:
    return Record("table", (writer.write({name: value[name] for name in value.columns}),))


def _write_history(writer: Writer, value: History) -> Record:
    return writer.numbered("history", value, lambda: (writer.write(list(value)),))


_WRITERS: dict[type, Callable[[Writer, Any], Any]] = {
    History: _write_history,
    list: _write_list,
    tuple: _write_tuple,
    dict: _write_dict,
    set: _write_set,
    frozenset: _write_set,
    np.ndarray: _write_array,
    np.generic: _write_scalar,
    np.dtype: lambda writer, value: Record("dtype", (value.str,)),
    np.random.RandomState: lambda writer, value: value,
    np.random.Generator: lambda writer, value: value,
    sp.sparray: _write_sparse,
    sp.spmatrix: _write_sparse,
    Tensor: _write_tensor,
    torch.dtype: lambda writer, value: Record("torch.dtype", (str(value).removeprefix("torch."),)),
    torch.device: lambda writer, value: Record("torch.device", (str(value),)),
    functools.partial: _write_partial,
    Table: _write_table,
}


# -- from records -------------------------------------------------------------------------------------------------


class Reader:
    """Records as objects.

    Parameters
    ----------
    special : dict of str to callable
        Of a record of this kind, given the reader and its parts, the object.
    apart : tuple of type
        Types that have a kind of their own, and are not made of attributes alone.
    check : callable
        Given an object of another package with all its attributes, raises where these do not belong together.
    """

    def __init__(
        self, special: dict[str, Callable[..., Any]], apart: tuple[type, ...], check: Callable[[Any], None]
    ) -> None:
        self.makers = {**_MAKERS, **special}
        self.apart, self.check = apart, check
        self._made: dict[int, tuple[Any, Any]] = {}
        self._numbered: dict[int, Any] = {}

    def read(self, value: Any) -> Any:
        """What was written as this."""
        if type(value) in _PLAIN or isinstance(value, type | np.ndarray):
            return value
        if id(value) in self._made:
            return self._made[id(value)][1]
        made = self._make(value)
        self._made[id(value)] = value, made
        return made

    def note(self, number: int, value: Any) -> Any:
        """Remember an object that other records may name."""
        self._numbered[number] = value
        return value

    def same(self, number: int) -> Any:
        """An object that a record made before."""
        return self._numbered[number]

    def named(self, text: str, *rest: Any) -> dict[str, Any]:
        """Named values, of what :meth:`Writer.named` gives."""
        names, plain = json.loads(text)
        others = iter(rest)
        return {name: plain[name] if name in plain else self.read(next(others)) for name in names}

    def _make(self, value: Any) -> Any:
        if isinstance(value, Record):
            return self.makers[value.kind](self, *value.parts)
        if type(value) is list:
            return [self.read(part) for part in value]
        if type(value) is tuple:
            return tuple(self.read(part) for part in value)
        if hasattr(value, "__dict__") and not isinstance(value, _FUNCTIONS):
            self._made[id(value)] = value, value
            for name, part in list(vars(value).items()):
                value.__dict__[name] = self.read(part)
            self.check(value)
        return value


def _make_object(reader: Reader, number: int, cls: Any, *parts: Any) -> Any:
    if not (isinstance(cls, type) and _is_ours(cls)) or issubclass(cls, reader.apart):
        raise ValueError(f"{cls!r} is none of this package's types")
    made = reader.note(number, object.__new__(cls))
    made.__dict__.update(reader.named(*parts))
    return made


def _make_namedtuple(reader: Reader, cls: Any, *parts: Any) -> Any:
    if not (isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")):
        raise ValueError(f"{cls!r} is no named tuple")
    return cls(*map(reader.read, parts))


def _make_dict(reader: Reader, keys: Any, *values: Any) -> dict[Any, Any]:
    return {key: reader.read(value) for key, value in zip(reader.read(keys), values, strict=True)}


def _make_objects(reader: Reader, shape: str, values: Any) -> np.ndarray:
    items = reader.read(values)
    made = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):  # at once, numpy would take apart items that are lists
        made[i] = item
    return made.reshape(json.loads(shape))


def _make_scalar(reader: Reader, dtype: str, item: Any) -> np.generic:
    kind = np.dtype(dtype)
    if kind.kind not in "biufU":
        raise ValueError(f"{dtype!r} is no type of a number or a text")
    return kind.type(item)


def _make_sparse(reader: Reader, form: str, array: bool, shape: str, data: Any, indices: Any, indptr: Any) -> Any:
    cls = sp.csr_array if array else sp.csr_matrix
    made = cls((data, indices, indptr), shape=tuple(json.loads(shape)))
    made.check_format(full_check=True)  # what is computed with it never asks again whether an index is in range
    return made.asformat(form)


def as_tensor(dtype: str, shape: list[int], numbers: np.ndarray | None) -> Tensor:
    """A tensor of numbers as :func:`as_numpy` gives them, in memory of its own; without numbers on "meta"."""
    kind = getattr(torch, dtype)
    if not isinstance(kind, torch.dtype):
        raise ValueError(f"{dtype!r} is no type of torch")
    if numbers is None:
        return torch.empty(shape, dtype=kind, device="meta")
    flat = torch.from_numpy(numbers)
    return (flat if flat.dtype == kind else flat.view(kind)).view(shape).clone()


def _make_tensor(reader: Reader, number: int, dtype: str, flags: str, numbers: np.ndarray | None) -> Tensor:
    parameter, requires_grad, shape = json.loads(flags)
    tensor = as_tensor(dtype, shape, numbers)
    return reader.note(number, nn.Parameter(tensor, requires_grad) if parameter else tensor)


def _make_loss(reader: Reader, name: str, keywords: str) -> Any:
    loss, known = _LOSSES[name], json.loads(keywords)
    return functools.partial(loss, **known) if known else loss


def _make_history(reader: Reader, number: int, rows: Any) -> History:
    return reader.note(number, History(reader.read(rows)))


_MAKERS: dict[str, Callable[..., Any]] = {
    "same": lambda reader, number: reader.same(number),
    "json": lambda reader, text: json.loads(text),
    "object": _make_object,
    "namedtuple": _make_namedtuple,
    "dict": _make_dict,
    "counter": lambda reader, keys, *values: Counter(_make_dict(reader, keys, *values)),
    "set": lambda reader, *parts: set(map(reader.read, parts)),
    "frozenset": lambda reader, *parts: frozenset(map(reader.read, parts)),
    "masked": lambda reader, data, mask: np.ma.MaskedArray(reader.read(data), reader.read(mask)),
    "objects": _make_objects,
    "scalar": _make_scalar,
    "sparse": _make_sparse,
    "tensor": _make_tensor,
    "dtype": lambda reader, name: np.dtype(name),
    "torch.dtype": lambda reader, name: as_tensor(name, [0], None).dtype,
    "torch.device": lambda reader, name: torch.device(name),
    "loss": _make_loss,
    "table": lambda reader, columns: Table(reader.read(columns)),
    "history": _make_history,
}
