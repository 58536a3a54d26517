"""Which encoder reads a modality."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from skmm._checks import unknown
from skmm._private import tree_leaves
from skmm.blocks._blocks import KINDS, BlockInfo
from skmm.spec import ENCODERS, Encoder, as_spec, default_encoder


class UserEncoder(nn.Module):
    """Gives a module of the user's own, x -> output, the encoder contract."""

    def __init__(self, name: str, module: nn.Module, info: BlockInfo) -> None:
        super().__init__()
        self.module = module
        self.takes_mask = "mask" in inspect.signature(module.forward).parameters
        steps = (info.length or 8,) if info.kind in ("sequence", "tokens") else ()
        shape = () if info.kind == "tokens" else info.shape
        dtype = torch.int64 if info.kind == "tokens" else torch.float32
        x = torch.zeros(2, *steps, *shape, dtype=dtype)
        training = module.training
        mask = torch.ones(x.shape[: 1 + len(steps)], dtype=torch.bool)
        with torch.no_grad():
            value = self.eval()._call(x, mask)
            lost = {key: torch.full_like(p, math.nan) for key, p in module.named_parameters()}
            args = (x, mask) if self.takes_mask else (x,)
            without = tree_leaves(functional_call(module, lost, args))[0]
        self.train(training)
        # Keras modules compute with tensors of their own, whatever stands in the place of their parameters
        self.unsupported = (
            {"members": f"the encoder of modality {name!r} computes with weights that cannot be exchanged"}
            if lost and torch.isfinite(without).all()
            else {}
        )
        value = value[0] if isinstance(value, tuple) else value
        if value.ndim not in (2, 3) or len(value) != 2:
            raise ValueError(
                f"the encoder of modality {name!r} must turn a batch of shape {tuple(x.shape)} into (2, d) or "
                f"(2, time, d), it gave {tuple(value.shape)}."
            )
        self.out_dim = value.shape[-1]
        self.lr_factor = getattr(module, "lr_factor", 1.0)

    def _call(self, x: Tensor, mask: Tensor) -> Any:
        return self.module(x, mask) if self.takes_mask else self.module(x)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        value = self._call(x, mask)
        if isinstance(value, tuple):
            return value
        if value.ndim == 2:
            return value, mask if mask.ndim == 1 else mask.any(-1)
        if value.shape[:2] == mask.shape:
            return value, mask
        exists = mask if mask.ndim == 1 else mask.any(-1)
        return value, exists.unsqueeze(-1).expand(value.shape[:2])


def make_encoder(name: str, choice: Any, info: BlockInfo, tokens: bool, inherited: Mapping[str, Any]) -> nn.Module:
    """Build what reads a modality: a module of the user's own, or what a name or spec of an encoder says."""
    if isinstance(choice, UserEncoder):  # of a file
        return choice
    if isinstance(choice, nn.Module):
        return UserEncoder(name, copy.deepcopy(choice), info)  # the user's own stays as it is
    spec = as_spec(Encoder, choice)
    if not isinstance(spec, Encoder):
        raise ValueError(
            f"the encoder of modality {name!r} must be a name, an Encoder, a class or a module, got {choice!r}."
        )
    if spec.name == "auto":
        spec = Encoder(default_encoder(info), **spec.given)
    try:
        kinds = getattr(spec.target(), "kinds", tuple(KINDS))
        if (info.source or info.kind) not in kinds:
            valid = [key for key, cls in ENCODERS.items() if info.kind in cls.kinds]
            raise ValueError(
                f"encoder {spec.name!r} reads {' and '.join(kinds)} blocks, this one is {info.kind} "
                f"({KINDS[info.kind]}); encoders for it are {valid}."
            )
        return spec.build(info, tokens, inherited=inherited)
    except ValueError as error:
        raise ValueError(f"modality {name!r}: {error}") from None


def check_encoders(encoders: Any, names: list[str]) -> dict[str, Any]:
    """The encoder chosen for each modality, from one for all or a dict."""
    if not isinstance(encoders, Mapping):
        return dict.fromkeys(names, Encoder() if encoders is None else encoders)
    for name in encoders:
        if name not in names:
            raise unknown("modality in encoders:", name, names)
    choices = {name: Encoder() if encoders.get(name) is None else encoders[name] for name in names}
    for name, choice in choices.items():
        spec = as_spec(Encoder, choice)
        if isinstance(spec, Encoder) and spec.name != "auto":
            try:
                spec.target()
            except ValueError as error:
                raise ValueError(f"modality {name!r}: {error}") from None
    return choices


def settled(encoders: Any, names: list[str], modules: Iterable[nn.Module]) -> dict[str, Any]:
    """The encoder chosen for each modality, with those parameters that its module ``settles`` when it is built."""
    choices = check_encoders(encoders, names)
    for name, module in zip(names, modules, strict=False):  # "early" may have none
        if own := {param: getattr(module, param) for param in getattr(module, "settles", {})}:
            choices[name] = _with(choices[name], own)
    return choices


def settled_before(encoders: Any, infos: Mapping[str, BlockInfo]) -> dict[str, Any]:
    """Encoders of a file: where it does not say what was settled, it is from before there was a choice."""
    choices = check_encoders(encoders, list(infos))
    for name, info in infos.items():
        spec = as_spec(Encoder, choices[name])
        if not isinstance(spec, Encoder):
            continue
        meant = Encoder(default_encoder(info)) if spec.name == "auto" else spec
        if former := getattr(meant.target(), "settles", {}):
            choices[name] = _with(spec, {**former, **spec.given})
    return choices


def _with(choice: Any, params: Mapping[str, Any]) -> Encoder:
    """An encoder's spec with these among its parameters; the one that was given stays as it is."""
    spec = as_spec(Encoder, choice)
    return Encoder(spec.name, **{**spec.given, **params})
