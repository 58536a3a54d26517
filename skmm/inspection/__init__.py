"""What a fitted estimator relies on."""

from skmm.inspection.abstention import RiskCoverageDisplay, risk_coverage_curve, uncertainty
from skmm.inspection.importances import modality_contributions, modality_importances
from skmm.inspection.prediction_sets import ConformalClassifier, ConformalRegressor, conformal
from skmm.inspection.robustness import RobustnessDisplay, robustness_curve

__all__ = [
    "ConformalClassifier",
    "ConformalRegressor",
    "RiskCoverageDisplay",
    "RobustnessDisplay",
    "conformal",
    "modality_contributions",
    "modality_importances",
    "risk_coverage_curve",
    "robustness_curve",
    "uncertainty",
]
