"""Pretrained models of the package transformers: loading, and the way from a batch to vectors.

Code that a model brings with it is never run, and torchvision is never needed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from skmm._checks import unknown
from skmm._devices import seeded
from skmm._optional import import_optional
from skmm.blocks._blocks import Block, sample_shape
from skmm.layers import l2_normalize, masked_mean
from skmm.spec import Encoder

POOLINGS = ["auto", "pooler", "cls", "mean"]
# What a model of each kind of block reads.
READS = {"tokens": "text", "image": "images", "sequence": "waveforms"}
# Weights that predictions do not depend on: of heads that may not be used, and of masks in pretraining.
_SPARE = {"pooler", "masked_spec_embed", "mask_token"}

# Of the settings of a model, what depends on who saved and loaded it, and how.
_TOLD = {"transformers_version", "dtype", "torch_dtype", "architectures", "name_or_path"}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from reporting on what it loads, and from drawing from the caller's random numbers.

    One thread at a time: a module that is made while another thread loads would be made as that one's are.
    """
    logging = import_optional("transformers.utils.logging", extra="pretrained")
    with seeded(0, torch.device("cpu")):  # of the weights that a file lacks
        level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bar:
                logging.enable_progress_bar()


def load_pretrained(what: str, name: str, loader: str, **options: Any) -> Any:
    """``from_pretrained`` of one of transformers' Auto classes, with one kind of error."""
    transformers = import_optional("transformers", extra="pretrained")
    if os.path.isabs(name) and not os.path.isdir(name):
        raise ValueError(f"model={name!r}: there is no such folder.")
    try:
        with quiet():
            return getattr(transformers, loader).from_pretrained(name, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"model={name!r} cannot be loaded as {what}: {error}") from error


def settings_of(model: Any) -> str:
    """The settings of a model that are not in its weights, such as its number of heads, wherever it was saved."""
    settings = model.config.to_dict()
    told = {key: value for key, value in settings.items() if not key.startswith("_") and key not in _TOLD}
    return json.dumps(told, sort_keys=True, default=str)


