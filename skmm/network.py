"""Encoders -> fusion -> head, as one module; and several such networks as one."""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.utils._pytree import tree_leaves, tree_map  # torch has no public one; its own functions build on this

from skmm._checks import unknown
from skmm.blocks import KINDS, BlockInfo
from skmm.layers import Masks, SparseRows, Values, make_linear, masked_mean
from skmm.spec import ENCODERS, FUSIONS, Encoder, Fusion, as_spec, check_level

# Which encoder reads a kind of block when the user names none.
DEFAULT_ENCODERS = {
    "vector": "mlp",
    "sparse": "mlp",
    "sequence": "conv1d",
    "image": "conv2d",
    "tokens": "embedding",
    "video": "conv2d_temporal",
}


def default_encoder(info: BlockInfo) -> str:
    """The name of the encoder that reads a block where the user names none; steps that are pictures are a video."""
    pictures = info.kind == "sequence" and len(info.shape) == 3
    return DEFAULT_ENCODERS["video" if pictures else info.kind]


def known_fusion(fusion: Any) -> Any:
    """A fusion as a spec or a module.

    Raises
    ------
    ValueError
        If it is neither, nor the name of one; lists the names, ``"auto"`` among them.
    """
    spec, names = as_spec(Fusion, fusion), ["auto", *FUSIONS]
    if not isinstance(spec, (Fusion, nn.Module)):
        raise ValueError(
            f"fusion must be a name, a Fusion, a class or a module, got {fusion!r}; names are {names}."
        )
    if isinstance(spec, Fusion) and isinstance(spec.name, str) and spec.name not in names:
        raise unknown("fusion", spec.name, names)
    return spec


def choose_fusion(fusion: Any, infos: Mapping[str, BlockInfo]) -> Any:
    """The fusion that ``"auto"`` stands for: ``"gated"`` where all of several modalities are sequences, else
    ``"concat"``; any other as it is given."""
    spec = known_fusion(fusion)
    if not (isinstance(spec, Fusion) and spec.name == "auto"):
        return spec
    sequences = len(infos) > 1 and all(info.kind == "sequence" for info in infos.values())
    return Fusion("gated" if sequences else "concat", **spec._params)


class _UserEncoder(nn.Module):
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


def _make_encoder(name: str, choice: Any, info: BlockInfo, tokens: bool, inherited: Mapping[str, Any]) -> nn.Module:
    if isinstance(choice, nn.Module):
        return _UserEncoder(name, copy.deepcopy(choice), info)  # the user's own stays as it is
    spec = as_spec(Encoder, choice)
    if not isinstance(spec, Encoder):
        raise ValueError(
            f"the encoder of modality {name!r} must be a name, an Encoder, a class or a module, got {choice!r}."
        )
    if spec.name == "auto":
        spec = Encoder(default_encoder(info), **spec._params)
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
    return {name: Encoder() if encoders.get(name) is None else encoders[name] for name in names}


class _ModalityHead(nn.Module):
    """Outputs from one modality alone: a linear layer on its encoding, and one on a vector itself.

    The second path treats features as a linear model does, wide sparse ones at the cost of those that are stored.

    Shape
    -----
    encoded (B, d), x (B, ...) -> (B, n_outputs)
    """

    def __init__(self, dim: int, info: BlockInfo, n_outputs: int) -> None:
        super().__init__()
        self.encoded = nn.Linear(dim, n_outputs)
        linear = info.kind in ("vector", "sparse")
        self.skip = make_linear(info.kind, info.shape[0], n_outputs) if linear else None

    def forward(self, encoded: Tensor, x: Tensor | SparseRows) -> Tensor:
        logits = self.encoded(encoded)
        return logits if self.skip is None else logits + self.skip(x)


