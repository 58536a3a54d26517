"""Layers and masked operations that encoders and fusions share.

Every function here works under ``torch.func.vmap`` and never mixes samples.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skmm._checks import at_least_one, divisors, is_whole, unknown

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


def check_heads(n_heads: Any, hidden_dim: Any) -> None:
    """Refuse tokens of no size, and a number of attention heads that does not divide their size."""
    at_least_one(hidden_dim=hidden_dim)
    valid = divisors(hidden_dim)
    if not is_whole(n_heads) or n_heads not in valid:
        raise ValueError(f"n_heads={n_heads!r} does not divide the dimension {hidden_dim}; valid are {valid}.")


def make_activation(activation: str | Callable[[], nn.Module]) -> nn.Module:
    """An activation by name, or from a class or factory of the user's."""
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        return ACTIVATIONS[activation]()
    if isinstance(activation, nn.Module) or not callable(activation):
        raise ValueError(
            f"activation={activation!r} must be the name or the class of an activation, torch.nn.ReLU say; valid "
            f"names are {list(ACTIVATIONS)}."
        )
    return activation()


class SparseRows(NamedTuple):
    """A batch of sparse vectors: the stored entries of each row, filled up with zeros to the longest.

    Shape
    -----
    columns : (B, N) int64; in a deployed module None where all columns are given, in order
    weights : (B, N) float
    compressed : (B, n_components) float, a dense projection of the rows
    """

    columns: Any
    weights: Tensor
    compressed: Tensor


class SparseLinear(nn.Module):
    """``nn.Linear`` for :class:`SparseRows`: a weighted sum of the rows of the weight that are hit."""

    in_members = False  # set where the module is run under torch.vmap with stacked weights

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        # As nn.Linear's bound, but for the entries that a row stores (about 100), not for all that it could.
        nn.init.uniform_(self.weight, -1 / math.sqrt(min(in_features, 100)), 1 / math.sqrt(min(in_features, 100)))

    def forward(self, x: SparseRows) -> Tensor:
        summed = _MembersBag.apply if self.in_members else weighted_sum
        return summed(x.columns, x.weights, self.weight) + self.bias


def weighted_sum(columns: Tensor | None, weights: Tensor, table: Tensor) -> Tensor:
    """Weighted sums of rows of a table: columns and weights (B, N), table (d, o) -> (B, o)."""
    if columns is None:
        return weights @ table
    if torch.compiler.is_compiling():  # embedding_bag is exported for two rows or more alone
        return (weights.unsqueeze(-2) @ F.embedding(columns, table)).squeeze(-2)
    return F.embedding_bag(columns, table, per_sample_weights=weights, mode="sum")


class _MembersBag(torch.autograd.Function):
    """Weighted sums of several members' rows, for which torch has no batching rule: as rows of one tall table.

    Only its rule is ever used, whose own operations autograd differentiates: so there is no backward.
    """

    @staticmethod
    def forward(columns: Tensor, weights: Tensor, table: Tensor) -> Tensor:
        raise RuntimeError("a layer of members was called outside of torch.vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: see above."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, columns: Tensor, weights: Tensor, table: Tensor) -> tuple[Tensor, int]:
        k = info.batch_size
        columns = columns.expand(k, *columns.shape) if in_dims[0] is None else columns.movedim(in_dims[0], 0)
        weights = weights.expand(k, *weights.shape) if in_dims[1] is None else weights.movedim(in_dims[1], 0)
        table = table.movedim(in_dims[2], 0)
        first = torch.arange(k, device=columns.device).view(-1, 1, 1) * table.shape[1]
        summed = weighted_sum((columns + first).flatten(0, 1), weights.flatten(0, 1), table.flatten(0, 1))
        return summed.unflatten(0, (k, -1)), 0


def make_linear(kind: str, in_features: int, out_features: int) -> nn.Module:
    """The first linear layer of a vector or of a sparse block."""
    return SparseLinear(in_features, out_features) if kind == "sparse" else nn.Linear(in_features, out_features)


class DenseBlock(nn.Sequential):
    """Linear, LayerNorm, activation, dropout."""

    def __init__(
        self, linear: nn.Module, out_dim: int, *, activation: str, dropout: float, norm: bool = True
    ) -> None:
        layers: list[nn.Module] = [linear]
        if norm:
            layers.append(nn.LayerNorm(out_dim))
        # at rate 0 as well: networks that differ in rates alone can be trained together
        layers += [make_activation(activation), nn.Dropout(dropout)]
        super().__init__(*layers)


# Above this many values per member and batch, convolutions of several members run one after another on a CPU: torch
# batches them as one grouped convolution, which was measured 2 times faster below and 2 times slower above. This is
# of sequences; with large pictures the members as a whole run one after another.
_GROUPED_CONVOLUTION_LIMIT = 100_000


