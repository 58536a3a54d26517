"""Networks and the nets that train them: rebuilt from what they are made of, then given their weights."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules
from torch.overrides import TorchFunctionMode

from skmm._devices import seeded
from skmm.blocks._blocks import BlockInfo
from skmm.estimators._trained import TrainedEstimator
from skmm.network._encoders import UserEncoder, check_encoders, settled_before
from skmm.network._members import MemberNetworks
from skmm.network._network import FusionNetwork
from skmm.persistence._records import WATCHES_FITS, Reader, Record, Writer
from skmm.spec import Encoder, Spec
from skmm.speech._network import SpeechNet, SpeechNetwork
from skmm.training._losses import HeadsLoss
from skmm.training._net import OF_NET, MultimodalNet

_NETWORKS: dict[type, Any] = {MultimodalNet: FusionNetwork, SpeechNet: SpeechNetwork}
_LARGEST = 1 << 22  # number that describes a network of few weights, such as the length of its samples
_OF_TRAINING = ("streamed_", "total_steps_", "n_batches_", "step_")
_OF_MODULE = ("_parameters", "_buffers", "_modules", "training")
_CPU = torch.device("cpu")


# -- modules of the user's own ------------------------------------------------------------------------------------


def write_module(writer: Writer, module: nn.Module) -> Record:
    """A module by its class, attributes and layers."""
    base = vars(nn.Module())
    state = {name: value for name, value in vars(module).items() if name not in base}
    hooked = [name for name in base if "hook" in name and vars(module).get(name)]
    if hooked:
        raise ValueError(f"a {type(module).__name__} has hooks, which a file cannot hold: {hooked}.")
    if isinstance(module, nn.RNNBase):  # lists of its own parameters, which it makes itself
        state = {name: value for name, value in state.items() if not name.startswith("_flat_weight")}
        state["_flat_weights_names"] = module._flat_weights_names
    state |= {name: dict(value) if name != "training" else value for name, value in _own(module).items()}
    state["_non_persistent_buffers_set"] = sorted(module._non_persistent_buffers_set)
    return writer.numbered("module", module, lambda: [writer.write(type(module)), *writer.named(state)])


def _own(module: nn.Module) -> dict[str, Any]:
    return {name: vars(module)[name] for name in _OF_MODULE}


def read_module(reader: Reader, number: int, cls: Any, *parts: Any) -> nn.Module:
    """The module again; its own ``__init__`` is not called."""
    cls = reader.type_of(cls, nn.Module)
    module = reader.note(number, cls.__new__(cls))
    nn.Module.__init__(module)
    state = reader.named(*parts)
    state["_non_persistent_buffers_set"] = set(state["_non_persistent_buffers_set"])
    for name in _OF_MODULE[:-1]:
        wanted = nn.Module if name == "_modules" else Tensor
        if not all(part is None or isinstance(part, wanted) for part in state[name].values()):
            raise ValueError(f"{name} of a {cls.__name__} hold what is no {wanted.__name__}")
    module.__dict__.update(state)
    if isinstance(module, nn.RNNBase):
        module._init_flat_weights()
    return module


# -- networks -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _at_most(n: int) -> Iterator[None]:
    """Let this thread give modules so many parameters and layers at most: numbers of a file may be anything."""
    thread, left = threading.get_ident(), n

    def count(*_: Any) -> None:
        nonlocal left
        left -= threading.get_ident() == thread
        if left < 0:
            raise ValueError(f"its network would have more than {n} parts, which do not belong to its weights")

    with contextlib.ExitStack() as stack:
        for register in ("register_module_parameter_registration_hook", "register_module_module_registration_hook"):
            stack.callback(getattr(torch_modules, register)(count).remove)
        yield


class _Undrawn(TorchFunctionMode):
    """Inside, no initial weights are drawn, which takes most of the time of building a network without memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.uniform_, Tensor.normal_):
            return args[0]
        return func(*args, **(kwargs or {}))