class FusionNetwork(nn.Module):
    """One network: an encoder per modality, the fusion, the head; on request a head per modality beside it.

    Parameters
    ----------
    infos : mapping of str to BlockInfo
        The modalities, in order.
    fusion : str, Fusion, nn.Module class or nn.Module
        The fusion; ``"auto"`` as :func:`choose_fusion` says.
    encoders : None, encoder, or mapping of str to encoder
        For all modalities or for each; ``"auto"`` where nothing is said.
    n_outputs : int
        Number of logits or values.
    link : {"softmax", "sigmoid", "identity"}
        What turns the outputs into predictions.
    inherited : mapping
        Values for hyperparameters left at None: hidden_dim, dropout, activation.
    modality_heads : bool
        Whether every modality has a head of its own.

    Shape
    -----
    values and present per modality, one batch -> (B, n_outputs), or with modality heads (B, 1 + M, n_outputs), the
    fused head first.
    """

    def __init__(
        self,
        infos: Mapping[str, BlockInfo],
        fusion: Any,
        encoders: Any,
        n_outputs: int,
        link: str,
        inherited: Mapping[str, Any],
        *,
        modality_heads: bool = False,
    ) -> None:
        super().__init__()
        self.names, self.n_outputs = list(infos), n_outputs
        choices = check_encoders(encoders, self.names)
        spec = choose_fusion(fusion, infos)
        own = isinstance(spec, nn.Module)
        self.level = check_level(spec if own else spec.target())
        self.encoders: Any = nn.ModuleList()
        dims: dict[str, Any] = dict(infos)
        # a fusion of the input needs no encoders, but heads of single modalities do
        if self.level != "input" or modality_heads:
            for name, info in infos.items():
                tokens = self.level == "token"
                self.encoders.append(_make_encoder(name, choices[name], info, tokens, inherited))
        if self.level != "input":
            dims = {name: encoder.out_dim for name, encoder in zip(infos, self.encoders, strict=True)}
        structure = (dims, n_outputs, link) if self.level == "decision" else (dims,)
        self.fusion: Any = copy.deepcopy(spec) if own else spec.build(*structure, inherited=inherited)
        self.head = None if self.level == "decision" else nn.Linear(self.fusion.out_dim, n_outputs)
        self.modality_heads = nn.ModuleList()
        if modality_heads:
            for encoder, info in zip(self.encoders, infos.values(), strict=True):
                dim: Any = encoder.out_dim
                self.modality_heads.append(_ModalityHead(dim, info, n_outputs))

    def _encode(self, values: Values, present: Masks) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        encoded, masks = {}, {}
        for name, encoder in zip(self.names, self.encoders, strict=True):
            x, mask = encoder(values[name], present[name])
            if self.level == "token":
                if x.ndim == 2:
                    x, mask = x.unsqueeze(-2), mask.unsqueeze(-1)
            elif x.ndim == 3:
                x, mask = masked_mean(x, mask), mask.any(-1)
            encoded[name], masks[name] = x, mask
        return encoded, masks

    def fuse(self, values: Values, present: Masks) -> Tensor:
        """What the head reads, (B, out_dim); of a decision fusion the logits."""
        if self.level == "input":
            return self.fusion(values, present)
        return self.fusion(*self._encode(values, present))

    def gates(self, values: Values, present: Masks) -> dict[str, Tensor]:
        """Weights with which the fusion takes up each modality, (B,) or (B, d)."""
        return self.fusion.gates(*self._encode(values, present))

    def attention_weights(self, values: Values, present: Masks) -> tuple[dict[Any, Tensor], dict[str, Tensor]]:
        """Weights (B, heads, T_target, 1 + Σ T_source) by target and sources, and which tokens exist."""
        encoded, masks = self._encode(values, present)
        return self.fusion.attention_weights(encoded, masks), masks

    def forward(self, values: Values, present: Masks) -> Tensor:
        if not self.modality_heads:
            return self._decide(self.fuse(values, present))
        encoded, masks = self._encode(values, present)
        fused = self.fusion(values, present) if self.level == "input" else self.fusion(encoded, masks)
        outputs = [self._decide(fused)]
        for name, head in zip(self.names, self.modality_heads, strict=True):
            x = encoded[name]
            outputs.append(head(masked_mean(x, masks[name]) if self.level == "token" else x, values[name]))
        return torch.stack(outputs, -2)

    def _decide(self, fused: Tensor) -> Tensor:
        return fused if self.head is None else self.head(fused)


def unsupported(module: nn.Module, what: str) -> str:
    """Which layer does not run under ``"vmap"``, ``"compile"`` or ``"export"``, and why; nothing if all do."""
    for layer in module.modules():
        if what in getattr(layer, "unsupported", {}):
            reasons: Any = layer.unsupported
            return f"{type(layer).__name__}: {reasons[what]}"
    return ""


# Above this many numbers in the pictures of a batch, members run one after another on a CPU, since what all of them
# hold does not fit into its caches: at once, 32 pictures of 8 x 8 take as long, of 64 x 64 1.7 times as long.
PICTURES_LIMIT = 8_000


def faster_one_by_one(n_numbers: int, device: torch.device) -> bool:
    """Whether networks run faster one after another on so many numbers in a batch of pictures."""
    return device.type == "cpu" and n_numbers > PICTURES_LIMIT


