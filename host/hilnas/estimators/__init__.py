"""Estimators: how accurate an architecture is."""

from hilnas.estimators.base import EstimateResult, Estimator

__all__ = ["EstimateResult", "Estimator"]