class _MembersConvolution(torch.autograd.Function):
    """A convolution whose batching rule chooses between grouped and one after another.

    Only its rule is ever used, whose own operations autograd differentiates: so there is no backward.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, ...]) -> Tensor:
        raise RuntimeError("a layer of members was called outside of torch.vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: see above."""

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, ...]
    ) -> tuple[Tensor, int]:
        def single(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return _convolve(x, weight, bias, padding).transpose(-1, -2)

        samples = x.numel() // (1 if in_dims[0] is None else info.batch_size)
        values = samples // weight.shape[2] * max(weight.shape[1], weight.shape[2])
        if x.device.type != "cpu" or values < _GROUPED_CONVOLUTION_LIMIT:
            return torch.vmap(single, in_dims=in_dims[:3])(x, weight, bias).transpose(-1, -2), 0
        each = [x] * info.batch_size if in_dims[0] is None else x.unbind(in_dims[0])
        # side by side as they lie in memory, the channels of a step together
        outputs = list(map(single, each, weight.unbind(in_dims[1]), bias.unbind(in_dims[2])))
        return torch.stack(outputs).transpose(-1, -2), 0


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Any) -> Tensor:
    """A convolution over time, x (B, C, T): on a CPU as one of pictures a single pixel high.

    Of pictures alone does torch keep the channels of a step together, as sequences lie in memory: nothing is
    copied, and a convolution with what surrounds it takes half of the time.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():  # an export says what the layer is
        return F.conv1d(x, weight, bias, padding=padding)
    return F.conv2d(x.unsqueeze(-2), weight.unsqueeze(-2), bias, padding=(0, *padding)).squeeze(-2)


class Conv1d(nn.Conv1d):
    """``nn.Conv1d`` with odd kernel and zeros at both ends, fast also as one of several members."""

    in_members = False  # set where the module is run under torch.vmap with stacked weights

    def forward(self, x: Tensor) -> Tensor:
        if self.in_members:
            return _MembersConvolution.apply(x, self.weight, self.bias, self.padding)
        return _convolve(x, self.weight, self.bias, self.padding)


class _MembersPictures(torch.autograd.Function):
    """Layers that read pictures, of several members one after another.

    Only its rule is ever used, whose own operations autograd differentiates: so there is no backward.
    """

    @staticmethod
    def forward(layers: PictureLayers, x: Tensor, *weights: Tensor) -> Tensor:
        raise RuntimeError("a layer of members was called outside of torch.vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: see above."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, layers: PictureLayers, x: Tensor, *weights: Tensor) -> tuple[Tensor, int]:
        each = [x] * info.batch_size if in_dims[1] is None else x.unbind(in_dims[1])
        of_members = zip(*(w.unbind(axis) for w, axis in zip(weights, in_dims[2:], strict=True)), strict=True)
        slots, outputs = slots_of(layers), []
        with restoring(slots):
            for own_x, own in zip(each, of_members, strict=True):
                fill(slots, own)
                outputs.append(layers.one_after_another(own_x))
        return torch.stack(outputs), 0


class PictureLayers(nn.Sequential):
    """Layers one after the other that read pictures, fast also as those of one of several members.

    On a CPU these run one after another, since what all of them hold does not fit into its caches, and torch makes
    grouped convolutions of theirs, which are slower; what follows in a network runs at once.
    """

    in_members = False  # set where the module is run under torch.vmap with stacked weights

    def forward(self, x: Tensor) -> Tensor:
        if self.in_members and x.device.type == "cpu":
            return _MembersPictures.apply(self, x, *(owner[key] for owner, key in slots_of(self)))
        return self.one_after_another(x)

    def one_after_another(self, x: Tensor) -> Tensor:
        """The output of a single network's layers."""
        return super().forward(x)


Slots = list[tuple[dict[str, Any], str]]


def slots_of(module: nn.Module) -> Slots:
    """Where the parameters and then the buffers of a module are kept, in the order of their names."""
    modules = list(module.modules())
    parameters = [(m._parameters, key) for m in modules for key, p in m._parameters.items() if p is not None]
    return parameters + [(m._buffers, key) for m in modules for key, b in m._buffers.items() if b is not None]


def fill(slots: Slots, tensors: Iterable[Any]) -> None:
    """Put tensors into a module. torch.func.functional_call does so too, with checks as long as a small network."""
    for (owner, key), tensor in zip(slots, tensors, strict=True):
        owner[key] = tensor


@contextlib.contextmanager
def restoring(slots: Slots) -> Iterator[None]:
    """Whatever is put into a module in the block is gone after it."""
    own = [owner[key] for owner, key in slots]
    try:
        yield
    finally:
        fill(slots, own)


