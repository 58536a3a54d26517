"""Pickles of plain arrays, read by a machine that can do nothing else.

Python's own reader runs what a pickle names, can be made to ask for any amount of memory by a few bytes, and takes
hashes of keys that have no end. This one knows the codes of numbers, strings and containers, and of the functions
that make NumPy's arrays what they are called: it builds the arrays itself.
"""

from __future__ import annotations

import codecs
import re
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from skmm.files._reading import Budget, check_regular, reading

_MOST_TIMES = 4  # by which the content of a file may be larger in memory than the file
_DEEPEST = 100  # containers in one another
_MOST_VALUES = 100_000_000  # and as many as the file has bytes: values and characters, written out
_LARGEST_KEY = 2**60  # whole numbers from here on may share their hash with as many others as one likes


def read_pickle(path: str) -> Any:
    """The content of a pickle of plain arrays.

    Raises
    ------
    OSError
        If the file cannot be found.
    ValueError
        If it holds anything else, is damaged, or would take more than there is room for; names the file.
    """
    size = check_regular(path)
    with open(path, "rb") as file, reading(path, "a pickle of plain arrays"):
        content = _Machine(file, size).run()
        return _WrittenOut(most=_MOST_VALUES + size)(content).value


# -- arrays --------------------------------------------------------------------------------------------------------


class _DType:
    """What a pickle says of a dtype; NumPy's own believes any state, even one that reads bytes as pointers."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?([biufSUO]\d*|bool)", code):
            raise ValueError(f"it holds an array of dtype {code!r}, which is neither of numbers nor of strings")
        self.dtype = np.dtype(code)

    def build(self, state: Any, machine: _Machine) -> None:
        order, subdtype, names, fields = state[1:5]
        if subdtype is not None or names is not None or fields is not None:
            raise ValueError("it holds an array of records")
        if order in ("<", ">", "="):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array, once its state has come."""

    array: np.ndarray

    def build(self, state: Any, machine: _Machine) -> None:
        *_, shape, dtype, fortran, raw = state
        self.array = machine.array(raw, dtype, shape, fortran)


