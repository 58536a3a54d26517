"""Trees of scikit-learn, which follow the indices in their nodes without a look at whether there is such a place.

skops therefore trusts none of them. Here the indices are looked at when a file is read: a tree whose every path
ends, and which asks for no feature that there is not, cannot leave its arrays. That is enough where whoever calls
the tree has looked at the samples: single trees, forests, and boosting on histograms.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from skmm.persistence._records import Reader, Record, Writer, write_array

# Modules whose estimators look at the number of features before they call their trees, and where they have these.
_OWNERS = {
    "sklearn.tree._classes": "tree",
    "sklearn.ensemble._forest": "forest",
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting": "boosting",
}


def tree_types() -> dict[type, Any]:
    """Types of trees, and how they are written."""
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree._tree import Tree

    return {Tree: _write_tree, TreePredictor: _write_predictor}


def _write_tree(writer: Writer, tree: Any) -> Record:
    _, (n_features, n_classes, n_outputs), state = tree.__reduce__()
    sizes = [int(n_features), np.asarray(n_classes).tolist(), int(n_outputs), int(state["max_depth"])]
    arrays = [write_array(writer, state[name]) for name in ("nodes", "values")]
    return writer.numbered("tree", tree, lambda: [*sizes, *arrays])


def _write_predictor(writer: Writer, predictor: Any) -> Record:
    _check_predictor(predictor.nodes)
    return writer.numbered("tree_predictor", predictor, lambda: writer.named(vars(predictor)))


def _check_predictor(nodes: np.ndarray) -> None:
    """Refuse a tree that reads sets of categories, which lie in arrays of their own."""
    if nodes["is_categorical"].any():
        raise ValueError("boosting with categories is in no file: encode them before, or use pickle or joblib.")


class _Nodes(NamedTuple):
    """Of the nodes of a tree what leads on, (n,), and what may be asked for."""

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    inner: np.ndarray
    n_features: int
    depth: int


class Trees:
    """Makes trees, and looks at the nodes of all of them at once."""

    def __init__(self) -> None:
        self._read: list[_Nodes] = []

    def tree(
        self,
        reader: Reader,
        number: int,
        n_features: int,
        n_classes: list[int],
        n_outputs: int,
        depth: int,
        nodes: Any,
        values: Any,
    ) -> Any:
        """A tree of forests and single ones."""
        from sklearn.tree._tree import Tree

        nodes, values = reader.view(nodes), reader.view(values)
        if n_outputs != len(n_classes) or values.shape != (len(nodes), n_outputs, max(n_classes)):
            raise ValueError(f"a tree of {len(nodes)} nodes has values of shape {values.shape}")
        left = nodes["left_child"]
        self._read.append(_Nodes(left, nodes["right_child"], nodes["feature"], left != -1, n_features, depth))
        tree = Tree(n_features, np.array(n_classes, dtype=np.intp), n_outputs)
        tree.__setstate__({"max_depth": depth, "node_count": len(nodes), "nodes": nodes, "values": values})
        return reader.note(number, tree)

    def predictor(self, reader: Reader, number: int, *parts: Any) -> Any:
        """A tree of boosting, which does not know the number of features."""
        from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

        state = reader.named(*parts)
        nodes = state["nodes"]
        _check_predictor(nodes)
        most = np.iinfo(np.int64).max
        inner = nodes["is_leaf"] == 0
        self._read.append(_Nodes(nodes["left"], nodes["right"], nodes["feature_idx"], inner, most, most))
        predictor = object.__new__(TreePredictor)
        predictor.__setstate__(state)
        return reader.note(number, predictor)

    def check(self) -> None:
        """Refuse nodes whose paths do not end, or leave the tree: children come after their parent, and have one.

        Raises
        ------
        ValueError
            If there are such.
        """
        if not self._read:
            return
        sizes = [len(tree.left) for tree in self._read]
        if not all(sizes):
            raise ValueError("a tree has no nodes")
        starts = np.cumsum([0, *sizes[:-1]])
        root, end = np.repeat(starts, sizes), np.repeat(starts + sizes, sizes)
        n_features = np.repeat([tree.n_features for tree in self._read], sizes)
        left, right, feature, inner = (np.concatenate(each) for each in list(zip(*self._read, strict=True))[:4])
        parents = np.flatnonzero(inner)
        # far from what is added to them, whatever they are
        children = [np.clip(x[parents].astype(np.int64), -1, len(root)) + root[parents] for x in (left, right)]
        if not all(((x > parents) & (x < end[parents])).all() for x in children):
            raise ValueError("a tree has a node whose child is not among those after it")
        if np.bincount(np.concatenate(children), minlength=1).max() > 1:
            raise ValueError("a tree has a node with two parents")
        asked = feature[parents].astype(np.int64)
        if not ((asked >= 0) & (asked < n_features[parents])).all():
            raise ValueError("a tree asks for a feature that there is not")
        above, steps = root.copy(), np.zeros(len(root), dtype=np.int64)
        for x in children:
            above[x], steps[x] = parents, 1
        while (above != root).any():  # each time twice as far up
            steps += steps[above]
            above = above[above]
        deepest = np.maximum.reduceat(steps, starts)
        if (deepest > np.array([tree.depth for tree in self._read])).any():
            raise ValueError("a tree is deeper than it says")


@functools.cache
def _has_trees(cls: Any) -> str | None:
    """What holds trees of an estimator of this type."""
    return next((_OWNERS[base.__module__] for base in cls.__mro__ if base.__module__ in _OWNERS), None)


def check_owner(owner: Any) -> None:
    """Refuse an estimator whose trees ask for features that it would not miss.

    Raises
    ------
    ValueError
        If they do.
    """
    cls: Any = type(owner)
    kind = _has_trees(cls)
    if kind is None:
        return
    n_features, trees, held = vars(owner).get("n_features_in_"), [], vars(owner)
    if kind == "tree":
        trees = [held["tree_"]] if "tree_" in held else []
    elif kind == "forest":
        trees = [tree.tree_ for tree in held.get("estimators_", [])]
    wrong = any(tree.n_features != n_features for tree in trees)
    for predictors in held.get("_predictors", []) if kind == "boosting" else []:
        for predictor in predictors:
            nodes = predictor.nodes
            wrong |= nodes["feature_idx"][nodes["is_leaf"] == 0].max(initial=0) >= (n_features or 0)
    if wrong:
        raise ValueError(f"trees of a {cls.__name__} ask for other features than its {n_features}")
