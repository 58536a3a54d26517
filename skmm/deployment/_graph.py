"""A deployed module with one tensor after the other as arguments, and its program for torch and other runtimes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skmm.blocks import BlockInfo
from skmm.deployment._arguments import Argument
from skmm.deployment._module import DeployedModule
from skmm.layers import SparseRows

_EXAMPLES = 3  # samples that a module is traced with; of any number that is not 1 it comes to the same
_STEPS = 6


def example(argument: Argument) -> Tensor:
    """A tensor of the form of an argument."""
    shape = [{"batch": _EXAMPLES}.get(size, _STEPS) if isinstance(size, str) else size for size in argument.axes]
    if argument.part == "length":
        return torch.arange(_EXAMPLES) % _STEPS + 1
    return torch.full(shape, argument.part == "present", dtype=getattr(torch, argument.dtype))


def arguments_of(module: DeployedModule, *, dense: bool = False) -> list[Argument]:
    """The tensors that say all of some samples; ``dense`` gives all columns of sparse rows."""
    found = []
    for m, (name, info) in enumerate(module.infos.items()):
        found += [
            Argument(name if part == "values" else f"{name}.{part}", name, part, dtype, axes)
            for part, dtype, axes in _parts(m, info, str(module.dtypes[name]).removeprefix("torch."), dense)
        ]
    return found


def _parts(m: int, info: BlockInfo, dtype: str, dense: bool) -> list[tuple[str, str, Any]]:
    batch = ("batch",)
    if info.kind in ("sequence", "tokens"):
        step = info.shape if info.kind == "sequence" else ()
        return [("values", dtype, (*batch, f"time{m}", *step)), ("length", "int64", batch)]
    if info.kind == "sparse" and not dense:
        axes = (*batch, f"stored{m}")
        return [("columns", "int64", axes), ("weights", dtype, axes), ("present", "bool", batch)]
    shape: tuple[Any, ...] = (f"time{m}", *info.shape[1:]) if info.kind == "video" else info.shape
    return [("values", dtype, (*batch, *shape)), ("present", "bool", batch)]


class Program(nn.Module):
    """A deployed module of tensors in the order of their arguments."""

    def __init__(self, module: DeployedModule, arguments: list[Argument]) -> None:
        super().__init__()
        self.module, self.arguments = module, arguments

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.module(*self.named(tensors))

    def named(self, tensors: tuple[Tensor, ...]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Values and masks by modality."""
        parts: dict[str, dict[str, Tensor]] = {name: {} for name in self.module.infos}
        for argument, tensor in zip(self.arguments, tensors, strict=True):
            parts[argument.modality][argument.part] = tensor
        values: dict[str, Any] = {}
        present: dict[str, Tensor] = {}
        for name, own in parts.items():
            values[name] = own.get("values")
            if "weights" in own:
                values[name] = SparseRows(own["columns"], own["weights"], own["weights"][:, :0])
            if "length" in own:
                step = torch.arange(own["values"].shape[1], device=own["length"].device)
                present[name] = step < own["length"].unsqueeze(-1)
            else:
                present[name] = own["present"]
        return values, present


class FirstMember(Program):
    """What the network of the first member says."""

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.module.say(*self.named(tensors), n_members=1)[0]


class Decision(Program):
    """What follows from what the members say, the first of the tensors."""

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.module.decide(tensors[0], *self.named(tensors[1:]))


def export_program(program: Program, arguments: list[Argument] | None = None) -> Any:
    """``torch.export`` of any number of samples and of steps; ``arguments`` if there are more than the module's."""
    arguments = program.arguments if arguments is None else arguments
    free = torch.export.Dim.DYNAMIC
    given = tuple(map(example, arguments))
    shapes = (tuple({i: free for i, size in enumerate(a.axes) if isinstance(size, str)} for a in arguments),)
    return torch.export.export(program, given, dynamic_shapes=shapes, strict=False)
