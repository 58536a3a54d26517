"""Encoders of videos: (time, height, width, channels), and sequences whose steps are pictures."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skmm._checks import at_least_one, check_channels, check_width
from skmm.blocks._blocks import BlockInfo
from skmm.encoders.base import TokenOutput
from skmm.encoders.conv import Conv2dEncoder
from skmm.layers import Attention, TransformerBlock, add_positions, make_activation
from skmm.spec import INHERIT, Encoder, as_spec, register_encoder

# videos of any length, and of one
_KINDS = ("sequence", "video")


def _frame_shape(info: BlockInfo) -> tuple[int, int, int]:
    """Height, width and channels: steps (height, width) are grey, steps (width,) a single row of that."""
    shape = info.shape[1:] if info.kind == "video" else info.shape
    if len(shape) > 3:
        raise ValueError(f"steps of shape {shape} are no pictures (height, width, channels).")
    height, width, channels = {1: (1, *shape, 1), 2: (*shape, 1), 3: shape}[len(shape)]
    return height, width, channels


def _frames(x: Tensor, mask: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Pictures (B, T, height, width, channels), zero where the mask (B, T) is False."""
    if mask.ndim == 1:
        mask = mask.unsqueeze(-1).expand(x.shape[:2])
    return _only(x.reshape(*x.shape[:2], *shape), mask), mask


def _only(x: Tensor, mask: Tensor) -> Tensor:
    """Zero the frames that do not exist: x (B, T, _, _, _), mask (B, T)."""
    return torch.where(mask[..., None, None, None], x, 0.0)


