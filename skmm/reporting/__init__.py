"""Reports on fitted estimators, and on comparisons, for people who did not make them."""

from skmm.reporting._report import Report, report

__all__ = ["Report", "report"]
