"""Rules that every fusion and encoder must keep as a module, and the check of encoders."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from skmm.blocks._blocks import KINDS, BlockInfo
from skmm.layers import SparseRows, unsupported, with_axes_of
from skmm.network._network import choose_fusion
from skmm.spec import Encoder, Fusion, Spec, as_spec

# Tensors and SparseRows by modality, and which of their rows or steps exist.
_Batch = dict[str, Any]
_Masks = dict[str, Tensor]

# Names that break a module which makes attributes, keyword arguments or submodule names of them,
# or give them to parts of their own: the fused head, the joint expert of a mixture.
NAMES = ("self", "a.b", "keys", "文本", "training", "fused", "joint")
_N_ROWS = 12
_TOLERANCE = 1e-6
_HUGE = 1e30
INHERITED = {"hidden_dim": 8, "dropout": 0.2, "activation": "relu"}
LINKS = {"softmax": 3, "sigmoid": 1, "identity": 2}

# The forms that a block of each kind can take.
INFOS: dict[str, tuple[BlockInfo, ...]] = {
    "vector": (BlockInfo("vector", (5,)),),
    "sparse": (BlockInfo("sparse", (9,)), BlockInfo("sparse", (9,), n_components=3)),
    "sequence": (BlockInfo("sequence", (3,)), BlockInfo("sequence", (3,), 6), BlockInfo("sequence", (2, 2))),
    "tokens": (BlockInfo("tokens", (11,)),),
    "image": (BlockInfo("image", (6, 7, 2)), BlockInfo("image", (6, 7))),
    "video": (BlockInfo("video", (3, 4, 4, 2)),),
}


# -- what is checked: a module, and batches that it can read ------------------------------------------------------


@dataclass
class Case:
    """A way to build the module, and its inputs."""

    label: str
    make: Callable[[], nn.Module]
    infos: Mapping[str, BlockInfo]
    n_outputs: int | None = None  # of a decision fusion

    def build(self, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make().to(torch.float64).eval()

    def batch(self, seed: int = 0, n_rows: int = _N_ROWS) -> tuple[_Batch, _Masks]:
        """Rows that lack one modality each in turn, then all, then none."""
        generator = torch.Generator().manual_seed(seed)
        turn = torch.arange(n_rows) % (len(self.infos) + 2)
        values, present = {}, {}
        for m, (name, info) in enumerate(self.infos.items()):
            exists = (turn != m) & (turn != len(self.infos))
            values[name], present[name] = _block(info, exists, generator)
        return values, present


def _block(info: BlockInfo, exists: Tensor, generator: torch.Generator) -> tuple[Tensor | SparseRows, Tensor]:
    """A batch of one block as training cuts it: zeros where nothing exists."""
    n, mask = len(exists), exists
    if info.kind == "sparse":
        columns = torch.randint(info.shape[0], (n, 4), generator=generator)
        weights, compressed = (
            torch.where(exists[:, None], torch.randn(n, size, generator=generator, dtype=torch.float64), 0.0)
            for size in (4, info.n_components)
        )
        return SparseRows(columns, weights, compressed), mask
    steps: tuple[int, ...] = ()
    if info.kind in ("sequence", "tokens"):
        n_steps = info.length or 7
        lengths = torch.full((n,), n_steps)
        if info.length is None:
            lengths = torch.randint(1, n_steps + 1, (n,), generator=generator)
            lengths[-1] = n_steps
        mask = exists[:, None] & (torch.arange(n_steps) < lengths[:, None])
        steps = (n_steps,)
    if info.kind == "tokens":  # an id or two that training has not seen
        x = torch.randint(info.shape[0] + 2, (n, *steps), generator=generator)
    else:
        x = torch.randn(n, *steps, *info.shape, generator=generator, dtype=torch.float64)
    return torch.where(with_axes_of(mask, x), x, 0), mask


def _exists(mask: Tensor) -> Tensor:
    """Rows that exist, of a mask over rows or over their steps."""
    return mask.view(len(mask), -1).any(1)


def _each(values: _Batch, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """A change to every tensor."""
    return {
        name: SparseRows(*map(change, x)) if isinstance(x, SparseRows) else change(x) for name, x in values.items()
    }


def _floats(values: _Batch, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """A change to every tensor of floats."""
    return _each(values, lambda x: change(x) if x.is_floating_point() else x)


def _rows(values: _Batch, present: _Masks, rows: list[int]) -> tuple[_Batch, _Masks]:
    return _each(values, lambda x: x[rows]), {name: mask[rows] for name, mask in present.items()}


class _MaskedEncoder(nn.Module):
    """An encoder called as a fusion is; zeros where its output does not exist."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.out_dim = encoder.out_dim

    def forward(self, values: _Batch, present: _Masks) -> Tensor:
        x, mask = self.encoder(values["x"], present["x"])
        return torch.where(mask.unsqueeze(-1), x, 0.0)


