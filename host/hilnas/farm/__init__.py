"""The farm: the devices a host knows, who runs what on them, and the gRPC side that agents dial."""

from hilnas.farm.base import AnyFarm, FarmError
from hilnas.farm.farm import Farm
from hilnas.farm.jobs import Ask
from hilnas.farm.protocol import Fidelity, MeasurementOptions, Protocol
from hilnas.farm.settings import FarmOptions

__all__ = ["AnyFarm", "Ask", "Farm", "FarmError", "FarmOptions", "Fidelity", "MeasurementOptions", "Protocol"]
