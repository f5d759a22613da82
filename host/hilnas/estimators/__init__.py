"""Estimators: how accurate an architecture is."""

from hilnas.estimators.base import Estimator, EstimateResult

__all__ = ["EstimateResult", "Estimator"]
