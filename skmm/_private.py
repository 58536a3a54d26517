"""Names that other libraries keep private, each with the reason why it is borrowed all the same.

There is no public one that does as much, and a copy would drift from what users of that library see.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# What scikit-learn's searches share: the routing of metadata, the format of cv_results_, the choice of the best.
from sklearn.model_selection._search import BaseSearchCV

# How they score, a scorer that fails included, and how they report fits that failed.
from sklearn.model_selection._validation import (
    _insert_error_scores as insert_error_scores,
)
from sklearn.model_selection._validation import (
    _score as score,
)
from sklearn.model_selection._validation import (
    _warn_or_raise_about_fit_failures as warn_or_raise_about_fit_failures,
)

# Documented, though private: the one function that selects rows of anything that scikit-learn reads.
from sklearn.utils import _safe_indexing as safe_indexing

# The parts of which an estimator's diagram is drawn.
from sklearn.utils._repr_html.estimator import _VisualBlock as VisualBlock

# What cuts fit parameters to the rows of a fold.
from sklearn.utils.validation import _check_method_params as check_method_params

# The check of weights that every estimator of scikit-learn calls.
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

# How many samples there are in anything that scikit-learn reads.
from sklearn.utils.validation import _num_samples as num_samples

if TYPE_CHECKING:
    from torch.utils._pytree import tree_leaves, tree_map

__all__ = [
    "BaseSearchCV",
    "VisualBlock",
    "boosted",
    "check_method_params",
    "check_sample_weight",
    "insert_error_scores",
    "num_samples",
    "safe_indexing",
    "score",
    "tree_leaves",
    "tree_map",
    "warn_or_raise_about_fit_failures",
]


def __getattr__(name: str) -> Any:
    """torch's own walk through nested dicts and tuples, on which torch.func is built; tables need no torch."""
    if name in ("tree_leaves", "tree_map"):
        return getattr(import_module("torch.utils._pytree"), name)
    raise AttributeError(f"module 'skmm._private' has no attribute {name!r}")


def boosted(model: Any) -> tuple[list[list[Any]], Any, Any]:
    """Of gradient boosting on histograms tables of nodes by round and output, the baseline, and the link.

    None of it has a public name, and it is what is exported.
    """
    return (
        [[tree.nodes for tree in group] for group in model._predictors],
        model._baseline_prediction,
        model._loss.link,
    )