class _Name:
    """A function that a pickle names: it can be called, and nothing else can be done with it."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


def _ndarray(machine: _Machine, *args: Any) -> None:
    raise ValueError("it calls numpy.ndarray")


def _dtype(machine: _Machine, *args: Any) -> _DType:
    return _DType(*args)


def _reconstruct(machine: _Machine, kind: Any, shape: Any, code: Any) -> _Array:
    if not isinstance(kind, _Name) or kind.call is not _ndarray:
        raise ValueError("it holds an array of a class of its own")
    return _Array()


def _frombuffer(machine: _Machine, raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.array = machine.array(raw, dtype, shape, order == "F")
    return made


def _scalar(machine: _Machine, dtype: Any, raw: Any = b"") -> Any:
    objects = isinstance(dtype, _DType) and dtype.dtype.kind == "O"
    return machine.array([raw] if objects else raw, dtype, (1,))[0]


def _encode(machine: _Machine, text: Any, encoding: Any) -> bytes:
    known = {"latin1": "latin-1", "latin-1": "latin-1", "utf-8": "utf-8"}
    if not isinstance(text, str) or encoding not in known:
        raise ValueError(f"it encodes a {type(text).__name__} as {encoding!r}")
    machine.budget.take(4 * len(text))
    return text.encode(known[encoding])


def _bytes(machine: _Machine) -> bytes:
    return b""


def _set(machine: _Machine, items: Any = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        raise ValueError(f"it holds a set of a {type(items).__name__}")
    return machine.hashed(items)


_NAMES = {
    ("numpy", "ndarray"): _Name(_ndarray),
    ("numpy", "dtype"): _Name(_dtype),
    ("_codecs", "encode"): _Name(_encode),
    # the other containers have codes of their own, and so have bytes, but for empty ones; Python 3 and 2
    **{(module, "set"): _Name(_set) for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): _Name(_bytes) for module in ("builtins", "__builtin__")},
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _Name(_reconstruct)
    _NAMES[f"{_core}.multiarray", "scalar"] = _Name(_scalar)
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _Name(_frombuffer)


# -- the machine ---------------------------------------------------------------------------------------------------


class _Machine:
    """Follows the codes of a pickle, and counts the bytes of what it makes.

    Parameters
    ----------
    file : binary file
        The pickle.
    size : int
        Its bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.rest = file, size, size
        self.budget = Budget(size, _MOST_TIMES)
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}  # numbers are what the file says: a list would be as long as the largest

    def run(self) -> Any:
        while (code := self.file.read(1)) != b".":
            self.rest -= 1
            step = _CODES.get(code)
            if step is None:
                if not code:
                    raise ValueError("it is cut off")
                raise ValueError(f"it holds the code {code!r}, which no plain array, list or dict needs")
            step(self)
        return self.stack[-1]

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, n: int) -> bytes:
        if not 0 <= n <= self.rest:
            raise ValueError(f"it is cut off: {n} bytes are to come, {self.rest} are left")
        self.rest -= n
        return self.file.read(n)

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.read(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        line = self.file.readline(self.rest)
        self.rest -= len(line)
        if not line.endswith(b"\n"):
            raise ValueError("it is cut off in a line")
        return line[:-1]

    # -- what is made ----------------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        """Put a new value on the stack."""
        self.budget.take(8 + sys.getsizeof(value))
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        """The values since the last mark."""
        values, self.stack = self.stack, self.marked.pop()
        return values

    def mark(self) -> None:
        self.budget.take(64)
        self.marked.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def keep(self, number: int) -> None:
        self.budget.take(100)
        self.memo[number] = self.stack[-1]

    def recall(self, number: int) -> None:
        if number not in self.memo:
            raise ValueError(f"it recalls the value {number}, which it has not kept")
        self.again(self.memo[number])

    def again(self, value: Any) -> None:
        """Put on the stack what is somewhere already."""
        self.budget.take(8)
        self.stack.append(value)

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError(f"it appends to a {type(target).__name__}")
        self.budget.take(8 * len(items))
        target.extend(items)

    def set_items(self, items: list[Any], target: Any = None) -> None:
        target = self.stack[-1] if target is None else target
        if type(target) is not dict:
            raise ValueError(f"it sets items of a {type(target).__name__}")
        self.budget.take(100 * len(items))
        target.update(zip(map(_key, items[::2]), items[1::2], strict=True))

    def dict_of(self, items: list[Any]) -> None:
        made: dict[Any, Any] = {}
        self.set_items(items, made)
        self.push(made)

    def add_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not set:
            raise ValueError(f"it adds to a {type(self.stack[-1]).__name__}")
        self.stack[-1].update(self.hashed(items))

    def hashed(self, items: Any) -> set[Any]:
        self.budget.take(100 * len(items))
        return set(map(_key, items))

    def array(self, raw: Any, dtype: Any, shape: Any, fortran: Any = False) -> np.ndarray:
        """An array from its bytes, or from a list of strings and numbers."""
        if not isinstance(dtype, _DType):
            raise ValueError("it holds an array without a dtype")
        shape = tuple(int(n) for n in shape)
        if any(n > self.size for n in shape):  # of an array without values; numbers take a byte at least
            raise ValueError(f"it holds an array of shape {shape}, more than the file has room for")
        if dtype.dtype.kind == "O":
            if not isinstance(raw, list):
                raise ValueError("it holds an array of objects that is no list")
            self.budget.take(8 * len(raw))
            array = np.empty(len(raw), dtype=object)
            for i, item in enumerate(raw):
                if not isinstance(item, str | bytes | bool | int | float | np.generic | None):
                    kind = "ndarray" if isinstance(item, _Array) else type(item).__name__
                    raise ValueError(f"it holds an array of objects, among them a {kind}")
                array[i] = item
        else:
            if isinstance(raw, str):  # Python 2 wrote bytes as strings
                self.budget.take(len(raw))
                raw = raw.encode("latin1")
            if not isinstance(raw, bytes | bytearray):
                raise ValueError(f"it holds an array whose content is a {type(raw).__name__}, not bytes")
            array = np.frombuffer(raw, dtype.dtype) if len(raw) else np.empty(0, dtype.dtype)
        return np.reshape(array, shape, order="F" if fortran else "C")

    # -- functions -------------------------------------------------------------------------------------------

    def name(self, module: Any, name: Any) -> None:
        try:
            self.push(_NAMES[module, name])
        except (KeyError, TypeError):
            raise ValueError(
                f"it asks for {module}.{name}, which is no part of a plain array, list or dict; nothing was run"
            ) from None

    def name_on_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.name(module, name)

    def call(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name) or not isinstance(args, tuple):
            raise ValueError(f"it calls a {type(function).__name__}")
        self.push(function.call(self, *args))

    def build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Array | _DType):
            raise ValueError(f"it gives a state to a {type(self.stack[-1]).__name__}")
        self.stack[-1].build(state, self)

    # -- values of Python 2 and of text ----------------------------------------------------------------------

    def text(self, n: int) -> None:
        self.push(self.read(n).decode("utf-8", "surrogatepass"))

    def old_string(self, n: int) -> None:
        self.push(self.read(n).decode("latin-1"))  # bytes of arrays, perhaps

    def quoted(self) -> None:
        line = self.line().strip()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise ValueError("it holds a string without its quotes")
        self.push(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))

    def integer(self) -> None:
        line = self.line()
        self.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line))

    def long(self, n: int) -> None:
        self.push(int.from_bytes(self.read(n), "little", signed=True))

    def tuple_of(self, n: int) -> None:
        if len(self.stack) < n:
            raise ValueError(f"it makes a tuple of {n} of {len(self.stack)} values")
        made = tuple(self.stack[-n:])
        del self.stack[-n:]
        self.push(made)


