"""Comparisons of fusions, searches over them, and cross-validation of folds side by side."""

from skmm.model_selection._baselines import make_baselines
from skmm.model_selection._compare import compare_fusions
from skmm.model_selection._comparison import FusionComparison, corrected_interval
from skmm.model_selection._search import FusionSearchCV
from skmm.model_selection._validation import cross_val_score, cross_validate

__all__ = [
    "FusionComparison",
    "FusionSearchCV",
    "compare_fusions",
    "corrected_interval",
    "cross_val_score",
    "cross_validate",
    "make_baselines",
]
