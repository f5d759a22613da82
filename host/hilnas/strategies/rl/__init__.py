"""`rl`: a recurrent policy over live decisions, trained by REINFORCE."""

from hilnas.strategies.rl.reinforce import Reinforce

__all__ = ["Reinforce"]