def rebuild(
    cls: type, args: dict[str, Any], n_members: int, parameters: list[Any], buffers: list[Any]
) -> MemberNetworks:
    """The networks of an estimator, with these as their weights, of several along a leading member axis.

    A network is built on "meta", where it takes no memory; only where the shapes are its own do weights come in.
    """
    n_tensors = len(parameters) + len(buffers)
    _check_numbers(args, max(_LARGEST, sum(x.numel() for x in (*parameters, *buffers))))
    with seeded(0, _CPU), _at_most(100 + 20 * n_tensors), torch.device("meta"), _Undrawn():
        network = cls(**args)
    leading = () if n_members == 1 else (n_members,)
    _check_shapes(dict(network.named_parameters()), parameters, leading)
    _check_shapes(dict(network.named_buffers()), buffers, leading)
    if n_members > 1:
        return MemberNetworks([network] * n_members, (parameters, buffers))
    _assign(network, dict(zip([*network.parameters(), *network.buffers()], [*parameters, *buffers], strict=True)))
    return MemberNetworks([network])


def _check_numbers(value: Any, largest: int) -> None:
    """Refuse numbers larger than a network of so many weights has any, before anything counts up to them."""
    if isinstance(value, Spec):
        # what a class of the user's own makes of its parameters is not known
        users = isinstance(value.name, type) or (
            value.name in value._registry and not value.target().__module__.startswith("skmm.")
        )
        value = None if users else value.given
    elif isinstance(value, BlockInfo):
        value = vars(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            _check_numbers(part, largest)
    elif isinstance(value, int) and value > largest:
        raise ValueError(f"its network is said to have a size of {value}, which its weights do not have")


def _check_shapes(wanted: dict[str, Tensor], given: list[Tensor], leading: tuple[int, ...]) -> None:
    """Refuse tensors that are not those of a network."""
    if len(wanted) != len(given):
        raise ValueError(f"its network has {len(wanted)} tensors of a kind, the file {len(given)}")
    for (name, one), other in zip(wanted.items(), given, strict=True):
        if (*leading, *one.shape) != tuple(other.shape) or one.dtype != other.dtype:
            raise ValueError(
                f"its network has {name} of shape {(*leading, *one.shape)} and {one.dtype}, the file one of "
                f"{tuple(other.shape)} and {other.dtype}"
            )


def _assign(module: nn.Module, new: dict[Tensor, Tensor]) -> None:
    """Put tensors in the place of a module's own, those that layers share into all of these."""
    for layer in list(module.modules()):
        for name, old in {**layer._parameters, **layer._buffers}.items():
            if old is not None:
                setattr(layer, name, new[old])


def _arguments(net: MultimodalNet) -> dict[str, Any]:
    """What its networks are made of, modules of the user's own as they are in these."""
    args = dict(net.made_of_)
    if not args:
        raise ValueError("the estimator was fitted by a version that did not write such files; fit it again.")
    network, names = net.module_.network, list(args["infos"])
    encoders = dict(zip(names, network.encoders, strict=False))  # "early" may have none
    for name, encoder in encoders.items():
        if getattr(encoder, "backbone", None) is not None:
            raise ValueError(
                f"the encoder of modality {name!r} holds weights of a pretrained model, which a file that runs "
                "nothing cannot rebuild: use pickle or joblib, or freeze it (freeze=True, lora_rank=None)."
            )
    chosen = check_encoders(args["encoders"], names)
    args["encoders"] = {
        name: copy.deepcopy(encoders[name]).to("meta") if isinstance(encoders.get(name), UserEncoder) else choice
        for name, choice in chosen.items()
    }
    if isinstance(args["fusion"], nn.Module):
        own = args["fusion"] if network.fusion is None else network.fusion  # None where it was pruned
        args["fusion"] = copy.deepcopy(own).to("meta")
    return args


# -- nets ---------------------------------------------------------------------------------------------------------


def net_writer(training_state: bool) -> Any:
    """Writes nets, with the state of their optimizer or without."""

    def write_net(writer: Writer, net: MultimodalNet) -> Record:
        if type(net) not in _NETWORKS:
            raise ValueError(
                f"a {type(net).__name__} cannot be written, nets are {[c.__name__ for c in _NETWORKS]}."
            )
        args, module = _arguments(net), net.module_
        module.check_order()
        tensors = {"parameters": list(module.parameters()), "buffers": list(module.buffers())}
        # so that no file is written that cannot be read
        try:
            rebuild(_NETWORKS[type(net)], args, module.n_members, **tensors)
        except ValueError as error:
            raise ValueError(
                f"the network is not what it was built as: {error}. Was it changed by torch.nn.utils? Use "
                "skmm.compression.Pruned, or pickle."
            ) from None
        state = {name: getattr(net, name) for name in (*OF_NET, *_OF_TRAINING) if hasattr(net, name)}
        state |= {"args": args, "n_members": module.n_members, **tensors, "history": net.history_}
        state |= {"loss": net.criterion_.per_sample, "modality_loss": net.criterion_.modality_loss}
        if type(net) is SpeechNet:
            state["most"] = net.most
        if training_state and net.optimizer_ is not None:
            state["optimizer"] = net.optimizer_.state_dict()
            state["grad_scaler"] = net.scaler_.state_dict()
        return writer.numbered("net", net, lambda: [writer.write(type(net)), *writer.named(state)])

    return write_net


def read_net(reader: Reader, number: int, cls: Any, *parts: Any) -> MultimodalNet:
    """A net, on the device that it was trained on where there is one."""
    cls = reader.type_of(cls, MultimodalNet)
    state = reader.named(*parts)
    n_members, first = state["n_members"], state["parameters"][0]
    if n_members != 1 and not 0 < n_members <= first.numel():
        raise ValueError(f"it says {n_members} members, and has {first.numel()} of their weights")
    args = state["args"]
    if "encoders" in args:
        args["encoders"] = settled_before(args["encoders"], args["infos"])
    module = rebuild(_NETWORKS[cls], args, n_members, state["parameters"], state["buffers"])
    device = torch.device(state["device"])
    if device.type == "cuda" and not torch.cuda.is_available():
        state["device"] = "cpu"
    params = {name: state[name] for name in (*OF_NET, "most") if name in state}
    criterion = HeadsLoss(state["loss"], state["modality_loss"])
    net = cls(module, criterion, train_split=None, **params).initialize()
    net.made_of_, net.history_, net.copies_ = args, state["history"], {}
    net.__dict__.update({name: state[name] for name in _OF_TRAINING if name in state})
    if "optimizer" in state:
        net.optimizer_.load_state_dict(state["optimizer"])
        net.scaler_.load_state_dict(state["grad_scaler"])
    else:
        net.optimizer_ = None  # begins anew where training goes on
    return reader.note(number, net)


# -- estimators ---------------------------------------------------------------------------------------------------


def write_estimator(writer: Writer, estimator: TrainedEstimator) -> Record:
    """An estimator of all its attributes, but for the language model that it makes again, and what watches fits."""
    left = ("_language_made", WATCHES_FITS)
    state = {name: value for name, value in vars(estimator).items() if name not in left}
    return writer.numbered("object", estimator, lambda: [writer.write(type(estimator)), *writer.named(state)])


def _looked_up(encoder: Encoder) -> type | None:
    """The class of an encoder that looks for a model by its name or path."""
    known = isinstance(encoder.name, type) or encoder.name in encoder._registry
    target = encoder.target() if known else None
    return target if hasattr(target, "reader") else None


def write_encoder(writer: Writer, encoder: Encoder) -> Record:
    """An encoder's spec, beside the class that looks for a model, if it does: a type to be trusted."""
    state = dict(vars(encoder))
    return writer.numbered(
        "encoder",
        encoder,
        lambda: [writer.write(type(encoder)), writer.write(_looked_up(encoder)), *writer.named(state)],
    )


def read_encoder(reader: Reader, number: int, cls: Any, looked_up: Any, *parts: Any) -> Encoder:
    """The spec again, refused where it would look for a model without saying so."""
    made = reader.note(number, object.__new__(reader.type_of(cls, Encoder)))
    made.__dict__.update(reader.named(*parts))
    if _looked_up(made) is not reader.read(looked_up):
        raise ValueError(f"{made!r} would look for a model, which the file does not say")
    return made
