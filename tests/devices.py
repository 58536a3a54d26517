"""A GPU that is pretended: its tensors lie in the memory of the host, and mixing them with others is refused.

What a test runs inside of :func:`pretended_gpu` computes what a CPU would, and fails where a GPU would fail: where
tensors of two devices meet, where a tensor is read by numpy before it was copied back, where a random generator is
of the wrong device, and where a plain pickle holds what a machine without a GPU could not read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from skorch import NeuralNet
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("cuda:0")  # by its number: without one, torch asks the driver for that of the moment

# Of these the numbers of rows, or a mask, may lie on the CPU while the values are on a GPU.
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
# Between two devices.
_COPIES = {"_to_copy", "copy_", "_copy_from"}


class OnGpu(torch.Tensor):
    """A tensor that says that it lies on a GPU; its numbers are in ``held``."""

    held: torch.Tensor
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    is_meta = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: type, held: torch.Tensor, requires_grad: bool = False) -> OnGpu:
        made: Any = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",  # torch's own code for gradients asks a real GPU for its streams
            requires_grad=requires_grad,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, other: Any) -> None:
        torch.Tensor.data.__set__(self, other)
        self.held = other.held

    def tolist(self) -> Any:
        return self.held.tolist()

    # torch makes tensors of lists where it believes that these are, which would hold nothing
    def __getitem__(self, key: Any) -> torch.Tensor:
        return super().__getitem__(_of_lists(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_of_lists(key), value if isinstance(value, torch.Tensor) else torch.tensor(value))

    def new_tensor(self, data: Any, **kwargs: Any) -> torch.Tensor:
        return torch.tensor(data, device=GPU, **{"dtype": self.dtype, **kwargs})

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *args: Any) -> Any:
        return self.numpy()

    def __repr__(self) -> str:
        return f"OnGpu({self.held!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not _Saving.now:
            raise TypeError("a tensor of a GPU in a plain pickle, which no machine without one can read")
        parameter = self.requires_grad and self.is_leaf
        return read_again, (self.held, parameter)


def _of_lists(key: Any) -> Any:
    parts = key if isinstance(key, tuple) else (key,)
    made = tuple(torch.as_tensor(part) if isinstance(part, list | np.ndarray) else part for part in parts)
    return made if isinstance(key, tuple) else made[0]


class _Saving:
    now, to_gpu = False, False


def read_again(held: torch.Tensor, parameter: bool) -> torch.Tensor:
    """A saved tensor, where it is asked for."""
    if not _Saving.to_gpu:
        return held.requires_grad_(parameter)
    return torch.nn.Parameter(OnGpu(held)) if parameter else OnGpu(held)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name.split("::")[1]
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    mine = [x for x in tensors if isinstance(x, OnGpu)]
    others = [x for x in tensors if not isinstance(x, OnGpu) and x.ndim > 0]
    if name in _INDEXED:
        others = [x for x in others if x is args[0] or (len(args) > 2 and x is args[2])]
        if not isinstance(args[0], OnGpu) and mine and _reads(args[1], mine):
            raise RuntimeError(f"{name}: indices are not on the same device as what they index")
    if mine and others and name not in _COPIES:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found cuda:0 and cpu!")
    device = kwargs.get("device")
    on_gpu = bool(mine) if device is None else torch.device(device).type != "cpu"
    if name == "copy_":
        on_gpu = isinstance(args[0], OnGpu)
    generator = kwargs.get("generator")
    if generator is not None and (generator._cdata in _Generator.of_gpu) != on_gpu:
        raise RuntimeError(f"{name}: expected a generator of the device of the tensor")
    if name == "_local_scalar_dense":
        return _held(args[0]).item()
    plain = {key: torch.device("cpu") if key == "device" and x is not None else x for key, x in kwargs.items()}
    plain.pop("non_blocking", None) if name == "_to_copy" else None
    out = func(*tree_map(_held, args), **tree_map(_held, plain))
    if mine and torch.Tag.inplace_view in func.tags:
        with no_dispatch():  # the shape that the tensor says it has
            func(*args, **kwargs)
    given_back = func._schema.returns
    if mine and (not given_back or (given_back[0].alias_info is not None and given_back[0].alias_info.is_write)):
        return kwargs.get("out", args[0]) if given_back else None
    return tree_map(lambda x: OnGpu(x) if isinstance(x, torch.Tensor) and on_gpu else x, out)


def _reads(keys: Any, mine: list[Any]) -> bool:
    return any(x is own for x in tree_flatten(keys)[0] for own in mine)


def _held(x: Any) -> Any:
    return x.held if isinstance(x, OnGpu) else x


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Generator(torch.Generator):
    """A generator that remembers the device it was made for."""

    of_gpu: ClassVar[set[int]] = set()  # as torch knows them: an operation is given another object of Python

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls, "cpu")
        (cls.of_gpu.add if torch.device(device).type == "cuda" else cls.of_gpu.discard)(made._cdata)
        return made


@contextlib.contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """While it lasts, torch has one GPU."""
    save = torch.save

    def saving(*args: Any, **kwargs: Any) -> None:
        before, _Saving.now = _Saving.now, True
        try:
            save(*args, **kwargs)
        finally:
            _Saving.now = before

    load, state_of = torch.load, NeuralNet.__getstate__

    def state_saved(net: Any) -> Any:  # skorch reads the tensors in it to where they can be
        before, _Saving.now = _Saving.now, True
        try:
            return state_of(net)
        finally:
            _Saving.now = before

    def loading(file: Any, map_location: Any = None, **kwargs: Any) -> Any:
        _Saving.to_gpu = map_location is not None and torch.device(map_location).type == "cuda"
        try:
            return load(file, **kwargs)
        finally:
            _Saving.to_gpu = False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", loading)
        patch.setattr(NeuralNet, "__getstate__", state_saved)
        patch.setattr(torch, "save", saving)
        patch.setattr(torch, "Generator", _Generator)
        # in which tensors of other classes than torch's own cannot be held
        patch.setattr(
            torch, "inference_mode", lambda mode=True: torch.no_grad() if mode else contextlib.nullcontext()
        )
        patch.setattr(torch.backends.cudnn, "is_acceptable", lambda tensor: False)
        patch.setattr(torch.Tensor, "pin_memory", lambda x: x.clone())
        for name, value in {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "is_bf16_supported": lambda *_: True,
            "_lazy_init": lambda: None,
            "synchronize": lambda device=None: None,
            "get_rng_state": lambda device=None: torch.get_rng_state(),
            "set_rng_state": lambda state, device=None: None,
            "mem_get_info": lambda device=None: (2**33, 2**33),
            "memory_reserved": lambda device=None: 0,
            "memory_allocated": lambda device=None: 0,
        }.items():
            patch.setattr(torch.cuda, name, value)
        lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            with _Mode(), torch.serialization.safe_globals([read_again]):
                yield GPU
        finally:
            torch._C._set_only_lift_cpu_tensors(lifts)
