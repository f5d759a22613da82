"""`rl`: a policy-gradient controller with a learned reward model."""

from hilnas.strategies.rl.controller import Controller, ControllerOptions

__all__ = ["Controller", "ControllerOptions"]
