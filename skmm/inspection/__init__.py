"""What a fitted estimator relies on, and how sure it is."""

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
from skmm.inspection.abstention import RiskCoverageDisplay, risk_coverage_curve, uncertainty
from skmm.inspection.importances import modality_contributions, modality_importances
from skmm.inspection.prediction_sets import ConformalClassifier, ConformalRegressor, conformal
from skmm.inspection.robustness import RobustnessDisplay, robustness_curve

__all__ = [
    "AttributionDisplay",
    "Attributions",
    "ComparisonDisplay",
    "ConformalClassifier",
    "ConformalRegressor",
    "ContributionDisplay",
    "FusionSpaceDisplay",
    "ImportanceDisplay",
    "LearningCurveDisplay",
    "RiskCoverageDisplay",
    "RobustnessDisplay",
    "SearchDisplay",
    "StackDisplay",
    "attributions",
    "conformal",
    "modality_contributions",
    "modality_importances",
    "risk_coverage_curve",
    "robustness_curve",
    "uncertainty",
]