def model_name(model: Any) -> str:
    """The name or folder that a user gave, or that an encoder which he gave has, as a string."""
    if isinstance(model, Encoder):
        model = model.given.get("model")
    if not isinstance(model, (str, os.PathLike)):
        raise ValueError(f"model must be the name or the folder of a pretrained model, got {model!r}.")
    return os.fspath(model)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model, by name or folder."""
    import_optional("transformers", extra="text")
    return load_pretrained("a tokenizer", name, "AutoTokenizer")


def sentence_limit(name: str) -> int | None:
    """Tokens that sentence-transformers reads of a text, where a model in a folder says so."""
    file = Path(name) / "sentence_bert_config.json"
    return json.loads(file.read_text()).get("max_seq_length") if file.is_file() else None


def load_backbone(name: str, kind: str, pooling: str = "auto") -> Backbone:
    """A pretrained model for a kind of block.

    The last two loaded are kept, for as long as their files are the same: copy one before changing it.

    Raises
    ------
    ValueError
        If it cannot be loaded, lacks weights, or has no such pooling.
    ImportError
        If transformers is not installed.
    """
    if kind not in READS:
        raise ValueError(f"pretrained encoders read {list(READS)} blocks, this one is {kind}.")
    files = sorted(Path(name).rglob("*")) if os.path.isdir(name) else []
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    return _kept_backbone(name, kind, pooling, tuple((file, s.st_size, s.st_mtime_ns) for file, s in stats))


@functools.lru_cache(maxsize=2)
def _kept_backbone(name: str, kind: str, pooling: str, files: tuple[Any, ...]) -> Backbone:
    return _BACKBONES[kind](name, pooling)


class Backbone(nn.Module):
    """A pretrained model with what comes before it, the normalisation of its input, and after it, the pooling.

    Shape
    -----
    x (B, ...) as a batch holds it, unscaled, and mask -> vectors (B, d), tokens (B, T, d) and their mask (B, T).
    """

    # control flow that depends on values, in the model's own code
    unsupported: ClassVar = {
        "vmap": "the code of transformers is not written for torch.vmap",
        "export": "the code of transformers has exporters of its own",
    }
    what: ClassVar[str]  # what it is called where it cannot be loaded
    part: ClassVar[str | None]  # of a model of several inputs, the one to use; None where it is the whole
    steps: ClassVar[bool]  # whether a sample is a sequence of steps
    dtype: ClassVar[torch.dtype] = torch.float32  # of a batch

    def __init__(self, name: str, pooling: str) -> None:
        super().__init__()
        self.one_length = False  # whether only samples of one length may share a batch
        if pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        options = {"dtype": torch.float32, "output_loading_info": True}
        model, report = load_pretrained(self.what, name, "AutoModel", **options)
        self.name = name
        self.model: Any = model if self.part is None else getattr(model, self.part, model)
        used = f"{self.part}." if self.model is not model else ""
        missing = {key.removeprefix(used) for key in report["missing_keys"] if key.startswith(used)}
        absent = {key for key in missing if not _SPARE & set(key.split("."))}
        if absent:
            raise ValueError(f"model={name!r} lacks the weights {sorted(absent)}, which would be random.")
        has_pooler = not any("pooler" in key.split(".") for key in missing)
        if pooling == "pooler" and not has_pooler:
            raise ValueError(f"model={name!r} lacks the weights of its pooler, valid are ['auto', 'cls', 'mean'].")
        self.pooling = self._auto_pooling(has_pooler) if pooling == "auto" else pooling
        self.eval()

    def _auto_pooling(self, has_pooler: bool) -> str:
        """What "auto" means; it stays itself where the output decides."""
        return "mean"

    @property
    def dim(self) -> int:
        """Size of a token and of a vector."""
        config = self.model.config
        return getattr(config, "hidden_size", None) or config.hidden_sizes[-1]

    def check(self, block: Block) -> None:
        """Raise a ValueError if the model cannot read a block."""

    def _sees_padding(self, short: Tensor, longer: Tensor) -> bool:
        """Whether a sample (T,) is another one where it is filled up to the length of a longer one beside it."""
        alone = torch.ones(1, len(short), dtype=torch.bool)
        mask = torch.ones(2, len(longer), dtype=torch.bool)
        mask[0, len(short) :] = False
        filled = F.pad(short, (0, len(longer) - len(short)))
        with torch.no_grad(), seeded(0, torch.device("cpu")):
            apart = self(short[None], alone)[0][0]
            beside = self(torch.stack([filled, longer]), mask)[0][0]
        return bool((apart - beside).norm() > 1e-3 * apart.norm())

    def embed(self, samples: list[np.ndarray]) -> np.ndarray:
        """Vectors (n, d) of samples of one shape, without gradient."""
        device = next(self.parameters()).device
        x = torch.from_numpy(np.stack(samples)).to(device, self.dtype)
        mask = torch.ones(x.shape[: 1 + self.steps], dtype=torch.bool, device=device)
        with torch.inference_mode():
            return self.eval()(x, mask)[0].cpu().numpy()

    def fingerprint(self, without: Collection[str] = ()) -> str:
        """What the vectors depend on, but for some tensors, as a hash."""
        digest = hashlib.sha256(f"{self.pooling} {self.extra_repr()} {settings_of(self.model)}".encode())
        for key, tensor in sorted(self._weights().items()):
            if key in without:
                continue
            digest.update(key.encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def _weights(self) -> dict[str, Any]:
        """The tensors of the fingerprint by name; another name would make the caches on disk anew."""
        return self.state_dict()

    def _pool(self, output: Any, tokens: Tensor, mask: Tensor) -> Tensor:
        pooled = getattr(output, "pooler_output", None)
        if self.pooling == "mean" or (self.pooling == "auto" and pooled is None):
            return masked_mean(tokens, mask)
        if self.pooling == "cls":
            return tokens[:, 0]
        if pooled is None:
            raise ValueError(f"model={self.name!r} has no pooler, valid are ['auto', 'cls', 'mean'].")
        return pooled.flatten(1)


def _never_empty(mask: Tensor) -> Tensor:
    """A mask over steps in which a row without any has its first: what is read there is not used."""
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return mask | (first & ~mask.any(1, keepdim=True))


class TextBackbone(Backbone):
    """Reads token ids (B, T) of the model's own tokenizer."""

    what = "a model of text"
    part = "text_model"
    steps = True
    dtype = torch.int64

    def __init__(self, name: str, pooling: str) -> None:
        self.normalize = False
        super().__init__(name, pooling)
        self.n_ids = self.model.get_input_embeddings().num_embeddings
        longest = getattr(self.model.config, "max_position_embeddings", None)
        self.longest = longest if longest and longest > 0 else None  # XLNet, which has no limit, says -1
        for path, layer in self.model.named_modules():
            # RoBERTa and its kin count positions from the one after that of padding
            if path.endswith("position_embeddings") and getattr(layer, "padding_idx", None) is not None:
                self.longest = layer.num_embeddings - layer.padding_idx - 1
        ids = torch.arange(min(8, self.longest or 8)) % self.n_ids
        self.one_length = self._sees_padding(ids[: len(ids) // 2], ids)

    def _auto_pooling(self, has_pooler: bool) -> str:
        """As sentence-transformers has saved it beside the model; the mean where it has not."""
        folder = Path(self.name)
        if not (folder / "modules.json").is_file():
            return "mean"
        chosen = "mean"
        for module in json.loads((folder / "modules.json").read_text()):
            layer = module["type"].rpartition(".")[2]
            if layer == "Pooling":
                config = json.loads((folder / module["path"] / "config.json").read_text())
                modes = {config["pooling_mode"]} if "pooling_mode" in config else set()
                flags = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}
                modes |= {mode for mode, flag in flags.items() if config.get(flag)}
                if len(modes) != 1 or not modes <= flags.keys():
                    raise ValueError(f"model={self.name!r} pools by {config}, which is neither 'cls' nor 'mean'.")
                chosen = modes.pop()
            elif layer == "Normalize":
                self.normalize = True
            elif layer != "Transformer":
                raise ValueError(
                    f"model={self.name!r} ends in a layer {layer!r}, which only TextEmbedder runs; name a pooling "
                    f"of {POOLINGS[1:]} to do without."
                )
        return chosen

    def extra_repr(self) -> str:
        return f"normalize={self.normalize}"

    def check(self, block: Block) -> None:
        largest = block.values.max(initial=0)
        if largest >= self.n_ids:
            raise ValueError(
                f"it holds the token id {largest}, but model={self.name!r} knows {self.n_ids} ids; make them with "
                "PretrainedTokens of the same model."
            )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, mask = x[:, : self.longest], mask[:, : self.longest]
        read = _never_empty(mask)
        output = self.model(input_ids=torch.where(read, x, 0), attention_mask=read.long())
        tokens = output.last_hidden_state
        vectors = self._pool(output, tokens, read)
        return l2_normalize(vectors) if self.normalize else vectors, tokens, mask


class VisionBackbone(Backbone):
    """Reads pictures (B, 3, H, W) that are in the form of the model's training already."""

    steps = False

    def _auto_pooling(self, has_pooler: bool) -> str:
        return "auto" if has_pooler else "cls"

    def _run(self, pictures: Tensor) -> Any:
        return self.model(pixel_values=pictures)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self._run(x)
        tokens = output.last_hidden_state  # (B, T, d), or (B, d, H, W)
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)
            if self.pooling == "cls":
                raise ValueError(f"model={self.name!r} has no tokens for pooling='cls', valid is 'mean'.")
        everything = torch.ones_like(tokens[..., 0], dtype=torch.bool)
        return self._pool(output, tokens, everything), tokens, mask.unsqueeze(-1).expand(tokens.shape[:2])


