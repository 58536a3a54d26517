"""Checks that a fusion, an encoder or an estimator keeps its contract, for those who write their own.

Every registered fusion and encoder of skmm passes them.
"""

from skmm.testing._estimators import check_estimator_on_blocks
from skmm.testing._fusions import check_fusion
from skmm.testing._modules import check_encoder

__all__ = ["check_encoder", "check_estimator_on_blocks", "check_fusion"]