def _key(value: Any) -> Any:
    """A key of a dict or an element of a set, whose hash costs nothing."""
    if isinstance(value, int) and abs(value) >= _LARGEST_KEY:
        raise ValueError(f"it holds a key from {_LARGEST_KEY:.0e} on")
    if value is not None and not isinstance(value, str | bytes | int | float | np.generic):
        raise ValueError(f"it holds a {type(value).__name__} as a key, which is neither a string nor a number")
    return value


_Step = Callable[[_Machine], Any]
_CODES: dict[bytes, _Step] = {
    # what a file says of itself, and the stack
    b"\x80": lambda m: m.number("<B"),
    b"\x95": lambda m: m.number("<Q"),
    b"(": _Machine.mark,
    b"0": _Machine.pop,
    b"1": _Machine.pop_mark,
    b"2": lambda m: m.again(m.stack[-1]),
    # the memo
    b"p": lambda m: m.keep(int(m.line())),
    b"q": lambda m: m.keep(m.number("<B")),
    b"r": lambda m: m.keep(m.number("<I")),
    b"\x94": lambda m: m.keep(len(m.memo)),
    b"g": lambda m: m.recall(int(m.line())),
    b"h": lambda m: m.recall(m.number("<B")),
    b"j": lambda m: m.recall(m.number("<I")),
    # single values
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _Machine.integer,
    b"L": lambda m: m.push(int(m.line().rstrip(b"L"))),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"J": lambda m: m.push(m.number("<i")),
    b"\x8a": lambda m: m.long(m.number("<B")),
    b"\x8b": lambda m: m.long(m.number("<i")),
    b"F": lambda m: m.push(float(m.line())),
    b"G": lambda m: m.push(m.number(">d")),
    # strings and bytes
    b"S": _Machine.quoted,
    b"T": lambda m: m.old_string(m.number("<i")),
    b"U": lambda m: m.old_string(m.number("<B")),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"X": lambda m: m.text(m.number("<I")),
    b"\x8c": lambda m: m.text(m.number("<B")),
    b"\x8d": lambda m: m.text(m.number("<Q")),
    b"B": lambda m: m.push(m.read(m.number("<I"))),
    b"C": lambda m: m.push(m.read(m.number("<B"))),
    b"\x8e": lambda m: m.push(m.read(m.number("<Q"))),
    b"\x96": lambda m: m.push(bytearray(m.read(m.number("<Q")))),
    # containers
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.pop_mark()),
    b"a": lambda m: m.append([m.stack.pop()]),
    b"e": lambda m: m.append(m.pop_mark()),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.pop_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"}": lambda m: m.push({}),
    b"d": lambda m: m.dict_of(m.pop_mark()),
    b"s": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    b"u": lambda m: m.set_items(m.pop_mark()),
    b"\x8f": lambda m: m.push(set()),
    b"\x90": lambda m: m.add_items(m.pop_mark()),
    b"\x91": lambda m: m.push(frozenset(m.hashed(m.pop_mark()))),
    # functions
    b"c": lambda m: m.name(m.line().decode("utf-8"), m.line().decode("utf-8")),
    b"\x93": _Machine.name_on_stack,
    b"R": _Machine.call,
    b"b": _Machine.build,
}


