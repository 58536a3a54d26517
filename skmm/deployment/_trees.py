"""Trees of scikit-learn as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skmm.deployment._readers import constant


class Nodes(NamedTuple):
    """Nodes of one tree, the first of them its root.

    Attributes
    ----------
    feature, left, right : ndarray of int, shape (n_nodes,)
        What a node asks, and the nodes that follow; its own number where it is a leaf.
    threshold : ndarray of shape (n_nodes,)
        What does not exceed it goes to the left.
    gaps_left : ndarray of bool, shape (n_nodes,)
        Whether a sample without a value goes to the left.
    value : ndarray of shape (n_nodes, n_values)
        What a leaf says.
    """

    feature: np.ndarray
    left: np.ndarray
    right: np.ndarray
    threshold: np.ndarray
    gaps_left: np.ndarray
    value: np.ndarray

    @property
    def depth(self) -> int:
        """Questions on the longest way to a leaf."""
        depth, level = 0, np.zeros(1, dtype=int)
        while len(level := level[self.left[level] != level]):
            level = np.concatenate([self.left[level], self.right[level]])
            depth += 1
        return depth


def nodes_of_tree(tree: Any) -> Nodes:
    """Of a tree of scikit-learn's forests; of classes the shares in a leaf."""
    own = np.arange(tree.node_count)
    leaf = tree.children_left < 0
    value = tree.value.reshape(tree.node_count, -1)
    return Nodes(
        np.where(leaf, 0, tree.feature),
        np.where(leaf, own, tree.children_left),
        np.where(leaf, own, tree.children_right),
        np.where(leaf, np.inf, tree.threshold),
        np.where(leaf, True, tree.missing_go_to_left.astype(bool)),
        value,
    )


def nodes_of_boosting(nodes: np.ndarray) -> Nodes:
    """Of a tree of boosting on histograms."""
    own, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
    return Nodes(
        np.where(leaf, 0, nodes["feature_idx"]),
        np.where(leaf, own, nodes["left"]),
        np.where(leaf, own, nodes["right"]),
        np.where(leaf, np.inf, nodes["num_threshold"]),
        np.where(leaf, True, nodes["missing_go_to_left"].astype(bool)),
        nodes["value"][:, None],
    )


def _below(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 that is not above each number: for float32 they are the same border."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


@torch.library.custom_op("skmm::trees", mutates_args=())
def _trees_as_node(x: Tensor, number: int, n_outputs: int) -> Tensor:
    """Stands for trees in a program that is translated to a format with a node of its own for them."""
    raise RuntimeError("it is translated, not computed.")


@_trees_as_node.register_fake
def _(x: Tensor, number: int, n_outputs: int) -> Tensor:
    return x.new_empty(x.shape[0], n_outputs)


class Trees(nn.Module):
    """The sum of what the leaves of some trees say.

    Parameters
    ----------
    trees : sequence of Nodes
        The trees, whose leaves say something of all outputs, or in turn of one output each.
    n_outputs : int
        How many outputs there are.

    Attributes
    ----------
    number : int or None
        Number by which a translation knows them, where they are to be one node of it; None to compute them.

    Shape
    -----
    x (B, d) float32 -> (B, n_outputs)
    """

    roots: Tensor
    feature: Tensor
    threshold: Tensor
    gaps_left: Tensor
    left: Tensor
    right: Tensor
    value: Tensor

    def __init__(self, trees: Sequence[Nodes], n_outputs: int) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.number: int | None = None
        starts = np.cumsum([0] + [len(tree.left) for tree in trees[:-1]])
        self.depth = max(tree.depth for tree in trees)

        def joined(attribute: str, dtype: torch.dtype) -> Tensor:
            return constant(np.concatenate([getattr(tree, attribute) for tree in trees]), dtype)

        self.register_buffer("roots", constant(starts, torch.int64))
        self.register_buffer("feature", joined("feature", torch.int32))
        self.register_buffer("gaps_left", joined("gaps_left", torch.bool))
        self.register_buffer("value", joined("value", torch.float32))
        self.register_buffer("threshold", constant(_below(np.concatenate([tree.threshold for tree in trees]))))
        for side in ("left", "right"):
            shifted = [getattr(tree, side) + start for tree, start in zip(trees, starts, strict=True)]
            self.register_buffer(side, constant(np.concatenate(shifted), torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        if self.number is not None:
            return torch.ops.skmm.trees(x, self.number, self.n_outputs)
        gap = x.isnan()
        node = self.roots.expand(x.shape[0], -1)
        for _ in range(self.depth):
            feature = self.feature[node].long()
            left = x.gather(1, feature) <= self.threshold[node]
            left = left | (gap.gather(1, feature) & self.gaps_left[node])
            node = torch.where(left, self.left[node], self.right[node]).long()
        said = self.value[node]  # (B, n_trees, n_outputs) or (B, n_trees, 1)
        if said.shape[2] == self.n_outputs:
            return said.sum(1)
        return said.unflatten(1, (-1, self.n_outputs)).sum(1)[..., 0]

    def attributes(self) -> dict[str, list[Any]]:
        """The same as attributes of a node of the ONNX operator TreeEnsembleRegressor."""
        n = len(self.left)
        starts = self.roots.numpy()
        tree = np.searchsorted(starts, np.arange(n), side="right") - 1
        own = np.arange(n) - starts[tree]
        left, right = (side.numpy() - starts[tree] for side in (self.left, self.right))
        leaf = left == own
        leaves = np.flatnonzero(leaf)
        width = self.value.shape[1]
        targets = np.tile(np.arange(width), len(leaves))
        if width != self.n_outputs:
            targets = tree[leaves] % self.n_outputs
        return {
            "nodes_treeids": tree.tolist(),
            "nodes_nodeids": own.tolist(),
            "nodes_featureids": self.feature.tolist(),
            "nodes_values": np.where(leaf, 0.0, self.threshold.numpy()).tolist(),
            "nodes_modes": ["LEAF" if end else "BRANCH_LEQ" for end in leaf],
            "nodes_truenodeids": np.where(leaf, 0, left).tolist(),
            "nodes_falsenodeids": np.where(leaf, 0, right).tolist(),
            "nodes_missing_value_tracks_true": self.gaps_left.int().tolist(),
            "target_treeids": np.repeat(tree[leaves], width).tolist(),
            "target_nodeids": np.repeat(own[leaves], width).tolist(),
            "target_ids": targets.tolist(),
            "target_weights": self.value.numpy()[leaves].ravel().tolist(),
        }
