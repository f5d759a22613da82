"""Estimators: how accurate an architecture is."""

from hilnas.estimators.base import EstimateResult, Estimator, Learned, Preparing, Staged

__all__ = ["EstimateResult", "Estimator", "Learned", "Preparing", "Staged"]
