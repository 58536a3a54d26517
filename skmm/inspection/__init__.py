"""What a fitted estimator relies on."""

from skmm.inspection._displays import (
    ComparisonDisplay,
    ContributionDisplay,
    FusionSpaceDisplay,
    ImportanceDisplay,
    LearningCurveDisplay,
    SearchDisplay,
    StackDisplay,
)
from skmm.inspection.importances import modality_contributions, modality_importances
from skmm.inspection.robustness import RobustnessDisplay, robustness_curve

__all__ = [
    "ComparisonDisplay",
    "ContributionDisplay",
    "FusionSpaceDisplay",
    "ImportanceDisplay",
    "LearningCurveDisplay",
    "RobustnessDisplay",
    "SearchDisplay",
    "StackDisplay",
    "modality_contributions",
    "modality_importances",
    "robustness_curve",
]
