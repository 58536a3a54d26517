"""Named blocks that share their rows, and the forms that they take."""

from skmm.blocks._blocks import Blocks, FlatLayout
from skmm.blocks._kinds import KINDS, Block, BlockInfo, RaggedArray, block_kind, is_lazy
from skmm.columns._lazy import LazyTable

__all__ = [
    "KINDS",
    "Block",
    "BlockInfo",
    "Blocks",
    "FlatLayout",
    "LazyTable",
    "RaggedArray",
    "block_kind",
    "is_lazy",
]
