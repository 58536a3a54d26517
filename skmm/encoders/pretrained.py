"""Encoders with weights that were learned elsewhere."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import re
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from skmm._checks import at_least_one, check_positive
from skmm._pretrained import Backbone, load_backbone, model_name
from skmm._progress import progress
from skmm.blocks._blocks import Block, BlockInfo, is_lazy
from skmm.blocks._prefetch import read_ahead
from skmm.files._cache import VectorCache
from skmm.layers import DenseBlock, keep
from skmm.spec import INHERIT, register_encoder

_KEPT = 100_000  # vectors that this process remembers


class LowRankLinear(nn.Linear):
    """A linear layer whose weight W stays, to which a product of two thin matrices is added: W + B A.

    A (rank, in) starts normal, B (out, rank) at 0, so that nothing changes at first; the scale α / r of the paper
    is 1.

    References
    ----------
    Hu et al. 2021, LoRA: low-rank adaptation of large language models, equation 3.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        nn.Module.__init__(self)  # the layer's own tensors take the place of new ones
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.down = nn.Parameter(torch.randn(rank, self.in_features) / math.sqrt(self.in_features))
        self.up = nn.Parameter(torch.zeros(self.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x @ self.down.T @ self.up.T


def add_low_rank(model: nn.Module, rank: int) -> int:
    """Put a :class:`LowRankLinear` in the place of every linear layer inside an attention; returns how many."""
    found = [
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and re.search("attention|attn", path)
    ]
    for path, layer in found:
        owner, _, name = path.rpartition(".")
        setattr(model.get_submodule(owner), name, LowRankLinear(layer, rank))
    return len(found)


class PretrainedReader:
    """What an estimator does with a block whose encoder is pretrained, before any batch is cut.

    It checks that the model can read the block. Of a frozen model it makes the vectors, each once: they are
    remembered by the content of the sample and the hash of the model, in this process, and with ``memory`` on disk.

    Parameters
    ----------
    model : str
        Name or folder.
    pooling : str
        How the model's tokens become one vector.
    max_length : int or None
        Steps of a sample that are read.
    batch_size : int
        Samples that go through the model at a time.
    memory : None, str or joblib.Memory
        Where vectors are kept on disk.
    frozen : bool
        Whether the model is run once, before training.
    """

    _vectors: ClassVar[dict[tuple[str, str], np.ndarray]] = {}
    _lock: ClassVar = threading.Lock()
    rows_at_a_time = 1024  # samples that are looked up at a time
    lazy_rows_at_a_time = 256  # and of a lazy block in memory, in each of the parts that are read ahead

    def __init__(
        self, model: str, pooling: str, max_length: int | None, batch_size: int, memory: Any, frozen: bool
    ) -> None:
        self.model, self.pooling, self.max_length = model, pooling, max_length
        self.batch_size, self.folder, self.frozen = batch_size, _folder_of(memory), frozen
        self.fingerprint: str | None = None

    def check(self, name: str, kind: str, block: Block) -> None:
        """Raise if the model cannot be loaded or cannot read the block of a modality."""
        try:
            load_backbone(self.model, kind, self.pooling).check(block)
        except ValueError as error:
            raise ValueError(f"modality {name!r}: {error}") from None

    def vectors(
        self, name: str, kind: str, block: Block, present: np.ndarray, device: torch.device
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (n, d) of the samples of a modality, 0 where one is missing, and which there are."""
        backbone = load_backbone(self.model, kind, self.pooling)
        fingerprint = backbone.fingerprint()
        if self.fingerprint not in (None, fingerprint):
            raise ValueError(f"modality {name!r}: model={self.model!r} is another one than in fit.")
        self.fingerprint = fingerprint
        backbone.to(device)
        out = np.zeros((len(present), backbone.dim), np.float32)
        on_disk = None if self.folder is None else VectorCache(self.folder, f"Encoder {fingerprint}", backbone.dim)
        present = present.copy()
        with progress(f"vectors of {name!r}", int(present.sum()), "sample", after=1.0) as bar:
            for rows, samples in self._samples(block, present):
                out[rows] = self._of(backbone, fingerprint, samples, on_disk)
                bar.advance(len(rows))
        return out, present

    def _samples(self, block: Block, present: np.ndarray) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Rows and samples of a block, some at a time; ``present`` loses what a lazy block turns out to lack."""
        there = np.flatnonzero(present)
        size = self.lazy_rows_at_a_time if is_lazy(block) else self.rows_at_a_time
        parts = [there[start : start + size] for start in range(0, len(there), size)]
        reading: Iterator[Any] = read_ahead(block, parts, None) if is_lazy(block) else map(block.__getitem__, parts)
        for rows, values in zip(parts, reading, strict=True):
            if is_lazy(block):
                values, exists = values
                present[rows[~exists]] = False
                rows, values = rows[exists], values[exists]
            if len(rows):
                yield rows, [np.ascontiguousarray(sample[: self.max_length]) for sample in values]

    def _of(
        self, backbone: Backbone, fingerprint: str, samples: list[np.ndarray], on_disk: VectorCache | None
    ) -> np.ndarray:
        """Vectors of samples, (n, d), from the memory where they are known."""
        keys = [hashlib.sha256(f"{s.dtype} {s.shape}".encode() + s.tobytes()).hexdigest() for s in samples]
        known: dict[str, np.ndarray] = {}
        by_shape: dict[tuple[int, ...], dict[str, np.ndarray]] = {}
        for key, sample in zip(keys, samples, strict=True):
            if key in known:
                continue
            vector = self._vectors.get((fingerprint, key))
            if vector is None and on_disk is not None:
                vector = on_disk.read(key)
            if vector is None:
                by_shape.setdefault(sample.shape, {})[key] = sample
            else:
                known[key] = vector
        # samples of one length together, so that nothing is filled up
        for alike in by_shape.values():
            for start in range(0, len(alike), self.batch_size):
                batch = list(alike)[start : start + self.batch_size]
                for key, vector in zip(batch, backbone.embed([alike[key] for key in batch]), strict=True):
                    known[key] = vector
                    if on_disk is not None:
                        on_disk.write(key, vector)
        with self._lock:  # estimators in other threads remember here as well
            self._vectors.update({(fingerprint, key): vector for key, vector in known.items()})
            while len(self._vectors) > _KEPT:
                self._vectors.pop(next(iter(self._vectors)))
        return np.stack([known[key] for key in keys])


def _folder_of(memory: Any) -> str | None:
    """The folder of a cache: a path, or that of a joblib.Memory, whose own entries are pickles and are not read."""
    place = getattr(memory, "location", memory)
    if place is not None and not isinstance(place, (str, os.PathLike)):
        raise ValueError(f"memory must be a folder, a joblib.Memory in a folder, or None, got {memory!r}.")
    return None if place is None else os.fspath(place)


def _thaw_epoch(freeze: Any) -> int | None:
    """The epoch in ``"until_epoch_3"``; None where ``freeze`` is a bool."""
    match = re.fullmatch(r"until_epoch_([1-9]\d*)", freeze) if isinstance(freeze, str) else None
    if not isinstance(freeze, bool) and match is None:
        raise ValueError(f"freeze={freeze!r} is none of True, False and 'until_epoch_3' (of any number from 1).")
    return int(match[1]) if match else None


@register_encoder("pretrained")
class PretrainedEncoder(nn.Module):
    """A pretrained model of text, images or waveforms, and a dense block on what it gives.

    It reads what a block of raw samples holds, without ``scale_inputs``: token ids of the model's own tokenizer
    (``PretrainedTokens``), pictures of dtype uint8 (``ImageLoader``), which it resizes and normalises as the
    model's processor does, or waveforms (``AudioLoader``) at the sampling rate that the model was trained with.

    Frozen, the model is run once for each sample, before training, and the network reads its vectors. Otherwise it
    is a part of the network; then ``n_members=1`` saves memory and time, since each member has a copy of its own,
    and they run one after another.

    Parameters
    ----------
    model : str or path
        Folder of a model saved with ``save_pretrained``, one of sentence-transformers among them, or a name that
        transformers finds (a name may be downloaded, a folder never needs a network). Of models of texts and
        images, such as CLIP, it takes the part that reads the block.
    freeze : bool or "until_epoch_N", default=True
        Whether its weights stay; up to the epoch before N, counted from 1, with ``"until_epoch_3"``.
    lora_rank : int or None, default=None
        Train a low-rank addition to each linear layer of the model's attention (Hu et al. 2021), and nothing else
        of it. Needs ``freeze=True``. With one member a pickle of the estimator holds what was added and not the
        model, which must be found under the same name, and be the same, where it is read.
    pooling : {"auto", "mean", "cls", "pooler"}, default="auto"
        The vector of a sample: the mean over its tokens or places, the first token, or the model's own pooler.
        "auto" is, for text, what sentence-transformers saved beside the model, else the mean; for images the
        pooler, where there is one, else the mean; for waveforms the mean. A fusion of tokens reads the tokens of a
        model that is not frozen.
    max_length : int or None, default=None
        Tokens or values of a waveform that are read, from the start; None reads all that the model can.
    batch_size : int, default=32
        Samples that go through a frozen model at a time.
    memory : None, str, path or joblib.Memory, default=None
        Where the vectors of a frozen model are kept on disk, for other processes and sessions; they are found again
        by the content of the sample, the model's weights and its settings. They are numbers with a digest, which is
        checked; nothing there is unpickled, and a folder that cannot be written to is a warning. Of a
        joblib.Memory only its folder is used. This process remembers them without.
    hidden_dim : int, optional
        Size of the output.
    dropout : float, optional
        Dropout of the output.
    activation : str, optional
        Name of the activation of the output.

    Shape
    -----
    x (B, T) ids, (B, H, W, C) or (B, T, 1), mask (B,) or (B, T) -> (B, hidden_dim), (B,) or tokens (B, T',
    hidden_dim), (B, T'); of a frozen model x (B, d), mask (B,) -> (B, hidden_dim), (B,)

    References
    ----------
    Hu et al. 2021, LoRA: low-rank adaptation of large language models.

    Examples
    --------
    Of a frozen model, which was run before, the network reads the vectors:

    >>> import torch
    >>> from skmm.blocks import BlockInfo
    >>> from skmm.encoders.pretrained import PretrainedEncoder
    >>> info = BlockInfo("vector", (384,), source="tokens")
    >>> params = {"model": "path/to/a/model", "hidden_dim": 8, "dropout": 0.1, "activation": "relu"}
    >>> vectors, mask = PretrainedEncoder(info, False, **params)(torch.ones(2, 384), torch.tensor([True, False]))
    >>> vectors.shape, mask.tolist()
    (torch.Size([2, 8]), [True, False])
    """

    kinds: ClassVar = ("tokens", "image", "sequence")

    def __init__(
        self,
        info: BlockInfo,
        tokens: bool,
        *,
        hidden_dim: int = INHERIT,
        model: Any = None,
        freeze: bool | str = True,
        lora_rank: int | None = None,
        pooling: str = "auto",
        max_length: int | None = None,
        batch_size: int = 32,
        memory: Any = None,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim)
        self.out_dim = hidden_dim
        self.tokens, self.max_length = tokens, max_length
        self.base = (model, info.kind, pooling, lora_rank)
        self.thaws_at = _thaw_epoch(freeze)
        self.backbone: Any = None
        if info.source is None:  # else its vectors are what comes in
            self.backbone = copy.deepcopy(load_backbone(model_name(model), info.kind, pooling)).cpu()
            if self.backbone.one_length and info.length is None:
                way = "give waveforms of one length (AudioLoader(duration=...)), or " * (info.kind == "sequence")
                raise ValueError(
                    f"model={model!r} looks past the end of a sample (it normalises over time, say), so that one "
                    f"would change with the others of its batch; {way}freeze it (freeze=True alone), which runs it "
                    "on samples of one length at a time."
                )
            self.backbone.requires_grad_(freeze is False)
            if lora_rank is not None and not add_low_rank(self.backbone, lora_rank):
                raise ValueError(f"model={model!r} has no linear layer in an attention, for lora_rank={lora_rank}.")
        dim = info.shape[0] if self.backbone is None else self.backbone.dim
        self.output = DenseBlock(nn.Linear(dim, hidden_dim), hidden_dim, activation=activation, dropout=dropout)

    def __getstate__(self) -> dict[str, Any]:
        """Of additions to a model the pickle holds these, and not the model, as where it is frozen alone."""
        state = dict(vars(self))
        if self.backbone is None or self.base[-1] is None or next(self.backbone.parameters()).is_meta:
            return state
        added = {path: layer for path, layer in self.backbone.named_modules() if isinstance(layer, LowRankLinear)}
        own = {f"{path}.{key}" for path in added for key in ("down", "up")}
        state["_modules"] = {name: module for name, module in self._modules.items() if name != "backbone"}
        state["added"] = {path: (layer.down, layer.up) for path, layer in added.items()}
        state["fingerprint"] = self.backbone.fingerprint(own)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        added, fingerprint = state.pop("added", None), state.pop("fingerprint", None)
        super().__setstate__(state)
        if added is None:
            return
        model, kind, pooling, rank = state["base"]
        backbone = copy.deepcopy(load_backbone(model_name(model), kind, pooling)).requires_grad_(False)
        if backbone.fingerprint() != fingerprint:
            raise ValueError(
                f"model={model!r} is another one than in fit, and a pickle holds what lora_rank={rank} added alone."
            )
        device = next(self.parameters()).device
        add_low_rank(backbone, rank)
        for path, (down, up) in added.items():
            layer: Any = backbone.get_submodule(path)
            layer.down, layer.up = down, up
        rest = {"output": self._modules.pop("output")}
        self.backbone = backbone.to(device).train(self.training)
        self._modules.update(rest)  # after it, as it was

    def __deepcopy__(self, memo: dict[int, Any]) -> PretrainedEncoder:
        copied = object.__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(vars(self), memo))  # the model too, which no file need be read for
        return copied

    @classmethod
    def reader(
        cls,
        *,
        model: Any,
        freeze: Any,
        lora_rank: Any,
        pooling: Any,
        max_length: Any,
        batch_size: Any,
        memory: Any,
        **others: Any,
    ) -> PretrainedReader:
        """What prepares the block of an encoder with these parameters."""
        for name, value in {"lora_rank": lora_rank, "max_length": max_length, "batch_size": batch_size}.items():
            if value is not None:
                check_positive(name, value)
        _thaw_epoch(freeze)
        if lora_rank is not None and freeze is not True:
            raise ValueError(
                f"lora_rank={lora_rank} trains additions to a frozen model and needs freeze=True, got {freeze!r}."
            )
        frozen = freeze is True and lora_rank is None
        return PretrainedReader(model_name(model), pooling, max_length, batch_size, memory, frozen)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.backbone is None:
            return self.output(x), mask
        if self.backbone.steps and self.max_length is not None:
            x, mask = x[:, : self.max_length], mask[:, : self.max_length]
        vectors, tokens, exist = self.backbone(x, mask)
        if self.tokens:
            return self.output(keep(tokens, exist)), exist
        return self.output(vectors), mask.any(-1) if self.backbone.steps else mask