class Width(NamedTuple):
    """What a network makes of an input, in numbers: where that is more, a batch takes this in memory.

    Attributes
    ----------
    members : int
        Networks that run at once.
    step : int
        Numbers that they make of each step of a sequence.
    heads : int
        Weights that they make of each pair of steps.
    outputs : int
        Numbers that they say of a sample.
    """

    members: int = 1
    step: int = 0
    heads: int = 0
    outputs: int = 1

    def of_steps(self, steps: Any, inner: int) -> Any:
        """Numbers of so many steps, an int or an array of them; ``inner`` is what a step has itself."""
        return steps * np.maximum(max(inner, self.step), self.heads * steps)

    @classmethod
    def of(cls, network: Any, n_members: int, *, at_once: bool) -> Width:
        """That of networks of one shape."""
        members = n_members if at_once else 1
        layers: list[Any] = [layer for encoder in network.encoders for layer in encoder.modules()]
        sizes = (
            getattr(layer, name, 0) for layer in layers for name in ("out_features", "out_channels", "out_dim")
        )
        heads = max((getattr(layer, "n_heads", 0) for layer in network.modules()), default=0)
        outputs = 2 * n_members * network.n_outputs * (1 + len(network.modality_heads))  # twice, as float64
        return cls(members, members * max(sizes, default=0), members * heads, outputs)


