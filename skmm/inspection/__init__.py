"""What a fitted estimator relies on."""

from skmm.inspection._attribution_display import AttributionDisplay
from skmm.inspection._attributions import Attributions, attributions
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
    "AttributionDisplay",
    "Attributions",
    "ComparisonDisplay",
    "ContributionDisplay",
    "FusionSpaceDisplay",
    "ImportanceDisplay",
    "LearningCurveDisplay",
    "RobustnessDisplay",
    "SearchDisplay",
    "StackDisplay",
    "attributions",
    "modality_contributions",
    "modality_importances",
    "robustness_curve",
]
