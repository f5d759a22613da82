"""Measuring: sessions of the farm made into figures that can be trusted, and what is done with them."""

from hilnas.measuring.combine import combine
from hilnas.measuring.compare import Comparison, compare
from hilnas.measuring.measurer import Measurer

__all__ = ["Comparison", "Measurer", "combine", "compare"]
