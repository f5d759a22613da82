"""Estimators: how accurate an architecture is."""

from hilnas.estimators.base import EstimateResult, Estimator, Preparing, Staged

__all__ = ["EstimateResult", "Estimator", "Preparing", "Staged"]
