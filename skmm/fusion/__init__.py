"""Fusion methods: all modalities -> one vector, or logits.

A fusion is an ``nn.Module`` with

- ``level``: what it reads. ``"input"``: the blocks themselves, without encoders; ``"feature"``: one vector per
  modality (B, d); ``"token"``: token sequences (B, T, d), a vector being one token; ``"decision"``: vectors, and
  it returns logits;
- ``__init__(dims, *, ...)``: ``dims`` name -> size of its vector or token, in fitted order (at input level name ->
  ``BlockInfo``; at decision level ``__init__(dims, n_outputs, link, *, ...)``), then keyword-only hyperparameters,
  of which those left at None take the estimator's value;
- ``out_dim``: the size of its output;
- ``forward(values, present)``: two dicts of the same names, values and bool masks (B,) or (B, T). The output of a
  row never depends on what stands where its mask is False;
- where it has something to show, ``gates(values, present)`` and ``attention_weights(values, present)``; what these
  need in parameters stands in ``requires``: ``{"gates": {"rule": "learned"}}``.
"""

from skmm.fusion import (
    additive,
    attention,
    bilinear,
    block,
    bottleneck,
    crossmodal,
    early,
    film,
    gated,
    late,
    mcb,
    mlb,
    mutan,
    tensor,
)

__all__ = [
    "additive",
    "attention",
    "bilinear",
    "block",
    "bottleneck",
    "crossmodal",
    "early",
    "film",
    "gated",
    "late",
    "mcb",
    "mlb",
    "mutan",
    "tensor",
]
