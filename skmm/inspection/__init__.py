"""What a fitted estimator relies on."""

from skmm.inspection._displays import ComparisonDisplay, ImportanceDisplay, StackDisplay
from skmm.inspection.importances import modality_contributions, modality_importances
from skmm.inspection.robustness import RobustnessDisplay, robustness_curve

__all__ = [
    "ComparisonDisplay",
    "ImportanceDisplay",
    "RobustnessDisplay",
    "StackDisplay",
    "modality_contributions",
    "modality_importances",
    "robustness_curve",
]
