"""Plots of what is known of a fitted estimator: ``__init__`` stores, ``from_...`` computes, ``plot`` draws."""

from skmm.inspection._displays.comparison import ComparisonDisplay
from skmm.inspection._displays.contribution import ContributionDisplay
from skmm.inspection._displays.fusion_space import FusionSpaceDisplay
from skmm.inspection._displays.importance import ImportanceDisplay
from skmm.inspection._displays.learning import LearningCurveDisplay
from skmm.inspection._displays.search import SearchDisplay
from skmm.inspection._displays.stack import StackDisplay

__all__ = [
    "ComparisonDisplay",
    "ContributionDisplay",
    "FusionSpaceDisplay",
    "ImportanceDisplay",
    "LearningCurveDisplay",
    "SearchDisplay",
    "StackDisplay",
]