# -- helpers of the rules -----------------------------------------------------------------------------------------


class _Broken(Exception):
    """A rule does not hold; the message says where."""


def _require(holds: bool, detail: str) -> None:
    if not holds:
        raise _Broken(detail)


def _differ(a: Tensor, b: Tensor, tolerance: float = _TOLERANCE) -> str:
    """How two outputs differ; empty where they do not."""
    if a.shape != b.shape:
        return f"the outputs have shapes {tuple(a.shape)} and {tuple(b.shape)}"
    gap = (a - b).abs() / (1 + b.abs())
    if bool((gap <= tolerance).all()):  # False where NaN
        return ""
    return f"the outputs differ by {gap.max().item():.3g}"


def _require_same(a: Tensor, b: Tensor, where: str, tolerance: float = _TOLERANCE) -> None:
    difference = _differ(a, b, tolerance)
    _require(not difference, f"{where} {difference}.")


def _seeded(module: nn.Module, values: _Batch, present: _Masks) -> Tensor:
    """Output in training mode, dropout drawn from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return module.train()(values, present)


def _loss(output: Tensor) -> Tensor:
    """A number on which every entry of the output has its own say."""
    generator = torch.Generator().manual_seed(1)
    return (output * torch.randn(output.shape, generator=generator, dtype=output.dtype)).sum()


# -- the rules: the first line of each docstring is what must hold ------------------------------------------------


def _gives_its_size(case: Case) -> None:
    """The output has one row per sample and size out_dim, all finite."""
    module, (values, present) = case.build(), case.batch()
    output = module(values, present)
    size = getattr(module, "out_dim", None)
    _require(
        output.ndim in ((2, 3) if isinstance(module, _MaskedEncoder) else (2,))
        and (output.shape[0], output.shape[-1]) == (_N_ROWS, size),
        f"{_N_ROWS} rows in, out_dim={size!r}, but the output's shape is {tuple(output.shape)}.",
    )
    if case.n_outputs is not None:
        _require(size == case.n_outputs, f"n_outputs={case.n_outputs}, but out_dim={size!r}.")
    _require(bool(torch.isfinite(output).all()), "The output holds NaN or infinity.")


def _repeats_itself(case: Case) -> None:
    """In evaluation mode equal inputs give equal outputs."""
    module, batch = case.build(), case.batch()
    _require_same(module(*batch), module(*batch), "Called twice,", 0.0)


def _keeps_rows_apart(case: Case) -> None:
    """The output of a row does not depend on the other rows of its batch."""
    module, (values, present) = case.build(), case.batch()
    together = module(values, present)
    for i in range(_N_ROWS):
        alone = module(*_rows(values, present, [i]))
        _require_same(alone, together[i : i + 1], f"Row {i} alone and in a batch:")
    # in training too; the same shapes draw the same dropout
    i = len(case.infos) + 1  # a row that lacks nothing
    output = _seeded(module, values, present)
    order = [j if j == i else (j * 5 + 3) % _N_ROWS for j in range(_N_ROWS)]
    shuffled = _seeded(module, *_rows(values, present, order))
    _require_same(shuffled[i], output[i], f"In training mode, row {i} beside other rows:")


def _reads_one_row(case: Case) -> None:
    """A batch of one row works, in training and in evaluation."""
    module, (values, present) = case.build(), case.batch()
    for mode in (True, False):
        shape = module.train(mode)(*_rows(values, present, [0])).shape
        _require(
            (shape[0], shape[-1]) == (1, module.out_dim),
            f"One row in, out_dim={module.out_dim}, but the output's shape is {tuple(shape)}.",
        )


def _trains_every_parameter(case: Case) -> None:
    """Every parameter receives a gradient and moves when an optimizer takes a step."""
    module, batch = case.build(), case.batch()
    parameters = dict(module.named_parameters())
    before = {key: p.detach().clone() for key, p in parameters.items()}
    loss = _loss(_seeded(module, *batch))
    if parameters:
        loss.backward()
    for key, p in parameters.items():
        _require(p.grad is not None and bool(p.grad.any()), f"Parameter {key!r} has no gradient.")
    if parameters:
        torch.optim.SGD(parameters.values(), lr=0.1).step()
    for key, p in parameters.items():
        _require(not torch.equal(p, before[key]), f"Parameter {key!r} stays as it is.")


def _registers_every_weight(case: Case) -> None:
    """All that is learned is registered and in state_dict, none in a plain list or made in forward."""
    module, batch = case.build(), case.batch()
    known = {id(p) for p in module.parameters()}
    output = _seeded(module, *batch)
    todo, seen = [output.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        _require(
            leaf is None or id(leaf) in known,
            f"A weight of shape {tuple(leaf.shape) if leaf is not None else ()} is used that is not among "
            "parameters(). Keep weights in nn.Parameter, nn.ParameterList or nn.ModuleList, made in __init__.",
        )
        todo.extend(parent for parent, _ in node.next_functions)
    missing = {key for key, _ in module.named_parameters()} - set(module.state_dict())
    _require(not missing, f"Not in state_dict: {sorted(missing)}.")
    other = case.build(seed=1)
    other.load_state_dict(module.eval().state_dict())
    _require_same(other(*batch), module(*batch), "Loaded from state_dict,")


def _creates_nothing_in_forward(case: Case) -> None:
    """The state_dict has the same keys before and after forward."""
    module = case.build()
    before = list(module.state_dict())
    _seeded(module, *case.batch())
    _require(list(module.state_dict()) == before, f"Keys changed from {before} to {list(module.state_dict())}.")


def _survives_copies(case: Case) -> None:
    """Pickled and deep-copied it gives the same output."""
    module, batch = case.build(), case.batch()
    expected = module(*batch)
    copies = {"pickled": pickle.loads(pickle.dumps(module)), "deep-copied": copy.deepcopy(module)}
    for how, other in copies.items():
        _require_same(other(*batch), expected, f"{how.capitalize()},", 0.0)


def _has_finite_gradients(case: Case) -> None:
    """Gradients are finite at and near zero inputs, and where all modalities of a row are missing."""
    values, present = case.batch()
    nothing = {name: torch.zeros_like(mask) for name, mask in present.items()}
    everything = {name: torch.ones_like(mask) for name, mask in present.items()}
    zeros, tiny = _floats(values, torch.zeros_like), _floats(values, lambda x: x * 1e-12)
    places = {
        "inputs of 0": (zeros, everything),
        "inputs near 0": (tiny, everything),
        "all rows missing": (values, nothing),
        "all rows missing, inputs of 0": (zeros, nothing),
    }
    for where, (x, masks) in places.items():
        module = case.build()
        leaves: list[Tensor] = []

        def leaf(x: Tensor, leaves: list[Tensor] = leaves) -> Tensor:
            leaves.append(x.clone().requires_grad_())
            return leaves[-1]

        loss = _loss(_seeded(module, _floats(x, leaf), masks))
        if loss.requires_grad:
            loss.backward()
        gradients = {f"parameter {key!r}": p.grad for key, p in module.named_parameters()}
        gradients.update({f"input {i}": x.grad for i, x in enumerate(leaves)})
        for what, gradient in gradients.items():
            _require(
                gradient is None or bool(torch.isfinite(gradient).all()),
                f"With {where}, the gradient of {what} holds NaN or infinity.",
            )


def _ignores_what_is_missing(case: Case) -> None:
    """What stands in a missing row, or in the padding of a sequence, changes no output."""
    module, (values, present) = case.build(), case.batch()
    expected = module(values, present)
    for text, fill, padding in (("1e30", _HUGE, _HUGE), ("NaN", float("nan"), 0.0)):
        filled: _Batch = {}
        for name, x in values.items():
            mask = present[name]
            if case.infos[name].kind == "tokens":
                filled[name] = torch.where(mask, x, 10**9)
                continue
            # a row that is missing holds anything, the padding of one that exists only finite values
            bad = torch.where(_exists(mask), padding, fill).to(torch.float64)

            def put(x: Tensor, mask: Tensor = mask, bad: Tensor = bad) -> Tensor:
                return torch.where(with_axes_of(mask, x), x, with_axes_of(bad, x))

            filled.update(_floats({name: x}, put))
        _require_same(module(filled, present), expected, f"With {text} there,")


def _ignores_padding(case: Case) -> None:
    """Longer padding of a sequence changes no output."""
    module, (values, present) = case.build(), case.batch()
    padded, masks = dict(values), dict(present)
    for name, info in case.infos.items():
        if info.kind in ("sequence", "tokens") and info.length is None:
            x, mask = values[name], present[name]
            padded[name] = torch.cat([x, torch.zeros_like(x[:, :3])], 1)
            masks[name] = torch.cat([mask, torch.zeros_like(mask[:, :3])], 1)
    if isinstance(module, _MaskedEncoder):  # tokens that exist, since there may be more that do not
        short, a = module.encoder(values["x"], present["x"])
        long, b = module.encoder(padded["x"], masks["x"])
        _require_same(long[b], short[a], "With three more steps of padding")
    else:
        _require_same(module(padded, masks), module(values, present), "With three more steps of padding")


def _keeps_precision(case: Case) -> None:
    """It works in float64 and float32, and answers in the precision of its input."""
    values, present = case.batch()
    expected = case.build()(values, present)
    for dtype in (torch.float64, torch.float32):
        output = case.build().to(dtype)(_floats(values, methodcaller("to", dtype)), present)
        _require(output.dtype == dtype, f"Inputs of {dtype} gave {output.dtype}.")
        _require_same(output.to(torch.float64), expected, f"In {dtype} and in float64", 1e-3)


def _runs_stacked(case: Case) -> None:
    """Several run as one under torch.func.vmap, unless the class says why not: unsupported = {"vmap": reason}."""
    members = [case.build(seed) for seed in range(3)]
    if unsupported(members[0], "vmap"):
        return
    batches = [case.batch(seed) for seed in range(3)]
    parameters, buffers = stack_module_state(members)
    if not parameters and not buffers:  # nothing to stack
        return
    template = copy.deepcopy(members[0])
    layers: list[Any] = list(template.modules())
    for layer in layers:
        if hasattr(layer, "in_members"):  # a layer of ours with a batching rule of its own
            layer.in_members = True

    def call(parameters: Any, buffers: Any, values: _Batch, present: _Masks) -> Tensor:
        return functional_call(template, (parameters, buffers), (values, present))

    shared = torch.vmap(call, in_dims=(0, 0, None, None), randomness="different")
    own = torch.vmap(call, in_dims=(0, 0, 0, 0), randomness="different")
    together = {
        name: SparseRows(*map(torch.stack, zip(*(v[name] for v, _ in batches), strict=True)))
        if isinstance(x, SparseRows)
        else torch.stack([v[name] for v, _ in batches])
        for name, x in batches[0][0].items()
    }
    masks = {name: torch.stack([p[name] for _, p in batches]) for name in batches[0][1]}
    outputs = {
        "on the same rows": (shared(parameters, buffers, *batches[0]), [batches[0]] * 3),
        "each on its own rows": (own(parameters, buffers, together, masks), batches),
    }
    for how, (output, inputs) in outputs.items():
        for k, member in enumerate(members):
            _require_same(output[k], member(*inputs[k]), f"Member {k} stacked and alone, {how},")
    template.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loss = _loss(own(parameters, buffers, together, masks))
    if loss.requires_grad:
        loss.backward()


def _repeats_its_weights(case: Case) -> None:
    """Built twice after the same torch.manual_seed it has the same weights."""
    first, second = case.build(7).state_dict(), case.build(7).state_dict()
    for key, value in first.items():
        _require(torch.equal(second[key], value), f"{key!r} differs.")


def _returns_its_mask(case: Case) -> None:
    """The mask returned says which rows, or which tokens of a row, exist: none of a missing row."""
    module, (values, present) = case.build(), case.batch()
    assert isinstance(module, _MaskedEncoder)
    x, mask = module.encoder(values["x"], present["x"])
    _require(
        mask.dtype == torch.bool and mask.shape == x.shape[:-1],
        f"Values of shape {tuple(x.shape)} came with a {mask.dtype} mask of shape {tuple(mask.shape)}.",
    )
    exists = _exists(present["x"])
    for i, right in enumerate(_exists(mask) == exists):
        _require(
            bool(right), f"Row {i} is {'there' if exists[i] else 'missing'}, its mask says {mask[i].tolist()}."
        )


RULES = (
    _gives_its_size,
    _repeats_itself,
    _repeats_its_weights,
    _keeps_rows_apart,
    _reads_one_row,
    _creates_nothing_in_forward,
    _registers_every_weight,
    _trains_every_parameter,
    _survives_copies,
    _has_finite_gradients,
    _ignores_padding,
    _ignores_what_is_missing,
    _keeps_precision,
    _runs_stacked,
)


def check(case: Case, rules: Iterable[Callable[[Case], None]]) -> None:
    for rule in rules:
        statement = (rule.__doc__ or rule.__name__).splitlines()[0]
        try:
            with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it is
                torch.manual_seed(0)
                rule(case)
        except _Broken as broken:
            raise AssertionError(f"{case.label}: this must hold: {statement} {broken}") from None
        except Exception as error:
            raise AssertionError(
                f"{case.label}: this must hold: {statement} It raised {type(error).__name__}: {error}"
            ) from error


def label(what: str, spec: Spec, detail: str) -> str:
    name = repr(spec.name) if isinstance(spec.name, str) else spec.name.__name__
    return f"{what} {name}, {detail}"


# -- encoders -----------------------------------------------------------------------------------------------------


def check_encoder(encoder: str | type[nn.Module] | Encoder) -> None:
    """Check that an encoder keeps its contract.

    It is built for every kind of block among its ``kinds``, for vectors and for tokens, and must keep the rules
    of :func:`check_fusion`, return a mask beside its output, and give the same output however much padding stands
    behind a sequence.

    Parameters
    ----------
    encoder : str, nn.Module class or Encoder
        A registered name, a class, or either with parameters: ``Encoder("gru", bidirectional=True)``.

    Raises
    ------
    AssertionError
        If a rule does not hold; the message names the rule and the case.
    ValueError
        If the name is not registered, or a parameter is none of the class's.

    Examples
    --------
    >>> from skmm.testing import check_encoder
    >>> check_encoder("mlp")
    """
    spec = as_known(Encoder, encoder)
    kinds = getattr(spec.target(), "kinds", tuple(KINDS))
    if not kinds or not set(kinds) <= set(KINDS):
        raise AssertionError(f"{label('encoder', spec, f'kinds={kinds!r}')}: kinds must be among {list(KINDS)}.")
    for info in (info for kind in kinds for info in INFOS[kind]):
        for tokens in (False, True):
            case = label("encoder", spec, f"{info}, tokens={tokens}")
            check(Case(case, partial(_masked, spec, info, tokens), {"x": info}), (*RULES, _returns_its_mask))


def _masked(spec: Spec, info: BlockInfo, tokens: bool) -> _MaskedEncoder:
    return _MaskedEncoder(spec.build(info, tokens, inherited=INHERITED))


def takes(fusion: Any, infos: Mapping[str, BlockInfo], link: str) -> bool:
    """Whether a fusion of an estimator reads blocks of these kinds, for this link; its constructor says."""
    spec = choose_fusion(fusion, infos)
    if not isinstance(spec, Fusion):  # a module, which is built already
        return True
    level = getattr(spec.target(), "level", None)
    dims: dict[str, Any] = dict(infos) if level == "input" else dict.fromkeys(infos, 3)
    structure = (dims, LINKS[link], link) if level == "decision" else (dims,)
    try:
        with torch.random.fork_rng(devices=[]):
            spec.build(*structure, inherited=INHERITED)
    except ValueError:
        return False
    return True


def as_known(kind: type[Spec], value: Any) -> Spec:
    """The spec of a name or class, which must exist and take its parameters."""
    spec = as_spec(kind, value)
    if not isinstance(spec, kind):
        raise ValueError(f"expected a name, a class or {kind.__name__}(...), got {value!r}.")
    spec.resolve()
    return spec