# -- what stands in many places ------------------------------------------------------------------------------------


class _Read(NamedTuple):
    """A value, and how large it is where it is written out."""

    value: Any
    size: int = 1  # values and characters
    texts: int = 0  # strings in lists and arrays
    longest: int = 0  # of these


class _WrittenOut:
    """The same with arrays in the place of their stand-ins, and how many values that is, written out.

    One list may stand in many places of a pickle, and lists of such lists soon have more values than any memory
    holds: each is read once, and the values are counted before anything writes them out.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.seen: dict[int, _Read | None] = {}  # by id; None while it is being read

    def __call__(self, value: Any, depth: int = 0) -> _Read:
        if isinstance(value, _Array):
            array = value.array
            if array.dtype.kind == "O":
                return self(array.ravel().tolist(), depth)._replace(value=array)
            return _Read(array, array.size * (array.itemsize if array.dtype.kind in "SU" else 1))
        if isinstance(value, _Name | _DType):
            raise ValueError("it holds a class or a dtype")
        if isinstance(value, str | bytes | bytearray):
            return _Read(value, 1 + len(value), 1, len(value))
        if not isinstance(value, dict | list | tuple | set | frozenset):
            return _Read(value)
        kind = type(value)
        if depth == _DEEPEST:
            raise ValueError(f"it holds a {kind.__name__} inside {depth} others")
        if id(value) not in self.seen:
            self.seen[id(value)] = None
            self.seen[id(value)] = self._of_items(value, kind, depth)
        found = self.seen[id(value)]
        if found is None:
            raise ValueError(f"it holds a {kind.__name__} that holds itself")
        return found

    def _of_items(self, value: Any, kind: type, depth: int) -> _Read:
        read = [self(item, depth + 1) for item in (value.values() if kind is dict else value)]
        size = 1 + sum(item.size for item in read)
        texts = longest = 0
        if kind is not dict:  # as an array, each string takes as much as the longest
            texts, longest = sum(item.texts for item in read), max((item.longest for item in read), default=0)
        size = max(size, texts * longest)
        if size > self.most:
            raise ValueError(
                f"it holds a {kind.__name__} of {size:.1e} values and characters, far more than the file has room "
                "for: the same ones in many places, or long strings among many"
            )
        items = [item.value for item in read]
        return _Read(dict(zip(value, items, strict=True)) if kind is dict else kind(items), size, texts, longest)