class _Template:
    """A network without weights of its own, into which a member's are put for a call."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.slots = _slots(network)  # once: the walk costs as much as a small network
        layers: Any = network.modules()
        self.members_layers = [layer for layer in layers if hasattr(layer, "in_members")]


class MemberNetworks(nn.Module):
    """K networks of one shape, their parameters stacked along a leading member axis.

    One network alone is called as it is. More run under ``torch.func.vmap``, or one after another where a layer
    has no batching rule (``unsupported = {"vmap": reason}`` on its class), or buffers that it may write to, or
    where pictures are so large that a CPU is faster so.

    A call puts weights into a template that no other call uses meanwhile: threads may call at the same time.

    Parameters
    ----------
    networks : list of FusionNetwork
        The members, equal but for their weights.

    Shape
    -----
    With ``own_rows``, values (K, B, ...): each member its own batch; otherwise (B, ...), all the same.
    Output (K, B, ...); with one member and no member axis (B, ...).
    """

    def __init__(self, networks: list[FusionNetwork]) -> None:
        super().__init__()
        self.n_members = len(networks)
        owner = {id(p): encoder for encoder in networks[0].encoders for p in encoder.parameters()}
        owners = [owner.get(id(p)) for p in networks[0].parameters()]
        self._lr_factors = [getattr(encoder, "lr_factor", 1.0) for encoder in owners]
        self._thaws_at = [getattr(encoder, "thaws_at", None) for encoder in owners]
        self.vectorized = not unsupported(networks[0], "vmap") and not any(
            m._buffers and not getattr(m, "constant_buffers", False) for m in networks[0].modules()
        )
        self.width = Width.of(networks[0], self.n_members, at_once=self.vectorized)
        if self.n_members == 1:
            self.single = networks[0]
            return
        for module in networks[0].modules():
            reasons: Any = getattr(module, "unsupported", {})
            if "members" in reasons:
                raise ValueError(f"{reasons['members']}, as members need it: set n_members=1.")
        parameters, buffers = stack_module_state(networks)
        self.stacked = nn.ParameterList(nn.Parameter(p.data, p.requires_grad) for p in parameters.values())
        # Buffers of a user's module, such as running means, are written to in place: each member on its own, unless
        # the module says that they are constant.
        self.n_buffers = len(buffers)
        for i, buffer in enumerate(buffers.values()):
            self.register_buffer(f"buffer{i}", buffer)
        self._make_template(networks[0])

    def _make_template(self, network: FusionNetwork) -> None:
        """What calls are made with: a network without weights, and copies of it that no call uses now."""
        ids = [id(owner[key]) for owner, key in _slots(network)]
        self._which = [list(dict.fromkeys(ids)).index(i) for i in ids]  # tied weights are stacked once
        # the lists hide it from nn.Module, whose state is the stacked tensors alone
        self._template = [copy.deepcopy(network).to("meta")]
        self._idle: list[_Template] = []
        self._pictures = picture_modalities(network)

    def train(self, mode: bool = True) -> MemberNetworks:
        """Set training mode."""
        for child in self.children():
            child.train(mode)
        self.training = mode  # last: where it says so, all layers are in this mode, for other threads too
        return self

    def __getstate__(self) -> dict[str, Any]:
        # copies are made when they are needed; some may be in use by another thread
        return {**vars(self), "_idle": []} if self.n_members > 1 else vars(self).copy()

    def decayed(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Weights, which weight decay shrinks, and the rest (biases, norms, placeholders), which it leaves.

        Without those that are never trained.
        """
        axis = 0 if self.n_members == 1 else 1
        each = zip(self.parameters(), self._thaws_at, strict=True)
        trained = [p for p, thaws_at in each if p.requires_grad or thaws_at is not None]
        weights = [p for p in trained if p.ndim - axis >= 2]
        rest = [p for p in trained if p.ndim - axis < 2]
        return weights, rest

    def lr_factors(self) -> dict[nn.Parameter, float]:
        """The factor on the learning rate of each parameter, that of its encoder, else 1."""
        return dict(zip(self.parameters(), self._lr_factors, strict=True))

    def thaw(self, epoch: int) -> None:
        """Let the weights of encoders that were frozen until this epoch, counted from 1, be trained."""
        for parameter, thaws_at in zip(self.parameters(), self._thaws_at, strict=True):
            if thaws_at is not None:
                parameter.requires_grad_(epoch >= thaws_at or parameter.requires_grad)

    def forward(self, values: Values, present: Masks, *, own_rows: bool = False, method: str = "forward") -> Any:
        """Outputs of a method of the networks, a tensor or several in dicts and tuples."""
        if self.n_members == 1:
            return getattr(self.single, method)(values, present)
        at_once = self.vectorized and not self._large_pictures(values, own_rows)
        with self._calling(method, at_once) as (call, tensors):
            if at_once:
                axes = (0, 0, 0) if own_rows else (0, None, None)
                return torch.vmap(call, in_dims=axes, randomness="different")(tensors, values, present)
            outputs = [
                call(of_member(tensors, k), *(of_member((values, present), k) if own_rows else (values, present)))
                for k in range(len(tensors[0]))
            ]
            return tree_map(lambda *each: torch.stack(each), *outputs)

    @property
    def network(self) -> FusionNetwork:
        """One of the networks, of several one without weights."""
        return self.single if self.n_members == 1 else self._template[0]

    @contextlib.contextmanager
    def _calling(self, method: str, at_once: bool) -> Iterator[tuple[Callable[..., Any], list[Any]]]:
        """A method of the network as a function of its tensors, values and masks; and the stacked tensors."""
        try:
            template = self._idle.pop()
        except IndexError:  # all are in use, by other threads
            template = _Template(copy.deepcopy(self._template[0]))
        network = template.network
        if network.training != self.training:
            network.train(self.training)
        slots, tensors = self._filled(template)

        def call(tensors: list[Any], values: Values, present: Masks) -> Any:
            # what torch.func.functional_call does, whose checks cost more than a small network
            for (owner, key), tensor in zip(slots, tensors, strict=True):
                owner[key] = tensor
            return getattr(network, method)(values, present)

        own = [owner[key] for owner, key in slots]
        for layer in template.members_layers:
            layer.in_members = at_once
        try:
            yield call, tensors
        finally:
            for (owner, key), tensor in zip(slots, own, strict=True):
                owner[key] = tensor
            self._idle.append(template)

    def _large_pictures(self, values: Values, own_rows: bool) -> bool:
        pictures: list[Any] = [values[name] for name in self._pictures]
        return any(faster_one_by_one(x.numel() // (len(x) if own_rows else 1), x.device) for x in pictures)

    def _filled(self, template: _Template) -> tuple[list[tuple[dict[str, Any], str]], list[Any]]:
        """Places in a template, and the stacked tensors of which each member's go there."""
        # a ParameterList looks each of its own up by name, which takes as long as a layer of a small network
        stacked = self.stacked._parameters.values()
        tensors: list[Any] = [*stacked, *(getattr(self, f"buffer{i}") for i in range(self.n_buffers))]
        return template.slots, [tensors[which] for which in self._which]


def picture_modalities(network: FusionNetwork) -> list[str]:
    """Modalities whose encoder convolves over two axes or more."""
    return [
        name
        for name, encoder in zip(network.names, network.encoders, strict=False)  # "early" has no encoders
        if any(isinstance(layer, nn.Conv2d | nn.Conv3d) for layer in encoder.modules())
    ]


def of_member(tree: Any, member: int) -> Any:
    """A member's part of tensors with a leading member axis."""
    return tree_map(lambda x: x[member], tree)


def _slots(network: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """Where the parameters and then the buffers of a network are kept, in the order of their names."""
    modules = list(network.modules())
    parameters = [(m._parameters, key) for m in modules for key, p in m._parameters.items() if p is not None]
    return parameters + [(m._buffers, key) for m in modules for key, b in m._buffers.items() if b is not None]
