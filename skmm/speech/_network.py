"""The network of speech recognition, its loss, and how it is trained: audio and contexts -> symbols per frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm._devices import computing
from skmm._progress import progress
from skmm.augmentation import Batch
from skmm.blocks._blocks import BlockInfo
from skmm.fusion.base import Placeholders
from skmm.inputs._batches import Batches
from skmm.layers import (
    Attention,
    DenseBlock,
    Masks,
    TransformerBlock,
    Values,
    add_positions,
    keep,
    make_activation,
    masked_mean,
    with_axes_of,
)
from skmm.network._encoders import check_encoders, make_encoder
from skmm.network._members import MemberNetworks
from skmm.spec import INHERIT, Encoder, Fusion, Registry, Spec, as_spec
from skmm.speech.decoding import BLANK
from skmm.training._net import MultimodalNet
from skmm.training._sets import Cut, TrainingSet

_NEVER = -1e4  # log-probability of what cannot be; finite, so that no gradient is NaN

FRAME_FUSIONS = Registry("fusion on the time axis of the audio")


class FrameFusion(Spec):
    """A fusion that keeps the time axis of the audio, and its parameters."""

    _registry = FRAME_FUSIONS


# -- fusions: frames (B, T, d), mask, tokens (B, S_m, d_m) and mask of each context -> (B, T, out_dim) -----------


class _ContextVectors(nn.Module):
    """The mean of each context's tokens, side by side; a learned vector stands for an absent one."""

    def __init__(self, dims: Mapping[str, int]) -> None:
        super().__init__()
        self.placeholders = Placeholders(dims, value=0.0)
        self.out_dim = sum(dims.values())

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
        vectors = {name: masked_mean(x, masks[name]) for name, x in tokens.items()}
        return torch.cat(self.placeholders(vectors, {name: mask.any(-1) for name, mask in masks.items()}), -1)


