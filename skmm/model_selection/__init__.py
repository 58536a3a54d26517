"""Comparisons of fusions and searches over them."""

from skmm.model_selection._baselines import make_baselines
from skmm.model_selection._compare import compare_fusions
from skmm.model_selection._comparison import FusionComparison, corrected_interval
from skmm.model_selection._search import FusionSearchCV

__all__ = ["FusionComparison", "FusionSearchCV", "compare_fusions", "corrected_interval", "make_baselines"]
