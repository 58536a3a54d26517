"""What a fitted estimator is outside of Python: one module, files in open formats, and what predicts from them."""

from skmm.deployment._module import DeployedModule

__all__ = ["DeployedModule"]