@FRAME_FUSIONS.register("concat")
class FrameConcat(nn.Module):
    """Each frame beside the context's vector, through one dense block."""

    def __init__(
        self,
        dim: int,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        self.vectors = _ContextVectors(dims)
        linear = nn.Linear(dim + self.vectors.out_dim, hidden_dim)
        self.block = DenseBlock(linear, hidden_dim, activation=activation, dropout=dropout)
        self.out_dim = hidden_dim

    def forward(
        self, frames: Tensor, mask: Tensor, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> Tensor:
        context = self.vectors(tokens, masks).unsqueeze(-2).expand(*frames.shape[:-1], -1)
        return self.block(torch.cat([frames, context], -1))


@FRAME_FUSIONS.register("film")
class FrameFiLM(nn.Module):
    """f((1 + Δγ) ∘ LayerNorm(W x_t) + β), Δγ and β linear in the context's vector: Perez et al. 2018, eq. 2."""

    source = "Perez et al. 2018, eq. 1-2"

    def __init__(
        self, dim: int, dims: Mapping[str, int], *, hidden_dim: int = INHERIT, activation: str = INHERIT
    ) -> None:
        super().__init__()
        self.vectors = _ContextVectors(dims)
        self.features = nn.Linear(dim, hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim, elementwise_affine=False)
        self.modulation = nn.Linear(self.vectors.out_dim, 2 * hidden_dim)
        self.activation = make_activation(activation)
        self.out_dim = hidden_dim

    def forward(
        self, frames: Tensor, mask: Tensor, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> Tensor:
        scale, shift = self.modulation(self.vectors(tokens, masks)).unsqueeze(-2).chunk(2, -1)
        return self.activation((1 + scale) * self.norm(self.features(frames)) + shift)


class _ContextTokens(nn.Module):
    """The tokens of all contexts, projected to one size, with positions, one after the other."""

    def __init__(self, dims: Mapping[str, int], dim: int) -> None:
        super().__init__()
        self.names = list(dims)
        self.project = nn.ModuleList(nn.Linear(d, dim) for d in dims.values())

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        placed = [
            add_positions(layer(keep(tokens[name], masks[name])))
            for name, layer in zip(self.names, self.project, strict=True)
        ]
        return torch.cat(placed, -2), torch.cat([masks[name] for name in self.names], -1)


@FRAME_FUSIONS.register("attention")
class FrameAttention(nn.Module):
    """Each frame reads the contexts' tokens, and a learned null token, and adds what it read."""

    source = "Vaswani et al. 2017, eq. 1"

    def __init__(
        self,
        dim: int,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        n_heads: int = 4,
        dropout: float = INHERIT,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(dim, hidden_dim)
        self.tokens = _ContextTokens(dims, hidden_dim)
        self.norm_frames, self.norm_tokens = nn.LayerNorm(hidden_dim), nn.LayerNorm(hidden_dim)
        self.attention = Attention(hidden_dim, n_heads=n_heads, dropout=dropout)
        self.out_dim = hidden_dim

    def forward(
        self, frames: Tensor, mask: Tensor, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> Tensor:
        frames = self.project(frames)
        keys, exists = self.tokens(tokens, masks)
        return frames + self.attention(self.norm_frames(frames), self.norm_tokens(keys), exists)[0]


@FRAME_FUSIONS.register("crossmodal")
class FrameCrossmodal(nn.Module):
    """Layers in which the frames read the contexts' tokens, then each other: Tsai et al. 2019, equations 1 to 4."""

    source = "Tsai et al. 2019, eq. 1-4"

    def __init__(
        self,
        dim: int,
        dims: Mapping[str, int],
        *,
        hidden_dim: int = INHERIT,
        n_layers: int = 1,
        n_heads: int = 4,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(n_layers=n_layers)
        self.project = nn.Linear(dim, hidden_dim)
        self.tokens = _ContextTokens(dims, hidden_dim)
        self.blocks = nn.ModuleList(
            TransformerBlock(hidden_dim, n_heads=n_heads, dropout=dropout, activation=activation)
            for _ in range(2 * n_layers)
        )
        self.out_dim = hidden_dim

    def forward(
        self, frames: Tensor, mask: Tensor, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> Tensor:
        x = add_positions(self.project(frames))
        keys, exists = self.tokens(tokens, masks)
        for i, block in enumerate(self.blocks):
            x, _ = block(x, exists, keys=keys) if i % 2 == 0 else block(x, mask)
        return x


# -- the network -------------------------------------------------------------------------------------------------


def n_frames(lengths: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    """Frames that are left of so many steps."""
    for stride in strides:
        lengths = -(-lengths // stride)
    return lengths


class WaveBands(nn.Module):
    """Logarithm of a waveform's energy in learned bands, in every ``stride``-th step.

    A band is a pair of filters, at first a sine and a cosine of one frequency under a Hann window of twice the
    stride, so that the energy does not depend on the phase; the frequencies start evenly spaced on a logarithmic
    scale.

    Shape
    -----
    x (B, T, 1) -> (B, ⌈T / stride⌉, n_bands)

    References
    ----------
    Zeghidour et al. 2018, Learning filterbanks from raw speech for phone recognition, section 2.
    """

    def __init__(self, n_bands: int, stride: int) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, 2 * n_bands, 2 * stride + 1, stride=stride, padding=stride, bias=False)
        step = torch.arange(-stride, stride + 1)
        window = torch.hann_window(2 * stride + 1, periodic=False)
        # cycles per sample, from one in the window to nearly the most that there can be
        frequency = torch.logspace(math.log10(0.5 / stride), math.log10(0.45), n_bands).unsqueeze(-1)
        phase = 2 * math.pi * frequency * step
        pairs = torch.stack([phase.cos(), phase.sin()], 1) * window / window.square().sum().sqrt()
        self.filters.weight = nn.Parameter(pairs.flatten(0, 1).unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        energy = self.filters(x.transpose(-1, -2)).unflatten(1, (-1, 2)).square().sum(2)
        return (energy + 1e-3).log().transpose(-1, -2)


class Subsampling(nn.Module):
    """Convolutions that shorten the time axis, each ``stride`` times, over twice as many steps.

    Of a waveform, whose steps are single numbers, the first gives energies in bands.

    Shape
    -----
    x (B, T, d), mask (B, T) -> (B, T', hidden_dim), (B, T'), T' = ⌈T / stride⌉ for each stride in turn
    """

    def __init__(
        self, dim: int, hidden_dim: int, strides: tuple[int, ...], activation: str, *, n_bands: int = 40
    ) -> None:
        super().__init__()
        self.first_stride, self.bands = 1, None
        if dim == 1:
            self.first_stride, *rest = strides
            self.bands = WaveBands(n_bands, self.first_stride)
            dim, strides = n_bands, tuple(rest) or (1,)
        self.strides = strides
        self.convs = nn.ModuleList(
            nn.Conv1d(d, hidden_dim, 2 * stride + 1, stride=stride, padding=stride)
            for d, stride in zip([dim] + [hidden_dim] * len(strides), strides, strict=False)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_dim) for _ in strides)
        self.activation = make_activation(activation)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        # zeros after a sample's end, as convolutions themselves pad: so padding changes nothing
        if self.bands is not None:
            x, mask = self.bands(keep(x, mask)), mask[..., :: self.first_stride]
        for conv, norm, stride in zip(self.convs, self.norms, self.strides, strict=True):
            x = conv(keep(x, mask).transpose(-1, -2)).transpose(-1, -2)
            x, mask = self.activation(norm(x)), mask[..., ::stride]
        return x, mask


class SpeechNetwork(nn.Module):
    """Audio -> subsampling -> encoder -> fusion with the contexts, if any -> log-probabilities of the symbols.

    Parameters
    ----------
    infos : mapping of str to BlockInfo
        The modalities.
    audio : str
        Which of them gives the frames; all others are contexts.
    fusion : str or Fusion
        A name among ``FRAME_FUSIONS``.
    encoders : None, encoder, or mapping of str to encoder
        As of :class:`skmm.network._network.FusionNetwork`.
    n_symbols : int
        Symbols, without the blank.
    strides : tuple of int
        Of the subsampling.
    inherited : mapping
        Values for hyperparameters left at None: hidden_dim, dropout, activation.

    Shape
    -----
    values and present per modality -> (B, T', 1 + n_symbols) log-probabilities, the blank's first. After a sample's
    end a frame is blank for certain, which adds nothing to any transcript.
    """

    modality_heads: ClassVar = ()
    unsupported: ClassVar = {"vmap": "the number of frames differs between batches"}

    def __init__(
        self,
        infos: Mapping[str, BlockInfo],
        audio: str,
        fusion: Any,
        encoders: Any,
        n_symbols: int,
        strides: tuple[int, ...],
        inherited: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.audio, self.n_outputs = audio, 1 + n_symbols
        choices = check_encoders(encoders, list(infos))
        dim = inherited["hidden_dim"]
        size = math.prod(infos[audio].shape)
        self.subsampling = Subsampling(size, dim, strides, inherited["activation"])
        choice = as_spec(Encoder, choices[audio])
        if isinstance(choice, Encoder) and choice.name == "auto":
            choice = Encoder("gru", **{"n_layers": 2, "bidirectional": True, **choice.given})
        choices[audio] = choice
        read = {**infos, audio: BlockInfo("sequence", (dim,))}
        self.names = list(infos)
        self.encoders: Any = nn.ModuleList(
            make_encoder(name, choices[name], info, True, inherited) for name, info in read.items()
        )
        out_dims = {name: encoder.out_dim for name, encoder in zip(self.names, self.encoders, strict=True)}
        out_dim: Any = out_dims.pop(audio)
        spec = as_spec(FrameFusion, fusion)
        if isinstance(spec, Fusion):
            spec = FrameFusion(spec.name, **spec.given)
        if not isinstance(spec, FrameFusion):
            raise ValueError(f"fusion must be a name or a Fusion, got {fusion!r}; names are {list(FRAME_FUSIONS)}.")
        spec.resolve(inherited)  # a wrong name is one also where there is nothing to fuse
        self.fusion = spec.build(out_dim, out_dims, inherited=inherited) if out_dims else None
        if self.fusion is not None:
            out_dim = self.fusion.out_dim
        self.head = nn.Linear(out_dim, 1 + n_symbols)

    def forward(self, values: Values, present: Masks) -> Tensor:
        audio: Any = values[self.audio]
        frames, subsampled = self.subsampling(audio.flatten(2), present[self.audio])
        tokens, masks = {}, {}
        for name, encoder in zip(self.names, self.encoders, strict=True):
            given = (frames, subsampled) if name == self.audio else (values[name], present[name])
            x, mask = encoder(*given)
            vector = x.ndim == 2
            tokens[name], masks[name] = (x.unsqueeze(-2), mask.unsqueeze(-1)) if vector else (x, mask)
        x, mask = tokens.pop(self.audio), masks.pop(self.audio)
        if mask.shape != subsampled.shape:
            raise ValueError(
                f"the encoder of the audio turned {subsampled.shape[-1]} frames into {mask.shape[-1]}; it must "
                "keep their number, which subsampling alone decides."
            )
        if self.fusion is not None:
            x = self.fusion(x, mask, tokens, masks)
        log_probs = self.head(x).log_softmax(-1)
        silent = torch.full_like(log_probs[..., :1, :], _NEVER)
        silent[..., BLANK] = 0.0
        return torch.where(mask.unsqueeze(-1), log_probs, silent)


def ctc_error(log_probs: Tensor, target: Tensor) -> Tensor:
    """-log p(transcript | frames) over the transcript's length: (B, T, C), (B, L) filled up with -1 -> (B,).

    Graves et al. 2006, equation 8.
    """
    lengths = (target >= 0).sum(-1)
    # frames after a sample's end are certain blanks: so all samples have as many
    frames = torch.full_like(lengths, log_probs.shape[-2])
    loss = F.ctc_loss(
        log_probs.transpose(0, 1), target.clamp(min=0), frames, lengths, blank=BLANK, reduction="none"
    )
    return loss / lengths.clamp(min=1)


# -- training ----------------------------------------------------------------------------------------------------


class SpeechSet(TrainingSet):
    """A training set whose samples have lengths.

    Parameters
    ----------
    lengths : ndarray of shape (n_samples,)
        Steps of each sample of ``data``.
    most : int
        Padded steps that a batch may have; a single sample may have more.
    """

    def __init__(
        self,
        data: Batches,
        target: Tensor,
        weights: Tensor | None,
        rows: Tensor,
        lengths: np.ndarray,
        most: int,
    ) -> None:
        super().__init__(data, target, weights, rows)
        self.lengths, self.most = lengths, most


def split_by_length(lengths: np.ndarray, batch_size: int, most: int) -> list[np.ndarray]:
    """Positions of samples of similar length, at most ``batch_size``, with at most ``most`` steps when padded.

    A sample that is longer than that is a batch by itself, so the memory of a step is bounded by the longest
    sample and by ``most``, not by their number times the longest.
    """
    batches: list[list[int]] = []
    for i in np.argsort(-lengths, kind="stable"):
        # the first of a batch is its longest
        full = not batches or len(batches[-1]) == batch_size
        if full or lengths[batches[-1][0]] * (len(batches[-1]) + 1) > most:
            batches.append([])
        batches[-1].append(int(i))
    return [np.array(batch) for batch in batches]


class _BucketIterator:
    """Cuts batches of similar length; in training their lengths are blurred, so that each epoch mixes anew."""

    def __init__(self, dataset: SpeechSet, batch_size: int, generator: torch.Generator | None) -> None:
        self.dataset, self.batch_size, self.generator = dataset, batch_size, generator

    def __iter__(self) -> Iterator[Cut]:
        d, rows = self.dataset, self.dataset.rows[0]
        weights = None if d.weights is None else d.weights[0]
        lengths = d.lengths[rows.cpu().numpy()]
        if self.generator is not None:
            lengths = lengths * (1 + 0.1 * torch.rand(len(lengths), generator=self.generator).numpy())
        batches = split_by_length(lengths, self.batch_size, d.most)
        if self.generator is not None:
            batches = [batches[i] for i in torch.randperm(len(batches), generator=self.generator)]
        chosen = [torch.from_numpy(positions).to(rows.device) for positions in batches]
        cut_weights = [None if weights is None else weights[part] for part in chosen]
        yield from d.cut([rows[part] for part in chosen], cut_weights, training=self.generator is not None)


class ContextDropout:
    """Hide each modality but the audio from a training sample with a probability."""

    def __init__(self, audio: str, p: float) -> None:
        self.audio, self.p = audio, p

    def __call__(self, batch: Batch) -> Batch:
        present = {}
        for name, mask in batch.present.items():
            kept = torch.rand(len(mask), device=mask.device) >= self.p
            present[name] = mask if name == self.audio else mask & with_axes_of(kept, mask)
        return batch._replace(present=present)


class SpeechNet(MultimodalNet):
    """The training loop on batches of similar length.

    Parameters beside those of MultimodalNet
    ----------------------------------------
    most : int
        Padded steps that a batch may have; a single sample may have more.
    """

    def __init__(self, module: MemberNetworks, criterion: nn.Module, *, most: int, **kwargs: Any) -> None:
        super().__init__(module, criterion, **kwargs)
        self.most = most

    def n_batches(self, dataset: Any) -> int:
        lengths = dataset.lengths[dataset.rows[0].cpu().numpy()]
        return len(split_by_length(lengths, self.batch_size, dataset.most))

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        generator = self._new_orders()[0] if training else None
        return _BucketIterator(dataset, self.batch_size, generator)

    def log_probs(self, data: Batches, lengths: np.ndarray) -> list[Tensor]:
        """Outputs of all samples, on the CPU, each with the padding of its batch."""
        computing()
        module = self.ready(torch.float32)
        outputs: list[Any] = [None] * len(lengths)
        with torch.inference_mode():
            batches = split_by_length(lengths, self.batch_size, self.most)
            cuts = data.stream([torch.from_numpy(batch).to(data.device) for batch in batches])
            with progress("predicting", len(lengths), "sample", after=1.0) as bar:
                for batch, (values, present) in zip(batches, cuts, strict=True):
                    for row, output in zip(batch, module(values, present).cpu(), strict=True):
                        outputs[row] = output
                    bar.advance(len(batch))
        return outputs
