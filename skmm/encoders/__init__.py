"""Encoders: one block's batch -> a vector or a sequence of tokens.

An encoder is an ``nn.Module`` with

- ``kinds``: the kinds of block that it reads (see ``skmm.blocks.KINDS``);
- ``__init__(info, tokens, *, ...)``: ``info`` a ``BlockInfo`` (kind, shape), ``tokens`` whether the fusion reads
  token sequences, then keyword-only hyperparameters, of which those left at None take the estimator's value;
- ``out_dim``: the size of its output;
- ``forward(x, mask) -> (value, mask)``: vectors (B, d) with a mask (B,), or tokens (B, T, d) with (B, T);
- ``settles``, if it chooses parameters itself when it is built: their names, which are attributes of it afterwards,
  and what they were in files that do not say.
"""

from skmm.encoders import conformer, conv, mlp, pretrained, recurrent, tokens, transformer, video

__all__ = ["conformer", "conv", "mlp", "pretrained", "recurrent", "tokens", "transformer", "video"]
