"""The classifier and the regressor."""

from skmm.estimators._classifier import MultimodalClassifier
from skmm.estimators._profile import Profile
from skmm.estimators._regressor import MultimodalRegressor

__all__ = ["MultimodalClassifier", "MultimodalRegressor", "Profile"]