def load_image_processor(name: str) -> Any:
    """What brings a picture into the form of a model's training, on Pillow.

    Without torchvision the processors on Pillow are the only ones, with it they are still the reproducible ones.
    """
    return load_pretrained("an image processor", name, "AutoImageProcessor", backend="pil")


class ImageBackbone(VisionBackbone):
    """Reads pictures (B, H, W, C) or (B, H, W) of levels 0 to 255, and brings them into the form of its training.

    Resizing, cropping and normalisation follow the model's image processor, as operations of torch.
    """

    what = "a model of images"
    part = "vision_model"

    def __init__(self, name: str, pooling: str) -> None:
        super().__init__(name, pooling)
        options = load_image_processor(name).to_dict()
        self.size = options.get("size") if options.get("do_resize") else None
        self.crop = options.get("crop_size") if options.get("do_center_crop") else None
        self.bicubic = int(options.get("resample") or 2) in (1, 3)  # Pillow's Lanczos and bicubic
        self.factor = float(options.get("rescale_factor") or 1) if options.get("do_rescale") else 1.0
        normalize = options.get("do_normalize")
        self.mean = list(options["image_mean"]) if normalize else [0.0]
        self.std = list(options["image_std"]) if normalize else [1.0]

    def extra_repr(self) -> str:
        return f"{self.size}, {self.crop}, {self.bicubic}, {self.factor}, {self.mean}, {self.std}"

    def check(self, block: Block) -> None:
        if block.dtype != np.uint8:
            raise ValueError(
                f"the pictures are {block.dtype}; pretrained encoders read levels from 0 to 255 of dtype uint8, as "
                "ImageLoader gives them."
            )

    def _processed(self, x: Tensor) -> Tensor:
        """(B, H, W[, C]) -> (B, 3, H', W')."""
        x = x.unsqueeze(-1) if x.ndim == 3 else x
        x = x.movedim(-1, 1)
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x[:, :3]
        if self.size is not None:
            height, width = self._target(*x.shape[2:])
            mode = "bicubic" if self.bicubic else "bilinear"
            if (height, width) != tuple(x.shape[2:]):
                x = F.interpolate(x, (height, width), mode=mode, antialias=True, align_corners=False)
                x = x.round().clamp(0, 255)  # the processor's pictures are of whole levels
        if self.crop is not None:
            margins = []
            for side, wanted in zip(reversed(x.shape[2:]), (self.crop["width"], self.crop["height"]), strict=True):
                margins += [-((side - wanted) // 2), -(side - wanted - (side - wanted) // 2)]
            x = F.pad(x, margins)
        shape = (1, -1, 1, 1)
        return (x * self.factor - x.new_tensor(self.mean).view(shape)) / x.new_tensor(self.std).view(shape)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        size: Any = self.size
        if size.get("height"):
            return size["height"], size["width"]
        short, long = min(height, width), max(height, width)
        shortest = size.get("shortest_edge") or size.get("longest_edge")
        longer = int(shortest * long / short)
        return (shortest, longer) if height <= width else (longer, shortest)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return super().forward(self._processed(x), mask)


class AudioBackbone(Backbone):
    """Reads waveforms (B, T, 1) of the model's own sampling rate."""

    what = "a model of waveforms"
    part = "audio_model"
    steps = True

    def __init__(self, name: str, pooling: str) -> None:
        super().__init__(name, pooling)
        if not hasattr(self.model.config, "conv_stride"):
            raise ValueError(
                f"model={name!r} ({self.model.config.model_type}) reads no waveforms; such as wav2vec2, HuBERT and "
                "WavLM do."
            )
        if pooling in ("pooler", "cls"):
            raise ValueError(f"model={name!r} reads waveforms, for which pooling={pooling!r} means nothing.")
        # it would draw from numpy's global numbers; the augmentation SpecAugment does it
        self.model.config.apply_spec_augment = False
        for layer in self.model.modules():  # a weight that is computed anew for each call does not pickle
            if is_parametrized(layer):
                remove_parametrizations(layer, "weight")
                layer._load_state_dict_pre_hooks.clear()  # left behind, of weights as older files named them
        extractor = load_pretrained("a feature extractor", name, "AutoFeatureExtractor")
        self.normalize = bool(extractor.do_normalize)
        config = self.model.config
        self.shortest = 1  # steps of which one frame is made
        for width, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
            self.shortest = (self.shortest - 1) * stride + width
        # a few frames and twice as many
        wave = torch.sin(torch.arange(20 * self.shortest) ** 1.5)
        self.one_length = getattr(self.model.config, "feat_extract_norm", "") == "group" or self._sees_padding(
            wave[: len(wave) // 2], wave
        )

    def extra_repr(self) -> str:
        return f"normalize={self.normalize}"

    def check(self, block: Block) -> None:
        step = sample_shape(block)
        if step not in ((), (1,)):
            raise ValueError(
                f"it has steps of shape {step}, but model={self.name!r} reads waveforms, of one number a step."
            )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, read = x.flatten(1), _never_empty(mask)
        if self.normalize:
            mean = masked_mean(x.unsqueeze(-1), read)
            variance = masked_mean((x - mean).square().unsqueeze(-1), read)
            x = (x - mean) / (variance + 1e-7).sqrt()
        # a sample shorter than the model's first window is filled up with zeros to one frame
        short = (0, max(0, self.shortest - x.shape[1]))
        x, read = F.pad(torch.where(read, x, 0.0), short), F.pad(read, short)
        read = read | (torch.arange(x.shape[1], device=x.device) < self.shortest)
        output = self.model(input_values=x, attention_mask=None if self.one_length else read.long())
        tokens = output.last_hidden_state  # (B, T', d)
        frames = self.model._get_feature_vector_attention_mask(tokens.shape[1], read.long()).bool()
        return self._pool(output, tokens, frames), tokens, frames & mask.any(1, keepdim=True)


_BACKBONES: dict[str, type[Backbone]] = {"tokens": TextBackbone, "image": ImageBackbone, "sequence": AudioBackbone}
