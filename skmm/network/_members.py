"""Several networks of one shape as one."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import stack_module_state

from skmm._private import tree_map
from skmm.inputs._columns import Width
from skmm.layers import Masks, PictureLayers, Slots, Values, fill, restoring, slots_of, unsupported
from skmm.network._network import FusionNetwork

# A method of a network: its name, or a function of the network, values and masks.
Method = str | Callable[..., Any]

# Above this many numbers in the pictures of a batch, members run one after another on a CPU, since what all of them
# hold does not fit into its caches: at once, 32 pictures of 8 x 8 take as long, of 64 x 64 1.7 times as long.
# Members whose layers see to it themselves run at once.
PICTURES_LIMIT = 8_000


def faster_one_by_one(n_numbers: int, device: torch.device) -> bool:
    """Whether networks run faster one after another on so many numbers in a batch of pictures."""
    return device.type == "cpu" and n_numbers > PICTURES_LIMIT


class Template:
    """A network without weights of its own, into which a member's are put for a call."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.slots = slots_of(network)  # once: the walk costs as much as a small network
        layers: Any = network.modules()
        self.members_layers = [layer for layer in layers if hasattr(layer, "in_members")]


class StackedNetworks(nn.Module):
    """K networks of one shape, called as one with their tensors stacked along a leading member axis.

    They run under ``torch.func.vmap``, or one after another where they are not ``vectorized`` or where pictures are
    so large that a CPU is faster so.

    A call puts weights into a template that no other call uses meanwhile: threads may call at the same time.

    Shape
    -----
    With ``own_rows``, values (K, B, ...): each member its own batch; otherwise (B, ...), all the same.
    Output (K, B, ...).
    """

    def stack(
        self,
        network: FusionNetwork,
        parameters: list[nn.Parameter],
        buffers: list[Tensor],
        *,
        vectorized: bool,
        fresh: bool = False,
    ) -> None:
        """Take these as the tensors of all members, (K, ...) each, in the order of those of one of the networks.

        That is copied, unless it is ``fresh``: without weights, and held by nobody else.
        """
        self.stacked = nn.ParameterList(parameters)
        # Buffers of a user's module, such as running means, are written to in place: each member on its own, unless
        # the module says that they are constant.
        self.n_buffers = len(buffers)
        for i, buffer in enumerate(buffers):
            self.register_buffer(f"buffer{i}", buffer)
        self.vectorized = vectorized
        ids = [id(owner[key]) for owner, key in slots_of(network)]
        self._which = [list(dict.fromkeys(ids)).index(i) for i in ids]  # tied weights are stacked once
        # the lists hide it from nn.Module, whose state is the stacked tensors alone
        self._template = [network if fresh else copy.deepcopy(network).to("meta")]
        self._idle: list[Template] = []
        self._pictures = picture_modalities(network, apart=False)

    @property
    def network(self) -> FusionNetwork:
        """One of the networks, without weights."""
        return self._template[0]

    def call_itself(self) -> None:
        """Make calls with :attr:`network` and no copy of it: one at a time then."""
        self._idle.append(Template(self.network))

    def train(self, mode: bool = True) -> StackedNetworks:
        """Set training mode."""
        for child in self.children():
            child.train(mode)
        self.training = mode  # last: where it says so, all layers are in this mode, for other threads too
        return self

    def __getstate__(self) -> dict[str, Any]:
        # copies are made when they are needed; some may be in use by another thread
        return {**vars(self), "_idle": []}

    def forward(
        self,
        values: Values,
        present: Masks,
        *,
        own_rows: bool = False,
        method: Method = "forward",
        members: list[int] | None = None,
    ) -> Any:
        """Outputs of a method of the networks, or of some ``members``, a tensor or several in dicts and tuples."""
        at_once = self.vectorized and not self._large_pictures(values, own_rows)
        with self.calling(method, at_once) as (call, tensors):
            if members is not None:
                tensors = [tensor[members] for tensor in tensors]
            if at_once:
                axes = (0, 0, 0) if own_rows else (0, None, None)
                return torch.vmap(call, in_dims=axes, randomness="different")(tensors, values, present)
            outputs = [
                call(of_member(tensors, k), *(of_member((values, present), k) if own_rows else (values, present)))
                for k in range(len(tensors[0]))
            ]
            return tree_map(lambda *each: torch.stack(each), *outputs)

    @contextlib.contextmanager
    def calling(self, method: Method, at_once: bool) -> Iterator[tuple[Callable[..., Any], list[Any]]]:
        """A method of the network as a function of its tensors, values and masks; and the stacked tensors."""
        try:
            template = self._idle.pop()
        except IndexError:  # all are in use, by other threads
            template = Template(copy.deepcopy(self.network))
        network = template.network
        if network.training != self.training:
            network.train(self.training)
        slots, tensors = self.filling(template)

        def call(tensors: list[Any], values: Values, present: Masks) -> Any:
            fill(slots, tensors)
            return bound(network, method)(values, present)

        for layer in template.members_layers:
            layer.in_members = at_once
        try:
            with restoring(slots):
                yield call, tensors
        finally:
            self._idle.append(template)

    def filling(self, template: Template) -> tuple[Slots, list[Any]]:
        """Places in a template, and the stacked tensors of which each member's go there."""
        self.check_order()
        # a ParameterList looks each of its own up by name, which takes as long as a layer of a small network
        stacked = self.stacked._parameters.values()
        tensors: list[Any] = [*stacked, *(getattr(self, f"buffer{i}") for i in range(self.n_buffers))]
        return template.slots, [tensors[which] for which in self._which]

    def check_order(self) -> None:
        """Refuse stacked tensors that ``torch.nn.utils`` has put others in the place of, out of their order.

        Raises
        ------
        RuntimeError
            If they are; says how to prune.
        """
        found = [*self.stacked._parameters]
        if found != _numbers(len(found)):
            raise RuntimeError(
                f"the stacked weights of the members were changed from outside: they are {found}. "
                "torch.nn.utils.prune and parametrize do not know members: use "
                "skmm.compression.Pruned(estimator, weights=...), which does."
            )

    def _large_pictures(self, values: Values, own_rows: bool) -> bool:
        pictures: list[Any] = [values[name] for name in self._pictures]
        return any(faster_one_by_one(x.numel() // (len(x) if own_rows else 1), x.device) for x in pictures)


class MemberNetworks(StackedNetworks):
    """The members of an estimator: one network, which is called as it is, or several, stacked.

    Several run one after another where a layer has no batching rule (``unsupported = {"vmap": reason}`` on its
    class), or buffers that it may write to.

    Parameters
    ----------
    networks : list of FusionNetwork
        The members, equal but for their weights.
    stacked : pair of list of Tensor, optional
        Parameters and buffers of several, (K, ...) each, where these are not those of ``networks``.

    Shape
    -----
    That of :class:`StackedNetworks`; with one member there is no member axis.
    """

    def __init__(
        self, networks: list[FusionNetwork], stacked: tuple[list[Any], list[Tensor]] | None = None
    ) -> None:
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
        fresh = stacked is not None
        if stacked is None:
            parameters, buffers = stack_module_state(networks)
            stacked = [nn.Parameter(p.data, p.requires_grad) for p in parameters.values()], list(buffers.values())
        self.stack(networks[0], *stacked, vectorized=self.vectorized, fresh=fresh)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() if self.n_members > 1 else vars(self).copy()

    def member(self, k: int) -> FusionNetwork:
        """A copy of one of the networks, with weights of its own."""
        if self.n_members == 1:
            try:
                return copy.deepcopy(self.single)
            except RuntimeError as error:  # a tensor that a hook computes
                raise ValueError(
                    f"the network cannot be copied ({error}). If torch.nn.utils.prune changed it, make that "
                    "permanent first: torch.nn.utils.prune.remove(layer, 'weight')."
                ) from error
        template = Template(copy.deepcopy(self.network))
        slots, tensors = self.filling(template)
        own: dict[int, Tensor] = {}  # tied weights stay so
        for (owner, key), tensor in zip(slots, tensors, strict=True):
            copied = own.setdefault(id(tensor), tensor[k].detach().clone())
            if isinstance(tensor, nn.Parameter) and not isinstance(copied, nn.Parameter):
                copied = own[id(tensor)] = nn.Parameter(copied, tensor.requires_grad)
            owner[key] = copied
        network: Any = template.network
        return network

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

    def forward(self, values: Values, present: Masks, **how: Any) -> Any:
        """Outputs of a method of the networks, a tensor or several in dicts and tuples."""
        if self.n_members == 1:
            return bound(self.single, how.get("method", "forward"))(values, present)
        return super().forward(values, present, **how)

    def check_order(self) -> None:
        if self.n_members > 1:
            super().check_order()

    @property
    def network(self) -> FusionNetwork:
        """One of the networks, of several one without weights."""
        return self.single if self.n_members == 1 else super().network


def bound(network: nn.Module, method: Method) -> Callable[..., Any]:
    """A method of a network, by its name or as a function of the network."""
    return getattr(network, method) if isinstance(method, str) else functools.partial(method, network)


def picture_modalities(network: FusionNetwork, *, apart: bool = True) -> list[str]:
    """Modalities whose encoder convolves over two axes or more.

    Unless ``apart``, without those that do so for one member after another by themselves.
    """
    return [
        name
        for name, encoder in zip(network.names, network.encoders, strict=False)  # "early" has no encoders
        if any(isinstance(layer, nn.Conv2d | nn.Conv3d) for layer in encoder.modules())
        and (apart or not any(isinstance(layer, PictureLayers) for layer in encoder.modules()))
    ]


def of_member(tree: Any, member: int) -> Any:
    """A member's part of tensors with a leading member axis."""
    return tree_map(lambda x: x[member], tree)


@functools.cache
def _numbers(n: int) -> list[str]:
    """Names of the parameters of a list."""
    return [str(i) for i in range(n)]
