"""The farm: the devices a host knows, who runs what on them, and the gRPC side that agents dial."""

from hilnas.farm.farm import Farm, FarmError
from hilnas.farm.settings import FarmOptions, MeasurementOptions

__all__ = ["Farm", "FarmError", "FarmOptions", "MeasurementOptions"]
