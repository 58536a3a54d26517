"""Compact bilinear pooling."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from skmm._checks import at_least_one
from skmm.fusion.base import Placeholders, multiply
from skmm.layers import l2_normalize, signed_sqrt
from skmm.spec import register_fusion


class CountSketch(nn.Module):
    """Count sketch of a vector: entry i is added, with the sign s(i), to entry h(i) of a vector of another size.

    h and s are drawn once. The inner product of two sketches is that of the vectors on average over all draws.

    Parameters
    ----------
    dim : int
        Size of the vectors.
    sketch_dim : int
        Size of the sketch.

    Shape
    -----
    (B, dim) -> (B, sketch_dim)

    References
    ----------
    Charikar et al. 2002, Finding frequent items in data streams; Pham and Pagh 2013, Fast and scalable polynomial
    kernels via explicit feature maps.
    """

    constant_buffers = True

    def __init__(self, dim: int, sketch_dim: int) -> None:
        super().__init__()
        self.sketch_dim = sketch_dim
        self.bucket: Tensor
        self.sign: Tensor
        self.register_buffer("bucket", torch.randint(sketch_dim, (dim,)))
        self.register_buffer("sign", 2.0 * torch.randint(2, (dim,)) - 1.0)

    def forward(self, x: Tensor) -> Tensor:
        signed = x * self.sign  # float32 also in mixed precision, whose types the Fourier transform does not know
        return signed.new_zeros(*x.shape[:-1], self.sketch_dim).index_add(-1, self.bucket, signed)


@register_fusion("mcb")
class MCBFusion(nn.Module):
    """Multimodal compact bilinear pooling: a count sketch of the modalities' outer product ⊗_m x_m.

    It is the circular convolution of the modalities' own sketches, a product of their Fourier transforms; then
    signed square root and L2 normalisation. At two modalities this is the paper's; more enter the same product. One
    modality is its own sketch. A learned vector stands in for the sketch of an absent one; at first it leaves the
    convolution as it is.

    Parameters
    ----------
    sketch_dim : int, optional
        d, the size of the sketch and of the output. The paper's is 16000 for vectors of 2048. The default keeps
        that proportion: 8 times the longest vector.

    Raises
    ------
    ValueError
        If ``sketch_dim`` is no whole number of 1 or more.

    Shape
    -----
    values (B, d_m), present (B,) -> (B, sketch_dim)

    References
    ----------
    Fukui et al. 2016, Multimodal compact bilinear pooling for visual question answering and visual grounding,
    section 3.1.

    Examples
    --------
    >>> import torch
    >>> from skmm.fusion.mcb import MCBFusion
    >>> fusion = MCBFusion({"text": 3, "image": 5}, sketch_dim=16000)  # the paper's size
    >>> values = {"text": torch.ones(2, 3), "image": torch.ones(2, 5)}
    >>> present = {"text": torch.tensor([True, True]), "image": torch.tensor([True, False])}
    >>> fusion(values, present).shape
    torch.Size([2, 16000])
    """

    level = "feature"
    source = "Fukui et al. 2016, sec. 3.1"

    def __init__(self, dims: Mapping[str, int], *, sketch_dim: int | None = None) -> None:
        super().__init__()
        sketch_dim = 8 * max(dims.values()) if sketch_dim is None else sketch_dim
        at_least_one(sketch_dim=sketch_dim)
        self.names = list(dims)
        self.sketches = nn.ModuleList(CountSketch(dim, sketch_dim) for dim in dims.values())
        self.placeholders = Placeholders(dict.fromkeys(dims, sketch_dim), value=0.0)
        with torch.no_grad():
            for vector in self.placeholders.vectors:
                vector[0] = 1.0  # neutral in a circular convolution
        self.out_dim = sketch_dim

    def forward(self, values: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        sketched = {name: sketch(values[name]) for name, sketch in zip(self.names, self.sketches, strict=True)}
        spectrum = multiply(torch.fft.rfft(sketch) for sketch in self.placeholders(sketched, present))
        return l2_normalize(signed_sqrt(torch.fft.irfft(spectrum, n=self.out_dim)))
