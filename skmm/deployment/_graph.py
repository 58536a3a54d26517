"""A deployed module with one tensor after the other as arguments, and its program for torch and other runtimes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skmm.blocks import BlockInfo
from skmm.deployment._module import DeployedModule
from skmm.layers import SparseRows

_EXAMPLES = 3  # samples that a module is traced with; of any number that is not 1 it comes to the same
_STEPS = 6


@dataclass(frozen=True)
class Argument:
    """One tensor that a program reads.

    Attributes
    ----------
    name : str
        Its name: that of the modality for values, else with what it says behind a point, such as ``text.present``.
    modality : str
        The modality.
    part : {"values", "present", "length", "columns", "weights"}
        What it says of it. ``present`` is True where a sample has the modality; of sequences and token ids
        ``length`` is their number of steps, 0 where it is missing; of sparse rows ``columns`` and ``weights`` are
        what they store, filled up with zeros.
    dtype : torch.dtype
        Its type.
    axes : tuple of int or str
        Size of each axis; a name where it may be any, the same for all arguments.
    """

    name: str
    modality: str
    part: str
    dtype: torch.dtype
    axes: tuple[int | str, ...]

    def example(self, n: int = _EXAMPLES) -> Tensor:
        """A tensor of that form."""
        sizes = {"batch": n}
        shape = [size if isinstance(size, int) else sizes.get(size, _STEPS) for size in self.axes]
        if self.part == "length":
            return torch.arange(n) % _STEPS + 1
        if self.dtype == torch.bool:
            return torch.ones(shape, dtype=self.dtype)
        return torch.zeros(shape, dtype=self.dtype)


def arguments_of(module: DeployedModule, *, dense: bool = False) -> list[Argument]:
    """The tensors that say all of some samples; ``dense`` gives all columns of sparse rows."""
    found = []
    for m, (name, info) in enumerate(module.infos.items()):
        found += [
            Argument(name if part == "values" else f"{name}.{part}", name, part, dtype, axes)
            for part, dtype, axes in _parts(m, info, module.dtypes[name], dense)
        ]
    return found


def _parts(m: int, info: BlockInfo, dtype: torch.dtype, dense: bool) -> list[tuple[str, torch.dtype, Any]]:
    batch = ("batch",)
    if info.kind in ("sequence", "tokens"):
        shape = info.shape if info.kind == "sequence" else ()
        return [("values", dtype, (*batch, f"time{m}", *shape)), ("length", torch.int64, batch)]
    if info.kind == "sparse" and not dense:
        axes = (*batch, f"stored{m}")
        return [("columns", torch.int64, axes), ("weights", dtype, axes), ("present", torch.bool, batch)]
    shape = (f"time{m}", *info.shape[1:]) if info.kind == "video" else info.shape
    return [("values", dtype, (*batch, *shape)), ("present", torch.bool, batch)]


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
    examples = tuple(argument.example() for argument in arguments)
    shapes = (
        tuple({i: free for i, size in enumerate(a.axes) if isinstance(size, str)} for a in arguments),
    )
    return torch.export.export(program, examples, dynamic_shapes=shapes, strict=False)

