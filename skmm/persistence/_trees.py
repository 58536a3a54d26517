"""Trees of scikit-learn, which follow the indices in their nodes without a look at whether there is such a place.

skops therefore trusts none of them. Here the indices are looked at when a file is read: a tree whose every path ends,
and which asks for no feature that there is not, cannot leave its arrays. That is enough where whoever calls the tree
has looked at the samples: single trees, forests, and boosting on histograms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skmm.persistence._records import Reader, Record, Writer, write_array

# Modules whose estimators look at the number of features before they call their trees.
_CAREFUL = ("sklearn.tree._classes", "sklearn.ensemble._forest")


def tree_types() -> dict[type, Any]:
    """Types of trees, and how they are written."""
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree._tree import Tree

    return {Tree: _write_tree, TreePredictor: _write_predictor}


def _write_tree(writer: Writer, tree: Any) -> Record:
    _, (n_features, n_classes, n_outputs), state = tree.__reduce__()
    depth, nodes, values = state["max_depth"], state["nodes"], state["values"]
    arrays = [write_array(writer, array) for array in (np.asarray(n_classes), nodes, values)]
    return writer.numbered("tree", tree, lambda: [int(n_features), int(n_outputs), int(depth), *arrays])


def _write_predictor(writer: Writer, predictor: Any) -> Record:
    return writer.numbered("tree_predictor", predictor, lambda: writer.named(vars(predictor)))


def _check_nodes(left: np.ndarray, right: np.ndarray, feature: np.ndarray, inner: np.ndarray, n_features: int) -> None:
    """Refuse nodes whose paths do not end, or leave the tree: children come after their parent, each of one alone."""
    place = np.arange(len(left))[inner]
    for child in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        if not ((child > place) & (child < len(left))).all():
            raise ValueError("a tree has a node whose child is not among those after it")
    children = np.concatenate([left[inner], right[inner]])
    if len(np.unique(children)) < len(children):
        raise ValueError("a tree has a node with two parents")
    asked = feature[inner].astype(np.int64)
    if not ((asked >= 0) & (asked < n_features)).all():
        raise ValueError(f"a tree asks for a feature that is not among the {n_features}")


def _depth(left: np.ndarray, right: np.ndarray, inner: np.ndarray) -> int:
    """Steps from the root to the farthest leaf."""
    parents = np.flatnonzero(inner)
    above, steps = np.zeros(len(left), dtype=np.int64), np.zeros(len(left), dtype=np.int64)
    for children in (left[inner], right[inner]):
        above[children], steps[children] = parents, 1
    while above.any():  # each time twice as far up
        steps += steps[above]
        above = above[above]
    return int(steps.max(initial=0))


def read_tree(reader: Reader, number: int, n_features: int, n_outputs: int, depth: int, *arrays: Any) -> Any:
    """A tree whose nodes were looked at."""
    from sklearn.tree._tree import Tree

    n_classes, nodes, values = map(reader.read, arrays)
    if n_outputs != len(n_classes) or not len(nodes) or not (n_classes > 0).all():
        raise ValueError(f"a tree of {len(nodes)} nodes says {n_outputs} outputs and classes {n_classes}")
    left, right = nodes["left_child"], nodes["right_child"]
    inner = left != -1
    _check_nodes(left, right, nodes["feature"], inner, n_features)
    deepest = _depth(left, right, inner)
    if deepest > depth:
        raise ValueError(f"a tree says that its depth is {depth}, it is {deepest}")
    if values.shape != (len(nodes), n_outputs, int(np.max(n_classes))):
        raise ValueError(f"a tree of {len(nodes)} nodes has values of shape {values.shape}")
    tree = Tree(n_features, np.ascontiguousarray(n_classes, dtype=np.intp), n_outputs)
    tree.__setstate__({"max_depth": depth, "node_count": len(nodes), "nodes": nodes, "values": values})
    return reader.note(number, tree)


def read_predictor(reader: Reader, number: int, *parts: Any) -> Any:
    """A tree of boosting whose nodes were looked at, but for the features, of which it does not know the number."""
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

    state = reader.named(*parts)
    nodes = state["nodes"]
    if nodes["is_categorical"].any():
        raise ValueError("a tree of boosting parts categories, which is not read: pickle it, or encode them before")
    inner = nodes["is_leaf"] == 0
    _check_nodes(nodes["left"], nodes["right"], nodes["feature_idx"], inner, np.iinfo(np.int64).max)
    predictor = object.__new__(TreePredictor)
    predictor.__setstate__(state)
    return reader.note(number, predictor)


def check_owner(owner: Any) -> None:
    """Refuse an estimator whose trees ask for features that it would not find missing.

    Raises
    ------
    ValueError
        If they do, or if nobody knows whether they do.
    """
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree._tree import Tree

    held = vars(owner)
    n_features = held.get("n_features_in_")
    own = [part for part in held.values() if isinstance(part, Tree)]
    others = [part for value in held.values() for part in _flat(value)]
    own += [part.tree_ for part in others if isinstance(vars(part).get("tree_"), Tree)] if others else []
    predictors = [part for part in others if isinstance(part, TreePredictor)]
    if own and type(owner).__module__ in _CAREFUL and any(tree.n_features != n_features for tree in own):
        raise ValueError(f"trees of a {type(owner).__name__} ask for other features than its {n_features}")
    for predictor in predictors:
        nodes = predictor.nodes
        if nodes["feature_idx"][nodes["is_leaf"] == 0].max(initial=0) >= (n_features or 0):
            raise ValueError(f"trees of a {type(owner).__name__} ask for other features than its {n_features}")


def _flat(value: Any) -> list[Any]:
    """Objects with attributes in lists, arrays, and lists of these."""
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [part for item in (value.ravel() if isinstance(value, np.ndarray) else value) for part in _flat(item)]
    return [value] if hasattr(value, "__dict__") else []