def max_of_pairs(x: Tensor) -> Tensor:
    """Maximum of each two steps, of an odd number the last alone: x (B, T, d) -> (B, ⌈T / 2⌉, d)."""
    if torch.compiler.is_compiling():  # torch's own pooling is faster, but its export fixes the number of steps
        return torch.maximum(x[:, ::2], F.pad(x, (0, 0, 0, 1), value=torch.finfo(x.dtype).min)[:, 1::2])
    return F.max_pool1d(x.transpose(-1, -2), 2, ceil_mode=True).transpose(-1, -2)


def max_over_time(x: Tensor) -> Tensor:
    """Maximum of all steps: x (B, T, d) -> (B, d)."""
    if torch.is_grad_enabled() and x.device.type == "cpu" and not torch.compiler.is_compiling():
        # It remembers where the maxima were. The way back of amax compares all with them, to divide the gradient
        # among those that are equal, which takes twice as long; without a way back amax is the faster one.
        return F.adaptive_max_pool1d(x.transpose(-1, -2), 1).squeeze(-1)
    return x.amax(-2)


def any_of_pairs(mask: Tensor) -> Tensor:
    """Whether either of two steps exists: mask (B, T) -> (B, ⌈T / 2⌉)."""
    return mask[..., ::2] | F.pad(mask, (0, 1))[..., 1::2]


def keep(x: Tensor, mask: Tensor) -> Tensor:
    """Zero where the mask is False: x (B, *, d), mask (B, *)."""
    return torch.where(mask.unsqueeze(-1), x, 0.0)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over time of the steps that exist: x (B, T, d), mask (B, T) -> (B, d); 0 where there is none."""
    count = mask.sum(-1, keepdim=True).clamp(min=1).to(x.dtype)
    return keep(x, mask).sum(-2) / count


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """Maximum over time of the steps that exist: x (B, T, d), mask (B, T) -> (B, d); 0 where there is none."""
    lowest = torch.finfo(x.dtype).min
    top = max_over_time(torch.where(mask.unsqueeze(-1), x, lowest))
    return keep(top, mask.any(-1))


N_STATISTICS = 4  # of each channel


def masked_statistics(x: Tensor, mask: Tensor) -> Tensor:
    """Mean, deviation, minimum and maximum over time of the steps that exist: x (B, T, d), mask (B, T) -> (B, 4 d).

    0 where there is none.
    """
    weights = mask.to(x.dtype) / mask.sum(-1, keepdim=True).clamp(min=1)
    mean = torch.matmul(weights.unsqueeze(-2), x)  # (B, 1, d)
    filled = torch.where(mask.unsqueeze(-1), x, mean)  # with what changes none of the others
    variance = torch.matmul(weights.unsqueeze(-2), (filled - mean) ** 2)
    deviation = variance.clamp(min=torch.finfo(x.dtype).tiny).sqrt()  # whose slope at 0 is none
    low, high = -max_over_time(-filled), max_over_time(filled)
    found = torch.cat([mean.squeeze(-2), deviation.squeeze(-2), low, high], -1)
    return keep(found, mask.any(-1))


def masked_last(x: Tensor, mask: Tensor) -> Tensor:
    """The last of the steps that exist: x (B, T, d), mask (B, T) -> (B, d); 0 where there is none."""
    step = torch.arange(x.shape[-2], device=x.device)
    last = torch.where(mask, step, 0).amax(-1, keepdim=True)
    return keep(x, mask & (step == last)).sum(-2)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis among entries that exist; all 0 where there is none."""
    scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    return torch.where(mask, scores.softmax(-1), 0.0)


def masked_log_mean(log_x: Tensor, weights: Tensor, dim: int) -> Tensor:
    """``log(sum(weights * exp(log_x)))`` over one axis, exact for very small terms; weights may be 0."""
    lowest = torch.finfo(log_x.dtype).min / 2
    # the inner where keeps log away from 0, whose gradient would be NaN even if it is not used
    log_w = torch.where(weights > 0, torch.where(weights > 0, weights, 1.0).log(), lowest)
    return torch.logsumexp(log_x + log_w, dim)


def signed_sqrt(z: Tensor, eps: float = 1e-6) -> Tensor:
    """Signed square root, ``z / sqrt(|z| + eps)``: its gradient is finite at and near 0."""
    return z / (z.abs() + eps).sqrt()


def l2_normalize(z: Tensor, eps: float = 1e-6) -> Tensor:
    """Divide by the Euclidean norm over the last axis, with a finite gradient at 0."""
    return z / (z.square().sum(-1, keepdim=True) + eps**2).sqrt()


