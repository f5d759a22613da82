"""`enas`: a controller and shared weights, trained in turn (Pham et al. 2018)."""

from hilnas.strategies.enas.options import EnasOptions
from hilnas.strategies.enas.strategy import Enas

__all__ = ["Enas", "EnasOptions"]
