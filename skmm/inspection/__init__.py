"""What a fitted estimator relies on."""

from skmm.inspection.robustness import RobustnessDisplay, robustness_curve

__all__ = ["RobustnessDisplay", "robustness_curve"]
