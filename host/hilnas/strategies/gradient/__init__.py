"""Gradient-based searches: architecture parameters learned beside the weights of a supernet (DARTS, ProxylessNAS)."""

from hilnas.strategies.gradient.strategy import Darts, DartsOptions, Proxyless, ProxylessOptions

__all__ = ["Darts", "DartsOptions", "Proxyless", "ProxylessOptions"]