@register_encoder("conv3d")
class Conv3dEncoder(nn.Module):
    """Convolutions over time, height and width, each followed by the activation and, while the pictures are larger
    than the grid, max-pooling by 2 in height and width; then a grid of averages of each frame.

    Frames are never pooled over time, so each keeps its place: it is a token.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of the output.
    channels : tuple of int
        Output channels of each convolution.
    kernel_size : int
        Odd width in time; in height and width it is 3.
    factorised : bool
        Whether each convolution is one in space, then one in time: "(2+1)D". Between them the activation, and as
        many channels as give the pair the number of weights of the one that it stands for.
    grid : int
        Frames are averaged to at most ``grid`` x ``grid`` cells.
    n_segments : int
        Parts of the video whose mean and maximum make the vector.
    dropout : float, optional
        Dropout of the output.
    activation : str, optional
        Name of the activation.

    Raises
    ------
    ValueError
        If ``hidden_dim``, ``grid``, ``n_segments`` or one of ``channels`` is no whole number of 1 or more, or
        ``kernel_size`` no odd one; or if the steps are no pictures.

    Shape
    -----
    x (B, T, H, W, C), mask (B,) or (B, T) -> (B, hidden_dim), (B,) or tokens (B, T, hidden_dim), (B, T)

    References
    ----------
    Tran et al. 2015, Learning spatiotemporal features with 3D convolutional networks (C3D: eight convolutions of
    3 x 3 x 3, with 64 to 512 channels, on 16 frames of 112 x 112); for ``factorised`` Tran et al. 2018, A closer
    look at spatiotemporal convolutions for action recognition, section 3.5.

    Examples
    --------
    >>> import torch
    >>> from skmm.blocks import BlockInfo
    >>> from skmm.encoders.video import Conv3dEncoder
    >>> info = BlockInfo("video", (4, 16, 16, 3))
    >>> encoder = Conv3dEncoder(info, False, hidden_dim=8, dropout=0.1, activation="relu")
    >>> vectors, mask = encoder(torch.ones(2, 4, 16, 16, 3), torch.tensor([True, False]))
    >>> vectors.shape, mask.tolist()
    (torch.Size([2, 8]), [True, False])
    """

    kinds: ClassVar = _KINDS
    source = "Tran et al. 2015, 2018"

    def __init__(
        self,
        info: BlockInfo,
        tokens: bool,
        *,
        hidden_dim: int = INHERIT,
        channels: tuple[int, ...] = (16, 32),
        kernel_size: int = 3,
        factorised: bool = False,
        grid: int = 4,
        n_segments: int = 2,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, grid=grid)
        check_channels(channels)
        check_width(kernel_size, "frame")
        self.out_dim = hidden_dim
        self.shape = _frame_shape(info)
        height, width, n_channels = self.shape
        sizes = [n_channels, *channels]
        self.convs = nn.ModuleList()
        self.pools: list[bool] = []  # after which of the convolutions
        for a, b in pairwise(sizes):
            if factorised:
                middle = max(1, kernel_size * 9 * a * b // (9 * a + kernel_size * b))
                self.convs.append(_conv(a, middle, 1, 3))
                self.convs.append(_conv(middle, b, kernel_size, 1))
                self.pools.append(False)
            else:
                self.convs.append(_conv(a, b, kernel_size, 3))
            self.pools.append(min(height, width) >= 2 * grid)
            if self.pools[-1]:
                height, width = height // 2, width // 2
        self.cells = (min(grid, height), min(grid, width))
        self.activation = make_activation(activation)
        self.output = TokenOutput(
            sizes[-1] * self.cells[0] * self.cells[1],
            tokens,
            hidden_dim=hidden_dim,
            n_segments=n_segments,
            dropout=dropout,
            activation=activation,
        )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x, mask = _frames(x, mask, self.shape)
        for conv, pool in zip(self.convs, self.pools, strict=True):
            # zeros where no frame is, as the convolution itself pads: so padding changes nothing
            x = self.activation(conv(_only(x, mask).movedim(-1, 1)))  # (B, C, T, H, W)
            if pool:
                x = F.max_pool2d(x.flatten(1, 2), 2).unflatten(1, x.shape[1:3])
            x = x.movedim(1, -1)
        cells = F.adaptive_avg_pool2d(x.movedim(-1, 2).flatten(1, 2), self.cells)  # (B, T C, grid, grid)
        return self.output(cells.unflatten(1, (x.shape[1], -1)).flatten(2), mask)


def _conv(n_in: int, n_out: int, time: int, space: int) -> nn.Conv3d:
    """A convolution that keeps time, height and width as they are."""
    return nn.Conv3d(n_in, n_out, (time, space, space), padding=(time // 2, space // 2, space // 2))


@register_encoder("conv2d_temporal")
class Conv2dTemporalEncoder(nn.Module):
    """One picture encoder for every frame, then an encoder of sequences over what it makes of them.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of a frame's vector and of the output.
    temporal : str or Encoder
        What reads the frames' vectors: an encoder of sequences, such as "conv1d", "transformer" or
        ``Encoder("gru", bidirectional=True)``. "lstm" makes the network that the paper calls LRCN.
    channels : tuple of int
        Output channels of each convolution of the picture encoder, ``"conv2d"``.
    grid : int
        Frames are averaged to at most ``grid`` x ``grid`` cells.
    dropout : float, optional
        Dropout of the frames' vectors and of the output.
    activation : str, optional
        Name of the activation.

    Raises
    ------
    ValueError
        If ``hidden_dim``, ``grid`` or one of ``channels`` is no whole number of 1 or more, or ``temporal`` names no
        encoder of sequences; or if the steps are no pictures.

    Shape
    -----
    x (B, T, H, W, C), mask (B,) or (B, T) -> (B, hidden_dim), (B,) or tokens (B, T', hidden_dim), (B, T')

    References
    ----------
    Donahue et al. 2015, Long-term recurrent convolutional networks for visual recognition and description,
    section 3.

    Examples
    --------
    >>> import torch
    >>> from skmm.blocks import BlockInfo
    >>> from skmm.encoders.video import Conv2dTemporalEncoder
    >>> info = BlockInfo("video", (4, 16, 16, 3))
    >>> encoder = Conv2dTemporalEncoder(info, False, temporal="gru", hidden_dim=8, dropout=0.1, activation="relu")
    >>> vectors, mask = encoder(torch.ones(2, 4, 16, 16, 3), torch.tensor([True, False]))
    >>> vectors.shape, mask.tolist()
    (torch.Size([2, 8]), [True, False])
    """

    kinds: ClassVar = _KINDS
    source = "Donahue et al. 2015"

    def __init__(
        self,
        info: BlockInfo,
        tokens: bool,
        *,
        hidden_dim: int = INHERIT,
        temporal: Any = "conv1d",
        channels: tuple[int, ...] = (16, 32),
        grid: int = 4,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        self.shape = _frame_shape(info)
        inherited: dict[str, Any] = {"hidden_dim": hidden_dim, "dropout": dropout, "activation": activation}
        picture = BlockInfo("image", self.shape)
        self.frame = Conv2dEncoder(picture, False, channels=channels, stride=1, grid=grid, **inherited)
        spec = as_spec(Encoder, temporal)
        if not isinstance(spec, Encoder) or "sequence" not in getattr(spec.target(), "kinds", ()):
            raise ValueError(
                f"temporal={temporal!r} must name an encoder of sequences, such as 'conv1d', 'gru', 'transformer'."
            )
        length = info.shape[0] if info.kind == "video" else info.length
        self.temporal = spec.build(BlockInfo("sequence", (hidden_dim,), length), tokens, inherited=inherited)
        self.out_dim = self.temporal.out_dim

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x, mask = _frames(x, mask, self.shape)
        vectors, _ = self.frame(x.flatten(0, 1), mask.flatten())
        return self.temporal(vectors.unflatten(0, mask.shape), mask)


class _DividedBlock(nn.Module):
    """Attention over time, then over the patches of a frame, then a feed-forward network: Bertasius et al., section
    3, "divided space-time attention".

    Shape
    -----
    x (B, T, S, d), mask (B, T) -> (B, T, S, d)
    """

    def __init__(self, dim: int, *, n_heads: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.over_time = Attention(dim, n_heads=n_heads, dropout=dropout)
        self.over_space = TransformerBlock(dim, n_heads=n_heads, dropout=dropout, activation=activation)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        tubes = self.norm(x).transpose(1, 2)  # (B, S, T, d)
        read, _ = self.over_time(tubes, tubes, mask.unsqueeze(1).expand(tubes.shape[:-1]))
        x = x + read.transpose(1, 2)
        return self.over_space(x, torch.ones_like(x[..., 0], dtype=torch.bool))[0]


@register_encoder("timesformer")
class TimeSformerEncoder(nn.Module):
    """Attention between patches, factorised: with those at the same place in other frames, then with those of the
    same frame.

    Patches have learned places in the frame and sinusoidal ones in time, and as everywhere in this package each
    attention may read a learned null token as well. The mean of a frame's patches is its token, where the paper
    classifies by one more token.

    Parameters
    ----------
    hidden_dim : int, optional
        Size of the tokens and of the output. The paper's is 768.
    patch_size : int
        Height and width of a patch; frames are filled up with zeros to whole ones. The paper's is 16, of frames of
        224 pixels.
    n_layers : int
        Number of blocks. The paper's is 12.
    n_heads : int
        Attention heads; must divide ``hidden_dim``. The paper's is 12.
    n_segments : int
        Parts of the video whose mean and maximum make the vector.
    dropout : float, optional
        Dropout inside the blocks and of the output.
    activation : str, optional
        Name of the activation.

    Raises
    ------
    ValueError
        If ``hidden_dim``, ``patch_size``, ``n_layers`` or ``n_segments`` is no whole number of 1 or more, or
        ``n_heads`` does not divide ``hidden_dim``; or if the steps are no pictures.

    Shape
    -----
    x (B, T, H, W, C), mask (B,) or (B, T) -> (B, hidden_dim), (B,) or tokens (B, T, hidden_dim), (B, T)

    References
    ----------
    Bertasius et al. 2021, Is space-time attention all you need for video understanding?, section 3; Arnab et al.
    2021, ViViT: a video vision transformer, model 3, "factorised self-attention" (space first).

    Examples
    --------
    >>> import torch
    >>> from skmm.blocks import BlockInfo
    >>> from skmm.encoders.video import TimeSformerEncoder
    >>> info = BlockInfo("video", (4, 16, 16, 3))
    >>> encoder = TimeSformerEncoder(info, True, hidden_dim=8, dropout=0.1, activation="relu")
    >>> tokens, mask = encoder(torch.ones(2, 4, 16, 16, 3), torch.tensor([True, False]))
    >>> tokens.shape
    torch.Size([2, 4, 8])
    """

    kinds: ClassVar = _KINDS
    source = "Bertasius et al. 2021"

    def __init__(
        self,
        info: BlockInfo,
        tokens: bool,
        *,
        hidden_dim: int = INHERIT,
        patch_size: int = 8,
        n_layers: int = 2,
        n_heads: int = 4,
        n_segments: int = 1,
        dropout: float = INHERIT,
        activation: str = INHERIT,
    ) -> None:
        super().__init__()
        at_least_one(hidden_dim=hidden_dim, patch_size=patch_size, n_layers=n_layers)
        self.out_dim = hidden_dim
        self.shape = height, width, channels = _frame_shape(info)
        self.patch = (min(patch_size, height), min(patch_size, width))
        rows, columns = -(-height // self.patch[0]), -(-width // self.patch[1])
        self.missing = (rows * self.patch[0] - height, columns * self.patch[1] - width)
        self.project = nn.Linear(self.patch[0] * self.patch[1] * channels, hidden_dim)
        self.places = nn.Parameter(0.02 * torch.randn(rows * columns, hidden_dim))
        self.blocks = nn.ModuleList(
            _DividedBlock(hidden_dim, n_heads=n_heads, dropout=dropout, activation=activation)
            for _ in range(n_layers)
        )
        self.output = TokenOutput(
            hidden_dim, tokens, hidden_dim=hidden_dim, n_segments=n_segments, dropout=dropout, activation=activation
        )

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x, mask = _frames(x, mask, self.shape)
        x = F.pad(x, (0, 0, 0, self.missing[1], 0, self.missing[0]))
        # (B, T, rows, height, columns, width, C) -> (B, T, rows * columns, height * width * C)
        x = x.unflatten(3, (-1, self.patch[1])).unflatten(2, (-1, self.patch[0])).transpose(3, 4)
        x = self.project(x.flatten(4).flatten(2, 3)) + self.places
        x = add_positions(x.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x, mask)
        return self.output(x.mean(2), mask)