class Attention(nn.Module):
    """Multi-head attention of queries over keys, some of which may not exist.

    With a null token a learned key stands beside the others: a query may say that none of them matters, which
    weights over a single key could not, and reads it where there is nothing else. Without one, as published, a
    query that has nothing to attend to reads nothing, all its weights being 0.

    Parameters
    ----------
    dim : int
        d, size of the queries, the keys and what is read.
    n_heads : int
        Must divide ``dim``.
    dropout : float
        Dropout of the weights.
    null_token : bool
        Whether there is a null token.

    Shape
    -----
    queries (B, Q, d), keys (B, T, d), mask (B, T) -> (B, Q, d), weights (B, heads, Q, T), with a null token
    (B, heads, Q, 1 + T), its own first.

    References
    ----------
    Vaswani et al. 2017, Attention is all you need, equation 1 and section 3.2.2.
    """

    def __init__(self, dim: int, *, n_heads: int, dropout: float = 0.0, null_token: bool = True) -> None:
        super().__init__()
        check_heads(n_heads, dim)
        self.n_heads = n_heads
        self.null = nn.Parameter(torch.randn(1, dim) / math.sqrt(dim)) if null_token else None
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)  # a bias here shifts every score alike: softmax drops it
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.null is not None:
            keys = torch.cat([self.null.expand(*keys.shape[:-2], 1, -1), keys], -2)
            mask = F.pad(mask, (1, 0), value=True)

        def heads(x: Tensor) -> Tensor:  # (B, T, d) -> (B, heads, T, d / heads)
            return x.unflatten(-1, (self.n_heads, -1)).transpose(-2, -3)

        q, k, v = heads(self.query(queries)), heads(self.key(keys)), heads(self.value(keys))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        weights = masked_softmax(scores, mask[..., None, None, :].expand_as(scores))
        mixed = (self.dropout(weights) @ v).transpose(-2, -3).flatten(-2)
        return self.out(mixed), weights


class TransformerBlock(nn.Module):
    """Attention and a feed-forward network, each on its normalised input and added to it (pre-norm).

    The tokens attend to themselves, or to ``keys``, which pass the same normalisation.

    Parameters
    ----------
    dim : int
        d, size of the tokens.
    n_heads, dropout, null_token
        Those of :class:`Attention`; dropout is inside the feed-forward network too.
    activation : str
        Activation of the feed-forward network.
    feed_forward_factor : int
        Its hidden layer is this many times as wide as the tokens.

    Shape
    -----
    x (B, Q, d), mask (B, Q) -> (B, Q, d), weights of the attention; with keys (B, T, d) the mask is theirs, (B, T).

    References
    ----------
    Vaswani et al. 2017; the order of normalisation after Xiong et al. 2020.
    """

    def __init__(
        self,
        dim: int,
        *,
        n_heads: int,
        dropout: float,
        activation: str,
        null_token: bool = True,
        feed_forward_factor: int = 2,
    ) -> None:
        super().__init__()
        width = feed_forward_factor * dim
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, n_heads=n_heads, dropout=dropout, null_token=null_token)
        self.norm2 = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, width), make_activation(activation), nn.Dropout(dropout), nn.Linear(width, dim)
        )

    def forward(self, x: Tensor, mask: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        queries = self.norm1(x)
        read, weights = self.attention(queries, queries if keys is None else self.norm1(keys), mask)
        x = x + read
        return x + self.feed_forward(self.norm2(x)), weights


def add_positions(x: Tensor) -> Tensor:
    """Add sines and cosines of geometric frequencies to x (B, T, d): Vaswani et al. 2017, section 3.5."""
    length, dim = x.shape[-2:]
    step = torch.arange(length, device=x.device, dtype=x.dtype).unsqueeze(-1)
    half = torch.arange(0, dim, 2, device=x.device, dtype=x.dtype)
    angle = step * torch.exp(half * (-math.log(10000.0) / dim))
    return x + torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)[:, :dim]


Values = Mapping[str, Tensor | SparseRows]


Masks = Mapping[str, Tensor]


def existing(present: Masks, axes: int = 1) -> Tensor:
    """Which modalities each sample has: masks (B,) or (B, T) -> (B, M); of 2 axes (K, B, ...) -> (K, B, M)."""
    return torch.stack([mask if mask.ndim == axes else mask.any(-1) for mask in present.values()], -1)


def with_axes_of(mask: Tensor, x: Tensor) -> Tensor:
    """A tensor over the first axes of x, such as a mask (B,) or (B, T), with further axes of size 1."""
    return mask.view(*mask.shape, *[1] * (x.ndim - mask.ndim))


def unsupported(module: nn.Module, what: str) -> str:
    """Which layer does not run under ``"vmap"``, ``"compile"`` or ``"export"``, and why; nothing if all do."""
    for layer in module.modules():
        if what in getattr(layer, "unsupported", {}):
            reasons: Any = layer.unsupported
            return f"{type(layer).__name__}: {reasons[what]}"
    return ""
